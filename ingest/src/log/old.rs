//! Unfinished segments of earlier versions: Arrow files without an end, whose batches have no
//! checksums.
//!
//! ```text
//!   .part, .torn   │ ARROW1 │ Schema │ batch │ batch │ torn │
//!                                    └─ rows copied into a segment of this version ─▶ sealed
//!   then           the file is kept as .bad
//! ```
//! A batch counts if it lies within the file, has the log's columns, and its sequences follow the
//! batch before: that tells it from zeros. An earlier version gave the sequences of a torn segment
//! again; then the copy lies beside the kept file, and readers of the folder don't find it.

use std::path::Path;

use arrow_ipc::{RecordBatch, root_as_message};

use super::buffer::{LogRows, RecordBuffer, RowTimes};
use super::disk::{DiskFile, read_enough};
use super::error::LogError;
use super::header::HEADER_BYTES_MAX;
use super::shape::{CONTINUATION, INTEGER_BYTES, MAGIC, PREFIX_BYTES, RowShape, shape_of};

/// Where the first message of an earlier version's file begins.
const FIRST_MESSAGE_AT: u64 = 64;

/// Reads the whole batches of an earlier version's file, in order.
pub(super) struct OldReader<'f, F> {
    file: &'f F,
    path: &'f Path,
    length: u64,
    shape: RowShape,
    at: u64,
    sequence: u64,
}

/// The columns of a batch.
#[derive(Debug, Default)]
pub(super) struct OldBatch {
    vectors: Vec<u8>,
    ids: Vec<u8>,
    times: Vec<u8>,
    /// Rows that were copied.
    copied: usize,
}

impl OldBatch {
    /// Copies rows until the buffer is full. False once there are none left.
    pub fn copy(&mut self, shape: RowShape, buffer: &mut RecordBuffer) -> Result<bool, LogError> {
        let integers = self.copied * INTEGER_BYTES;
        let rows = LogRows {
            vectors: &self.vectors[self.copied * shape.vector_bytes()..],
            ids: if shape.columns.id { &self.ids[integers..] } else { &[] },
            times: RowTimes::Each(if shape.columns.time { &self.times[integers..] } else { &[] }),
            mark: None,
        };
        self.copied += buffer.append(&rows)?;
        Ok(self.copied * shape.vector_bytes() < self.vectors.len())
    }
}

impl<'f, F: DiskFile> OldReader<'f, F> {
    /// A reader, if the file is one of an earlier version; its name says `first_sequence`.
    ///
    /// # Errors
    /// System errors, and a file of other rows.
    pub fn new(
        file: &'f F,
        path: &'f Path,
        length: u64,
        first_sequence: u64,
        shape: RowShape,
    ) -> Result<Option<Self>, LogError> {
        let (at, sequence) = (FIRST_MESSAGE_AT, first_sequence);
        let mut reader = Self { file, path, length, shape, at, sequence };
        let magic = reader.read(0, MAGIC.len())?;
        let Some(header) = reader.header()?.filter(|_| magic.as_deref() == Some(&MAGIC)) else {
            return Ok(None);
        };
        let schema = root_as_message(&header[PREFIX_BYTES..]).ok();
        let recorded = schema.and_then(|message| message.header_as_schema()).and_then(shape_of);
        match recorded {
            Some(recorded) if recorded != shape => {
                Err(LogError::OtherShape { path: path.into(), recorded, asked: shape })
            }
            Some(_) => {
                reader.at += header.len() as u64;
                Ok(Some(reader))
            }
            None => Ok(None),
        }
    }

    /// Behind the last whole batch.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The sequence after its last row.
    pub fn next_sequence(&self) -> u64 {
        self.sequence
    }

