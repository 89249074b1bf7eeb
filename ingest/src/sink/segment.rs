//! The open segment of a lane: one file, from its creation to its final name; and the open batch,
//! whose rows are accepted and not yet encoded.
//!
//! ```text
//!   rows ──encode──▶ memory ──write_at──▶ seg-N.arrow.part ──complete──▶ seg-N.arrow
//!
//!   complete: write the footer, sync the file, rename it, sync the folder
//! ```
//! Encoding goes to memory and can't fail. Writing goes from memory to a known offset of the file.
//! It may stop after any byte, and a later call continues at exactly that byte.
//!
//! Promises:
//! - Rows are copied once, into the open batch, and not again before they are encoded.
//! - Memory for rows is allocated at start. The batch grows beyond its size only by the rows of the
//!   one `append` during which the disk began to refuse.
//! - Each encoded byte is written once.
//! - The final name appears only when the file is complete and on the disk.
//!
//! Doesn't decide when a segment is full.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{FixedSizeListArray, Float32Array, RecordBatch, UInt64Array};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::columns::{Columns, SinkRows};
use super::{SinkError, folder};

/// The names of the two columns.
pub(super) const SEQUENCE: &str = "sequence";
pub(super) const VECTOR: &str = "vector";

/// The schema of a lane's segments.
pub(super) fn schema(dim: u32, lane: u32) -> SchemaRef {
    let fields = vec![
        Field::new(SEQUENCE, DataType::UInt64, false),
        Field::new(VECTOR, DataType::FixedSizeList(Arc::new(item()), list_size(dim)), false),
    ];
    let metadata = [
        ("slipring.format", "1".to_owned()),
        ("slipring.dim", dim.to_string()),
        ("slipring.lane", lane.to_string()),
    ];
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// Rows that are accepted and not yet encoded.
pub(super) struct OpenBatch {
    values: Vec<f32>,
    dim: usize,
    rows_max: usize,
    schema: SchemaRef,
}

impl OpenBatch {
    /// An empty batch that is full at `rows_max` rows.
    pub fn new(schema: SchemaRef, dim: u32, rows_max: usize) -> Self {
        let dim = dim as usize;
        assert!(dim > 0 && rows_max > 0, "checked when the folder and the log were opened");
        Self { values: Vec::with_capacity(dim * rows_max), dim, rows_max, schema }
    }

    pub fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    pub fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// The encoded size of a full batch: its two columns, and 4 KiB for the headers of file and
    /// batch and for padding.
    pub fn encoded_bytes(&self) -> usize {
        self.rows_max * (size_of::<u64>() + self.dim * size_of::<f32>()) + 4096
    }

    pub fn is_full(&self) -> bool {
        self.rows() >= self.rows_max
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The number of rows, if they are whole rows with what the columns need.
    pub fn whole_rows(&self, rows: &SinkRows<'_>) -> Result<u64, SinkError> {
        rows.count(self.dim, Columns::default())
    }

    /// Appends rows until the batch is full, and returns the others.
    pub fn fill<'a>(&mut self, rows: SinkRows<'a>) -> SinkRows<'a> {
        let room = self.rows_max.saturating_sub(self.rows());
        let (now, later) = rows.split_at(room.min(rows.values.len() / self.dim), self.dim);
        self.values.extend_from_slice(now.values);
        later
    }

    /// Appends all rows, even beyond a full batch.
    pub fn overfill(&mut self, rows: SinkRows<'_>) {
        self.values.reserve_exact(rows.values.len());
        self.values.extend_from_slice(rows.values);
    }

    /// Encodes the first `rows` rows into `writer` and removes them from the batch. The encoder
    /// borrows the batch's memory as an Arrow buffer and returns it, so rows are neither copied nor
    /// allocated here. `writer` must not be able to fail.
    pub fn encode<W: Write>(
        &mut self,
        rows: usize,
        first_sequence: u64,
        writer: &mut FileWriter<W>,
    ) {
        assert!(rows > 0 && rows <= self.rows(), "{rows} rows to encode of {}", self.rows());
        let held = Buffer::from_vec(std::mem::take(&mut self.values));
        let values = Float32Array::new(ScalarBuffer::new(held.clone(), 0, rows * self.dim), None);
        let vectors = FixedSizeListArray::new(
            Arc::new(item()),
            list_size(self.dim as u32),
            Arc::new(values),
            None,
        );
        let sequences = UInt64Array::from_iter_values(first_sequence..first_sequence + rows as u64);
        let batch = RecordBatch::try_new(
            Arc::clone(&self.schema),
            vec![Arc::new(sequences), Arc::new(vectors)],
        )
        .expect("the columns were built for this schema");
        writer.write(&batch).expect("the writer writes to memory");
        drop(batch);
        // The encoder keeps no reference after writing. If a later version of it does, this copies
        // the rows, which is slower but correct.
        self.values = held.into_vec().unwrap_or_else(|shared| shared.typed_data::<f32>().to_vec());
        self.values.drain(..rows * self.dim);
    }
}

