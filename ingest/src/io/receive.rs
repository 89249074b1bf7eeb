//! Receiving: straight into the pool, cut in place. What can't be cut yet waits.

use slipring::pipeline::{Lane, Refused};
use slipring::ring::{PoolSlice, Received};

use super::answer::Answers;
use super::classes::drop_front;
use super::conn::{Conn, Phase};
use super::counters::Counter;
use super::driver::Driver;
use super::stream::Moved;
use crate::stage::{ConnId, Request};
use crate::wire::frames::{Detected, FrameHead, Front, Mode, Status, detect, front};

/// The most bytes discarded at once while a connection lingers.
const DISCARD_BYTES: usize = 4096;

/// What is at the front of received bytes.
enum Next {
    /// A complete frame, and the connection's mode.
    Whole(Mode, FrameHead),
    /// Not enough bytes.
    Part,
    /// No frame: answer this, and take nothing more.
    Lost(Mode, Status),
}

/// Why a frame wasn't taken.
enum Stop {
    /// The ring or the pool is full.
    Full,
    /// The connection has as much in flight as it may.
    Capped,
    /// The lane takes nothing more.
    Closed,
}

impl Driver {
    /// One receive of a connection. Returns whether anything moved.
    pub(super) fn receive(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.table.get_mut(id) else { return false };
        match conn.phase {
            Phase::Open if conn.carry.is_some() => self.receive_into_carry(id),
            Phase::Open if conn.readable && !self.draining => self.receive_into_pool(id),
            Phase::Lingering if conn.readable => self.discard(id),
            _ => false,
        }
    }

    fn receive_into_pool(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.table.get_mut(id) else { return false };
        let mut grant = match self.lane.reserve_rest(self.receive_min_bytes) {
            Ok(grant) => grant,
            Err(refused) => return self.refuse_room(refused),
        };
        let most = grant.len().min(self.receive_max_bytes);
        match conn.stream.receive(&mut grant[..most]) {
            Moved::Bytes(bytes) => {
                conn.received(bytes, most);
                self.counters.add(Counter::Receives, 1);
                self.received_ns = self.duty.now_ns();
                let Ok(received) = grant.received(bytes) else {
                    unreachable!("no more than was reserved")
                };
                self.cut(id, received);
                self.queue_read(id);
                true
            }
            other => {
                drop(grant);
                self.no_bytes(id, &other)
            }
        }
    }

    /// Cuts complete frames from a receive, in place. The rest moves to the connection's carry
    /// buffer or, if the lane is full, stays as the lane's stalled receive.
    pub(super) fn cut(&mut self, id: ConnId, received: Received) {
        self.cut_frames(id, received);
        self.note_taken();
    }

    fn cut_frames(&mut self, id: ConnId, mut received: Received) {
        loop {
            let Some(conn) = self.table.get_mut(id).filter(|conn| conn.phase == Phase::Open) else {
                return;
            };
            if received.is_empty() {
                return;
            }
            let (mode, head) = match self.limits.next(conn, &received) {
                Next::Whole(mode, head) => (mode, head),
                Next::Part => return self.carry(id, received),
                Next::Lost(mode, status) => match self.lose(id, mode, status) {
                    Err(Stop::Full) => return self.stall(id, received),
                    _ => return,
                },
            };
            match admits(&self.answers, &mut self.lane, conn, mode, &head) {
                Ok(None) => {
                    let (skip, len) = (head.header_bytes as usize, head.payload_bytes as usize);
                    let Ok(slice) = received.cut(skip, len) else {
                        unreachable!("the frame is whole")
                    };
                    self.counters.add(Counter::UncopiedBytes, len as u64);
                    self.push(id, mode, &head, slice);
                }
                Ok(Some(status)) => {
                    received.skip(head.frame_bytes());
                    self.push_refusal(id, mode, &head, status);
                }
                Err(Stop::Full) => return self.stall(id, received),
                Err(Stop::Capped) => return self.carry(id, received),
                Err(Stop::Closed) => return,
            }
        }
    }