    /// The next whole batch.
    pub fn next_batch(&mut self) -> Result<Option<OldBatch>, LogError> {
        let Some(header) = self.header()? else { return Ok(None) };
        let message = root_as_message(&header[PREFIX_BYTES..]).ok();
        let batch = message.and_then(|message| message.header_as_record_batch());
        let (Some(message), Some(batch)) = (message, batch) else { return Ok(None) };
        let body_at = self.at + header.len() as u64;
        let body_bytes = u64::try_from(message.bodyLength()).unwrap_or(u64::MAX);
        let end = body_at.checked_add(body_bytes).filter(|end| *end <= self.length);
        let Some(end) = end else { return Ok(None) };
        let Some(rows) = rows_of(&batch, body_bytes) else { return Ok(None) };
        let columns = self.shape.columns;
        let column = |is: bool, index: usize, width: usize| match is {
            true => self.column(&batch, index, rows.checked_mul(width)?, body_at, body_bytes),
            false => Some(Ok(Vec::new())),
        };
        let times_at = 6 + if columns.id { 2 } else { 0 };
        let (Some(sequences), Some(vectors), Some(ids), Some(times)) = (
            column(true, 1, INTEGER_BYTES),
            column(true, 4, self.shape.vector_bytes()),
            column(columns.id, 6, INTEGER_BYTES),
            column(columns.time, times_at, INTEGER_BYTES),
        ) else {
            return Ok(None);
        };
        let sequences = sequences?;
        let mut found = sequences.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let next = self.sequence.checked_add(rows as u64);
        let (Some(next), true) = (next, (self.sequence..).zip(&mut found).all(|(a, b)| a == b))
        else {
            return Ok(None);
        };
        let batch = OldBatch { vectors: vectors?, ids: ids?, times: times?, copied: 0 };
        (self.at, self.sequence) = (end, next);
        Ok(Some(batch))
    }

    /// The message's prefix and metadata at the reader's place, if they lie within the file.
    fn header(&self) -> Result<Option<Vec<u8>>, LogError> {
        let Some(prefix) = self.read(self.at, PREFIX_BYTES)? else { return Ok(None) };
        let length = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]) as usize;
        if prefix[..4] != CONTINUATION || length == 0 || length > HEADER_BYTES_MAX {
            return Ok(None);
        }
        self.read(self.at, PREFIX_BYTES + length)
    }

    /// A column's bytes; None if they aren't within the body.
    fn column(
        &self,
        batch: &RecordBatch<'_>,
        index: usize,
        bytes: usize,
        body_at: u64,
        body_bytes: u64,
    ) -> Option<Result<Vec<u8>, LogError>> {
        let buffer = batch.buffers().filter(|buffers| index < buffers.len())?.get(index);
        let at = u64::try_from(buffer.offset()).ok()?;
        let fits = u64::try_from(buffer.length()).ok()? >= bytes as u64
            && at.checked_add(bytes as u64)? <= body_bytes;
        fits.then(|| Ok(self.read(body_at + at, bytes)?.unwrap_or_default()))
    }

    /// Bytes of the file, if it has them.
    fn read(&self, at: u64, bytes: usize) -> Result<Option<Vec<u8>>, LogError> {
        if at.checked_add(bytes as u64).is_none_or(|end| end > self.length) {
            return Ok(None);
        }
        let mut read = vec![0; bytes];
        let count = read_enough(self.file, &mut read, at, bytes)
            .map_err(LogError::io("read", self.path))?;
        Ok((count == bytes).then_some(read))
    }
}

/// The rows of a batch as an earlier version wrote it: whole, plain, without nulls.
fn rows_of(batch: &RecordBatch<'_>, body_bytes: u64) -> Option<usize> {
    let rows = usize::try_from(batch.length()).ok().filter(|rows| *rows > 0)?;
    let nulls = batch.nodes()?.iter().any(|node| node.null_count() != 0);
    let fits = rows as u64 <= body_bytes / INTEGER_BYTES as u64;
    (fits && !nulls && batch.compression().is_none()).then_some(rows)
}
