//! The largest frame that a server accepts.

use std::fmt;

use super::Mode;
use super::layout::{F32_BYTES, PAYLOAD_BYTES_MAX, VECTORS_MAX};

/// The limits of a server: one dimension, and a number of vectors per frame.
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
    /// dim x max_vectors x 4 bytes are more than [`PAYLOAD_BYTES_MAX`].
    Payload(u64),
}

impl Limits {
    /// Refuses limits that the wire can't express; [`super::front`] stays safe without this call,
    /// but refuses frames that the operator believes legal.
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

    /// Bytes of the largest payload that [`super::front`] lets through.
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
                "dim x max-vectors x 4 is {bytes} bytes, the largest payload is {PAYLOAD_BYTES_MAX}: lower max-vectors"
            ),
        }
    }
}

impl std::error::Error for LimitsError {}
