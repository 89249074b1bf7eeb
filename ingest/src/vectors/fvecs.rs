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
    let (dim, _) = layout(bytes, bytes.len() as u64)?;
    parse_rows(bytes, dim).map_err(|(row, found)| FvecsError::Row { row, found, dim })?;
    Ok(dim)
}

/// The dimension and the number of rows of an image of `image_bytes` bytes, of which these are the
/// first.
pub(super) fn layout(start: &[u8], image_bytes: u64) -> Result<(u32, u64), FvecsError> {
    let Some((first, _)) = start.split_first_chunk::<DIM_BYTES>() else {
        return Err(FvecsError::Empty);
    };
    let dim = u32::from_le_bytes(*first);
    let row_bytes = row_bytes(dim);
    if !image_bytes.is_multiple_of(row_bytes) {
        return Err(FvecsError::Size { dim, bytes: image_bytes });
    }
    Ok((dim, image_bytes / row_bytes))
}

fn row_bytes(dim: u32) -> u64 {
    DIM_BYTES as u64 + u64::from(dim) * 4
}

/// Checks that every row of `bytes`, which are whole rows, has this dimension. The error is the
/// index of the first that doesn't, and its dimension.
pub(super) fn parse_rows(bytes: &[u8], dim: u32) -> Result<(), (u64, u32)> {
    for (row, piece) in bytes.chunks_exact(row_bytes(dim) as usize).enumerate() {
        if !piece.starts_with(&dim.to_le_bytes()) {
            return Err((row as u64, u32::from_le_bytes([piece[0], piece[1], piece[2], piece[3]])));
        }
    }
    Ok(())
}
