//! Frames: from the bytes of a connection to requests in slots.
//!
//! ```text
//! bytes at a frame boundary ─▶ parse ─▶ permit (caps, a free slot) ─▶ slice (cut in place, or copied) ─▶ push
//! ```
//! The same steps serve bytes that were received into the pool and bytes from a carry buffer. A
//! frame that finds no room stays at the front of its bytes, for later.

use std::ops::Deref;

use slipring::pipeline::{Lane, Refused};
use slipring::ring::Received;

use super::conn::{Arrival, Conn, ConnCaps};
use super::lobby::home_of;
use crate::stage::Request;
use crate::wire::frames::{
    Detected, FrameHead, Front, Limits, Mode, Reply, Status, decode_hello, detect, front,
};

/// What is at the front of a connection's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A complete frame.
    Request(FrameHead),
    /// Not enough bytes: at least this many are missing.
    Incomplete { missing_bytes: usize },
    /// No frame, and none can be found in what follows: this is the last answer.
    Broken(Status),
}

/// Finds frames, within the limits of the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parser(pub(super) Limits);

impl Parser {
    /// What is at the front of `bytes`. The first four bytes of a connection decide its mode.
    pub(super) fn parse(&self, known: &mut Option<Mode>, bytes: &[u8]) -> Parsed {
        match self.mode(known, bytes) {
            Ok(mode) => self.parse_as(mode, bytes),
            Err(other) => other,
        }
    }

    /// A connection's mode, or what is at the front of `bytes` instead.
    #[inline]
    fn mode(&self, known: &mut Option<Mode>, bytes: &[u8]) -> Result<Mode, Parsed> {
        match *known {
            Some(mode) => Ok(mode),
            None => match detect(bytes) {
                Detected::Need => Err(missing(DETECT_BYTES, bytes)),
                Detected::Unknown => Err(Parsed::Broken(Status::BadMagic)),
                Detected::Mode(mode) => Ok(*known.insert(mode)),
            },
        }
    }

    #[inline(always)]
    fn parse_as(&self, mode: Mode, bytes: &[u8]) -> Parsed {
        match front(mode, bytes, &self.0) {
            Front::Frame(head) if bytes.len() >= head.frame_bytes() => Parsed::Request(head),
            Front::Frame(head) => missing(head.frame_bytes(), bytes),
            Front::Partial => missing(mode.header_bytes(), bytes),
            Front::Broken(status) => Parsed::Broken(status),
        }
    }

    /// Whether a connection's carry buffer holds a complete frame, or lost framing, that wasn't
    /// pushed yet.
    pub(super) fn has_carried_frame(&self, conn: &mut Conn) -> bool {
        let Conn { carry, mode, .. } = conn;
        carry
            .as_ref()
            .is_some_and(|carry| !matches!(self.parse(mode, carry), Parsed::Incomplete { .. }))
    }
}

/// The bytes that decide a connection's mode.
const DETECT_BYTES: usize = 4;

fn missing(whole_bytes: usize, bytes: &[u8]) -> Parsed {
    Parsed::Incomplete { missing_bytes: whole_bytes - bytes.len() }
}

/// Why no further frame was pushed.
#[derive(Debug)]
pub(super) enum Stop {
    /// No bytes are left.
    Empty,
    /// The frame at the front lacks at least this many bytes.
    Incomplete { missing_bytes: usize },
    /// Framing is lost, and the last answer is on its way: no more requests are accepted.
    Broken,
    /// The connection has as much in flight as it may, or the disk is full and it can't be told.
    Capped,
    /// The ring is full.
    Full,
    /// The pool has no room for a copy.
    NoRoom(Refused),
    /// The lane has failed.
    Closed,
    /// The hello at the front names a producer of another lane.
    Elsewhere(u32),
}

