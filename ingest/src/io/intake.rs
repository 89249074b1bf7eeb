//! Intake: receives go straight into the pool and are cut in place. What can't be cut yet waits. An
//! incomplete frame waits in a carry buffer. The one receive that a full ring interrupted stays
//! where it is, in the pool.

use std::collections::VecDeque;

use slipring::class::PooledBuf;
use slipring::pipeline::{Lane, LaneGrant, Refused};

use super::buffers::{IoBuffers, drop_front};
use super::conn::{Arrival, Conn, ConnCaps, ConnPhase, ConnTable, Moved};
use super::counters::{Counter, Counters};
use super::duty::IoMeters;
use super::linger::discard;
use super::pusher::{CarriedBytes, FramePusher, Parsed, Parser, Stop};
use super::receipt::{IntakeStep, PoolReceive, elsewhere, no_bytes, wall_clock_us, whole_bytes};
use super::waiters::Waiters;
use crate::stage::{ConnId, Request};
use crate::wire::frames::{Limits, Mode, Status};

/// A receive needs at least this much room in the chunk, unless frames are smaller.
const RECEIVE_MIN_BYTES: usize = 16 << 10;
/// A receive accepts at most this much, unless frames are larger. Each receive ends in one send and
/// one wake-up of the client, so a deep pipeline needs few of them. A larger value gained nothing
/// with 32 requests of 4 KiB in flight per connection.
const RECEIVE_MAX_BYTES: usize = 128 << 10;

/// The most bytes of one receive.
pub fn receive_bytes_max(limits: &Limits) -> usize {
    limits.frame_bytes_max(Mode::Header).max(RECEIVE_MAX_BYTES)
}

/// The receiving side of a lane's connections.
pub(super) struct Intake {
    caps: ConnCaps,
    receive_min_bytes: usize,
    receive_max_bytes: usize,
    frame_bytes_max: usize,
    /// Connections with something to read, or with a carry buffer that may hold a complete frame.
    read_queue: VecDeque<ConnId>,
    /// The one receive that a full ring interrupted. No socket is read before it is cut.
    stalled: Option<PoolReceive>,
    /// The ring or the pool is full: nothing is read until something is reclaimed.
    is_full: bool,
    /// Nothing more is read from clients.
    is_closed: bool,
    /// Connections that aren't read because memory is used up.
    pub(super) waiters: Waiters,
}

impl Intake {
    pub(super) fn new(
        limits: &Limits,
        caps: ConnCaps,
        max_slice_bytes: usize,
        conns_max: usize,
    ) -> Self {
        let frame_bytes_max = limits.frame_bytes_max(Mode::Header);
        Self {
            caps,
            receive_min_bytes: frame_bytes_max.min(RECEIVE_MIN_BYTES).min(max_slice_bytes),
            receive_max_bytes: receive_bytes_max(limits),
            frame_bytes_max: frame_bytes_max.min(max_slice_bytes),
            read_queue: VecDeque::with_capacity(conns_max),
            stalled: None,
            is_full: false,
            is_closed: false,
            waiters: Waiters::default(),
        }
    }

    /// One receive of a connection.
    pub(super) fn receive(
        &mut self,
        conn: &mut Conn,
        parser: &Parser,
        lane: &mut Lane<Request>,
        buffers: &mut IoBuffers,
        meters: &mut IoMeters,
    ) -> IntakeStep {
        match conn.phase {
            // Its turn comes when there is space.
            ConnPhase::Open if self.caps.waits_for_space(conn) => IntakeStep::Idle,
            ConnPhase::Open => match conn.carry.take() {
                Some(carry) => self.receive_into_carry(conn, carry, parser, lane, buffers, meters),
                None if conn.readable && !self.is_closed => {
                    self.receive_into_pool(conn, parser, lane, buffers, meters)
                }
                None => IntakeStep::Idle,
            },
            ConnPhase::Lingering if conn.readable => {
                if discard(conn) {
                    IntakeStep::Moved
                } else {
                    IntakeStep::Gone
                }
            }
            ConnPhase::Ending | ConnPhase::Lingering => IntakeStep::Idle,
        }
    }

