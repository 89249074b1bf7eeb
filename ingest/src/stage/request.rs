//! The metadata of a slot: which connection sent the request, and what the parser found.

use crate::wire::frames::{Mode, Status};

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
