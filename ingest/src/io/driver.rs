//! The driver: one IO thread's round, from readiness to answers.
//!
//! ```text
//! wait for readiness ─▶ receive and cut ─▶ flush ─▶ inline stages, reclaim ─▶ answers ─▶ send ─┐
//!        ▲                                                                                      │
//!        └───────────────── idle? spin, yield, or sleep with the lane's eventfd ◀───────────────┘
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use slipring::latency::Clock;
use slipring::pipeline::{CloseReport, ColumnReader, Idle, Lane, Stage, Wait};
use slipring::ring::Received;

use super::accept::Listener;
use super::answer::Answers;
use super::classes::Classes;
use super::conn::{Conn, Phase};
use super::counters::{Counter, Counters, IoReport};
use super::duty::{Activity, Duty};
use super::poller::{Bell, Poller, Ready};
use super::receive::Wire;
use super::table::Table;
use super::watch::IoWatch;
use crate::notice::try_notice;
use crate::stage::{ConnId, Request};
use crate::wire::frames::{Limits, Mode};

/// The most connections read in one round.
const READS_MAX: usize = 64;
/// How long a connection that was answered in full may take to end its side.
const LINGER: Duration = Duration::from_secs(1);
/// The longest sleep while something isn't reclaimed (so that gauges stay fresh), and the longest
/// at all.
pub(super) const SLEEP_UNRECLAIMED: Duration = Duration::from_millis(20);
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// A receive needs at least this much room in the chunk, unless frames are smaller.
const RECEIVE_MIN_BYTES: usize = 16 << 10;
/// A receive takes at most this much, unless frames are larger. Each receive ends in one send and
/// one wake-up of the client, so a deep pipeline needs few of them. A larger value gained nothing
/// with 32 requests of 4 KiB in flight per connection.
const RECEIVE_MAX_BYTES: usize = 128 << 10;

/// The options of a driver.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// The dimension, and the most vectors of a frame.
    pub limits: Limits,
    /// The most connections at once.
    pub connections_max: usize,
    /// The most unanswered requests of one connection.
    pub in_flight_max: u32,
    /// What the thread does while it is idle.
    pub wait: Wait,
    /// The time limit for draining.
    pub drain: Duration,
    /// The clock for all measurements.
    pub clock: Clock,
}

/// The state of one IO thread.
pub struct Driver {
    pub(super) lane: Lane<Request>,
    pub(super) answers: Answers,
    pub(super) limits: Wire,
    pub(super) table: Table,
    pub(super) listeners: Vec<Listener>,
    pub(super) accept_again_at: Option<Instant>,
    pub(super) poller: Poller,
    pub(super) classes: Classes,
    /// The number of carry buffers filled so far.
    pub(super) carried: u64,
    pub(super) counters: Counters,
    pub(super) receive_min_bytes: usize,
    pub(super) receive_max_bytes: usize,
    /// The one receive that a full ring interrupted, and its time. No socket is read before it is
    /// cut.
    pub(super) stalled: Option<(ConnId, Received, u64)>,
    /// When the bytes that are being cut were received.
    pub(super) received_ns: u64,
    /// Requests taken from these bytes that aren't counted yet.
    pub(super) taken: u32,
    pub(super) duty: Duty,
    /// The ring or the pool is full: nothing is read until something is reclaimed.
    pub(super) full: bool,
    pub(super) draining: bool,
    ready: VecDeque<ConnId>,
    lingering: VecDeque<(Instant, ConnId)>,
    idle: Idle,
    pub(super) bell: Bell,
    stop: Arc<AtomicBool>,
    pub(super) drain_time: Duration,
}

/// The most bytes of one receive.
pub fn receive_bytes_max(limits: &Limits) -> usize {
    limits.frame_bytes_max(Mode::Header).max(RECEIVE_MAX_BYTES)
}

/// The stage that answers, and the columns it reads.
pub struct AnswerEnd {
    /// The inline stage of the last layer.
    pub stage: Stage<Request>,
    /// What validate wrote.
    pub verdicts: ColumnReader<u8>,
    /// What score wrote.
    pub scores: ColumnReader<f32>,
}

