//! What one receive of a connection came to.

use rustix::time::{ClockId, clock_gettime};
use slipring::ring::Received;

use super::conn::{Arrival, Conn, Moved};
use super::counters::{Counter, Counters};
use super::pusher::{Parsed, Parser};
use crate::stage::ConnId;
use crate::wire::frames::Mode;

/// Bytes in the pool that arrived in one receive of a connection.
pub(super) struct PoolReceive {
    pub(super) id: ConnId,
    pub(super) bytes: Received,
    pub(super) arrival: Arrival,
}

/// What one receive of a connection came to, and what the driver has to do.
pub(super) enum IntakeStep {
    /// Nothing moved.
    Idle,
    /// No memory is left for its answers.
    NoOutput,
    /// Bytes moved: there may be more.
    Moved,
    /// What is left of a receive needs a carry buffer, and all are in use.
    NoCarry(PoolReceive),
    /// No more requests will come: the client has ended its stream, or framing is lost.
    Ended,
    /// The connection is gone.
    Gone,
    /// It belongs to that lane, with these bytes, which it begins with.
    Elsewhere(u32, Vec<u8>),
}

/// The length of the complete frames at the front of `bytes`, at most `frames_max` of them. All
/// bytes, if framing is lost among these frames.
pub(super) fn whole_bytes(
    parser: &Parser,
    mut mode: Option<Mode>,
    bytes: &[u8],
    frames_max: usize,
) -> usize {
    let mut at = 0;
    for _ in 0..frames_max {
        match parser.parse(&mut mode, &bytes[at..]) {
            Parsed::Request(head) => at += head.frame_bytes(),
            Parsed::Incomplete { .. } => break,
            Parsed::Broken(_) => return bytes.len(),
        }
    }
    at
}

/// Microseconds since 1970 in UTC.
pub(super) fn wall_clock_us() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// A connection that belongs to another lane, with what its carry buffer holds.
#[cold]
pub(super) fn elsewhere(lane: u32, conn: &Conn) -> IntakeStep {
    IntakeStep::Elsewhere(lane, conn.carry.as_ref().map_or_else(Vec::new, |carry| carry.to_vec()))
}

/// A receive that returned no bytes.
pub(super) fn no_bytes(conn: &mut Conn, moved: &Moved, counters: &mut Counters) -> IntakeStep {
    match moved {
        Moved::Gone => IntakeStep::Gone,
        Moved::End => {
            conn.at_end = true;
            counters.add(Counter::CutOff, u64::from(conn.carry.is_some()));
            IntakeStep::Ended
        }
        Moved::NotNow | Moved::Bytes(_) => IntakeStep::Idle,
    }
}
