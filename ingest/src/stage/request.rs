//! What a slot carries besides its payload: who sent the request, and what the parser found.

use crate::wire::frames::{Mode, Status};

/// A connection of a lane. A connection that reuses a place has another generation, so an answer
/// never goes to a later connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnId {
    /// Its place in the lane's table.
    pub index: u32,
    /// How often that place was taken before.
    pub generation: u32,
}

/// A request in a slot. Refusals found by the parser take a slot too, without a payload, so answers
/// keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The connection that sent it.
    pub conn: ConnId,
    /// The client's own number; 0 in count mode.
    pub sequence: u64,
    /// Vectors in the payload.
    pub vectors: u32,
    /// `Ok`, or why the parser refused it.
    pub status: Status,
    /// The connection's mode.
    pub mode: Mode,
    /// The time of the receive that completed it, by the lane's clock.
    pub received_ns: u64,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            conn: ConnId::default(),
            sequence: 0,
            vectors: 0,
            status: Status::Ok,
            mode: Mode::Count,
            received_ns: 0,
        }
    }
}
