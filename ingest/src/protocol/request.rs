//! Requests, as a client writes them.

use super::Mode;
use super::layout::{
    COUNT_HEADER_BYTES, FRAME_HEADER_BYTES, MAGIC, VECTORS_MAX, VERSION, put_f32s,
};

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

/// Appends only a request's header: the caller appends `count` rows of `dim` itself, which lie in
/// wire order somewhere.
///
/// # Panics
/// If `dim` or `count` doesn't fit the wire's u16, which [`super::Limits::check`] rules out.
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
