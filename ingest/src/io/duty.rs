//! The duty cycle of an IO thread: how the thread spends its time, and how long requests take. Any
//! thread can read it.
//!
//! ```text
//! a round:  wait ─▶ receive and cut ─▶ flush, stages, reclaim ─▶ answers ─▶ send ─▶ ...
//!           └ idle, or blocked by what the lane lacks, if nothing moved
//! ```
//! The clock is read at the end of each activity that did something, at each receive and at each
//! send, and never per vector. An idle round takes one reading.
//!
//! Latencies of requests: from the receive that completed a frame to its flush, and to the moment
//! when the kernel had accepted everything that the connection was owed at that time. (The lane
//! measures from the flush to the end of each stage: see `LaneSpec::timed`.)

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use slipring::latency::{Clock, Latencies, Recorder};

use super::counters::{Counter, Counters, plus};

/// What an IO thread spends its time on: the variant, its label, its help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Asking what is ready, accepting, receiving and cutting frames.
    Receive,
    /// Publishing, the inline stages, and taking memory back.
    Stages,
    /// Encoding answers.
    Answer,
    /// Sending.
    Send,
    /// Nothing to do: it sleeps, yields or spins.
    Idle,
    /// Nothing can be done before a stage or the sink gets on: the ring or the pool is full.
    BlockedFull,
    /// Nothing can be done before the system has memory again.
    BlockedMemory,
}

impl Activity {
    /// All of them, in the order of a round.
    pub const ALL: [Self; 7] = [
        Self::Receive,
        Self::Stages,
        Self::Answer,
        Self::Send,
        Self::Idle,
        Self::BlockedFull,
        Self::BlockedMemory,
    ];

    /// Its name: lower case, words joined by an underscore.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Stages => "stages",
            Self::Answer => "answer",
            Self::Send => "send",
            Self::Idle => "idle",
            Self::BlockedFull => "blocked_full",
            Self::BlockedMemory => "blocked_memory",
        }
    }
}

/// A round that takes longer, sleep aside, is an overrun: its clients wait.
const OVERRUN_NS: u64 = 10_000_000;

/// A clock that reads the processor's own counter if it is steady, without a system call.
pub fn clock() -> Clock {
    static QUANTA: OnceLock<quanta::Clock> = OnceLock::new();
    fn now_ns() -> u64 {
        let clock = QUANTA.get_or_init(quanta::Clock::new);
        clock.delta_as_nanos(0, clock.raw())
    }
    // It is calibrated before the first measurement: that takes some milliseconds.
    now_ns();
    Clock::of(now_ns)
}

/// Times that one thread writes.
#[derive(Debug)]
struct DutyCells {
    times_ns: [AtomicU64; Activity::ALL.len()],
    longest_round_ns: AtomicU64,
}

/// The duty cycle of one IO thread, for that thread.
#[derive(Debug)]
pub(super) struct Duty {
    clock: Clock,
    cells: Arc<DutyCells>,
    /// The end of the last activity.
    last_ns: u64,
    round_ns: u64,
    to_flush: Recorder,
    to_sent: Recorder,
    /// Receives of this round: when each was, and how many requests it completed.
    received: Vec<(u64, u32)>,
}

impl Duty {
    fn new(clock: Clock, receives_max: usize) -> Self {
        let cells = DutyCells {
            times_ns: std::array::from_fn(|_| AtomicU64::new(0)),
            longest_round_ns: AtomicU64::new(0),
        };
        let now_ns = clock.now_ns();
        Self {
            clock,
            cells: Arc::new(cells),
            last_ns: now_ns,
            round_ns: now_ns,
            to_flush: Recorder::new(),
            to_sent: Recorder::new(),
            received: Vec::with_capacity(receives_max),
        }
    }

    pub(super) fn reader(&self) -> DutyReader {
        let (to_flush, to_sent) = (self.to_flush.latencies(), self.to_sent.latencies());
        DutyReader { cells: Arc::clone(&self.cells), to_flush, to_sent }
    }

