//! `.fvecs` images: each row is its dimension as a little-endian u32, then its components as f32.

use super::FileError;

/// Bytes of the dimension before each row's components.
pub(crate) const DIM_BYTES: usize = 4;

/// The dimension, which every row has: then [`rows`] are whole. An image without a byte has no
/// dimension.
pub(crate) fn parse(bytes: &[u8]) -> Result<u32, FileError> {
    let Some((first, _)) = bytes.split_first_chunk::<DIM_BYTES>() else {
        return Err(FileError::Empty);
    };
    let dim = u32::from_le_bytes(*first);
    if !(bytes.len() as u64).is_multiple_of(row_bytes(dim)) {
        return Err(FileError::FvecsSize { dim, bytes: bytes.len() as u64 });
    }
    for (row, piece) in bytes.chunks_exact(row_bytes(dim) as usize).enumerate() {
        if !piece.starts_with(first) {
            let found = u32::from_le_bytes([piece[0], piece[1], piece[2], piece[3]]);
            return Err(FileError::FvecsRow { row: row as u64, found, dim });
        }
    }
    Ok(dim)
}

/// The components of each row of an image that [`parse`] has found good.
pub(super) fn rows(bytes: &[u8], dim: u32) -> impl Iterator<Item = &[u8]> {
    bytes.chunks_exact(row_bytes(dim) as usize).map(|piece| &piece[DIM_BYTES..])
}

fn row_bytes(dim: u32) -> u64 {
    DIM_BYTES as u64 + u64::from(dim) * 4
}
