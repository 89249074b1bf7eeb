//! The rows of a column in one record batch.
//!
//! ```text
//!  fixed-size list   validity │ validity of the items │ items
//!  list              validity │ offsets │ validity of the items │ items
//! ```
//! A buffer is borrowed from the image, or unpacked if the batch is compressed. Packed buffers
//! begin with the length of what was packed, or with -1 if they were left as they are. That length
//! is believed up to [`EXPANSION_MAX`] bytes per packed byte.

use std::borrow::Cow;

use arrow_ipc::{CompressionType, FieldNode, RecordBatch};

use super::column::{ListKind, VectorColumn};
use super::error::ArrowError;
use super::ids::IdColumn;

/// The most bytes that a packed byte becomes. LZ4 can't do more; vectors become 1 to 4.
const EXPANSION_MAX: usize = 256;
/// Bytes of the length before a packed buffer.
const PREFIX_BYTES: usize = 8;

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

/// A record batch and its body.
#[derive(Clone, Debug)]
pub(super) struct BatchBody<'a> {
    pub(super) head: RecordBatch<'a>,
    pub(super) body: &'a [u8],
    /// Position of its message in the image.
    pub(super) at: usize,
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
        if u64::try_from(lists.length()) != Ok(rows) {
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

impl<'a> BatchBody<'a> {
    /// Rows of the batch.
    pub(super) fn rows(&self) -> Result<u64, ArrowError> {
        u64::try_from(self.head.length()).map_err(|_| self.damaged("its length is negative"))
    }

    /// What the batch says of a field.
    pub(super) fn node(&self, index: usize) -> Result<FieldNode, ArrowError> {
        let nodes = self.head.nodes().filter(|nodes| index < nodes.len());
        let nodes = nodes.ok_or_else(|| self.damaged("its columns aren't those of the schema"))?;
        Ok(*nodes.get(index))
    }

    pub(super) fn damaged(&self, why: &str) -> ArrowError {
        ArrowError::Damaged { at: self.at as u64, why: why.to_owned() }
    }

    /// The first position in `span` whose bit isn't set in a buffer of validity. Without the
    /// buffer, although there are nulls, it is the first of all.
    pub(super) fn first_null(
        &self,
        buffer: usize,
        span: std::ops::Range<u64>,
    ) -> Result<Option<u64>, ArrowError> {
        let bytes = usize::try_from(span.end.div_ceil(8))
            .map_err(|_| self.damaged("its length is beyond all memory"))?;
        let bits = self.buffer(buffer, bytes)?;
        Ok(span.into_iter().find(|at| bits[(at / 8) as usize] & (1 << (at % 8)) == 0))
    }

    /// The first `needed` bytes of a buffer.
    pub(super) fn buffer(&self, index: usize, needed: usize) -> Result<Cow<'a, [u8]>, ArrowError> {
        if needed == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        let buffers = self.head.buffers().filter(|buffers| index < buffers.len());
        let buffer = *buffers
            .ok_or_else(|| self.damaged("it has fewer buffers than the schema says"))?
            .get(index);
        let position = || {
            let start = usize::try_from(buffer.offset()).ok()?;
            let end = start.checked_add(usize::try_from(buffer.length()).ok()?)?;
            self.body.get(start..end)
        };
        let outside = || self.damaged("its components are outside of it");
        let stored = position().ok_or_else(outside)?;
        match self.head.compression() {
            None => Ok(Cow::Borrowed(stored.get(..needed).ok_or_else(outside)?)),
            Some(compression) => self.unpacked(compression.codec(), stored, needed),
        }
    }

    fn unpacked(
        &self,
        codec: CompressionType,
        stored: &'a [u8],
        needed: usize,
    ) -> Result<Cow<'a, [u8]>, ArrowError> {
        let name = codec.variant_name().unwrap_or("an unknown codec");
        let failed = |why: String| ArrowError::Unpack { at: self.at as u64, codec: name, why };
        let (length, packed) = stored
            .split_first_chunk::<PREFIX_BYTES>()
            .ok_or_else(|| failed("a buffer has no length before it".to_owned()))?;
        let length = i64::from_le_bytes(*length);
        if length == -1 {
            let plain = packed.get(..needed);
            return plain.map(Cow::Borrowed).ok_or_else(|| self.damaged("a buffer is too short"));
        }
        let most = packed.len().saturating_mul(EXPANSION_MAX);
        let length = usize::try_from(length).ok().filter(|length| *length >= needed);
        let Some(length) = length else {
            return Err(failed(format!("a buffer of less than {needed} bytes")));
        };
        if length > most {
            return Err(failed(format!(
                "{} bytes would become {length}, {most} at most are believed; write it without \
                 compression",
                packed.len()
            )));
        }
        let mut bytes = unpack(codec, packed, length).map_err(|why| match why {
            Some(error) => failed(error.to_string()),
            None => ArrowError::Codec { codec: name },
        })?;
        if bytes.len() < needed {
            return Err(failed(format!("{} bytes, {needed} are needed", bytes.len())));
        }
        bytes.truncate(needed);
        Ok(Cow::Owned(bytes))
    }
}

/// Up to `length` unpacked bytes; None as an error if this build doesn't know the codec.
#[cfg(feature = "objects")]
fn unpack(
    codec: CompressionType,
    packed: &[u8],
    length: usize,
) -> Result<Vec<u8>, Option<std::io::Error>> {
    use std::io::Read;

    match codec {
        CompressionType::ZSTD => Ok(zstd::bulk::decompress(packed, length)?),
        CompressionType::LZ4_FRAME => {
            let mut bytes = Vec::with_capacity(length);
            let frames = lz4_flex::frame::FrameDecoder::new(packed);
            frames.take(length as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        _ => Err(None),
    }
}

/// Only `slipring get` reads Arrow, so only its build can unpack.
#[cfg(not(feature = "objects"))]
fn unpack(_: CompressionType, _: &[u8], _: usize) -> Result<Vec<u8>, Option<std::io::Error>> {
    Err(None)
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