    /// Continues the receive that a full lane interrupted. Returns true once it is done.
    pub(super) fn resume_stalled(&mut self) -> bool {
        let Some((id, received, received_ns)) = self.stalled.take() else { return true };
        self.received_ns = received_ns;
        self.cut(id, received);
        self.stalled.is_none()
    }

    fn stall(&mut self, id: ConnId, received: Received) {
        debug_assert!(self.stalled.is_none(), "a lane has one stalled receive");
        self.stalled = Some((id, received, self.received_ns));
        self.full = true;
        self.counters.add(Counter::Stalls, 1);
    }

    fn refuse_room(&mut self, refused: Refused) -> bool {
        if refused.is_full() {
            self.full = true;
            self.counters.add(Counter::Stalls, 1);
        }
        false
    }

    /// Moves the rest of a receive to a carry buffer.
    fn carry(&mut self, id: ConnId, rest: Received) {
        let mut carry = self.classes.carry(rest.len());
        // More than one, where it needs a larger buffer than theirs.
        while carry.is_none() && self.refuse_oldest_carry() {
            carry = self.classes.carry(rest.len());
        }
        // There is no room even for the refusal, so all of this waits.
        let Some(mut carry) = carry else { return self.stall(id, rest) };
        let Some(conn) = self.table.get_mut(id) else { return self.classes.give_carry(carry) };
        debug_assert!(conn.carry.is_none());
        let Ok(()) = carry.extend_from_slice(&rest) else {
            unreachable!("it was got for these bytes")
        };
        self.counters.add(Counter::CopiedBytes, rest.len() as u64);
        self.carried += 1;
        (conn.carry, conn.carried_at, conn.carry_ns) =
            (Some(carry), self.carried, self.received_ns);
    }

    /// Every carry buffer is taken. The frame that has waited longest is the least likely to be
    /// completed, so its connection is refused, after the answers that it is still owed. Returns
    /// false if there is none, or no room for its refusal. Cost: a look at every connection.
    fn refuse_oldest_carry(&mut self) -> bool {
        let Some(oldest) = self.table.oldest_carry() else { return false };
        let mode = self.table.get_mut(oldest).and_then(|conn| conn.mode).unwrap_or(Mode::Count);
        let refused = self.lose(oldest, mode, Status::Busy).is_ok();
        self.counters.add(Counter::OverCarryCap, u64::from(refused));
        refused
    }

    fn receive_into_carry(&mut self, id: ConnId) -> bool {
        if self.take_carried(id) {
            self.queue_read(id);
            return true;
        }
        let Some(conn) = self.table.get_mut(id) else { return false };
        let Some(carry) = conn.carry.as_mut() else { return false };
        // Receives up to the end of the frame and no further, because what follows goes straight
        // into the pool.
        let missing = self.limits.missing(conn.mode, carry);
        if missing == 0 || !conn.readable || self.draining {
            return false;
        }
        let had = carry.len();
        let Ok(()) = carry.set_len(had + missing) else {
            unreachable!("it holds the largest frame")
        };
        let moved = conn.stream.receive(&mut carry[had..]);
        let bytes = if let Moved::Bytes(bytes) = moved { bytes } else { 0 };
        carry.truncate(had + bytes);
        if bytes == 0 {
            return self.no_bytes(id, &moved);
        }
        conn.received(bytes, missing);
        conn.carry_ns = self.duty.now_ns();
        self.counters.add(Counter::Receives, 1);
        self.counters.add(Counter::CopiedBytes, bytes as u64);
        self.take_carried(id);
        self.queue_read(id);
        true
    }

