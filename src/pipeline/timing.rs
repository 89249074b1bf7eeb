//! The times of a timed lane: how long events take, and what the threads of its stages do.
//!
//! Latencies cost one clock reading per flush, and one per batch of a stage:
//!
//! ```text
//!   flush k:  its stamp { last sequence, time } ─▶ the events are published
//!   a stage has released up to n:  the events of each flush up to n took  now - time of its flush
//! ```
//! Stamps are in a ring of their own, by the number of the flush. It has twice as many places as
//! the lane has slots: a flush has at least one event, so a stamp is overwritten only by an event
//! that is two rings ahead, and the lane gets no more than one ring ahead of what any stage has
//! released. A stage reads a stamp right after its release, before it polls any more events.
//!
//! What a stage's thread does is recorded by the thread itself and read from any:
//!
//! ```text
//!   busy: batches, one after the other ─▶ idle: nothing to read ─▶ busy ...
//!                                       └▶ retry: the handler can't process the next event
//! ```
//! The clock is read when the first event after idleness or a retry is shown. The end of work was
//! read already, for the latencies of the last batch. A reader counts the current activity up to
//! the moment of its look, so a handler that hangs is busy.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use crate::latency::{Clock, Latencies, Recorder};
use crate::ring::{NONE, Sequence};
use crate::sync::{Arc, AtomicI64, AtomicU64, Ordering};

/// The stamp of one flush.
struct Stamp {
    /// The last sequence of the flush.
    last: AtomicI64,
    at_ns: AtomicU64,
}

/// What is shared by a timed lane and its stages.
pub(crate) struct Timing {
    clock: Clock,
    stamps: Box<[Stamp]>,
    stages: Box<[(Latencies, ThreadTime)]>,
}

impl Timing {
    /// For a lane with this many slots and stages. Returns one timer per stage as well.
    pub(super) fn new(clock: Clock, slots: usize, stages: usize) -> (Self, Vec<StageTimer>) {
        assert!(slots.is_power_of_two());
        let stamp = || Stamp { last: AtomicI64::new(NONE), at_ns: AtomicU64::new(0) };
        let stamps = (0..2 * slots).map(|_| stamp()).collect();
        let (timers, stages): (Vec<_>, Vec<_>) =
            (0..stages).map(|_| StageTimer::new(clock)).unzip();
        (Self { clock, stamps, stages: stages.into() }, timers)
    }

    fn stamp(&self, flush: u64) -> &Stamp {
        &self.stamps[flush as usize & (self.stamps.len() - 1)]
    }

    /// Called before the flush of this number, which publishes events up to `last`. Relaxed is
    /// enough, because what lets the events through also orders the stamp before the stages' reads.
    #[cold]
    pub(super) fn note_flush(&self, flush: u64, last: Sequence) {
        self.note_flush_at(flush, last, self.clock.now_ns());
    }

    fn note_flush_at(&self, flush: u64, last: Sequence, now_ns: u64) {
        let stamp = self.stamp(flush);
        stamp.at_ns.store(now_ns, Ordering::Relaxed);
        stamp.last.store(last, Ordering::Relaxed);
    }

    /// For each stage: how long events take until it releases them, and what its thread does.
    pub(super) fn stages(&self) -> &[(Latencies, ThreadTime)] {
        &self.stages
    }
}

/// A stage's own part of the timing.
pub(super) struct StageTimer {
    recorder: Recorder,
    /// The flush whose events come next.
    flush: u64,
    /// The sequence up to which latencies are recorded.
    recorded: Sequence,
    /// When the last of these latencies were recorded.
    recorded_ns: u64,
    /// None once the stage's thread has it.
    thread: Option<ThreadClock>,
}

impl StageTimer {
    /// The timer, and where readers find what it records.
    fn new(clock: Clock) -> (Self, (Latencies, ThreadTime)) {
        let (recorder, thread) = (Recorder::new(), ThreadClock::new(clock));
        let read = (recorder.latencies(), thread.time());
        (Self { recorder, flush: 0, recorded: NONE, recorded_ns: 0, thread: Some(thread) }, read)
    }

