//! `.fvecs` images: each row is its dimension as a little-endian u32, then its components as f32.

use super::FileError;

/// The dimension and the components without the dimensions between them.
pub(super) fn parse(bytes: &[u8]) -> Result<(u64, Vec<u8>), FileError> {
    let Some((first, _)) = bytes.split_first_chunk::<4>() else { return Err(FileError::Empty) };
    let dim = u32::from_le_bytes(*first);
    let row_bytes = u64::from(dim) * 4 + 4;
    if !(bytes.len() as u64).is_multiple_of(row_bytes) {
        return Err(FileError::FvecsSize { dim, bytes: bytes.len() as u64 });
    }
    let mut components = Vec::with_capacity(bytes.len());
    for (row, piece) in bytes.chunks_exact(row_bytes as usize).enumerate() {
        let (found, payload) = piece.split_at(4);
        if found != first {
            let found = u32::from_le_bytes([found[0], found[1], found[2], found[3]]);
            return Err(FileError::FvecsRow { row: row as u64, found, dim });
        }
        components.extend_from_slice(payload);
    }
    Ok((u64::from(dim), components))
}
