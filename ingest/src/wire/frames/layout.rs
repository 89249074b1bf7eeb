//! The layout of frames: every offset and size, the modes, and the limits of a server. All integers
//! and floats are little-endian. `hello.rs` has the layout of a hello and of its answer.
//!
//! ```text
//! count mode                      request                              answer
//!   byte 0        4                                      byte 0        4
//!        ┌────────┬──────────────────────┐                    ┌────────┬─────────────────┐
//!        │ n  u32 │ n x dim f32          │                    │ n  u32 │ n scores f32    │
//!        └────────┴──────────────────────┘                    └────────┴─────────────────┘
//!
//! header mode
//!   byte 0     2         3      4       6       8        10     12       16           24
//!        ┌─────┬─────────┬──────┬───────┬───────┬───────────────┬────────┬────────────┬─────────┐
//! request│"SR" │ version │ kind │flags  │ n u16 │ dim u32       │ 0      │sequence u64│ ids, f32│
//!        ├─────┼─────────┼──────┼───┬───┼───────┼────────┬──────┼────────┼────────────┼─────────┴──┬───────────────┐
//! answer │"SR" │ version │ kind │st.│fl.│ n u16 │credits │ lane │ detail │sequence u64│first row 64│ stored 64, f32│
//!        └─────┴─────────┴──────┴───┴───┴───────┴────────┴──────┴────────┴────────────┴────────────┴───────────────┘
//!
//! header mode, version 1
//!   byte 0     2         3        4       6        8              16
//!        ┌─────┬─────────┬────────┬───────┬────────┬──────────────┬──────────────────────┐
//! request│"SR" │ version │ flags  │ n u16 │dim u16 │ sequence u64 │ n x dim f32          │
//!        ├─────┼─────────┼────────┼───────┼────────┼──────────────┼──────────────────────┤
//! answer │"SR" │ version │ status │ n u16 │credits │ sequence u64 │ n scores f32         │
//!        └─────┴─────────┴────────┴───────┴────────┴──────────────┴──────────────────────┘
//! ```

use std::fmt;

use crate::units::RoundedSize;

/// Bytes of a count-mode header, in both directions.
pub const COUNT_HEADER_BYTES: usize = 4;

/// Bytes of a header of header mode's version 1, in both directions.
pub const HEADER1_BYTES: usize = 16;

/// Bytes of a request's header in header mode, of a hello without its token, and of its answer.
pub const REQUEST_HEADER_BYTES: usize = 24;

/// Bytes of an answer's header in header mode.
pub const ANSWER_HEADER_BYTES: usize = 40;

/// Bytes of an id.
pub const ID_BYTES: usize = 8;

/// Bytes of one f32.
pub(super) const F32_BYTES: usize = 4;

/// The first two bytes of every header-mode frame.
pub(super) const MAGIC: [u8; 2] = *b"SR";

/// The version of [`Mode::Header`].
pub const VERSION: u8 = 2;

/// The version of [`Mode::Header1`].
pub const VERSION1: u8 = 1;

/// The kind of a hello and of its answer.
pub(super) const KIND_HELLO: u8 = 1;
/// The kind of a request and of its answer.
pub(super) const KIND_REQUEST: u8 = 2;
/// The kind of a watermark, which is no answer.
pub(super) const KIND_WATERMARK: u8 = 3;
/// The bit of a request's flags that says that ids precede the vectors.
pub(super) const FLAG_IDS: u16 = 1;
/// The bit of a request's flags that asks for scores.
pub(super) const FLAG_SCORES: u16 = 2;
/// The bit of an answer's flags that says that scores follow.
pub(super) const FLAG_SCORES_FOLLOW: u8 = 1;

/// Most vectors in one frame. The upper half of a count is therefore zero, which distinguishes
/// count mode from everything else.
pub const VECTORS_MAX: u32 = u16::MAX as u32;

/// Most payload bytes of one frame, even if the limits allow more: 256 MiB, so that every length
/// fits a u32.
pub const PAYLOAD_BYTES_MAX: u64 = 256 << 20;