/// Bytes of a connection that start at a frame boundary.
pub(super) trait FrameBytes: Deref<Target = [u8]> {
    /// Pushes the payload of the complete frame at the front, and moves on to the next frame. The
    /// lane has a free slot.
    fn push(
        &mut self,
        head: &FrameHead,
        request: Request,
        lane: &mut Lane<Request>,
    ) -> Result<(), Stop>;

    /// Moves on to the next frame.
    fn skip(&mut self, head: &FrameHead);
}

/// Bytes in the pool: a payload stays where it is.
impl FrameBytes for Received {
    #[inline(always)]
    fn push(
        &mut self,
        head: &FrameHead,
        request: Request,
        lane: &mut Lane<Request>,
    ) -> Result<(), Stop> {
        let Ok(slice) = self.cut(head.header_bytes as usize, head.payload_bytes as usize) else {
            unreachable!("the frame is complete")
        };
        // The lane may have been poisoned a moment ago. Then the driver ends in its next round.
        lane.push(slice, request).map_or(Err(Stop::Closed), |_| Ok(()))
    }

    fn skip(&mut self, head: &FrameHead) {
        Received::skip(self, head.frame_bytes());
    }
}

/// Bytes in a carry buffer, whose next frame starts at `at`: a payload is copied into the pool.
pub(super) struct CarriedBytes<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl Deref for CarriedBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.at..]
    }
}

impl FrameBytes for CarriedBytes<'_> {
    fn push(
        &mut self,
        head: &FrameHead,
        request: Request,
        lane: &mut Lane<Request>,
    ) -> Result<(), Stop> {
        let payload = &self[head.header_bytes as usize..head.frame_bytes()];
        let mut claim = lane.claim(payload.len()).map_err(Stop::NoRoom)?;
        claim.copy_from_slice(payload);
        claim.push(request);
        self.skip(head);
        Ok(())
    }

    fn skip(&mut self, head: &FrameHead) {
        self.at += head.frame_bytes();
    }
}

/// A free slot, and room for the answer in the connection's output. A push uses it up, so nothing
/// is pushed without room.
#[must_use]
struct Permit(());

/// Pushes the requests of one connection that arrived at the same time.
pub(super) struct FramePusher<'a> {
    pub(super) conn: &'a mut Conn,
    pub(super) lane: &'a mut Lane<Request>,
    pub(super) caps: &'a ConnCaps,
    arrival: Arrival,
    /// Requests pushed, hellos included, and the bytes of their payloads.
    pub(super) requests: u32,
    pub(super) payload_bytes: u64,
}

impl<'a> FramePusher<'a> {
    #[inline]
    pub(super) fn new(
        conn: &'a mut Conn,
        lane: &'a mut Lane<Request>,
        caps: &'a ConnCaps,
        arrival: Arrival,
    ) -> Self {
        Self { conn, lane, caps, arrival, requests: 0, payload_bytes: 0 }
    }

    /// Pushes complete frames from the front of `bytes`, until something stops it.
    #[inline]
    pub(super) fn push_all(&mut self, parser: &Parser, bytes: &mut impl FrameBytes) -> Stop {
        if bytes.is_empty() {
            return Stop::Empty;
        }
        // A loop for each mode, so that no frame asks for it.
        match parser.mode(&mut self.conn.mode, bytes) {
            Ok(Mode::Count) => self.push_mode(Mode::Count, parser, bytes),
            Ok(Mode::Header1) => self.push_mode(Mode::Header1, parser, bytes),
            Ok(Mode::Header) => self.push_mode(Mode::Header, parser, bytes),
            Err(other) => self.stop_at(other),
        }
    }

    #[inline(always)]
    fn push_mode(&mut self, mode: Mode, parser: &Parser, bytes: &mut impl FrameBytes) -> Stop {
        loop {
            if bytes.is_empty() {
                return Stop::Empty;
            }
            let head = match parser.parse_as(mode, bytes) {
                Parsed::Request(head) => head,
                other => return self.stop_at(other),
            };
            if let Err(stop) = self.push_frame(mode, &head, bytes) {
                return stop;
            }
        }
    }

