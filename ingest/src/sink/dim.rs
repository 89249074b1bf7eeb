//! The size that a vector may have.

use super::SinkError;

/// The largest dimension of a vector, in components: a row stays within 4 MiB.
pub const DIM_MAX: u32 = 1 << 20;

/// Refuses a dimension of 0 or above [`DIM_MAX`].
pub(super) fn check_dim(dim: u32) -> Result<(), SinkError> {
    if dim == 0 || dim > DIM_MAX {
        return Err(SinkError::Dimension { asked: dim, max: DIM_MAX });
    }
    Ok(())
}
