//! The metadata of a slot: which connection sent the request, and what the parser found.

use crate::wire::frames::{AckLevel, Mode, Reply, Status};

/// A connection of a lane. A later connection with the same index has another generation, so an
/// answer never goes to the wrong connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnId {
    /// Its index in the lane's table.
    pub index: u32,
    /// How many connections have had that index before.
    pub generation: u32,
}

/// A request in a slot. A request that the parser refused has a slot too, without a payload, so
/// that answers keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The connection that sent it.
    pub conn: ConnId,
    /// The client's own number; 0 in count mode. Of a hello, its producer.
    pub sequence: u64,
    /// Vectors in the payload, after their ids if the server has a column for them.
    pub vectors: u32,
    /// `Ok`, or why the parser refused it.
    pub status: Status,
    /// The connection's mode.
    pub mode: Mode,
    /// What it is answered with; a hello has a slot too.
    pub reply: Reply,
    /// What its answer means; of a hello's own slot, what the connection's answers will mean.
    pub ack: AckLevel,
    /// The time of the receive that completed it, by the lane's clock.
    pub received_ns: u64,
    /// The same in microseconds since 1970 in UTC; 0 without a time column.
    pub time_us: i64,
}

/// What validate has decided about a request. It is small, because a lane has one per slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// With `Ok`, the lower half of the sequence in the lane of its first vector: what comes after
    /// counts rows too, and compares. With `NotFinite`, the first vector at fault, counted from 0
    /// in the request. Else 0.
    pub number: u32,
    /// The outcome.
    pub status: Status,
    /// With `Ok`, whether a producer repeats a request that was accepted before: its rows aren't
    /// stored again, and count nowhere.
    pub is_repeat: bool,
}

impl Verdict {
    /// A refusal, or the outcome of a frame without vectors.
    #[inline]
    pub(super) const fn of(status: Status) -> Self {
        Self { number: 0, status, is_repeat: false }
    }

    /// Vectors of the request that it is about which get rows.
    #[inline(always)]
    pub(super) const fn new_vectors(self, request: &Request) -> u32 {
        if matches!(self.status, Status::Ok) && !self.is_repeat { request.vectors } else { 0 }
    }
}

impl Default for Verdict {
    fn default() -> Self {
        Self::of(Status::Failed)
    }
}

impl Default for Request {
    fn default() -> Self {
        Self {
            conn: ConnId::default(),
            sequence: 0,
            vectors: 0,
            status: Status::Ok,
            mode: Mode::Count,
            reply: Reply::Scores,
            ack: AckLevel::Received,
            received_ns: 0,
            time_us: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lane has one per slot, and each passes through the caches.
    #[test]
    fn a_request_is_small() {
        assert_eq!(size_of::<Request>(), 40);
    }
}