    /// Copies complete frames from the carry buffer into the pool. Returns whether one was taken.
    fn take_carried(&mut self, id: ConnId) -> bool {
        let (mut at, mut taken) = (0, false);
        self.received_ns = self.table.get_mut(id).map_or(self.received_ns, |conn| conn.carry_ns);
        let open = |conn: &&mut Conn| conn.phase == Phase::Open;
        while let Some(carry) =
            self.table.get_mut(id).filter(open).and_then(|conn| conn.carry.take())
        {
            let step = self.take_front(id, &carry[at..]);
            if let Some(conn) = self.table.get_mut(id) {
                conn.carry = Some(carry);
            } else {
                self.classes.give_carry(carry);
                break;
            }
            match step {
                Some(bytes) => (at, taken) = (at + bytes, true),
                None => break,
            }
        }
        self.note_taken();
        self.shorten_carry(id, at);
        taken
    }

    /// Takes the frame at the front of carried bytes; its length, or None if it can't be taken now.
    fn take_front(&mut self, id: ConnId, bytes: &[u8]) -> Option<usize> {
        let conn = self.table.get_mut(id)?;
        if bytes.is_empty() {
            return None;
        }
        let (mode, head) = match self.limits.next(conn, bytes) {
            Next::Whole(mode, head) => (mode, head),
            Next::Part => return None,
            Next::Lost(mode, status) => {
                self.full |= matches!(self.lose(id, mode, status), Err(Stop::Full));
                return None;
            }
        };
        let verdict = admits(&self.answers, &mut self.lane, conn, mode, &head);
        self.full |= matches!(verdict, Err(Stop::Full));
        match verdict.ok()? {
            Some(status) => self.push_refusal(id, mode, &head, status),
            None => {
                let payload = &bytes[head.header_bytes as usize..head.frame_bytes()];
                let mut grant = match self.lane.reserve(payload.len()) {
                    Ok(grant) => grant,
                    Err(refused) => {
                        self.refuse_room(refused);
                        return None;
                    }
                };
                grant.copy_from_slice(payload);
                let slice = grant.commit_all();
                self.push(id, mode, &head, slice);
            }
        }
        Some(head.frame_bytes())
    }

    /// Drops the first `taken` bytes of the carry buffer, and the buffer itself once it is empty or
    /// useless.
    fn shorten_carry(&mut self, id: ConnId, taken: usize) {
        let Some(conn) = self.table.get_mut(id) else { return };
        let Some(mut carry) = conn.carry.take() else { return };
        drop_front(&mut carry, taken);
        if carry.is_empty() || conn.phase != Phase::Open {
            self.classes.give_carry(carry);
        } else {
            conn.carry = Some(carry);
        }
    }

    fn push(&mut self, id: ConnId, mode: Mode, head: &FrameHead, slice: PoolSlice) {
        let (sequence, vectors, received_ns) = (head.sequence, head.vectors, self.received_ns);
        let request =
            Request { conn: id, sequence, vectors, status: Status::Ok, mode, received_ns };
        if self.lane.push(slice, request).is_ok() {
            self.took(id, Status::Ok);
        }
        // Otherwise the lane was poisoned a moment ago, and the driver ends in its next round.
    }

    fn push_refusal(&mut self, id: ConnId, mode: Mode, head: &FrameHead, status: Status) {
        let (sequence, received_ns) = (head.sequence, self.received_ns);
        let request = Request { conn: id, sequence, vectors: 0, status, mode, received_ns };
        if self.lane.push_empty(request).is_ok() {
            self.took(id, status);
        }
    }

    fn took(&mut self, id: ConnId, status: Status) {
        self.taken += 1;
        if let Some(conn) = self.table.get_mut(id) {
            *if status == Status::Busy { &mut conn.busy_in_flight } else { &mut conn.in_flight } +=
                1;
        }
    }

