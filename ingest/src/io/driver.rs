//! The driver: one IO thread's round, from readiness to answers.
//!
//! ```text
//! wait for readiness ─▶ receive and cut ─▶ flush ─▶ inline stages, reclaim ─▶ answers ─▶ send ─┐
//!        ▲                                                                                      │
//!        └───────────────── idle? spin, yield, or sleep with the lane's eventfd ◀───────────────┘
//! ```
//! How it ends is in `drain`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use slipring::latency::Clock;
use slipring::pipeline::{Idle, Lane, Wait};

use super::answers::{AnswerStage, Answers, SendStep};
use super::buffers::IoBuffers;
use super::conn::{Arrival, ConnCaps, ConnPhase, ConnTable, Socket};
use super::counters::Counter;
use super::duty::{Activity, IoMeters};
use super::intake::Intake;
use super::linger::LingerList;
use super::lobby::{Guest, LobbyPlace, LobbySeat, Reception};
use super::overdue::{Circumstances, Overdue, TimeLimits, oldest_unfinished};
use super::poller::{Accepted, EVENTS_MAX, LaneListeners, Listener, Readiness, SocketPoller};
use super::pusher::Parser;
use super::receipt::{IntakeStep, PoolReceive};
use super::watch::IoWatch;
use crate::notice;
use crate::stage::{ConnId, Request};
use crate::wire::frames::{AckLevel, Limits};

/// The most connections read in one round.
const READS_MAX: usize = 64;
/// The most connections accepted in one round, so that a flood of them doesn't starve existing
/// ones.
const ACCEPTS_MAX: usize = 64;
/// The longest sleep while something isn't reclaimed (so that gauges stay fresh), and the longest
/// at all.
pub(super) const SLEEP_UNRECLAIMED: Duration = Duration::from_millis(20);
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// The options of a driver.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// The dimension, and the most vectors of a frame.
    pub limits: Limits,
    /// The most connections at the same time.
    pub connections_max: usize,
    /// The most unanswered requests of one connection.
    pub in_flight_max: u32,
    /// What answers mean on a connection that can't say it: count mode, and version 1.
    pub ack: AckLevel,
    /// The time limits of a connection.
    pub times: TimeLimits,
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
    pub(super) parser: Parser,
    pub(super) table: ConnTable,
    pub(super) intake: Intake,
    pub(super) answers: Answers,
    pub(super) buffers: IoBuffers,
    pub(super) listeners: LaneListeners,
    pub(super) poller: SocketPoller,
    idle: Idle,
    pub(super) meters: IoMeters,
    pub(super) seat: LobbySeat,
    /// The place of each connection, by its index.
    places: Vec<Option<LobbyPlace>>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) drain_time: Duration,
    overdue: Overdue,
    lingering: LingerList,
}

impl Driver {
    /// A driver for a lane that was started on this thread.
    ///
    /// # Errors
    /// The system has no descriptor left, or a listener can't be watched.
    pub fn new(
        lane: Lane<Request>,
        end: AnswerStage,
        buffers: IoBuffers,
        listeners: Vec<Listener>,
        seat: LobbySeat,
        stop: Arc<AtomicBool>,
        options: &DriverOptions,
    ) -> std::io::Result<Self> {
        let DriverOptions { limits, connections_max, in_flight_max, ack, times, .. } = *options;
        let DriverOptions { wait, drain, clock, .. } = *options;
        let poller = SocketPoller::new(seat.bell(), lane.wake_fd())?;
        let listeners = LaneListeners::new(listeners, &poller)?;
        let caps = ConnCaps::new(&limits, buffers.output_bytes(), in_flight_max);
        let caps = caps.in_lane(seat.number());
        let meters = IoMeters::new(clock, READS_MAX + 1);
        Ok(Self {
            parser: Parser(limits),
            table: ConnTable::new(connections_max, ack),
            intake: Intake::new(&limits, caps, lane.max_slice_bytes(), connections_max),
            answers: Answers::new(end, caps),
            buffers,
            listeners,
            poller,
            idle: Idle::new(wait),
            overdue: Overdue::new(times, meters.duty.round_ns()),
            lingering: LingerList::new(times.unread),
            meters,
            seat,
            places: Vec::new(),
            stop,
            drain_time: drain,
            lane,
        })
    }

