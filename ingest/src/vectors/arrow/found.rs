//! The rows of a column, record batch by record batch.
//!
//! ```text
//!  fixed-size list   validity │ validity of the items │ items
//!  list              validity │ offsets │ validity of the items │ items
//! ```

use std::borrow::Cow;

use arrow_ipc::{MetadataVersion, Schema};

use super::batch::BatchBody;
use super::column::{ListKind, VectorColumn};
use super::error::ArrowError;
use super::ids::IdColumn;
use crate::vectors::element::Element;
use crate::vectors::ids::RowIds;

/// The rows of an image, or of a batch.
#[derive(Clone, Debug)]
pub(in crate::vectors) struct ArrowRows<'a> {
    /// None if there are no rows, and the schema doesn't say it.
    pub(in crate::vectors) dim: Option<u32>,
    pub(in crate::vectors) element: Element,
    /// One entry per record batch, in the order of the image.
    pub(in crate::vectors) batches: Vec<Cow<'a, [u8]>>,
    /// The same of their ids; None if a column of ids isn't asked for.
    pub(in crate::vectors) ids: Option<Vec<Cow<'a, [u8]>>>,
}

/// The columns to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WantedColumns<'o> {
    /// The name of the column of vectors.
    pub(in crate::vectors) vectors: Option<&'o str>,
    pub(in crate::vectors) ids: RowIds<'o>,
    pub(in crate::vectors) convert: bool,
}

impl WantedColumns<'_> {
    pub(super) fn find(
        &self,
        schema: &Schema<'_>,
        version: MetadataVersion,
    ) -> Result<BatchColumns, ArrowError> {
        let vectors = VectorColumn::find(schema, version, self.vectors, self.convert)?;
        let ids = match self.ids {
            RowIds::Column(name) => Some(IdColumn::find(schema, version, name, self.convert)?),
            RowIds::None | RowIds::NumbersFrom(_) => None,
        };
        Ok(BatchColumns { vectors, ids })
    }
}

/// The rows found so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct FoundRows<'a> {
    /// Known once there is a row; for fixed-size lists from the schema.
    pub(super) dim: Option<u32>,
    /// Components per batch.
    pub(super) batches: Vec<Cow<'a, [u8]>>,
    /// Ids per batch, if they are read.
    pub(super) ids: Vec<Cow<'a, [u8]>>,
    /// Rows, with those of earlier batches.
    pub(super) rows: u64,
}

/// The columns that are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BatchColumns {
    pub(super) vectors: VectorColumn,
    pub(super) ids: Option<IdColumn>,
}

impl<'a> FoundRows<'a> {
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
        let widest = column.element.bytes().max(Element::F32.bytes()) as u64;
        let unpacked = (span.end - span.start).saturating_mul(widest);
        if unpacked > batch.bytes_max as u64 {
            let (bytes, most) = (unpacked, batch.bytes_max as u64);
            return Err(ArrowError::TooLarge { at: batch.at, bytes, most });
        }
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