impl Driver {
    /// A driver for a lane that was started on this thread.
    ///
    /// # Errors
    /// The system has no descriptor left, or a listener can't be watched.
    pub fn new(
        lane: Lane<Request>,
        end: AnswerEnd,
        classes: Classes,
        listeners: Vec<Listener>,
        bell: Bell,
        stop: Arc<AtomicBool>,
        options: &DriverOptions,
    ) -> std::io::Result<Self> {
        let poller = Poller::new(&bell, lane.wake_fd())?;
        for (number, listener) in (0..).zip(&listeners) {
            poller.add_listener(listener, number)?;
        }
        let frame_bytes_max = options.limits.frame_bytes_max(Mode::Header);
        Ok(Self {
            answers: Answers::new(
                end.stage,
                end.verdicts,
                end.scores,
                &options.limits,
                classes.output_bytes(),
                options.in_flight_max,
            ),
            limits: Wire(options.limits),
            table: Table::new(options.connections_max),
            listeners,
            accept_again_at: None,
            poller,
            classes,
            carried: 0,
            counters: Counters::default(),
            receive_min_bytes: frame_bytes_max.min(RECEIVE_MIN_BYTES).min(lane.max_slice_bytes()),
            receive_max_bytes: receive_bytes_max(&options.limits),
            stalled: None,
            received_ns: 0,
            taken: 0,
            duty: Duty::new(options.clock, READS_MAX + 1),
            full: false,
            draining: false,
            ready: VecDeque::with_capacity(options.connections_max),
            lingering: VecDeque::new(),
            idle: Idle::new(options.wait),
            bell,
            stop,
            drain_time: options.drain,
            lane,
        })
    }

    /// For any thread, while it runs and after.
    #[must_use]
    pub fn watch(&self) -> IoWatch {
        let (counters, duty, lane) =
            (self.counters.reader(), self.duty.reader(), self.lane.watch());
        let stages = lane.timings().unwrap_or_default();
        IoWatch { counters, duty, lane, stages, classes: self.classes.pool() }
    }

    /// Serves until it is stopped or its lane fails, then drains, and returns the sink's deadline.
    pub fn run(mut self) -> (IoReport, CloseReport, Instant) {
        let mut failure = None;
        while !self.stop.load(Ordering::Acquire) && failure.is_none() {
            failure = self.turn();
        }
        self.drain(failure)
    }

    /// One turn of [`Driver::run`]: a round, and a wait as the strategy says. Some: the lane has
    /// failed.
    pub fn turn(&mut self) -> Option<String> {
        let busy = self.round();
        self.rest(busy)
    }

    /// Everything but waiting. Returns whether anything moved.
    pub(super) fn round(&mut self) -> bool {
        let moved = self.read();
        // Frames that a stall had held up may be taken without a receive.
        let read = moved || self.duty.has_taken();
        if read {
            self.duty.end(Activity::Receive);
            self.duty.flushed();
        }
        self.lane.flush();
        let progress = self.lane.poll();
        if !progress.is_idle() {
            self.duty.end(Activity::Stages);
        }
        let answered = self.drain_answers();
        if answered {
            self.duty.end(Activity::Answer);
        }
        let sent = self.send_all();
        if sent {
            self.duty.end(Activity::Send);
        }
        // If the ring is empty, nothing more will be reclaimed.
        self.full &= progress.reclaimed == 0 && self.lane.slots_in_use() > 0;
        self.end_lingering();
        let moved = read || !progress.is_idle() || answered || sent;
        if moved {
            self.duty.end_busy_round(&mut self.counters);
        }
        moved
    }

    /// One receive per ready connection, unless the lane is full.
    fn read(&mut self) -> bool {
        if !self.full && !self.resume_stalled() {
            return true;
        }
        let mut moved = false;
        for _ in 0..READS_MAX.min(self.ready.len()) {
            if self.full {
                break;
            }
            let Some(id) = self.ready.pop_front() else { break };
            if let Some(conn) = self.table.get_mut(id) {
                conn.queued = false;
            }
            moved |= self.receive(id);
            if self.full {
                // Its turn comes again when there is room.
                self.queue_read(id);
            }
        }
        moved
    }