    /// For any thread, while it runs and after.
    #[must_use]
    pub fn watch(&self) -> IoWatch {
        let (counters, duty, lane) =
            (self.meters.counters.reader(), self.meters.duty.reader(), self.lane.watch());
        let stages = lane.timings().unwrap_or_default();
        IoWatch { counters, duty, lane, stages, classes: self.buffers.pool() }
    }

    /// One turn of [`Driver::run`]: a round, and a wait as the strategy says. Some: the lane has
    /// failed.
    pub fn turn(&mut self) -> Option<String> {
        let is_busy = self.round();
        self.wait(is_busy)
    }

    /// Everything but waiting. Returns whether anything moved.
    pub(super) fn round(&mut self) -> bool {
        let released = self.release_answers();
        let moved = self.receive();
        // Frames that a stall had held up may be accepted without a receive.
        let received = moved || self.meters.duty.has_accepted();
        if received {
            self.meters.duty.end(Activity::Receive);
            self.meters.duty.flushed();
        }
        self.lane.flush();
        let progress = self.lane.poll();
        if !progress.is_idle() {
            self.meters.duty.end(Activity::Stages);
        }
        let answered = self.encode_answers();
        if answered {
            self.meters.duty.end(Activity::Answer);
        }
        let sent = self.send();
        if sent {
            self.meters.duty.end(Activity::Send);
        }
        // If the ring is empty, nothing more will be reclaimed.
        if progress.reclaimed > 0 || self.lane.slots_in_use() == 0 {
            self.intake.note_room();
        }
        while let Some(id) = self.lingering.pop_over(&mut self.table) {
            self.abandon(id);
        }
        let moved = received || !progress.is_idle() || answered || released || sent;
        if moved {
            self.meters.end_busy_round();
        }
        moved
    }

    /// One receive per connection that has something to read, unless the lane is full.
    fn receive(&mut self) -> bool {
        if self.intake.waiters.len() > 0 {
            self.intake.queue_waiters(&mut self.table, &mut self.buffers);
        }
        if !self.intake.is_full() && !self.resume_stalled() {
            return true;
        }
        let mut moved = false;
        for _ in 0..READS_MAX.min(self.intake.to_read()) {
            let Some(id) = self.intake.next_to_read() else { break };
            let Some(conn) = self.table.get_mut(id) else { continue };
            conn.in_read_queue = false;
            let Self { intake, parser, lane, buffers, meters, .. } = self;
            let step = intake.receive(conn, parser, lane, buffers, meters);
            moved |= !matches!(step, IntakeStep::Idle | IntakeStep::NoOutput);
            match step {
                // Where the lane is full, its turn comes again when there is room.
                IntakeStep::Idle if !intake.is_full() => {
                    if intake.waiters.need_output() {
                        intake.release_output(conn, buffers);
                    }
                }
                IntakeStep::Idle | IntakeStep::Moved => intake.queue(conn),
                step => self.follow_up(id, step),
            }
        }
        moved
    }

    /// Continues the receive that a full lane interrupted. Returns true once it is done.
    fn resume_stalled(&mut self) -> bool {
        let Some(receive) = self.intake.take_stalled() else { return true };
        let id = receive.id;
        let conn = self.table.get_mut(id).filter(|conn| conn.phase == ConnPhase::Open);
        if let Some(conn) = conn {
            let Self { intake, parser, lane, buffers, meters, .. } = self;
            let step = intake.push_received(conn, receive, parser, lane, buffers, meters);
            self.follow_up(id, step);
        }
        self.intake.stalled_conn().is_none()
    }

    /// What a receive leaves to be done.
    fn follow_up(&mut self, id: ConnId, step: IntakeStep) {
        match step {
            IntakeStep::Idle | IntakeStep::Moved => {}
            IntakeStep::NoCarry(left) => self.carry(left),
            IntakeStep::NoOutput => {
                let Self { table, intake, buffers, meters, .. } = self;
                intake.find_output(id, table, buffers, meters);
            }
            IntakeStep::Ended => self.end_requests(id),
            IntakeStep::Gone => self.abandon(id),
            IntakeStep::Elsewhere(lane, front) => self.hand_over(id, lane, front),
        }
    }

