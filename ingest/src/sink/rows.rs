//! Rows on their way into a sink, and the size that a row may have.

use super::{Columns, SinkError};

/// The largest dimension of a vector, in components: a row stays within 4 MiB.
pub const DIM_MAX: u32 = 1 << 20;

/// Refuses a dimension of 0 or above [`DIM_MAX`].
pub(super) fn check_dim(dim: u32) -> Result<(), SinkError> {
    if dim == 0 || dim > DIM_MAX {
        return Err(SinkError::Dimension { asked: dim, max: DIM_MAX });
    }
    Ok(())
}

/// Rows that go into a sink, with what its columns need.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SinkRows<'a> {
    /// Component after component, row after row.
    pub values: &'a [f32],
    /// The rows' ids, 8 little-endian bytes each; empty without an id column.
    pub ids: &'a [u8],
    /// The time of all rows, in microseconds since 1970 in UTC; 0 without a time column.
    pub time_us: i64,
}

/// Bytes of an id.
pub(super) const ID_BYTES: usize = size_of::<u64>();

impl<'a> SinkRows<'a> {
    /// Rows without ids and without a time.
    #[must_use]
    pub fn plain(values: &'a [f32]) -> Self {
        Self { values, ..Self::default() }
    }

    /// The number of rows, if they are whole rows of `dim` components with the ids that `columns`
    /// asks for.
    pub(super) fn count(&self, dim: usize, columns: Columns) -> Result<u64, SinkError> {
        if !self.values.len().is_multiple_of(dim) {
            return Err(SinkError::PartialRow { values: self.values.len(), dim });
        }
        let rows = self.values.len() / dim;
        if self.ids.len() != if columns.id { rows * ID_BYTES } else { 0 } {
            return Err(SinkError::Ids { rows, id_bytes: self.ids.len(), column: columns.id });
        }
        Ok(rows as u64)
    }

    /// The first `rows` rows of `dim` components, and the others.
    pub(super) fn split_at(self, rows: usize, dim: usize) -> (Self, Self) {
        let (values, later_values) = self.values.split_at(rows * dim);
        let (ids, later_ids) = self.ids.split_at((rows * ID_BYTES).min(self.ids.len()));
        (Self { values, ids, ..self }, Self { values: later_values, ids: later_ids, ..self })
    }
}