    /// Waits as the strategy says, then collects ready events. Some: the lane has failed.
    pub(super) fn rest(&mut self, busy: bool) -> Option<String> {
        let waiting_for_turn = (!self.ready.is_empty() || self.stalled.is_some()) && !self.full;
        let asleep = !busy && !waiting_for_turn && self.idle.pass();
        if busy {
            self.idle.reset();
        }
        let mut waited = match (busy, self.full) {
            (true, _) => Activity::Receive,
            (false, true) => Activity::BlockedFull,
            (false, false) => Activity::Idle,
        };
        if self.classes.take_short() {
            self.counters.set(Counter::MemoryRefusals, self.classes.refusals());
            waited = Activity::BlockedMemory;
            // If asked again at once, the kernel would refuse again, and a lane with an answer in
            // its ring doesn't sleep.
            self.look(Some(SLEEP_UNRECLAIMED));
        } else if !asleep {
            self.look(Some(Duration::ZERO));
        } else {
            // Between the announcement and the wait a release, an answer or a failure makes the
            // lane's eventfd readable.
            let timeout = self.sleep_max();
            if self.lane.prepare_sleep(self.full) {
                self.counters.add(Counter::Sleeps, 1);
                self.look(Some(timeout));
            }
            self.lane.awake();
            self.idle.reset();
        }
        self.duty.begin_round(waited);
        self.resume_accepting(false);
        self.lane.has_failed().then(|| {
            self.lane
                .failure()
                .map_or_else(|| "a stage failed".to_owned(), |failure| failure.to_string())
        })
    }

    fn sleep_max(&self) -> Duration {
        let unreclaimed = self.lane.slots_in_use() > 0;
        let timers = self.accept_again_at.is_some() || !self.lingering.is_empty() || self.draining;
        if unreclaimed || timers { SLEEP_UNRECLAIMED } else { SLEEP_MAX }
    }

    fn look(&mut self, timeout: Option<Duration>) {
        let (table, ready, dirty) = (&mut self.table, &mut self.ready, &mut self.answers.dirty);
        // Listeners are few: one bit each.
        let mut listeners = 0u64;
        let watched = self.poller.wait(timeout, |event| match event {
            Ready::Nudge => {}
            Ready::Listener(number) => listeners |= 1 << number,
            Ready::Conn { id, readable, writable, hangup } => {
                let Some(conn) = table.get_mut(id) else { return };
                conn.readable |= readable;
                conn.hangup |= hangup;
                if writable && !conn.writable {
                    conn.writable = true;
                    if !conn.dirty && conn.unsent_bytes() > 0 {
                        conn.dirty = true;
                        dirty.push(id);
                    }
                }
                if conn.readable && !conn.queued {
                    conn.queued = true;
                    ready.push_back(id);
                }
            }
        });
        if let Err(error) = watched {
            try_notice(format_args!("epoll_wait: {error}"));
        }
        for number in 0..self.listeners.len() {
            if listeners & (1 << number) != 0 {
                self.accept(number);
            }
        }
    }

    /// Puts a connection into the queue of those to read, if there is something for it.
    pub(super) fn queue_read(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if !conn.queued && (conn.readable || conn.carry.is_some()) {
            conn.queued = true;
            self.ready.push_back(id);
        }
    }

    /// No more requests are taken from a connection. Owed answers are sent, then it ends.
    pub(super) fn end_requests(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.phase == Phase::Open {
            conn.phase = Phase::Ending;
            conn.carry.take().into_iter().for_each(|carry| self.classes.give_carry(carry));
            self.end_if_answered(id);
        }
    }

    /// Ends a connection that is owed nothing: at once if the client has ended its side, else once
    /// it has.
    pub(super) fn end_if_answered(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.phase != Phase::Ending || !conn.owes_nothing() {
            return;
        }
        self.counters.add(Counter::Ended, 1);
        if conn.at_end {
            return self.remove(id);
        }
        conn.phase = Phase::Lingering;
        conn.stream.end_sending();
        conn.readable = true;
        self.lingering.push_back((Instant::now() + LINGER, id));
        self.queue_read(id);
    }

    /// Gives a connection up.
    pub(super) fn close(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.phase != Phase::Lingering {
            self.counters.add(Counter::Broken, 1);
        }
        self.remove(id);
    }

    fn remove(&mut self, id: ConnId) {
        let Some(mut conn) = self.table.remove(id) else { return };
        self.drop_carry(&mut conn);
        // Accepting may be waiting for its descriptor. Closing it removes it from the epoll set.
        drop::<Conn>(conn);
        self.resume_accepting(true);
    }

    fn end_lingering(&mut self) {
        while let Some(&(until, id)) = self.lingering.front() {
            if self.table.get_mut(id).is_some() {
                if Instant::now() < until {
                    return;
                }
                self.close(id);
            }
            self.lingering.pop_front();
        }
    }
}