    /// Gives a connection that has said hello to the lane of its producer, with what was received.
    #[cold]
    fn hand_over(&mut self, id: ConnId, lane: u32, front: Vec<u8>) {
        let place = self.places.get_mut(id.index as usize).and_then(Option::take);
        let (Some(mut conn), Some(place)) = (self.table.remove(id), place) else { return };
        conn.carry.take().into_iter().for_each(|carry| self.buffers.give_carry(carry));
        if conn.may_be_owed {
            self.buffers.owes_no_more();
        }
        self.poller.forget_conn(&conn);
        // The other lane counts it as accepted.
        self.meters.counters.add(Counter::Ended, 1);
        let guest = Guest { socket: conn.into_socket(), place, front };
        if let Reception::NoRoom = self.seat.move_to(lane, guest) {
            self.meters.counters.add(Counter::OverConnectionCap, 1);
        }
        self.listeners.resume(&self.poller);
    }

    /// The system refuses the memory of a carry buffer. Of the frames that lack bytes, the one that
    /// has waited longest is the least likely to be completed, so its connection is refused, after
    /// the answers that it is still owed.
    fn carry(&mut self, left: PoolReceive) {
        let mut carry = None;
        // More than one, where it needs a larger buffer than theirs.
        while carry.is_none() {
            let oldest = oldest_unfinished(&mut self.table, &self.parser);
            let Some(oldest) = oldest else { break };
            if !self.refuse_carry(oldest, left.arrival) {
                break;
            }
            carry = self.buffers.carry(left.bytes.len());
        }
        let Some(carry) = carry else {
            // Nobody can be refused, so all of this waits.
            return self.intake.stall(left, &mut self.meters.counters);
        };
        let Some(conn) = self.table.get_mut(left.id) else {
            return self.buffers.give_carry(carry);
        };
        self.intake.fill_carry(conn, carry, &left, &mut self.meters.counters);
        self.intake.queue(conn);
    }

    /// Takes a connection's carry buffer. Returns false if there is no room for its refusal.
    fn refuse_carry(&mut self, id: ConnId, arrival: Arrival) -> bool {
        let Self { table, intake, lane, buffers, meters, .. } = self;
        let Some(conn) = table.get_mut(id) else { return false };
        if !intake.refuse_carry(conn, arrival, lane, buffers, meters) {
            return false;
        }
        self.meters.counters.add(Counter::OverCarryCap, 1);
        self.end_requests(id);
        true
    }

    /// Closes connections that exceed their time limits by this reading of the clock, and takes
    /// carry buffers from frames that lack bytes if others wait for one.
    fn look_at_times(&mut self, now_ns: u64) {
        // What came before the reading is known after this.
        self.look_at_all();
        let Self { table, answers, .. } = self;
        table.iter_mut().for_each(|conn| answers.note_writable(conn));
        self.send();
        let Self { table, intake, parser, buffers, .. } = self;
        intake.waiters.forget_gone(table);
        let (is_full, carries_wanted) = (intake.is_full(), intake.waiters.carries_wanted(buffers));
        let caps = intake.caps();
        let given = Circumstances { parser, now_ns, is_full, caps, carries_wanted };
        let found = self.overdue.look(table, &given);
        for (id, limit) in found.over {
            self.meters.counters.add(limit, 1);
            match limit {
                Counter::UnreadTimeouts => self.abandon(id),
                _ => self.end_requests(id),
            }
        }
        for id in found.evicted {
            if !self.refuse_carry(id, Arrival { ns: now_ns, time_us: 0 }) {
                break;
            }
        }
    }

    pub(super) fn encode_answers(&mut self) -> bool {
        let Self { answers, table, buffers, meters, .. } = self;
        answers.encode(table, buffers, &mut meters.counters)
    }

