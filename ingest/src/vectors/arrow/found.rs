//! The rows of a column, record batch by record batch.
//!
//! ```text
//!  fixed-size list   validity │ validity of the items │ items
//!  list              validity │ offsets │ validity of the items │ items
//! ```

use std::borrow::Cow;

use super::batch::BatchBody;
use super::column::{ListKind, VectorColumn};
use super::error::ArrowError;
use super::ids::IdColumn;

/// The rows found so far.
#[derive(Clone, Debug)]
pub(super) struct FoundRows<'a> {
    /// Known once there is a row; for fixed-size lists from the schema.
    pub(super) dim: Option<u32>,
    /// Components per batch.
    pub(super) batches: Vec<Cow<'a, [u8]>>,
    /// Ids per batch, if they are read.
    pub(super) ids: Vec<Cow<'a, [u8]>>,
    rows: u64,
}

/// The columns that are read.
#[derive(Clone, Debug)]
pub(super) struct BatchColumns {
    pub(super) vectors: VectorColumn,
    pub(super) ids: Option<IdColumn>,
}

impl<'a> FoundRows<'a> {
    /// No rows of this column.
    pub(super) fn new(columns: &BatchColumns) -> FoundRows<'a> {
        let dim = columns.vectors.list.fixed_dim();
        FoundRows { dim, batches: Vec::new(), ids: Vec::new(), rows: 0 }
    }

    /// Adds the rows of a batch.
    pub(super) fn add(
        &mut self,
        columns: &BatchColumns,
        batch: &BatchBody<'a>,
    ) -> Result<(), ArrowError> {
        let (column, rows) = (&columns.vectors, batch.rows()?);
        let first = column.first_node();
        let (lists, items) = (batch.node(first)?, batch.node(first + 1)?);
        let wrong = || batch.damaged("its columns aren't those of the schema");
        if u64::try_from(lists.length()) != Ok(rows) || !column.fits(&batch.head) {
            return Err(wrong());
        }
        let item_count = u64::try_from(items.length()).map_err(|_| wrong())?;
        let buffers = column.first_buffer(&batch.head);
        if lists.null_count() != 0
            && let Some(row) = batch.first_null(buffers, 0..rows)?
        {
            return Err(self.null(column, row));
        }
        // The items of these rows, and the buffer of the items' validity.
        let (span, validity) = match column.list {
            ListKind::Fixed(dim) => {
                let span = rows
                    .checked_mul(u64::from(dim))
                    .ok_or_else(|| batch.damaged("its length is beyond all memory"))?;
                if span != item_count {
                    return Err(wrong());
                }
                self.dim = Some(dim);
                (0..span, buffers.saturating_add(1))
            }
            ListKind::Offsets32 | ListKind::Offsets64 => {
                let span = self.list_span(column, batch, buffers.saturating_add(1), rows)?;
                if span.end > item_count {
                    return Err(wrong());
                }
                (span, buffers.saturating_add(2))
            }
        };
        if items.null_count() != 0
            && let Some(item) = batch.first_null(validity, span.clone())?
        {
            let dim = u64::from(self.dim.unwrap_or(1).max(1));
            return Err(self.null(column, (item - span.start) / dim));
        }
        let bytes = |items: u64| usize::try_from(items).ok()?.checked_mul(column.element.bytes());
        let (Some(start), Some(end)) = (bytes(span.start), bytes(span.end)) else {
            return Err(batch.damaged("its length is beyond all memory"));
        };
        let components = cut(batch.buffer(validity.saturating_add(1), end)?, start);
        if let Some(column) = &columns.ids {
            self.ids.push(column.ids(batch, self.rows)?);
        }
        self.batches.push(components);
        self.rows += rows;
        Ok(())
    }

    fn null(&self, column: &VectorColumn, row: u64) -> ArrowError {
        ArrowError::Nulls { column: column.name.clone(), row: self.rows + row }
    }

    /// The items of a batch's lists, all of which must have one length.
    fn list_span(
        &mut self,
        column: &VectorColumn,
        batch: &BatchBody<'a>,
        buffer: usize,
        rows: u64,
    ) -> Result<std::ops::Range<u64>, ArrowError> {
        if rows == 0 {
            return Ok(0..0);
        }
        let wide = column.list == ListKind::Offsets64;
        let offset_bytes = if wide { 8 } else { 4 };
        let needed = usize::try_from(rows)
            .ok()
            .and_then(|rows| rows.checked_add(1)?.checked_mul(offset_bytes))
            .ok_or_else(|| batch.damaged("its length is beyond all memory"))?;
        let bytes = batch.buffer(buffer, needed)?;
        let mut offsets = bytes.chunks_exact(offset_bytes).map(|bytes| {
            let mut number = [0; 8];
            number[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(number)
        });
        let first = offsets.next().unwrap_or_default();
        let mut last = first;
        for (row, offset) in offsets.enumerate() {
            let found = offset
                .checked_sub(last)
                .filter(|_| offset <= i64::MAX as u64)
                .ok_or_else(|| batch.damaged("its offsets go back"))?;
            let dim = match self.dim {
                Some(dim) => dim,
                None => *self.dim.insert(u32::try_from(found).unwrap_or(u32::MAX)),
            };
            if found != u64::from(dim) {
                let row = self.rows + row as u64;
                return Err(ArrowError::Lengths { column: column.name.clone(), row, found, dim });
            }
            last = offset;
        }
        Ok(first..last)
    }
}

/// The bytes from `start` on.
fn cut(bytes: Cow<'_, [u8]>, start: usize) -> Cow<'_, [u8]> {
    match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(start..).unwrap_or_default()),
        Cow::Owned(mut bytes) => {
            bytes.drain(..start.min(bytes.len()));
            Cow::Owned(bytes)
        }
    }
}