    /// No complete frame is at the front.
    fn stop_at(&mut self, parsed: Parsed) -> Stop {
        match parsed {
            Parsed::Incomplete { missing_bytes } => Stop::Incomplete { missing_bytes },
            Parsed::Broken(status) => self.push_last(self.lost(status)),
            Parsed::Request(..) => unreachable!("a request is pushed"),
        }
    }

    /// What lost framing is answered with. Before the hello, a request's own faults don't matter.
    fn lost(&self, status: Status) -> Status {
        match self.conn.mode {
            Some(Mode::Header) if !self.conn.is_greeted && status != Status::BadKind => {
                Status::HelloMissing
            }
            _ => status,
        }
    }

    #[inline(always)]
    fn push_frame(
        &mut self,
        mode: Mode,
        head: &FrameHead,
        bytes: &mut impl FrameBytes,
    ) -> Result<(), Stop> {
        if mode == Mode::Header && (!self.conn.is_greeted || head.reply == Reply::Hello) {
            return self.push_hello(head, bytes);
        }
        match self.admit(mode, head.refusal)? {
            (permit, None) => self.push_request(permit, mode, head, bytes),
            (permit, Some(status)) => {
                bytes.skip(head);
                self.push_empty(permit, mode, head.sequence, status, Reply::Plain)
            }
        }
    }

    /// The first frame of header mode must be a hello, and no other may be one. A hello takes a
    /// slot without a payload, so that its answer comes before those of the requests behind it.
    #[cold]
    fn push_hello(&mut self, head: &FrameHead, bytes: &mut impl FrameBytes) -> Result<(), Stop> {
        match (head.reply, self.conn.is_greeted) {
            (Reply::Hello, false) => {}
            (Reply::Hello, true) => return Err(self.push_last(Status::BadKind)),
            _ => return Err(self.push_last(Status::HelloMissing)),
        }
        let status = head.refusal.unwrap_or(Status::Ok);
        let (producer, (lane, lanes)) = (head.sequence, self.caps.lane);
        if status == Status::Ok && producer != 0 && home_of(producer, lanes) != lane {
            return Err(Stop::Elsewhere(home_of(producer, lanes)));
        }
        let permit = self.slot()?;
        if let (Status::Ok, Some(hello)) = (status, bytes.first_chunk()) {
            self.conn.ack = decode_hello(hello).ack;
        }
        self.push_empty(permit, Mode::Header, producer, status, Reply::Hello)?;
        if status != Status::Ok {
            return Err(Stop::Broken);
        }
        bytes.skip(head);
        self.conn.is_greeted = true;
        Ok(())
    }

    /// Framing is lost: one last answer follows those before it.
    #[cold]
    pub(super) fn push_last(&mut self, status: Status) -> Stop {
        let mode = self.conn.mode.unwrap_or(Mode::Count);
        // The caps always leave room for it.
        let Ok(permit) = self.slot() else { return Stop::Full };
        let _poisoned = self.push_empty(permit, mode, 0, status, Reply::Plain);
        Stop::Broken
    }

    /// Room for a frame, good or refused.
    #[inline]
    fn admit(
        &mut self,
        mode: Mode,
        refusal: Option<Status>,
    ) -> Result<(Permit, Option<Status>), Stop> {
        if self.caps.is_disk_full || self.caps.is_full(self.conn) {
            return self.admit_full(mode, refusal);
        }
        Ok((self.slot()?, refusal))
    }

    /// The same while the disk is full, or the connection's own cap is reached.
    #[cold]
    fn admit_full(
        &mut self,
        mode: Mode,
        mut refusal: Option<Status>,
    ) -> Result<(Permit, Option<Status>), Stop> {
        if self.caps.is_disk_full && refusal.is_none() {
            // Count mode can't express it: it isn't read until there is space.
            if mode == Mode::Count {
                return Err(Stop::Capped);
            }
            refusal = Some(Status::NoSpace);
        }
        if self.caps.is_full(self.conn) {
            // Only header mode can express it, and only a limited number of them fit the output.
            if mode == Mode::Count || self.caps.is_full_for_refusals(self.conn) {
                return Err(Stop::Capped);
            }
            refusal = Some(Status::Busy);
        }
        Ok((self.slot()?, refusal))
    }