    /// Looks at the log: what it has may be answered, and a full disk is noted.
    #[inline]
    pub(super) fn release_answers(&mut self) -> bool {
        let Self { answers, table, intake, buffers, meters, .. } = self;
        let memory_wanted = intake.waiters.need_output();
        let released = answers.release(table, buffers, &mut meters.counters, memory_wanted);
        if let Some(acks) = answers.acks()
            && acks.is_disk_full() != intake.caps().is_disk_full
        {
            intake.note_disk(acks.is_disk_full(), table);
        }
        released
    }

    /// Sends encoded answers. Returns whether anything moved.
    pub(super) fn send(&mut self) -> bool {
        let mut moved = false;
        while let Some(id) = self.answers.next_to_send() {
            let Some(conn) = self.table.get_mut(id) else { continue };
            let sent = self.answers.send(conn, &mut self.meters);
            if self.intake.waiters.need_output() {
                self.intake.release_output(conn, &mut self.buffers);
            }
            if let SendStep::Moved = sent {
                (moved, conn.sent_ns) = (true, self.meters.duty.round_ns());
            }
            match sent {
                SendStep::Gone => self.abandon(id),
                _ if conn.phase == ConnPhase::Ending => self.end_if_answered(id),
                // A connection that was at its cap may continue.
                _ => self.intake.queue(conn),
            }
        }
        moved
    }

    /// Waits as the strategy says, then collects readiness. Some: the lane has failed.
    pub(super) fn wait(&mut self, is_busy: bool) -> Option<String> {
        let asleep = !is_busy && !self.intake.has_work(&self.buffers) && self.idle.pass();
        if is_busy {
            self.idle.reset();
        }
        let mut waited = match (is_busy, self.intake.is_full()) {
            (true, _) => Activity::Receive,
            (false, true) => Activity::BlockedFull,
            (false, false) => Activity::Idle,
        };
        if self.buffers.take_short() {
            self.meters.counters.set(Counter::MemoryRefusals, self.buffers.refusals());
            waited = Activity::BlockedMemory;
            // If asked again immediately, the kernel would refuse again, and a lane with an answer
            // in its ring doesn't sleep.
            self.look(Some(SLEEP_UNRECLAIMED));
        } else if !asleep {
            self.look(Some(Duration::ZERO));
        } else {
            // Between the announcement and the wait a release, an answer or a failure makes the
            // lane's eventfd readable.
            let timeout = self.sleep_max();
            let may_sleep = self.answers.acks().is_none_or(|acks| acks.may_sleep());
            if may_sleep && self.lane.prepare_sleep(self.intake.is_full()) {
                self.meters.counters.add(Counter::Sleeps, 1);
                self.look(Some(timeout));
            }
            self.lane.awake();
            self.answers.acks().into_iter().for_each(|acks| acks.awake());
            self.idle.reset();
        }
        self.meters.duty.begin_round(waited);
        let now_ns = self.meters.duty.round_ns();
        if self.overdue.is_due(now_ns) {
            self.look_at_times(now_ns);
        }
        self.listeners.resume_if_due(&self.poller);
        self.lane.has_failed().then(|| {
            self.lane
                .failure()
                .map_or_else(|| "a stage failed".to_owned(), |failure| failure.to_string())
        })
    }

    fn sleep_max(&mut self) -> Duration {
        let unreclaimed = self.lane.slots_in_use() > 0;
        let has_due = self.answers.acks().is_some_and(|acks| acks.has_due());
        let timers = has_due
            || self.listeners.are_paused()
            || !self.lingering.is_empty()
            || self.intake.is_closed()
            || self.intake.caps().is_disk_full
            || self.intake.waiters.len() > 0;
        if unreclaimed || timers {
            return SLEEP_UNRECLAIMED;
        }
        if self.table.len() > 0 { SLEEP_MAX.min(self.overdue.look_every) } else { SLEEP_MAX }
    }

    /// Collects all that is ready, also where one call reports only a part of it.
    fn look_at_all(&mut self) {
        for _ in 0..=self.table.len() / EVENTS_MAX {
            if self.look(Some(Duration::ZERO)) {
                break;
            }
        }
    }