    /// The stage has released up to `released`.
    #[cold]
    pub(super) fn note_release(&mut self, timing: &Timing, released: Sequence) {
        if self.recorded < released {
            self.note_release_at(timing, released, timing.clock.now_ns());
        }
    }

    fn note_release_at(&mut self, timing: &Timing, released: Sequence, now_ns: u64) {
        self.recorded_ns = now_ns;
        while self.recorded < released {
            let stamp = timing.stamp(self.flush);
            let (last, at_ns) =
                (stamp.last.load(Ordering::Relaxed), stamp.at_ns.load(Ordering::Relaxed));
            assert!(
                last > self.recorded,
                "a stamp is written before its flush's events, and overwritten after their release"
            );
            let through = last.min(released);
            self.recorder.record(now_ns.saturating_sub(at_ns), (through - self.recorded) as u64);
            self.recorded = through;
            self.flush += u64::from(through == last);
        }
    }

    /// The clock for the stage's thread. None after the first call.
    pub(super) fn take_thread_clock(&mut self) -> Option<ThreadClock> {
        self.thread.take()
    }

    /// When the last latencies were recorded: the end of the last batch.
    pub(super) fn recorded_ns(&self) -> u64 {
        self.recorded_ns
    }
}

/// The times of one stage of a timed lane: see [`LaneSpec::timed`](super::LaneSpec::timed).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StageTiming {
    /// The stage's name.
    pub stage: String,
    /// From the flush of an event to its release by the stage, rejected events included.
    pub latencies: Latencies,
    /// What the stage's own thread does.
    pub thread: ThreadTime,
}

/// What the thread of a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StageActivity {
    /// The thread processes events.
    Busy,
    /// There are no events: the thread spins, yields or sleeps.
    Idle,
    /// The handler can't process the next event, and is shown it again after a pause.
    Retry,
}

impl StageActivity {
    /// All activities.
    pub const ALL: [Self; 3] = [Self::Busy, Self::Idle, Self::Retry];

    /// The activity's name, in lower case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Retry => "retry",
        }
    }
}

/// Bits of [`ActivityTimes::open`] that hold the activity; the other 62 hold 146 years.
const ACTIVITY_BITS: u32 = 2;
/// A larger reading counts as this value. Spans don't overlap, so no sum of them is larger either.
const NS_MAX: u64 = u64::MAX >> ACTIVITY_BITS;
/// In place of an activity: the thread hasn't begun, or has ended.
const NOT_RUNNING: u64 = StageActivity::ALL.len() as u64;

/// The times of one thread by activity. Each span is moved out of `open` into one of the sums, by
/// the thread or by a reader, so none is counted twice.
struct ActivityTimes {
    /// The current activity, and its start. The thread exchanges both. A reader that counts the
    /// current activity moves its start.
    open: AtomicU64,
    /// Time by activity, added only by the thread.
    ended_ns: [AtomicU64; StageActivity::ALL.len()],
    /// Time by activity that readers moved out of `open`.
    looked_ns: [AtomicU64; StageActivity::ALL.len()],
}

fn pack(activity: u64, since_ns: u64) -> u64 {
    debug_assert!(since_ns <= NS_MAX);
    since_ns << ACTIVITY_BITS | activity
}

fn unpack(open: u64) -> (u64, u64) {
    (open & ((1 << ACTIVITY_BITS) - 1), open >> ACTIVITY_BITS)
}

/// The thread's own end. Dropping it records that the thread has ended.
pub(super) struct ThreadClock {
    clock: Clock,
    times: Arc<ActivityTimes>,
    /// The same as in `times.open`.
    activity: u64,
}

