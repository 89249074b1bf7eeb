//! Statuses: what became of a request, or of a hello.

use std::fmt;

/// The outcome that an answer carries. In count mode the client can only distinguish `Ok` from all
/// others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// The vectors are published in a lane; on a connection that asked for that, they are on the
    /// disk.
    #[default]
    Ok = 0,
    /// The request carried no vector.
    ZeroVectors = 1,
    /// More vectors than the server's `max-vectors` allows. Framing is lost.
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
    /// The connection has its limit of requests in flight; send again later. Header mode only.
    Busy = 8,
    /// The server is stopping and accepts no more requests.
    ShuttingDown = 9,
    /// The server has failed: a stage or the sink stopped.
    Failed = 10,
    /// A request before the connection's hello. Version 2 only, as all that follow.
    HelloMissing = 11,
    /// A frame that is neither a hello nor a request, or a second hello.
    BadKind = 12,
    /// The hello announces elements that this server doesn't store.
    WrongElementType = 13,
    /// The hello asks for an acknowledgement that this server doesn't give, or that nobody knows.
    NoSuchAck = 14,
    /// The hello carries a token, and this server knows none.
    NoSuchToken = 15,
    /// The hello names a producer, and this server knows none.
    NoSuchProducer = 16,
    /// Columns that this server doesn't have.
    NoSuchColumns = 17,
    /// The server stores an id for every vector, and the client sends none. In every mode.
    IdsMissing = 18,
    /// A reserved field isn't 0.
    ReservedNotZero = 19,
    /// The disk is full; send again later. In both header modes.
    NoSpace = 20,
    /// A repeated sequence that is too old for the server to know what became of it.
    UnknownProducer = 21,
}

impl Status {
    /// All of them, in the order of their numbers.
    pub const ALL: [Status; 22] = [
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
        Status::HelloMissing,
        Status::BadKind,
        Status::WrongElementType,
        Status::NoSuchAck,
        Status::NoSuchToken,
        Status::NoSuchProducer,
        Status::NoSuchColumns,
        Status::IdsMissing,
        Status::ReservedNotZero,
        Status::NoSpace,
        Status::UnknownProducer,
    ];

    /// The status with this number on the wire; None if the number is unknown.
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
            Status::HelloMissing => "hello-missing",
            Status::BadKind => "bad-kind",
            Status::WrongElementType => "wrong-element-type",
            Status::NoSuchAck => "no-such-ack",
            Status::NoSuchToken => "no-such-token",
            Status::NoSuchProducer => "no-such-producer",
            Status::NoSuchColumns => "no-such-columns",
            Status::IdsMissing => "ids-missing",
            Status::ReservedNotZero => "reserved-not-zero",
            Status::NoSpace => "no-space",
            Status::UnknownProducer => "unknown-producer",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