    /// Collects what is ready, and accepts connections. Returns whether that was all.
    fn look(&mut self, timeout: Option<Duration>) -> bool {
        let Self { table, intake, answers, .. } = self;
        // Listeners are few: one bit each.
        let mut listeners = 0u64;
        let watched = self.poller.wait(timeout, |readiness| match readiness {
            Readiness::Nudge => {}
            Readiness::Listener(number) => listeners |= 1 << number,
            Readiness::Conn { id, readable, writable, hangup } => {
                let Some(conn) = table.get_mut(id) else { return };
                conn.readable |= readable;
                conn.hangup |= hangup;
                if writable {
                    answers.note_writable(conn);
                }
                if conn.readable {
                    intake.queue(conn);
                }
            }
        });
        let was_all = watched.unwrap_or_else(|error| {
            notice::warn(format_args!("can't wait for sockets: {error}"));
            false
        });
        for number in (0..self.listeners.len()).filter(|number| listeners & (1 << number) != 0) {
            self.accept(number);
        }
        if self.seat.has_mail() {
            self.seat.take_mail().into_iter().for_each(|guest| self.serve(guest));
        }
        was_all
    }

    /// Accepts the connections that wait at a listener.
    fn accept(&mut self, number: usize) {
        for _ in 0..ACCEPTS_MAX {
            match self.listeners.accept(number, &self.poller, &mut self.meters.counters) {
                Accepted::Conn(socket) => self.admit(socket),
                Accepted::Gone => {}
                Accepted::Nothing => return,
            }
        }
    }

    /// A connection that is refused is dropped, so that the client sees the end immediately instead
    /// of waiting for a place.
    fn admit(&mut self, socket: Socket) {
        match self.seat.receive(socket) {
            Reception::Stays(guest) => self.serve(guest),
            Reception::Left => {}
            Reception::NoRoom => self.meters.counters.add(Counter::OverConnectionCap, 1),
            Reception::OverPeer => self.meters.counters.add(Counter::OverPeerCap, 1),
        }
    }

    fn serve(&mut self, guest: Guest) {
        let conn = self.table.insert(guest.socket);
        let id = conn.id;
        self.places.resize_with(self.places.len().max(id.index as usize + 1), || None);
        self.places[id.index as usize] = Some(guest.place);
        conn.since_ns = self.meters.duty.now_ns();
        self.meters.counters.add(Counter::Accepted, 1);
        let has_front = guest.front.is_empty()
            || self.intake.begin_with(conn, &guest.front, &mut self.buffers, &mut self.meters);
        match self.poller.add_conn(&*conn, id) {
            Ok(()) if has_front => self.intake.queue(conn),
            _ => self.abandon(id),
        }
    }

    /// No more requests are accepted from a connection. Owed answers are sent, then it ends.
    pub(super) fn end_requests(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.phase == ConnPhase::Open {
            conn.phase = ConnPhase::Ending;
            conn.carry.take().into_iter().for_each(|carry| self.buffers.give_carry(carry));
            self.end_if_answered(id);
        }
    }

    /// Ends a connection that is owed nothing: immediately if the client has ended its side, else
    /// once it has.
    fn end_if_answered(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.phase != ConnPhase::Ending || !conn.owes_nothing() {
            return;
        }
        self.meters.counters.add(Counter::Ended, 1);
        if conn.at_end {
            return self.remove(id);
        }
        self.intake.release_output(conn, &mut self.buffers);
        conn.linger();
        self.intake.queue(conn);
        self.lingering.add(id);
    }

    /// Gives a connection up.
    fn abandon(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.phase != ConnPhase::Lingering {
            self.meters.counters.add(Counter::Broken, 1);
        }
        self.remove(id);
    }

    fn remove(&mut self, id: ConnId) {
        let Some(mut conn) = self.table.remove(id) else { return };
        conn.carry.take().into_iter().for_each(|carry| self.buffers.give_carry(carry));
        if conn.may_be_owed {
            self.buffers.owes_no_more();
        }
        // Accepting may be waiting for its descriptor. Closing it removes it from the epoll set.
        drop(conn);
        self.places[id.index as usize] = None;
        self.listeners.resume(&self.poller);
    }
}