fn item() -> Field {
    Field::new("item", DataType::Float32, false)
}

fn list_size(dim: u32) -> i32 {
    i32::try_from(dim).expect("a dimension is at most DIM_MAX")
}

/// The most record batches in a segment. Each has an entry of 24 bytes in the footer, so the footer
/// stays within about 1.5 MiB however short flushing makes the batches.
const BATCHES_MAX: u64 = 1 << 16;

/// The operations on a segment's file. Tests replace the file with one that fails.
pub(super) trait Disk {
    /// Writes some of `bytes` at `offset_bytes` and returns the number written.
    fn write_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<usize>;
    /// Returns once everything written is on the disk.
    fn sync_data(&self) -> io::Result<()>;
}

impl Disk for File {
    fn write_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset_bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}

pub(super) struct Segment<D> {
    disk: D,
    part: PathBuf,
    complete: PathBuf,
    /// Encodes to its `Vec`, which holds one batch until that is in the file.
    writer: FileWriter<Vec<u8>>,
    /// Bytes of the file before those in `writer`.
    offset_bytes: u64,
    /// The number of bytes in `writer` that are already in the file.
    written_bytes: usize,
    rows: u64,
    batches: u64,
    progress: SegmentProgress,
}

/// The last step completed towards the final name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SegmentProgress {
    Rows,
    Footer,
    Synced,
    Renamed,
    /// Final, see [`SinkError::SyncFailed`]. Holds the system's error number.
    SyncFailed(Option<i32>),
}

impl Segment<File> {
    /// Creates the file of a segment in a lane's folder. Uses `memory` for the encoded bytes, and
    /// leaves it there on an error.
    pub fn create(
        folder: &Path,
        first_sequence: u64,
        schema: &Schema,
        memory: &mut Vec<u8>,
    ) -> Result<Self, SinkError> {
        let part = folder::part(folder, first_sequence);
        let disk = File::create_new(&part).map_err(SinkError::io("create", &part))?;
        Ok(Self::new(
            disk,
            part,
            folder::complete(folder, first_sequence),
            schema,
            std::mem::take(memory),
        ))
    }
}

