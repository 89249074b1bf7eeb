//! Frames: from the bytes of a connection to requests in slots.
//!
//! ```text
//! bytes at a frame boundary ─▶ parse ─▶ permit (caps, a free slot) ─▶ slice (cut in place, or copied) ─▶ push
//! ```
//! The same steps serve bytes that were received into the pool and bytes from a carry buffer. A
//! frame is consumed only once its request is in a slot, so a frame that finds no room stays at the
//! front, for later.

use std::ops::Deref;

use slipring::pipeline::{Lane, Refused};
use slipring::ring::{PoolSlice, Received};

use super::conn::{Conn, ConnCaps};
use crate::protocol::{Detected, FrameHead, Front, Limits, Mode, Status, detect, front};
use crate::stage::Request;

/// What is at the front of a connection's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A complete frame.
    Request(Mode, FrameHead),
    /// Not enough bytes: at least this many are missing.
    Incomplete { missing_bytes: usize },
    /// No frame, and none will be found in what follows. This is the last answer.
    Broken(Status),
}

/// Finds frames, within the limits of the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parser(pub(super) Limits);

impl Parser {
    /// What is at the front of `bytes`. The first four bytes of a connection decide its mode.
    #[inline]
    pub(super) fn parse(&self, known: &mut Option<Mode>, bytes: &[u8]) -> Parsed {
        let mode = match *known {
            Some(mode) => mode,
            None => match detect(bytes) {
                Detected::Need => return missing(DETECT_BYTES, bytes),
                Detected::Unknown => return Parsed::Broken(Status::BadMagic),
                Detected::Mode(mode) => *known.insert(mode),
            },
        };
        match front(mode, bytes, &self.0) {
            Front::Frame(head) if bytes.len() >= head.frame_bytes() => Parsed::Request(mode, head),
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
    /// Every byte is consumed.
    Empty,
    /// The frame at the front lacks at least this many bytes.
    Incomplete { missing_bytes: usize },
    /// Framing is lost, and the last answer is on its way: no more requests are accepted.
    Broken,
    /// The connection has as much in flight as it may.
    Capped,
    /// The ring is full.
    Full,
    /// The pool has no room for a copy.
    NoRoom(Refused),
    /// The lane has failed.
    Closed,
}

/// Bytes of a connection that start at a frame boundary.
pub(super) trait FrameBytes: Deref<Target = [u8]> {
    /// Consumes the complete frame at the front, and returns its payload as a slice of the pool.
    fn slice(&mut self, head: &FrameHead, lane: &mut Lane<Request>) -> Result<PoolSlice, Refused>;

    /// Consumes the complete frame at the front.
    fn skip(&mut self, head: &FrameHead);
}

impl FrameBytes for Received {
    #[inline]
    fn slice(&mut self, head: &FrameHead, _: &mut Lane<Request>) -> Result<PoolSlice, Refused> {
        match self.cut(head.header_bytes as usize, head.payload_bytes as usize) {
            Ok(slice) => Ok(slice),
            Err(_) => unreachable!("the frame is complete"),
        }
    }

    fn skip(&mut self, head: &FrameHead) {
        Received::skip(self, head.frame_bytes());
    }
}

/// Bytes from a carry buffer, of which the first `at` are consumed.
pub(super) struct Carried<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl Deref for Carried<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.at..]
    }
}

impl FrameBytes for Carried<'_> {
    fn slice(&mut self, head: &FrameHead, lane: &mut Lane<Request>) -> Result<PoolSlice, Refused> {
        let payload = &self[head.header_bytes as usize..head.frame_bytes()];
        let mut grant = lane.reserve(payload.len())?;
        grant.copy_from_slice(payload);
        let slice = grant.commit_all();
        self.at += head.frame_bytes();
        Ok(slice)
    }

    fn skip(&mut self, head: &FrameHead) {
        self.at += head.frame_bytes();
    }
}

/// Room for one request, with the answer that it gets from here: `Ok` if the stages decide. A push
/// consumes it, so no request is pushed without room.
#[must_use]
struct Permit(Status);