    /// Requests of one receive, or of one carry buffer, have been taken: they are counted together.
    fn note_taken(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            self.counters.add(Counter::Requests, u64::from(taken));
            self.duty.took(self.received_ns, taken);
        }
    }

    /// Framing is lost: one last answer follows those before it, and nothing more is taken.
    fn lose(&mut self, id: ConnId, mode: Mode, status: Status) -> Result<(), Stop> {
        let head = FrameHead {
            header_bytes: 0,
            payload_bytes: 0,
            vectors: 0,
            sequence: 0,
            refusal: Some(status),
        };
        // A last refusal is small: the caps leave room for it.
        if self.lane.free_slots() == 0 && self.lane.reclaim() == 0 {
            return Err(Stop::Full);
        }
        self.push_refusal(id, mode, &head, status);
        self.end_requests(id);
        Ok(())
    }

    /// A receive that returned no bytes.
    fn no_bytes(&mut self, id: ConnId, moved: &Moved) -> bool {
        let Some(conn) = self.table.get_mut(id) else { return false };
        conn.readable = false;
        match moved {
            Moved::Gone => self.close(id),
            Moved::End => {
                conn.at_end = true;
                let in_the_middle = conn.carry.is_some();
                self.counters.add(Counter::CutOff, u64::from(in_the_middle));
                self.end_requests(id);
            }
            Moved::NotNow | Moved::Bytes(_) => return false,
        }
        true
    }

    /// Discards further bytes of a connection that is fully answered.
    fn discard(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.table.get_mut(id) else { return false };
        let mut bytes = [0u8; DISCARD_BYTES];
        match conn.stream.receive(&mut bytes) {
            Moved::Bytes(count) => {
                conn.received(count, bytes.len());
                self.queue_read(id);
            }
            Moved::NotNow => conn.readable = false,
            Moved::End | Moved::Gone => self.close(id),
        }
        true
    }
}

/// Whether there is room for a frame: `None` for a good one, the status of a refused one.
fn admits(
    answers: &Answers,
    lane: &mut Lane<Request>,
    conn: &Conn,
    mode: Mode,
    head: &FrameHead,
) -> Result<Option<Status>, Stop> {
    let mut status = head.refusal;
    if answers.is_full(conn) {
        // Only header mode can express it, and only a limited number of them fit the output.
        if mode == Mode::Count || answers.is_full_for_refusals(conn) {
            return Err(Stop::Capped);
        }
        status = Some(Status::Busy);
    }
    if lane.free_slots() == 0 && lane.reclaim() == 0 {
        return Err(if lane.has_failed() { Stop::Closed } else { Stop::Full });
    }
    Ok(status)
}

/// The wire's limits, with what they say about received bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire(pub(super) crate::wire::frames::Limits);

impl Wire {
    #[inline]
    fn next(&self, conn: &mut Conn, bytes: &[u8]) -> Next {
        let mode = match conn.mode {
            Some(mode) => mode,
            None => match detect(bytes) {
                Detected::Need => return Next::Part,
                Detected::Unknown => return Next::Lost(Mode::Count, Status::BadMagic),
                Detected::Mode(mode) => *conn.mode.insert(mode),
            },
        };
        match front(mode, bytes, &self.0) {
            Front::Frame(head) if bytes.len() >= head.frame_bytes() => Next::Whole(mode, head),
            Front::Frame(_) | Front::Partial => Next::Part,
            Front::Broken(status) => Next::Lost(mode, status),
        }
    }

    /// Whether the connection's carry buffer holds a complete frame, or lost framing, that isn't
    /// taken yet.
    pub(super) fn holds_whole_frame(&self, conn: &mut Conn) -> bool {
        let Some(carry) = conn.carry.take() else { return false };
        let holds = !matches!(self.next(conn, &carry), Next::Part);
        conn.carry = Some(carry);
        holds
    }

    /// The bytes that the frame at the front still lacks, as far as is known; 0 if it is complete.
    fn missing(&self, mode: Option<Mode>, bytes: &[u8]) -> usize {
        let header = mode.map_or(4, Mode::header_bytes);
        let whole = match mode.map(|mode| front(mode, bytes, &self.0)) {
            Some(Front::Frame(head)) => head.frame_bytes(),
            _ => header,
        };
        whole.saturating_sub(bytes.len())
    }
}