    #[inline]
    pub(super) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// The receive at `received_ns` completed this many requests, which were accepted.
    pub(super) fn note_accepted(&mut self, received_ns: u64, accepted: u32) {
        let has_room = self.received.len() < self.received.capacity();
        match self.received.last_mut() {
            Some((last_ns, requests)) if *last_ns == received_ns || !has_room => {
                *requests += accepted;
            }
            _ => self.received.push((received_ns, accepted)),
        }
    }

    /// Whether requests were accepted that aren't flushed yet.
    pub(super) fn has_accepted(&self) -> bool {
        !self.received.is_empty()
    }

    /// An activity that did something has ended.
    #[inline]
    pub(super) fn end(&mut self, activity: Activity) {
        let now_ns = self.clock.now_ns();
        plus(&self.cells.times_ns[activity as usize], now_ns.saturating_sub(self.last_ns));
        self.last_ns = now_ns;
    }

    /// The requests received in this round are about to be flushed, at the end of an activity.
    pub(super) fn flushed(&mut self) {
        for (received_ns, requests) in self.received.drain(..) {
            self.to_flush.record(self.last_ns.saturating_sub(received_ns), u64::from(requests));
        }
    }

    /// The kernel has accepted these answers: when their requests were received, and how many.
    #[inline]
    pub(super) fn sent(&mut self, answers: impl Iterator<Item = (u64, u32)>) {
        let now_ns = self.clock.now_ns();
        for (received_ns, requests) in answers {
            self.to_sent.record(now_ns.saturating_sub(received_ns), u64::from(requests));
        }
    }

    /// A round has ended in which something moved: how long it took counts. Returns whether it was
    /// an overrun.
    fn end_busy_round(&mut self) -> bool {
        let took_ns = self.last_ns.saturating_sub(self.round_ns);
        if took_ns > self.cells.longest_round_ns.load(Ordering::Relaxed) {
            self.cells.longest_round_ns.store(took_ns, Ordering::Relaxed);
        }
        took_ns > OVERRUN_NS
    }

    /// When this round began.
    #[inline]
    pub(super) fn round_ns(&self) -> u64 {
        self.round_ns
    }

    /// A wait, or just a look at what is ready, has ended.
    pub(super) fn begin_round(&mut self, waited: Activity) {
        self.end(waited);
        self.round_ns = self.last_ns;
    }
}

/// Reads the duty cycle of an IO thread while it runs. Send, Sync and Clone; it outlives the
/// thread.
#[derive(Clone, Debug)]
pub struct DutyReader {
    cells: Arc<DutyCells>,
    /// From the receive that completed a request to its flush.
    pub to_flush: Latencies,
    /// And to its answer's being sent.
    pub to_sent: Latencies,
}

impl DutyReader {
    /// How long the thread has spent in an activity.
    #[must_use]
    pub fn time(&self, activity: Activity) -> Duration {
        Duration::from_nanos(self.cells.times_ns[activity as usize].load(Ordering::Relaxed))
    }

    /// The longest round, sleep aside.
    #[must_use]
    pub fn longest_round(&self) -> Duration {
        Duration::from_nanos(self.cells.longest_round_ns.load(Ordering::Relaxed))
    }
}

/// Requests of one connection that are answered and not sent, as a few runs, one per receive that
/// completed them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unsent {
    runs: [(u64, u32); RUNS],
    len: u8,
}

/// A connection whose answers are of more receives than that doesn't read. Then the last run also
/// counts what follows it.
const RUNS: usize = 8;

impl Unsent {
    /// One more answer, or several.
    #[inline]
    pub(super) fn add(&mut self, received_ns: u64, answers: u32) {
        let len = usize::from(self.len);
        match self.runs[..len].last_mut() {
            Some((last_ns, requests)) if *last_ns == received_ns || len == RUNS => {
                *requests += answers
            }
            _ => {
                self.runs[len] = (received_ns, answers);
                self.len += 1;
            }
        }
    }

    /// All of them are sent.
    pub(super) fn take_runs(&mut self) -> impl Iterator<Item = (u64, u32)> {
        let len = usize::from(std::mem::take(&mut self.len));
        self.runs.into_iter().take(len)
    }
}

/// What one IO thread measures.
#[derive(Debug)]
pub(super) struct IoMeters {
    pub(super) counters: Counters,
    pub(super) duty: Duty,
}

