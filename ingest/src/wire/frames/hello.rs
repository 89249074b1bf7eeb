//! The hello of a connection in header mode, and its answer: what the client will send, and what
//! the server is. The server reads a hello with [`front`](super::front), as any other frame.
//!
//! ```text
//!   byte 0     2         3      4            8         9         10        12       14  16           24
//!        ┌─────┬─────────┬──────┬────────────┬─────────┬─────────┬─────────┬────────┬───┬────────────┬───────┐
//! hello  │"SR" │ version │ kind │ dim u32    │ element │ ack     │columns 0│token n │ 0 │producer u64│ token │
//!        ├─────┼─────────┼──────┼────────┬───┴──┬──────┼─────────┴─────────┼────────┼───┴──┬─────────┼───────┘
//! answer │"SR" │ version │ kind │st. col.│ lane │ dim  │ max vectors u32   │in fl.  │el.ack│ 0 u32   │
//!        └─────┴─────────┴──────┴────────┴──────┴──────┴───────────────────┴────────┴──────┴─────────┘
//!   byte 0     2         3      4  5     6      8      12                  16       18  19  20        24
//! ```

use super::answer::AnswerError;
use super::layout::{
    KIND_AT, KIND_HELLO, Limits, MAGIC, REQUEST_HEADER_BYTES, STATUS_AT, VERSION, VERSION_AT,
    WireColumns, u16_at, u32_at, u64_at,
};
use super::status::Status;

/// Bytes of a hello's answer.
pub const HELLO_ANSWER_BYTES: usize = 24;

/// Offsets in a hello.
pub(super) mod hello_at {
    pub(in super::super) const DIM: usize = 4;
    pub(in super::super) const ELEMENT_TYPE: usize = 8;
    pub(in super::super) const ACK_LEVEL: usize = 9;
    pub(in super::super) const COLUMNS: usize = 10;
    pub(in super::super) const RESERVED: usize = 11;
    pub(in super::super) const TOKEN_BYTES: usize = 12;
    pub(in super::super) const RESERVED_2: usize = 14;
    pub(in super::super) const PRODUCER: usize = 16;
}

/// Offsets in a hello's answer, besides the status.
pub(super) mod hello_answer_at {
    pub(in super::super) const COLUMNS: usize = 5;
    pub(in super::super) const LANE: usize = 6;
    pub(in super::super) const DIM: usize = 8;
    pub(in super::super) const MAX_VECTORS: usize = 12;
    pub(in super::super) const IN_FLIGHT: usize = 16;
    pub(in super::super) const ELEMENT_TYPE: usize = 18;
    pub(in super::super) const ACK_LEVEL: usize = 19;
    pub(in super::super) const RESERVED: usize = 20;
}

/// f32, the only element type that there is.
const ELEMENT_F32: u8 = 0;
/// The bits of columns.
const COLUMN_ID: u8 = 1;
const COLUMN_TIME: u8 = 2;

/// What an answer means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum AckLevel {
    /// The vectors are published in a lane.
    #[default]
    Received = 0,
    /// The vectors are on the disk.
    Stored = 1,
}

impl AckLevel {
    /// The level with this number on the wire; None if the number is unknown.
    pub const fn from_wire(number: u8) -> Option<AckLevel> {
        match number {
            0 => Some(AckLevel::Received),
            1 => Some(AckLevel::Stored),
            _ => None,
        }
    }

    /// The name that options and reports have for it.
    pub const fn label(self) -> &'static str {
        match self {
            AckLevel::Received => "received",
            AckLevel::Stored => "stored",
        }
    }
}

/// What a client says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Components of every vector.
    pub dim: u32,
    /// Whether every request will carry an id for each vector.
    pub ids: bool,
    /// What the answers to its requests are to mean.
    pub ack: AckLevel,
    /// The producer that the client is, which makes its sequences known to the server; 0: none.
    pub producer: u64,
}

