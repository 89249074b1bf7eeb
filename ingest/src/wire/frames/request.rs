//! Requests: [`front`] reads them for the server, [`encode_request`] writes them for a client.

use super::answer::Status;
use super::layout::{
    COUNT_HEADER_BYTES, DIM_AT, F32_BYTES, FLAGS_AT, FRAME_HEADER_BYTES, Limits, MAGIC, Mode, N_AT,
    SEQUENCE_AT, VECTORS_MAX, VERSION, VERSION_AT, put_f32s, u16_at, u32_at, u64_at,
};

/// The result of [`front`], for bytes that start on a frame boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Fewer bytes than a header.
    Partial,
    /// The header is complete; the payload may still be missing.
    Frame(FrameHead),
    /// Framing is lost: answer with this status and sequence 0, then close the connection.
    Broken(Status),
}

/// A frame's header, checked against the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes before the payload.
    pub header_bytes: u32,
    /// Bytes of the payload: at most [`Limits::payload_bytes_max`], and a multiple of 4.
    pub payload_bytes: u32,
    /// Vectors that the header announces.
    pub vectors: u32,
    /// The client's own number, returned in the answer; 0 in count mode.
    pub sequence: u64,
    /// If set, skip the payload and answer with this status; the connection continues.
    pub refusal: Option<Status>,
}

impl FrameHead {
    /// Bytes of the whole frame: header and payload.
    pub const fn frame_bytes(&self) -> usize {
        self.header_bytes as usize + self.payload_bytes as usize
    }
}

/// Reads the header at the front of `bytes` and nothing after it, so the cost doesn't depend on the
/// payload.
#[inline]
pub fn front(mode: Mode, bytes: &[u8], limits: &Limits) -> Front {
    match mode {
        Mode::Count => count_front(bytes, limits),
        Mode::Header => header_front(bytes, limits),
    }
}

#[inline]
fn count_front(bytes: &[u8], limits: &Limits) -> Front {
    if bytes.len() < COUNT_HEADER_BYTES {
        return Front::Partial;
    }
    let vectors = u32_at(bytes, 0);
    let payload_bytes =
        (u64::from(vectors) * u64::from(limits.dim)).saturating_mul(F32_BYTES as u64);
    if vectors > limits.max_vectors || payload_bytes > limits.payload_bytes_max() {
        return Front::Broken(Status::TooManyVectors);
    }
    Front::Frame(FrameHead {
        header_bytes: COUNT_HEADER_BYTES as u32,
        payload_bytes: payload_bytes as u32,
        vectors,
        sequence: 0,
        refusal: (vectors == 0).then_some(Status::ZeroVectors),
    })
}

fn header_front(bytes: &[u8], limits: &Limits) -> Front {
    if bytes.len() < FRAME_HEADER_BYTES {
        return Front::Partial;
    }
    if bytes[..MAGIC.len()] != MAGIC {
        return Front::Broken(Status::BadMagic);
    }
    if bytes[VERSION_AT] != VERSION {
        return Front::Broken(Status::BadVersion);
    }
    if bytes[FLAGS_AT] != 0 {
        return Front::Broken(Status::BadFlags);
    }
    let vectors = u32::from(u16_at(bytes, N_AT));
    let dim = u32::from(u16_at(bytes, DIM_AT));
    let payload_bytes = u64::from(vectors) * u64::from(dim) * F32_BYTES as u64;
    // Zero vectors are checked first: they have no dimension that could be wrong. The dimension is
    // checked before the count, because a wrong dimension is a likely cause of a wrong count.
    let refusal = if vectors == 0 {
        Some(Status::ZeroVectors)
    } else if dim != limits.dim {
        Some(Status::WrongDimension)
    } else if vectors > limits.max_vectors {
        Some(Status::TooManyVectors)
    } else {
        None
    };
    // A payload up to the largest legal one can be skipped. A longer one could block the connection
    // forever.
    if payload_bytes > limits.payload_bytes_max() {
        return Front::Broken(refusal.unwrap_or(Status::TooManyVectors));
    }
    Front::Frame(FrameHead {
        header_bytes: FRAME_HEADER_BYTES as u32,
        payload_bytes: payload_bytes as u32,
        vectors,
        sequence: u64_at(bytes, SEQUENCE_AT),
        refusal,
    })
}

/// Appends one request with all of `vectors` (rows of `dim`) to `out`. Count mode ignores
/// `sequence`.
///
/// # Panics
/// If `dim` is 0 or above 65535, if `vectors` isn't whole rows of it, or if there are more rows
/// than 65535: the frame can't be expressed.
pub fn encode_request(mode: Mode, dim: u32, sequence: u64, vectors: &[f32], out: &mut Vec<u8>) {
    assert!(dim > 0 && dim <= u32::from(u16::MAX), "dim is {dim}, must be 1 to 65535");
    assert!(
        vectors.len().is_multiple_of(dim as usize),
        "{} components aren't rows of {dim}",
        vectors.len()
    );
    let count = vectors.len() / dim as usize;
    assert!(count <= VECTORS_MAX as usize, "{count} vectors don't fit one frame");
    encode_request_head(mode, dim, sequence, count as u32, out);
    put_f32s(vectors, out);
}

/// Appends only the header of a request. The caller appends the `count` rows of `dim` components
/// itself, from memory that already holds them in wire order.
///
/// # Panics
/// If `dim` or `count` doesn't fit the wire's u16, which [`Limits::check`] rules out.
pub(crate) fn encode_request_head(
    mode: Mode,
    dim: u32,
    sequence: u64,
    count: u32,
    out: &mut Vec<u8>,
) {
    assert!(
        dim <= u32::from(u16::MAX) && count <= VECTORS_MAX,
        "{count} vectors of {dim} don't fit one frame"
    );
    match mode {
        Mode::Count => {
            out.reserve(COUNT_HEADER_BYTES);
            out.extend_from_slice(&count.to_le_bytes());
        }
        Mode::Header => {
            out.reserve(FRAME_HEADER_BYTES);
            out.extend_from_slice(&MAGIC);
            out.extend_from_slice(&[VERSION, 0]);
            out.extend_from_slice(&(count as u16).to_le_bytes());
            out.extend_from_slice(&(dim as u16).to_le_bytes());
            out.extend_from_slice(&sequence.to_le_bytes());
        }
    }
}