impl IoMeters {
    /// For rounds of at most this many receives.
    pub(super) fn new(clock: Clock, receives_max: usize) -> Self {
        Self { counters: Counters::default(), duty: Duty::new(clock, receives_max) }
    }

    /// Requests of one receive, or of one carry buffer, were accepted: they are counted together.
    pub(super) fn note_accepted(&mut self, received_ns: u64, requests: u32) {
        if requests > 0 {
            self.counters.add(Counter::Requests, u64::from(requests));
            self.duty.note_accepted(received_ns, requests);
        }
    }

    /// A round has ended in which something moved.
    pub(super) fn end_busy_round(&mut self) {
        let is_overrun = self.duty.end_busy_round();
        self.counters.add(Counter::Overruns, u64::from(is_overrun));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that the test moves; one test has it.
    static NOW_NS: AtomicU64 = AtomicU64::new(0);

    fn at(ns: u64) {
        NOW_NS.store(ns, Ordering::Relaxed);
    }

    #[test]
    fn time_goes_where_it_was_spent() {
        at(1000);
        let mut meters = IoMeters::new(Clock::of(|| NOW_NS.load(Ordering::Relaxed)), 2);
        let reader = meters.duty.reader();
        // A round with four requests from three receives, of which the third finds no place of its
        // own; flushed at 1500, sent at 2000.
        at(1100);
        for received_ns in [1100, 1100, 1300, 1400] {
            meters.duty.note_accepted(received_ns, 1);
        }
        at(1500);
        meters.duty.end(Activity::Receive);
        meters.duty.flushed();
        let mut unsent = Unsent::default();
        [1100, 1100, 1300].into_iter().for_each(|received_ns| unsent.add(received_ns, 1));
        at(2000);
        meters.duty.sent(unsent.take_runs());
        meters.duty.end(Activity::Send);
        meters.end_busy_round();
        at(9000);
        meters.duty.begin_round(Activity::Idle);
        assert_eq!(unsent.take_runs().count(), 0, "what is sent is sent once");
        // A round that takes too long, even without the wait before it.
        at(9000 + OVERRUN_NS + 1);
        meters.duty.end(Activity::Stages);
        meters.end_busy_round();
        let times = Activity::ALL.map(|activity| reader.time(activity).as_nanos() as u64);
        assert_eq!(times, [500, OVERRUN_NS + 1, 0, 500, 7000, 0, 0]);
        assert_eq!(reader.longest_round(), Duration::from_nanos(OVERRUN_NS + 1));
        assert_eq!(meters.counters.reader().counts()[Counter::Overruns], 1);
        assert_eq!(
            (reader.to_flush.count(), reader.to_flush.sum()),
            (4, Duration::from_nanos(2 * 400 + 2 * 200))
        );
        assert_eq!(
            (reader.to_sent.count(), reader.to_sent.sum()),
            (3, Duration::from_nanos(2 * 900 + 700))
        );
    }

    #[test]
    fn a_connection_that_does_not_read_keeps_its_count() {
        let mut unsent = Unsent::default();
        (0..3 * RUNS as u64).for_each(|received_ns| unsent.add(received_ns, 1));
        let runs: Vec<(u64, u32)> = unsent.take_runs().collect();
        assert_eq!((runs.len(), runs[RUNS - 1]), (RUNS, (RUNS as u64 - 1, 2 * RUNS as u32 + 1)));
    }

    #[test]
    fn the_clock_agrees_with_the_systems() {
        let (clock, around) = (clock(), std::time::Instant::now());
        let (start_ns, within) = (clock.now_ns(), std::time::Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        let within_ns = within.elapsed().as_nanos() as f64;
        let took_ns = (clock.now_ns() - start_ns) as f64;
        let around_ns = around.elapsed().as_nanos() as f64;
        // Between the two, however long each reading waits for its CPU; within 1 %, by which the
        // counter's rate may be off.
        assert!(
            within_ns * 0.99 <= took_ns && took_ns <= around_ns * 1.01,
            "{within_ns} <= {took_ns} <= {around_ns}"
        );
    }
}