    fn receive_into_pool(
        &mut self,
        conn: &mut Conn,
        parser: &Parser,
        lane: &mut Lane<Request>,
        buffers: &mut IoBuffers,
        meters: &mut IoMeters,
    ) -> IntakeStep {
        if !self.may_be_owed(conn, buffers) {
            return IntakeStep::NoOutput;
        } else if self.waiters.need_output() && !conn.owes_nothing() {
            // Others wait: it is read again when it has its answers, and after them.
            return IntakeStep::Idle;
        }
        // What remains of a receive must fit a carry buffer.
        let room = buffers.carry_room();
        if room == 0 {
            return self.receive_whole(conn, parser, lane, buffers, meters);
        }
        let Some(mut grant) = self.reserve(lane, self.receive_min_bytes, meters) else {
            return IntakeStep::Idle;
        };
        let most = grant.len().min(self.receive_max_bytes).min(room);
        let bytes = match conn.receive(&mut grant[..most]) {
            Moved::Bytes(bytes) => bytes,
            moved => return no_bytes(conn, &moved, &mut meters.counters),
        };
        let Ok(bytes) = grant.received(bytes) else { unreachable!("no more than was reserved") };
        let receive = PoolReceive { id: conn.id, bytes, arrival: self.note_receive(meters) };
        self.push_received(conn, receive, parser, lane, buffers, meters)
    }