impl Hello {
    /// A hello that asks for nothing special: vectors without ids, answers that mean received, and
    /// no producer.
    pub const fn new(dim: u32) -> Hello {
        Hello { dim, ids: false, ack: AckLevel::Received, producer: 0 }
    }
}

/// What a server says of itself, whether it accepts the hello or refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloAnswer {
    /// `Ok`, or the field of the hello that is refused.
    pub status: Status,
    /// The server's dimension, most vectors in a request, and columns.
    pub limits: Limits,
    /// The lane that serves the connection.
    pub lane: u16,
    /// Requests that the connection may have in flight; 65535 if there may be more.
    pub in_flight_max: u16,
    /// What the answers on this connection mean.
    pub ack: AckLevel,
}

/// The first field that this server refuses. A refused hello ends the connection, so its token is
/// never waited for.
pub(super) fn hello_refusal(bytes: &[u8], limits: &Limits) -> Option<Status> {
    let columns = bytes[hello_at::COLUMNS];
    let reserved = u16::from(bytes[hello_at::RESERVED]) | u16_at(bytes, hello_at::RESERVED_2);
    if u32_at(bytes, hello_at::DIM) != limits.dim {
        Some(Status::WrongDimension)
    } else if bytes[hello_at::ELEMENT_TYPE] != ELEMENT_F32 {
        Some(Status::WrongElementType)
    } else if !is_given(bytes[hello_at::ACK_LEVEL], limits) {
        Some(Status::NoSuchAck)
    } else if columns & !COLUMN_ID != 0 || (columns == COLUMN_ID && !limits.columns.id) {
        Some(Status::NoSuchColumns)
    } else if columns == 0 && limits.columns.id {
        Some(Status::IdsMissing)
    } else if u16_at(bytes, hello_at::TOKEN_BYTES) != 0 {
        Some(Status::NoSuchToken)
    } else if producer_of(bytes) != 0 && !limits.has_producers {
        Some(Status::NoSuchProducer)
    } else if reserved != 0 {
        Some(Status::ReservedNotZero)
    } else {
        None
    }
}

/// The producer that a hello names; 0 if it names none.
pub(super) fn producer_of(bytes: &[u8]) -> u64 {
    u64_at(bytes, hello_at::PRODUCER)
}

/// Whether the server gives the acknowledgement with this number.
fn is_given(ack: u8, limits: &Limits) -> bool {
    AckLevel::from_wire(ack).is_some_and(|ack| ack == AckLevel::Received || limits.has_log)
}

/// The hello at the front of `bytes`, which [`front`](super::front) has read and not refused.
pub fn decode_hello(bytes: &[u8; REQUEST_HEADER_BYTES]) -> Hello {
    Hello {
        dim: u32_at(bytes, hello_at::DIM),
        ids: bytes[hello_at::COLUMNS] & COLUMN_ID != 0,
        ack: AckLevel::from_wire(bytes[hello_at::ACK_LEVEL]).unwrap_or_default(),
        producer: producer_of(bytes),
    }
}

/// Appends a hello to `out`.
pub fn encode_hello(hello: &Hello, out: &mut Vec<u8>) {
    let mut bytes = [0; REQUEST_HEADER_BYTES];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    (bytes[VERSION_AT], bytes[KIND_AT]) = (VERSION, KIND_HELLO);
    bytes[hello_at::DIM..hello_at::ELEMENT_TYPE].copy_from_slice(&hello.dim.to_le_bytes());
    bytes[hello_at::ACK_LEVEL] = hello.ack as u8;
    bytes[hello_at::COLUMNS] = u8::from(hello.ids) * COLUMN_ID;
    bytes[hello_at::PRODUCER..].copy_from_slice(&hello.producer.to_le_bytes());
    out.extend_from_slice(&bytes);
}