/// Pushes the requests of one connection that arrived at the same time.
pub(super) struct FramePusher<'a> {
    pub(super) conn: &'a mut Conn,
    pub(super) lane: &'a mut Lane<Request>,
    pub(super) caps: &'a ConnCaps,
    pub(super) received_ns: u64,
    /// Requests pushed, and the bytes of their payloads.
    pub(super) requests: u32,
    pub(super) payload_bytes: u64,
}

impl<'a> FramePusher<'a> {
    #[inline]
    pub(super) fn new(
        conn: &'a mut Conn,
        lane: &'a mut Lane<Request>,
        caps: &'a ConnCaps,
        received_ns: u64,
    ) -> Self {
        Self { conn, lane, caps, received_ns, requests: 0, payload_bytes: 0 }
    }

    /// Pushes complete frames from the front of `bytes`, until something stops it.
    #[inline]
    pub(super) fn push_all(&mut self, parser: &Parser, bytes: &mut impl FrameBytes) -> Stop {
        loop {
            if let Err(stop) = self.push_frame(parser, bytes) {
                return stop;
            }
        }
    }

    #[inline]
    fn push_frame(&mut self, parser: &Parser, bytes: &mut impl FrameBytes) -> Result<(), Stop> {
        if bytes.is_empty() {
            return Err(Stop::Empty);
        }
        let (mode, head) = match parser.parse(&mut self.conn.mode, bytes) {
            Parsed::Request(mode, head) => (mode, head),
            Parsed::Incomplete { missing_bytes } => return Err(Stop::Incomplete { missing_bytes }),
            Parsed::Broken(status) => return Err(self.push_last(status)),
        };
        let permit = self.permit(mode, head.refusal)?;
        if permit.0 == Status::Ok {
            let slice = bytes.slice(&head, self.lane)?;
            self.payload_bytes += u64::from(head.payload_bytes);
            self.push(permit, mode, &head, slice);
        } else {
            bytes.skip(&head);
            self.push_refusal(permit, mode, head.sequence);
        }
        Ok(())
    }

    /// Framing is lost: one last answer follows those before it.
    #[cold]
    pub(super) fn push_last(&mut self, status: Status) -> Stop {
        // A last refusal is small: the caps leave room for it.
        if !self.has_slot() {
            return Stop::Full;
        }
        let mode = self.conn.mode.unwrap_or(Mode::Count);
        self.push_refusal(Permit(status), mode, 0);
        Stop::Broken
    }

    /// Room for a frame, good or refused.
    #[inline]
    fn permit(&mut self, mode: Mode, refusal: Option<Status>) -> Result<Permit, Stop> {
        let mut status = refusal.unwrap_or(Status::Ok);
        if self.caps.is_full(self.conn) {
            // Only header mode can express it, and only a limited number of them fit the output.
            if mode == Mode::Count || self.caps.is_full_for_refusals(self.conn) {
                return Err(Stop::Capped);
            }
            status = Status::Busy;
        }
        if !self.has_slot() {
            return Err(if self.lane.has_failed() { Stop::Closed } else { Stop::Full });
        }
        Ok(Permit(status))
    }

    #[inline]
    fn has_slot(&mut self) -> bool {
        self.lane.free_slots() > 0 || self.lane.reclaim() > 0
    }

    #[inline]
    fn push(&mut self, permit: Permit, mode: Mode, head: &FrameHead, slice: PoolSlice) {
        let (status, vectors, sequence) = (permit.0, head.vectors, head.sequence);
        let (conn, received_ns) = (self.conn.id, self.received_ns);
        let request = Request { conn, sequence, vectors, status, mode, received_ns };
        if self.lane.push(slice, request).is_ok() {
            self.requests += 1;
            self.conn.in_flight += 1;
        }
        // Otherwise the lane was poisoned a moment ago, and the driver ends in its next round.
    }

    fn push_refusal(&mut self, permit: Permit, mode: Mode, sequence: u64) {
        let (status, conn, received_ns) = (permit.0, self.conn.id, self.received_ns);
        let request = Request { conn, sequence, vectors: 0, status, mode, received_ns };
        if self.lane.push_empty(request).is_ok() {
            self.requests += 1;
            match status {
                Status::Busy => self.conn.busy_in_flight += 1,
                _ => self.conn.in_flight += 1,
            }
        }
    }
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::NoRoom(refused)
    }
}