impl<D: Disk> Segment<D> {
    fn new(disk: D, part: PathBuf, complete: PathBuf, schema: &Schema, memory: Vec<u8>) -> Self {
        assert!(memory.is_empty(), "bytes of another segment: {}", memory.len());
        let writer = FileWriter::try_new(memory, schema)
            .expect("the schema is our own and the writer writes to memory");
        let progress = SegmentProgress::Rows;
        Self {
            disk,
            part,
            complete,
            writer,
            offset_bytes: 0,
            written_bytes: 0,
            rows: 0,
            batches: 0,
            progress,
        }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the file, written or encoded.
    pub fn bytes(&self) -> u64 {
        self.offset_bytes + self.writer.get_ref().len() as u64
    }

    /// Whether the segment accepts no more batches: its completion has begun or must begin.
    pub fn is_full(&self, bytes_max: u64) -> bool {
        self.progress != SegmentProgress::Rows
            || self.bytes() >= bytes_max
            || self.batches >= BATCHES_MAX
    }

    /// Encodes the first `rows` rows of `batch` into memory. The memory must be empty.
    pub fn encode(&mut self, batch: &mut OpenBatch, rows: usize, first_sequence: u64) {
        assert!(self.progress == SegmentProgress::Rows, "a batch after the footer");
        assert!(
            self.batches == 0 || self.writer.get_ref().is_empty(),
            "the memory holds one batch at a time"
        );
        batch.encode(rows, first_sequence, &mut self.writer);
        self.rows += rows as u64;
        self.batches += 1;
    }

    /// Writes the encoded bytes to the file, as far as the disk accepts them, and empties the
    /// memory.
    pub fn write_encoded(&mut self) -> Result<(), SinkError> {
        let encoded = self.writer.get_ref();
        while self.written_bytes < encoded.len() {
            let offset_bytes = self.offset_bytes + self.written_bytes as u64;
            match self.disk.write_at(&encoded[self.written_bytes..], offset_bytes) {
                Ok(0) => {
                    return Err(SinkError::io("write", &self.part)(
                        io::ErrorKind::WriteZero.into(),
                    ));
                }
                Ok(bytes) => self.written_bytes += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SinkError::io("write", &self.part)(error)),
            }
        }
        assert!(
            self.written_bytes == encoded.len(),
            "wrote {} of {}",
            self.written_bytes,
            encoded.len()
        );
        self.offset_bytes += encoded.len() as u64;
        self.written_bytes = 0;
        self.writer.get_mut().clear();
        Ok(())
    }

    /// Gives the segment its final name. After an error the next call repeats the failed step.
    pub fn complete(&mut self) -> Result<(), SinkError> {
        assert!(self.rows > 0, "a segment is created for its first batch");
        loop {
            self.progress = match self.progress {
                SegmentProgress::Rows => {
                    self.write_encoded()?;
                    self.writer.finish().expect("the writer writes to memory");
                    SegmentProgress::Footer
                }
                SegmentProgress::Footer => {
                    self.write_encoded()?;
                    self.sync()?;
                    SegmentProgress::Synced
                }
                SegmentProgress::Synced => {
                    self.rename()?;
                    SegmentProgress::Renamed
                }
                SegmentProgress::Renamed => {
                    return folder::sync_folder(self.complete.parent().unwrap_or(Path::new(".")));
                }
                SegmentProgress::SyncFailed(number) => return Err(self.sync_failed(number)),
            }
        }
    }

    /// The memory for the next segment, and the file's size.
    pub fn into_memory(self) -> (Vec<u8>, u64) {
        assert!(
            self.progress == SegmentProgress::Renamed && self.writer.get_ref().is_empty(),
            "the segment isn't complete"
        );
        (self.writer.into_inner().expect("the footer is written"), self.offset_bytes)
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        loop {
            match self.disk.sync_data() {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.progress = SegmentProgress::SyncFailed(error.raw_os_error());
                    return Err(self.sync_failed(error.raw_os_error()));
                }
            }
        }
    }

    fn sync_failed(&self, number: Option<i32>) -> SinkError {
        let source =
            number.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error);
        SinkError::SyncFailed { path: self.part.clone(), source }
    }

    /// The folder is locked and the name contains our sequence, so a file of that name isn't ours,
    /// and we don't overwrite it.
    fn rename(&self) -> Result<(), SinkError> {
        if self.complete.try_exists().map_err(SinkError::io("look for", &self.complete))? {
            return Err(SinkError::Exists { path: self.complete.clone() });
        }
        fs::rename(&self.part, &self.complete).map_err(SinkError::io("rename", &self.part))
    }
}

#[cfg(test)]
mod tests;