/// In every header.
pub(super) const VERSION_AT: usize = 2;
/// In every header but those of version 1.
pub(super) const KIND_AT: usize = 3;
/// In every answer but those of version 1, also in a hello's.
pub(super) const STATUS_AT: usize = 4;

/// Offsets in a request.
pub(super) mod request_at {
    pub(in super::super) const FLAGS: usize = 4;
    pub(in super::super) const N: usize = 6;
    pub(in super::super) const DIM: usize = 8;
    pub(in super::super) const RESERVED: usize = 12;
    pub(in super::super) const SEQUENCE: usize = 16;
}

/// Offsets in an answer, besides [`STATUS_AT`].
pub(super) mod answer_at {
    pub(in super::super) const FLAGS: usize = 5;
    pub(in super::super) const N: usize = 6;
    pub(in super::super) const CREDITS: usize = 8;
    pub(in super::super) const LANE: usize = 10;
    pub(in super::super) const DETAIL: usize = 12;
    pub(in super::super) const SEQUENCE: usize = 16;
    pub(in super::super) const FIRST_ROW: usize = 24;
    pub(in super::super) const STORED_THROUGH: usize = 32;
}

/// Offsets in both frames of version 1.
pub(super) mod header1_at {
    /// Flags of a request, status of an answer.
    pub(in super::super) const FLAGS: usize = 3;
    pub(in super::super) const STATUS: usize = 3;
    pub(in super::super) const N: usize = 4;
    /// Dimension of a request, credits of an answer.
    pub(in super::super) const DIM: usize = 6;
    pub(in super::super) const CREDITS: usize = 6;
    pub(in super::super) const SEQUENCE: usize = 8;
}

/// The u16 at `at`; the caller has checked that the header is whole.
#[inline(always)]
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The u32 at `at`; the caller has checked that the header is whole.
#[inline(always)]
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The u64 at `at`; the caller has checked that the header is whole.
#[inline(always)]
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Appends `values` in wire order.
pub(super) fn put_f32s(values: &[f32], out: &mut Vec<u8>) {
    out.reserve(values.len() * F32_BYTES);
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// The formats of frames. The first four bytes of a connection choose one for all its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A u32 count before the vectors, and before the scores.
    Count,
    /// Header mode, version 1: a 16-byte header with dimension and sequence, and in answers status
    /// and credits.
    Header1,
    /// Header mode, version 2: a hello first, then requests with or without ids, whose answers say
    /// where the vectors are. Its headers are the largest.
    Header,
}

impl Mode {
    /// The name that options and reports have for it.
    pub const fn label(self) -> &'static str {
        match self {
            Mode::Count => "count",
            Mode::Header1 => "header1",
            Mode::Header => "header",
        }
    }

    /// Bytes of a request's header.
    pub const fn header_bytes(self) -> usize {
        match self {
            Mode::Count => COUNT_HEADER_BYTES,
            Mode::Header1 => HEADER1_BYTES,
            Mode::Header => REQUEST_HEADER_BYTES,
        }
    }

    /// Bytes of an answer's header.
    pub const fn answer_header_bytes(self) -> usize {
        match self {
            Mode::Count => COUNT_HEADER_BYTES,
            Mode::Header1 => HEADER1_BYTES,
            Mode::Header => ANSWER_HEADER_BYTES,
        }
    }
}

/// The mode that the first bytes of a connection choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// Fewer than four bytes: call again with more.
    Need,
    /// Frames of this mode.
    Mode(Mode),
    /// Another protocol (RESP or HTTP, for example). Close the connection, or pass it to a handler
    /// of that protocol.
    Unknown,
}

/// Distinguishes the modes by the first four bytes. A count is at most 65535, so its bytes 2 and 3
/// are zero, which no text protocol sends. An unknown version counts as version 1, so that
/// [`front`](super::front) can answer `BadVersion` in a header that every client has known.
pub fn detect(bytes: &[u8]) -> Detected {
    let [first, second, third, fourth, ..] = *bytes else { return Detected::Need };
    if third == 0 && fourth == 0 {
        Detected::Mode(Mode::Count)
    } else if [first, second] == MAGIC {
        Detected::Mode(if third == VERSION { Mode::Header } else { Mode::Header1 })
    } else {
        Detected::Unknown
    }
}

