//! The outcome of a request.

use std::fmt;

/// The outcome that an answer carries. In count mode only `Ok` and "not `Ok`" reach the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// Received: the vectors are published in a lane.
    Ok = 0,
    /// The request carried no vector.
    ZeroVectors = 1,
    /// More vectors than the server's `max-vectors`. Framing is lost.
    TooManyVectors = 2,
    /// Another dimension than the server's. Framing is lost only if the payload is longer than a
    /// legal one.
    WrongDimension = 3,
    /// A component is NaN or infinite.
    NotFinite = 4,
    /// The frame doesn't start with "SR". Framing is lost.
    BadMagic = 5,
    /// A version that this server doesn't speak. Framing is lost.
    BadVersion = 6,
    /// A flag that this version doesn't know. Framing is lost.
    BadFlags = 7,
    /// The connection's own cap is reached; send again later. Header mode only.
    Busy = 8,
    /// The server drains and takes no more.
    ShuttingDown = 9,
    /// The server's own failure: a stage or the sink stopped.
    Failed = 10,
}

impl Status {
    /// All of them, in the order of their numbers.
    pub const ALL: [Status; 11] = [
        Status::Ok,
        Status::ZeroVectors,
        Status::TooManyVectors,
        Status::WrongDimension,
        Status::NotFinite,
        Status::BadMagic,
        Status::BadVersion,
        Status::BadFlags,
        Status::Busy,
        Status::ShuttingDown,
        Status::Failed,
    ];

    /// The status with this number on the wire, or None if no version has named it.
    pub fn from_wire(number: u8) -> Option<Status> {
        Status::ALL.get(usize::from(number)).copied()
    }

    /// A name for counters and reports: lower case, words joined by a hyphen.
    pub const fn label(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::ZeroVectors => "zero-vectors",
            Status::TooManyVectors => "too-many-vectors",
            Status::WrongDimension => "wrong-dimension",
            Status::NotFinite => "not-finite",
            Status::BadMagic => "bad-magic",
            Status::BadVersion => "bad-version",
            Status::BadFlags => "bad-flags",
            Status::Busy => "busy",
            Status::ShuttingDown => "shutting-down",
            Status::Failed => "failed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