impl ThreadClock {
    pub(super) fn new(clock: Clock) -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        let times = ActivityTimes {
            open: AtomicU64::new(NOT_RUNNING),
            ended_ns: zeros(),
            looked_ns: zeros(),
        };
        Self { clock, times: Arc::new(times), activity: NOT_RUNNING }
    }

    pub(super) fn time(&self) -> ThreadTime {
        ThreadTime { clock: self.clock, times: Arc::clone(&self.times) }
    }

    /// The thread begins this activity now, unless it is already the current one.
    #[inline]
    pub(super) fn begin(&mut self, activity: StageActivity) {
        if self.activity != activity as u64 {
            self.switch(activity as u64, self.clock.now_ns());
        }
    }

    /// The thread began this activity at that moment, unless it is already the current one. Time
    /// that a reader has already counted stays with the activity before.
    pub(super) fn begin_at(&mut self, activity: StageActivity, ns: u64) {
        if self.activity != activity as u64 {
            self.switch(activity as u64, ns);
        }
    }

    #[cold]
    fn switch(&mut self, to: u64, ns: u64) {
        let (open, ns) = (&self.times.open, ns.min(NS_MAX));
        let (mut was, mut at_ns);
        let mut seen = open.load(Ordering::Relaxed);
        loop {
            (was, at_ns) = unpack(seen);
            // If the clock goes back, the span is empty.
            let next = pack(to, ns.max(at_ns));
            match open.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(moved) => seen = moved,
            }
        }
        self.activity = to;
        if let Some(ended_ns) = self.times.ended_ns.get(was as usize) {
            ended_ns.store(
                ended_ns.load(Ordering::Relaxed) + ns.saturating_sub(at_ns),
                Ordering::Relaxed,
            );
        }
    }
}

impl Drop for ThreadClock {
    fn drop(&mut self) {
        if self.activity != NOT_RUNNING {
            self.switch(NOT_RUNNING, self.clock.now_ns());
        }
    }
}

/// What the thread of a stage has done with its time so far: see
/// [`LaneSpec::timed`](super::LaneSpec::timed). Send, Sync and Clone; it outlives the thread.
///
/// Recorded for threads that [`Stage::spawn`](super::Stage::spawn) or
/// [`Stage::run`](super::Stage::run) drives. Inline stages, and stages that your own loop polls,
/// have no such times.
#[derive(Clone)]
pub struct ThreadTime {
    clock: Clock,
    times: Arc<ActivityTimes>,
}

impl ThreadTime {
    /// Time spent on an activity, up to now if it is the current one. The result never decreases,
    /// and no moment is counted twice, so the three never add up to more than the thread has run. A
    /// span that ends while this is called may be missing until the next call.
    #[must_use]
    pub fn spent(&self, activity: StageActivity) -> Duration {
        self.spent_by(activity, || self.clock.now_ns())
    }

    fn spent_by(&self, activity: StageActivity, now_ns: impl FnOnce() -> u64) -> Duration {
        let times = &*self.times;
        let seen = times.open.load(Ordering::Relaxed);
        let (open, since_ns) = unpack(seen);
        if open == activity as u64 {
            let now_ns = now_ns().clamp(since_ns, NS_MAX);
            // Only if that is still the current activity, and no other reader has counted it.
            let counted = times.open.compare_exchange(
                seen,
                pack(open, now_ns),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if counted.is_ok() {
                times.looked_ns[activity as usize].fetch_add(now_ns - since_ns, Ordering::Relaxed);
            }
        }
        let sums = [&times.ended_ns, &times.looked_ns]
            .map(|sums| sums[activity as usize].load(Ordering::Relaxed));
        Duration::from_nanos(sums.iter().sum())
    }

    /// Whether anything is recorded: the thread runs, or has run.
    #[must_use]
    pub fn has_run(&self) -> bool {
        self.times.open.load(Ordering::Relaxed) != NOT_RUNNING
    }

    /// Whether the thread runs now.
    #[must_use]
    pub fn is_running(&self) -> bool {
        unpack(self.times.open.load(Ordering::Relaxed)).0 != NOT_RUNNING
    }
}

impl fmt::Debug for ThreadTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times = f.debug_struct("ThreadTime");
        for activity in StageActivity::ALL {
            times.field(activity.label(), &self.spent(activity));
        }
        times.finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