/// The bytes of a hello's answer.
pub fn hello_answer(answer: &HelloAnswer) -> [u8; HELLO_ANSWER_BYTES] {
    let HelloAnswer { status, limits, lane, in_flight_max, ack } = *answer;
    let mut bytes = [0; HELLO_ANSWER_BYTES];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    (bytes[VERSION_AT], bytes[KIND_AT], bytes[STATUS_AT]) = (VERSION, KIND_HELLO, status as u8);
    let WireColumns { id, time } = limits.columns;
    bytes[hello_answer_at::COLUMNS] = (u8::from(id) * COLUMN_ID) | (u8::from(time) * COLUMN_TIME);
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(hello_answer_at::LANE, &lane.to_le_bytes());
    put(hello_answer_at::DIM, &limits.dim.to_le_bytes());
    put(hello_answer_at::MAX_VECTORS, &limits.max_vectors.to_le_bytes());
    put(hello_answer_at::IN_FLIGHT, &in_flight_max.to_le_bytes());
    put(hello_answer_at::ELEMENT_TYPE, &[ELEMENT_F32]);
    put(hello_answer_at::ACK_LEVEL, &[ack as u8]);
    bytes
}

/// Reads the hello's answer at the front of `bytes`; None if it isn't complete yet.
///
/// # Errors
/// Bytes that are another server's, the answer to a hello that this server couldn't read, or a
/// hello that is accepted for something that this build can't read.
pub fn decode_hello_answer(bytes: &[u8]) -> Result<Option<HelloAnswer>, AnswerError> {
    // Older servers answer with a shorter header and close.
    if bytes.len() <= STATUS_AT {
        return Ok(None);
    }
    if bytes[..MAGIC.len()] != MAGIC {
        return Err(AnswerError::Magic([bytes[0], bytes[1]]));
    }
    if bytes[VERSION_AT] != VERSION {
        return Err(AnswerError::Version { got: bytes[VERSION_AT], reads: VERSION });
    }
    let number = bytes[STATUS_AT];
    let status = Status::from_wire(number).ok_or(AnswerError::Status(number))?;
    if bytes[KIND_AT] != KIND_HELLO {
        return Err(AnswerError::NoHello(status));
    }
    if bytes.len() < HELLO_ANSWER_BYTES {
        return Ok(None);
    }
    if status == Status::Ok {
        check_accepted(bytes)?;
    }
    let columns = bytes[hello_answer_at::COLUMNS];
    Ok(Some(HelloAnswer {
        status,
        limits: Limits {
            dim: u32_at(bytes, hello_answer_at::DIM),
            max_vectors: u32_at(bytes, hello_answer_at::MAX_VECTORS),
            columns: WireColumns { id: columns & COLUMN_ID != 0, time: columns & COLUMN_TIME != 0 },
            has_log: false,
            has_producers: false,
        },
        lane: u16_at(bytes, hello_answer_at::LANE),
        in_flight_max: u16_at(bytes, hello_answer_at::IN_FLIGHT),
        ack: AckLevel::from_wire(bytes[hello_answer_at::ACK_LEVEL]).unwrap_or_default(),
    }))
}

/// Refuses an answer that accepts a hello and means something that this build doesn't know.
fn check_accepted(bytes: &[u8]) -> Result<(), AnswerError> {
    let (columns, ack) = (bytes[hello_answer_at::COLUMNS], bytes[hello_answer_at::ACK_LEVEL]);
    let one = |field, at: usize, known: u8| (field, u32::from(bytes[at]), u32::from(known));
    let fields = [
        ("columns", columns.into(), (columns & (COLUMN_ID | COLUMN_TIME)).into()),
        one("element type", hello_answer_at::ELEMENT_TYPE, ELEMENT_F32),
        one("ack level", hello_answer_at::ACK_LEVEL, ack.min(AckLevel::Stored as u8)),
        ("reserved", u32_at(bytes, hello_answer_at::RESERVED), 0),
    ];
    match fields.into_iter().find(|(_, got, known)| got != known) {
        Some((field, got, known)) => Err(AnswerError::HelloField { field, got, known }),
        None => Ok(()),
    }
}
