//! The open segment of a lane: one file, from its creation to its final name.
//!
//! ```text
//!   rows ──encode──▶ memory ──write_at──▶ seg-N.arrow.part ──complete──▶ seg-N.arrow
//!
//!   complete: write the footer, sync the file, rename it, sync both folders
//! ```
//! Encoding goes to memory and can't fail. Writing goes from memory to a known offset of the file.
//! It may stop after any byte, and a later call continues at exactly that byte.
//!
//! Promises:
//! - Each encoded byte is written once.
//! - The final name appears only when the file is complete and on the disk.
//!
//! Doesn't decide when a segment is full.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use arrow_ipc::writer::FileWriter;
use arrow_schema::Schema;

use super::batch::OpenBatch;
use super::files::{self, DataMode};
use super::{SinkError, layout};

/// The most record batches in a segment. Each has an entry of 24 bytes in the footer, so the footer
/// stays within about 1.5 MiB however short flushing makes the batches.
const BATCHES_MAX: u64 = 1 << 16;

/// The operations on a segment's file. Tests replace the file with one that fails.
pub(super) trait PartFile {
    /// Writes some of `bytes` at `offset_bytes` and returns the number written.
    fn write_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<usize>;
    /// Returns once everything written is on the disk.
    fn sync_data(&self) -> io::Result<()>;
}

impl PartFile for File {
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

/// Where the segments of a lane are.
pub(super) struct LaneFolders {
    /// Unfinished ones.
    pub open: PathBuf,
    /// Complete ones.
    pub complete: PathBuf,
    /// Permissions of new ones.
    pub mode: DataMode,
}

impl Segment<File> {
    /// Creates the file of a segment. Uses `memory` for the encoded bytes, and leaves it there on
    /// an error.
    pub fn create(
        folders: &LaneFolders,
        first_sequence: u64,
        schema: &Schema,
        memory: &mut Vec<u8>,
    ) -> Result<Self, SinkError> {
        let part = layout::part(&folders.open, first_sequence);
        let complete = layout::complete(&folders.complete, first_sequence);
        let disk = files::create_new(&part, folders.mode)?;
        Ok(Self::new(disk, part, complete, schema, std::mem::take(memory)))
    }
}

impl<D: PartFile> Segment<D> {
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
                    let folders = [&self.complete, &self.part].map(|path| path.parent());
                    return folders.into_iter().flatten().try_for_each(files::sync_folder);
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
        if files::is_there(&self.complete)? {
            return Err(SinkError::Exists { path: self.complete.clone() });
        }
        fs::rename(&self.part, &self.complete).map_err(SinkError::io("rename", &self.part))
    }
}

#[cfg(test)]
mod tests;