/// The columns of a server's segments that clients have to know of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireColumns {
    /// Every vector has an id, which its client sends.
    pub id: bool,
    /// Every vector has the time of its arrival.
    pub time: bool,
}

/// The limits of a server: its one dimension, the most vectors per frame, and its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Components of every vector: 1 to 65535.
    pub dim: u32,
    /// Most vectors in one frame: 1 to 65535.
    pub max_vectors: u32,
    /// The server's columns.
    pub columns: WireColumns,
    /// Whether the server has a log, so that an answer can mean stored. Only a server knows: a
    /// hello's answer doesn't say it.
    pub has_log: bool,
    /// Whether the server knows producers. Only a server knows this, too.
    pub has_producers: bool,
}

/// Limits that a server can't start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitsError {
    /// The dimension is 0 or doesn't fit the wire's u16.
    Dim(u32),
    /// The vector count is 0 or doesn't fit the wire's u16.
    MaxVectors(u32),
    /// max_vectors vectors of dim x 4 bytes, and their ids if there are any, exceed
    /// [`PAYLOAD_BYTES_MAX`]. Holds the bytes.
    Payload(u64),
}

impl Limits {
    /// Limits of a server without a log, and without columns that clients have to know of.
    pub const fn new(dim: u32, max_vectors: u32) -> Limits {
        let columns = WireColumns { id: false, time: false };
        Limits { dim, max_vectors, columns, has_log: false, has_producers: false }
    }

    /// Bytes of the ids of `vectors` vectors.
    pub const fn id_bytes(&self, vectors: u32) -> usize {
        if self.columns.id { vectors as usize * ID_BYTES } else { 0 }
    }

    /// Refuses limits that the wire can't express. Without this call [`front`](super::front) stays
    /// safe, but refuses frames that the operator believes legal.
    pub fn check(&self) -> Result<(), LimitsError> {
        if self.dim == 0 || self.dim > u32::from(u16::MAX) {
            return Err(LimitsError::Dim(self.dim));
        }
        if self.max_vectors == 0 || self.max_vectors > VECTORS_MAX {
            return Err(LimitsError::MaxVectors(self.max_vectors));
        }
        let payload_bytes = u64::from(self.dim) * u64::from(self.max_vectors) * F32_BYTES as u64
            + self.id_bytes(self.max_vectors) as u64;
        if payload_bytes > PAYLOAD_BYTES_MAX {
            Err(LimitsError::Payload(payload_bytes))
        } else {
            Ok(())
        }
    }

    /// Bytes of the largest payload that [`front`](super::front) lets through.
    pub fn payload_bytes_max(&self) -> u64 {
        let vectors = u64::from(self.max_vectors.min(VECTORS_MAX));
        (u64::from(self.dim) * vectors)
            .saturating_mul(F32_BYTES as u64)
            .saturating_add(self.id_bytes(vectors as u32) as u64)
            .min(PAYLOAD_BYTES_MAX)
    }

    /// Bytes of the largest frame of `mode`: its header and [`Self::payload_bytes_max`].
    pub fn frame_bytes_max(&self, mode: Mode) -> usize {
        mode.header_bytes() + self.payload_bytes_max() as usize
    }
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitsError::Dim(dim) => write!(f, "dim is {dim}, must be 1 to 65535"),
            LimitsError::MaxVectors(vectors) => {
                write!(f, "max-vectors is {vectors}, must be 1 to {VECTORS_MAX}")
            }
            LimitsError::Payload(bytes) => write!(
                f,
                "a request of max-vectors vectors of dim components has {}, at most {} are \
                allowed: lower max-vectors",
                RoundedSize(*bytes),
                RoundedSize(PAYLOAD_BYTES_MAX)
            ),
        }
    }
}

impl std::error::Error for LimitsError {}
