//! The layout of frames: every offset and size, the two modes, and the limits of a server. All
//! integers and floats are little-endian.
//!
//! ```text
//! count mode                      request                              answer
//!   byte 0        4                                      byte 0        4
//!        ┌────────┬──────────────────────┐                    ┌────────┬─────────────────┐
//!        │ n  u32 │ n x dim f32          │                    │ n  u32 │ n scores f32    │
//!        └────────┴──────────────────────┘                    └────────┴─────────────────┘
//!
//! header mode
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

/// Bytes of a header-mode header, in both directions.
pub const FRAME_HEADER_BYTES: usize = 16;

/// Bytes of one f32.
pub(super) const F32_BYTES: usize = 4;

/// The first two bytes of every header-mode frame.
pub(super) const MAGIC: [u8; 2] = *b"SR";

/// The version of header mode that this build speaks.
pub const VERSION: u8 = 1;

/// Most vectors in one frame. The upper half of a count is therefore zero, which distinguishes
/// count mode from everything else.
pub const VECTORS_MAX: u32 = u16::MAX as u32;

/// Most payload bytes of one frame, even if the limits allow more: 256 MiB, so that every length
/// fits a u32.
pub const PAYLOAD_BYTES_MAX: u64 = 256 << 20;

pub(super) const VERSION_AT: usize = 2;
/// Flags of a request, status of an answer.
pub(super) const FLAGS_AT: usize = 3;
pub(super) const STATUS_AT: usize = 3;
pub(super) const N_AT: usize = 4;
/// Dimension of a request, credits of an answer.
pub(super) const DIM_AT: usize = 6;
pub(super) const CREDITS_AT: usize = 6;
pub(super) const SEQUENCE_AT: usize = 8;

/// The u16 at `at`; the caller has checked that the header is whole.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The u32 at `at`; the caller has checked that the header is whole.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The u64 at `at`; the caller has checked that the header is whole.
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

/// The two formats of frames. The first four bytes of a connection choose one for all its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A u32 count before the vectors, and before the scores.
    Count,
    /// A 16-byte header with magic, version, dimension, sequence, and in answers status and
    /// credits.
    Header,
}

impl Mode {
    /// Bytes of this mode's header, in both directions.
    pub const fn header_bytes(self) -> usize {
        match self {
            Mode::Count => COUNT_HEADER_BYTES,
            Mode::Header => FRAME_HEADER_BYTES,
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
/// are zero, which no text protocol sends. A wrong version is still header mode, so that
/// [`front`](super::front) can answer `BadVersion`.
pub fn detect(bytes: &[u8]) -> Detected {
    let [first, second, third, fourth, ..] = *bytes else { return Detected::Need };
    if third == 0 && fourth == 0 {
        Detected::Mode(Mode::Count)
    } else if [first, second] == MAGIC {
        Detected::Mode(Mode::Header)
    } else {
        Detected::Unknown
    }
}

/// The limits of a server: its one dimension, and the most vectors per frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Components of every vector: 1 to 65535.
    pub dim: u32,
    /// Most vectors in one frame: 1 to 65535.
    pub max_vectors: u32,
}

/// Limits that a server can't start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitsError {
    /// The dimension is 0 or doesn't fit the wire's u16.
    Dim(u32),
    /// The vector count is 0 or doesn't fit the wire's u16.
    MaxVectors(u32),
    /// dim x max_vectors x 4 bytes exceed [`PAYLOAD_BYTES_MAX`]. Holds the bytes.
    Payload(u64),
}

impl Limits {
    /// Refuses limits that the wire can't express. Without this call [`front`](super::front) stays
    /// safe, but refuses frames that the operator believes legal.
    pub fn check(&self) -> Result<(), LimitsError> {
        if self.dim == 0 || self.dim > u32::from(u16::MAX) {
            return Err(LimitsError::Dim(self.dim));
        }
        if self.max_vectors == 0 || self.max_vectors > VECTORS_MAX {
            return Err(LimitsError::MaxVectors(self.max_vectors));
        }
        let payload_bytes = u64::from(self.dim) * u64::from(self.max_vectors) * F32_BYTES as u64;
        if payload_bytes > PAYLOAD_BYTES_MAX {
            Err(LimitsError::Payload(payload_bytes))
        } else {
            Ok(())
        }
    }

    /// Bytes of the largest payload that [`front`](super::front) lets through.
    pub fn payload_bytes_max(&self) -> u64 {
        let vectors = u64::from(self.max_vectors.min(VECTORS_MAX));
        (u64::from(self.dim) * vectors).saturating_mul(F32_BYTES as u64).min(PAYLOAD_BYTES_MAX)
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
                allowed: lower one of them",
                RoundedSize(*bytes),
                RoundedSize(PAYLOAD_BYTES_MAX)
            ),
        }
    }
}

impl std::error::Error for LimitsError {}