    #[inline]
    fn slot(&mut self) -> Result<Permit, Stop> {
        if self.lane.free_slots() > 0 || self.lane.reclaim() > 0 {
            return Ok(Permit(()));
        }
        Err(if self.lane.has_failed() { Stop::Closed } else { Stop::Full })
    }

    #[inline(always)]
    fn push_request(
        &mut self,
        _: Permit,
        mode: Mode,
        head: &FrameHead,
        bytes: &mut impl FrameBytes,
    ) -> Result<(), Stop> {
        let (conn, Arrival { ns: received_ns, time_us }) = (self.conn.id, self.arrival);
        let (vectors, sequence, status) = (head.vectors, head.sequence, Status::Ok);
        let (reply, ack) = (head.reply, self.conn.ack);
        bytes.push(
            head,
            Request { conn, sequence, vectors, status, mode, reply, ack, received_ns, time_us },
            self.lane,
        )?;
        self.requests += 1;
        self.payload_bytes += u64::from(head.payload_bytes);
        self.conn.in_flight += 1;
        Ok(())
    }

    /// A refusal, or a hello.
    fn push_empty(
        &mut self,
        _: Permit,
        mode: Mode,
        sequence: u64,
        status: Status,
        reply: Reply,
    ) -> Result<(), Stop> {
        let (conn, Arrival { ns: received_ns, time_us }) = (self.conn.id, self.arrival);
        let (vectors, ack) = (0, self.conn.ack);
        let request =
            Request { conn, sequence, vectors, status, mode, reply, ack, received_ns, time_us };
        if self.lane.push_empty(request).is_err() {
            return Err(Stop::Closed);
        }
        self.requests += 1;
        match (status, reply) {
            (Status::Busy, _) | (_, Reply::Hello) => self.conn.small_in_flight += 1,
            _ => self.conn.in_flight += 1,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frames::encode_request;

    const LIMITS: Limits = Limits::new(3, 4);

    /// A carry buffer receives no more than what is missing: so the bytes after it, which may be
    /// the next frame, go straight into the pool.
    #[test]
    fn what_is_missing_leads_to_the_end_of_the_frame_and_no_further() {
        for mode in [Mode::Count, Mode::Header1, Mode::Header] {
            let mut bytes = Vec::new();
            encode_request(mode, LIMITS.dim, 7, &[1.0; 6], &mut bytes);
            let frame_bytes = bytes.len();
            bytes.extend([0; 100]);
            for mut have in 0..frame_bytes {
                let mut known = None;
                loop {
                    match Parser(LIMITS).parse(&mut known, &bytes[..have]) {
                        Parsed::Incomplete { missing_bytes } => {
                            assert!(missing_bytes > 0 && have < frame_bytes, "{mode:?} {have}");
                            have += missing_bytes;
                        }
                        Parsed::Request(head) => {
                            assert_eq!((head.frame_bytes(), head.vectors), (have, 2));
                            break;
                        }
                        Parsed::Broken(status) => panic!("{mode:?} {have}: {status}"),
                    }
                }
                assert_eq!((known, have), (Some(mode), frame_bytes));
            }
        }
    }

    #[test]
    fn another_protocol_is_no_frame_and_has_no_mode() {
        let mut known = None;
        let parsed = Parser(LIMITS).parse(&mut known, b"PING\r\n");
        assert_eq!((parsed, known), (Parsed::Broken(Status::BadMagic), None));
        // A connection's mode never changes.
        let mut known = Some(Mode::Header1);
        let parsed = Parser(LIMITS).parse(&mut known, &[0; 16]);
        assert_eq!(parsed, Parsed::Broken(Status::BadMagic));
    }
}
