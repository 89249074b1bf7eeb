//! `.fvecs` images: each row is its dimension as a little-endian u32, then its components as f32.

/// Bytes of the dimension before the components of each row.
pub(super) const DIM_BYTES: usize = 4;

/// Errors of an `.fvecs` image.
#[derive(Debug, thiserror::Error)]
pub enum FvecsError {
    /// No row.
    #[error("holds no vector")]
    Empty,
    /// The size isn't whole rows of the first row's dimension.
    #[error(
        "its first row has {dim} components, but {bytes} bytes aren't whole rows of that; it may be cut off"
    )]
    Size {
        /// Dimension of the first row.
        dim: u32,
        /// Size of the image.
        bytes: u64,
    },
    /// Rows of two dimensions.
    #[error("row {row} has {found} components, row 0 has {dim}; all must have the same")]
    Row {
        /// Index of the row.
        row: u64,
        /// Dimension of the row.
        found: u32,
        /// Dimension of the first row.
        dim: u32,
    },
}

/// The dimension of the image, after checking that every row has it and that the last row is
/// complete.
pub(super) fn parse(bytes: &[u8]) -> Result<u32, FvecsError> {
    let Some((first, _)) = bytes.split_first_chunk::<DIM_BYTES>() else {
        return Err(FvecsError::Empty);
    };
    let dim = u32::from_le_bytes(*first);
    let row_bytes = DIM_BYTES as u64 + u64::from(dim) * 4;
    if !(bytes.len() as u64).is_multiple_of(row_bytes) {
        return Err(FvecsError::Size { dim, bytes: bytes.len() as u64 });
    }
    for (row, piece) in bytes.chunks_exact(row_bytes as usize).enumerate() {
        if !piece.starts_with(first) {
            let found = u32::from_le_bytes([piece[0], piece[1], piece[2], piece[3]]);
            return Err(FvecsError::Row { row: row as u64, found, dim });
        }
    }
    Ok(dim)
}