    /// The rest of the current chunk, at least `min` bytes; None if the lane has no room.
    #[inline]
    fn reserve<'l>(
        &mut self,
        lane: &'l mut Lane<Request>,
        min: usize,
        meters: &mut IoMeters,
    ) -> Option<LaneGrant<'l>> {
        lane.reserve_rest(min)
            .map_err(|refused| self.note_refused(refused, &mut meters.counters))
            .ok()
    }

    /// Receives complete frames only, as many as the connection's cap allows, and leaves the rest
    /// in the socket: no carry buffer is left for it. A connection whose first frame is unfinished
    /// waits for a buffer, or for the rest of the frame, whichever comes first.
    #[cold]
    fn receive_whole(
        &mut self,
        conn: &mut Conn,
        parser: &Parser,
        lane: &mut Lane<Request>,
        buffers: &mut IoBuffers,
        meters: &mut IoMeters,
    ) -> IntakeStep {
        let requests_max = self.caps.requests_room(conn);
        if requests_max == 0 {
            // Its turn comes when it has read an answer.
            return IntakeStep::Idle;
        }
        let Some(mut grant) = self.reserve(lane, self.frame_bytes_max, meters) else {
            return IntakeStep::Idle;
        };
        let most = grant.len().min(self.receive_max_bytes);
        let bytes = match conn.peek(&mut grant[..most]) {
            Moved::Bytes(bytes) => bytes,
            moved => {
                conn.readable = false;
                return no_bytes(conn, &moved, &mut meters.counters);
            }
        };
        // Count mode waits for space with its bytes where they are.
        if self.caps.is_disk_full {
            parser.parse(&mut conn.mode, &grant[..bytes]);
            if self.caps.waits_for_space(conn) {
                return IntakeStep::Idle;
            }
        }
        let whole = whole_bytes(parser, conn.mode, &grant[..bytes], requests_max);
        if whole == 0 {
            if conn.hangup {
                drop(grant);
                return self.receive_last(conn, parser, lane, buffers, meters);
            }
            if self.waiters.wait_for_carry(conn) {
                meters.counters.add(Counter::CarryWaits, 1);
            }
            return IntakeStep::Idle;
        }
        let bytes = match conn.receive(&mut grant[..whole]) {
            Moved::Bytes(bytes) => bytes,
            moved => return no_bytes(conn, &moved, &mut meters.counters),
        };
        let Ok(bytes) = grant.received(bytes) else { unreachable!("no more than was reserved") };
        let receive = PoolReceive { id: conn.id, bytes, arrival: self.note_receive(meters) };
        self.push_received(conn, receive, parser, lane, buffers, meters)
    }

    /// The client has ended its stream, so the rest of it is in the socket. The frame at the front
    /// is received to its end, in whatever pieces the kernel has it: it is complete then, or cut
    /// off and dropped, and needs no carry buffer. Nothing of it may stay in the socket, which
    /// would be closed with unread bytes.
    #[cold]
    fn receive_last(
        &mut self,
        conn: &mut Conn,
        parser: &Parser,
        lane: &mut Lane<Request>,
        buffers: &mut IoBuffers,
        meters: &mut IoMeters,
    ) -> IntakeStep {
        let Some(mut grant) = self.reserve(lane, self.frame_bytes_max, meters) else {
            return IntakeStep::Idle;
        };
        let mut bytes = 0;
        while let Parsed::Incomplete { missing_bytes } =
            parser.parse(&mut conn.mode, &grant[..bytes])
        {
            match conn.receive(&mut grant[bytes..bytes + missing_bytes]) {
                Moved::Bytes(more) => bytes += more,
                moved => {
                    meters.counters.add(Counter::CutOff, u64::from(bytes > 0));
                    conn.at_end = matches!(moved, Moved::End);
                    let is_gone = matches!(moved, Moved::Gone);
                    return if is_gone { IntakeStep::Gone } else { IntakeStep::Ended };
                }
            }
        }
        let Ok(bytes) = grant.received(bytes) else { unreachable!("no more than was reserved") };
        let receive = PoolReceive { id: conn.id, bytes, arrival: self.note_receive(meters) };
        self.push_received(conn, receive, parser, lane, buffers, meters)
    }

    /// A connection may not be owed answers: it waits, unless another's memory for them is unused.
    pub(super) fn find_output(
        &mut self,
        id: ConnId,
        table: &mut ConnTable,
        buffers: &mut IoBuffers,
        meters: &mut IoMeters,
    ) {
        // While others wait, nobody keeps what it doesn't use.
        let mut found = false;
        if !self.waiters.need_output() {
            for conn in table.iter_mut() {
                found |= self.release_output(conn, buffers);
            }
        }
        let Some(conn) = table.get_mut(id) else { return };
        if found {
            self.queue(conn);
        } else if self.waiters.wait_for_output(conn) {
            meters.counters.add(Counter::OutputWaits, 1);
        }
    }

    /// Whether a connection may be owed answers. Those that wait for it come first.
    #[inline]
    fn may_be_owed(&self, conn: &mut Conn, buffers: &mut IoBuffers) -> bool {
        if !conn.may_be_owed {
            conn.may_be_owed = !self.waiters.need_output() && buffers.may_owe();
        }
        conn.may_be_owed
    }

    /// A connection that needs nothing of its answers' memory leaves it to others, also one whose
    /// frame is unfinished. Returns whether it had any.
    pub(super) fn release_output(&self, conn: &mut Conn, buffers: &mut IoBuffers) -> bool {
        let is_free = conn.may_be_owed
            && conn.owes_nothing()
            && !Parser(self.caps.limits).has_carried_frame(conn)
            && self.stalled_conn() != Some(conn.id);
        if is_free {
            conn.may_be_owed = false;
            buffers.owes_no_more();
        }
        is_free
    }

    /// Connections that waited for memory are read again, as far as there is some.
    pub(super) fn queue_waiters(&mut self, table: &mut ConnTable, buffers: &mut IoBuffers) {
        let Self { waiters, read_queue, .. } = self;
        waiters.go_on(table, buffers, |conn| queue(read_queue, conn));
    }

    /// Counts a receive, and takes its stamp: one reading of the lane's clock, and one of the wall
    /// clock if there is a time column.
    #[inline]
    fn note_receive(&self, meters: &mut IoMeters) -> Arrival {
        meters.counters.add(Counter::Receives, 1);
        let time_us = if self.caps.limits.columns.time { wall_clock_us() } else { 0 };
        Arrival { ns: meters.duty.now_ns(), time_us }
    }

    /// Pushes the complete frames of a receive, cut in place. What is left moves to the
    /// connection's carry buffer or, if the lane is full, becomes the lane's stalled receive.
    pub(super) fn push_received(
        &mut self,
        conn: &mut Conn,
        mut receive: PoolReceive,
        parser: &Parser,
        lane: &mut Lane<Request>,
        buffers: &mut IoBuffers,
        meters: &mut IoMeters,
    ) -> IntakeStep {
        let mut pusher = FramePusher::new(conn, lane, &self.caps, receive.arrival);
        let stop = pusher.push_all(parser, &mut receive.bytes);
        meters.counters.add(Counter::UncopiedBytes, pusher.payload_bytes);
        meters.note_accepted(receive.arrival.ns, pusher.requests);
        conn.since_ns = receive.arrival.ns;
        match stop {
            Stop::Empty | Stop::Closed => IntakeStep::Moved,
            Stop::Broken => IntakeStep::Ended,
            Stop::Incomplete { .. } | Stop::Capped => match buffers.carry(receive.bytes.len()) {
                Some(carry) => {
                    conn.look_again();
                    self.fill_carry(conn, carry, &receive, &mut meters.counters);
                    IntakeStep::Moved
                }
                None => IntakeStep::NoCarry(receive),
            },
            Stop::Elsewhere(lane) => IntakeStep::Elsewhere(lane, receive.bytes.to_vec()),
            Stop::Full | Stop::NoRoom(_) => {
                self.stall(receive, &mut meters.counters);
                IntakeStep::Moved
            }
        }
    }

    /// The first bytes of a connection that another lane has received. False without memory for
    /// them.
    #[cold]
    pub(super) fn begin_with(
        &mut self,
        conn: &mut Conn,
        front: &[u8],
        buffers: &mut IoBuffers,
        meters: &mut IoMeters,
    ) -> bool {
        let Some(mut carry) = buffers.carry(front.len()) else { return false };
        let Ok(()) = carry.extend_from_slice(front) else {
            unreachable!("it was chosen for these bytes")
        };
        meters.counters.add(Counter::CopiedBytes, front.len() as u64);
        (conn.carry, conn.carry_arrival) = (Some(carry), self.note_receive(meters));
        true
    }

    /// Copies what is left of a receive into an empty carry buffer.
    pub(super) fn fill_carry(
        &mut self,
        conn: &mut Conn,
        mut carry: PooledBuf,
        left: &PoolReceive,
        counters: &mut Counters,
    ) {
        debug_assert!(conn.carry.is_none());
        let Ok(()) = carry.extend_from_slice(&left.bytes) else {
            unreachable!("it was chosen for these bytes")
        };
        counters.add(Counter::CopiedBytes, left.bytes.len() as u64);
        conn.carry = Some(carry);
        conn.carry_arrival = left.arrival;
    }

    fn receive_into_carry(
        &mut self,
        conn: &mut Conn,
        mut carry: PooledBuf,
        parser: &Parser,
        lane: &mut Lane<Request>,
        buffers: &mut IoBuffers,
        meters: &mut IoMeters,
    ) -> IntakeStep {
        // Only what another lane has received comes without.
        if !conn.may_be_owed
            && !matches!(parser.parse(&mut conn.mode, &carry), Parsed::Incomplete { .. })
            && !self.may_be_owed(conn, buffers)
        {
            conn.carry = Some(carry);
            return IntakeStep::NoOutput;
        }
        let (requests, stop) = self.push_carried(conn, &mut carry, parser, lane, meters);
        let missing_bytes = match stop {
            // Receives up to the end of the frame and no further, because what follows goes
            // straight into the pool.
            Stop::Incomplete { missing_bytes } if requests == 0 => missing_bytes,
            _ => 0,
        };
        if missing_bytes == 0 || !conn.readable || self.is_closed {
            restore_carry(conn, carry, &stop, buffers);
            return match stop {
                Stop::Broken => IntakeStep::Ended,
                Stop::Elsewhere(lane) => elsewhere(lane, conn),
                _ if requests == 0 => IntakeStep::Idle,
                _ => IntakeStep::Moved,
            };
        }
        if !self.may_be_owed(conn, buffers) {
            conn.carry = Some(carry);
            return IntakeStep::NoOutput;
        }
        let had = carry.len();
        let Ok(()) = carry.set_len(had + missing_bytes) else {
            unreachable!("it holds the largest frame")
        };
        let moved = conn.receive(&mut carry[had..]);
        let bytes = if let Moved::Bytes(bytes) = moved { bytes } else { 0 };
        carry.truncate(had + bytes);
        if bytes == 0 {
            conn.carry = Some(carry);
            return no_bytes(conn, &moved, &mut meters.counters);
        }
        conn.carry_arrival = self.note_receive(meters);
        meters.counters.add(Counter::CopiedBytes, bytes as u64);
        let (_, stop) = self.push_carried(conn, &mut carry, parser, lane, meters);
        if let Stop::Incomplete { .. } = stop {
            conn.look_again();
        }
        restore_carry(conn, carry, &stop, buffers);
        match stop {
            Stop::Broken => IntakeStep::Ended,
            Stop::Elsewhere(lane) => elsewhere(lane, conn),
            _ => IntakeStep::Moved,
        }
    }

    /// Pushes the complete frames of a carry buffer, copied into the pool, and drops them from the
    /// buffer. Returns their number, and what is at the front now.
    fn push_carried(
        &mut self,
        conn: &mut Conn,
        carry: &mut PooledBuf,
        parser: &Parser,
        lane: &mut Lane<Request>,
        meters: &mut IoMeters,
    ) -> (u32, Stop) {
        let arrival = conn.carry_arrival;
        let mut bytes = CarriedBytes { bytes: carry, at: 0 };
        let mut pusher = FramePusher::new(conn, lane, &self.caps, arrival);
        let stop = pusher.push_all(parser, &mut bytes);
        let (requests, pushed_bytes) = (pusher.requests, bytes.at);
        if requests > 0 {
            conn.since_ns = meters.duty.now_ns();
        }
        meters.note_accepted(arrival.ns, requests);
        match stop {
            Stop::Full => self.is_full = true,
            Stop::NoRoom(refused) => self.note_refused(refused, &mut meters.counters),
            _ => {}
        }
        drop_front(carry, pushed_bytes);
        (requests, stop)
    }

    /// Puts a connection into the queue of those to read, if there is something for it.
    #[inline]
    pub(super) fn queue(&mut self, conn: &mut Conn) {
        queue(&mut self.read_queue, conn);
    }

    /// Refuses a connection as busy, for good, because its carry buffer is needed. Returns false if
    /// there is no room for the refusal.
    pub(super) fn refuse_carry(
        &mut self,
        conn: &mut Conn,
        arrival: Arrival,
        lane: &mut Lane<Request>,
        buffers: &mut IoBuffers,
        meters: &mut IoMeters,
    ) -> bool {
        if !conn.may_be_owed && !buffers.may_owe() {
            return false;
        }
        conn.may_be_owed = true;
        let mut pusher = FramePusher::new(conn, lane, &self.caps, arrival);
        let stop = pusher.push_last(Status::Busy);
        meters.note_accepted(arrival.ns, pusher.requests);
        matches!(stop, Stop::Broken)
    }

    /// The next connection to read; none while the lane is full.
    pub(super) fn next_to_read(&mut self) -> Option<ConnId> {
        if self.is_full { None } else { self.read_queue.pop_front() }
    }

    pub(super) fn to_read(&self) -> usize {
        self.read_queue.len()
    }

    /// The receive that a full lane interrupted, to be continued.
    pub(super) fn take_stalled(&mut self) -> Option<PoolReceive> {
        self.stalled.take()
    }

    /// Which connection's receive is stalled, if one is.
    pub(super) fn stalled_conn(&self) -> Option<ConnId> {
        self.stalled.as_ref().map(|stalled| stalled.id)
    }

    pub(super) fn stall(&mut self, receive: PoolReceive, counters: &mut Counters) {
        debug_assert!(self.stalled.is_none(), "a lane has one stalled receive");
        self.stalled = Some(receive);
        self.is_full = true;
        counters.add(Counter::Stalls, 1);
    }

    /// Whether the disk is full. When it has space again, everybody who wasn't read is read.
    pub(super) fn note_disk(&mut self, is_full: bool, table: &mut ConnTable) {
        if self.caps.is_disk_full && !is_full {
            table.iter_mut().for_each(|conn| self.queue(conn));
        }
        self.caps.is_disk_full = is_full;
    }

    /// The bounds of a connection.
    pub(super) fn caps(&self) -> &ConnCaps {
        &self.caps
    }

    /// The lane has no room in its pool, or has failed.
    fn note_refused(&mut self, refused: Refused, counters: &mut Counters) {
        if refused.is_full() {
            self.is_full = true;
            counters.add(Counter::Stalls, 1);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Something was reclaimed, or nothing is left to be reclaimed: there may be room again.
    pub(super) fn note_room(&mut self) {
        self.is_full = false;
    }

    /// From now on nothing is read from clients. Complete frames that were received are still
    /// pushed.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether there is something to do without waiting.
    pub(super) fn has_work(&self, buffers: &IoBuffers) -> bool {
        let waits = !self.is_closed && self.waiters.is_one_ready(buffers);
        (!self.read_queue.is_empty() || self.stalled.is_some() || waits) && !self.is_full
    }
}

#[inline]
fn queue(read_queue: &mut VecDeque<ConnId>, conn: &mut Conn) {
    if !conn.in_read_queue && (conn.readable || conn.carry.is_some()) {
        conn.in_read_queue = true;
        read_queue.push_back(conn.id);
    }
}

/// Gives a carry buffer back to its connection, unless it is empty or useless.
fn restore_carry(conn: &mut Conn, carry: PooledBuf, stop: &Stop, buffers: &mut IoBuffers) {
    if carry.is_empty() || matches!(stop, Stop::Broken) {
        buffers.give_carry(carry);
    } else {
        conn.carry = Some(carry);
    }
}
