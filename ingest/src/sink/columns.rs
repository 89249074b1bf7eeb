//! The columns that a folder's segments have besides `sequence` and `vector`, and rows on their way
//! into a sink.

use super::SinkError;

/// A column that a segment may have besides `sequence` and `vector`: `--columns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ColumnWord {
    /// `id: uint64`, from the request.
    Id,
    /// `time: timestamp[us]`, when the request had arrived.
    Time,
}

/// The columns that a log writes besides `sequence` and `vector`, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// `id: uint64`: the client's name for a vector.
    pub id: bool,
    /// `time: timestamp[us]`: when a vector's request had arrived.
    pub time: bool,
}

impl From<&[ColumnWord]> for Columns {
    fn from(words: &[ColumnWord]) -> Self {
        Self { id: words.contains(&ColumnWord::Id), time: words.contains(&ColumnWord::Time) }
    }
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
