//! A segment at work: one file, from its creation to its final name.
//!
//! ```text
//!   rows ──encode──▶ memory ──write_at──▶ seg-N.arrow.part ──footer, sync, rename, sync of the folder──▶ seg-N.arrow
//! ```
//! Encoding goes to memory and can't fail. Writing goes from there to a known offset; it may stop
//! after any byte, and a later call continues at exactly that byte. Promises that each encoded byte
//! is written once, and that the final name appears only when the file is complete and on the disk.
//! It doesn't decide when a segment is full.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use arrow_ipc::writer::FileWriter;
use arrow_schema::Schema;

use super::batch::OpenBatch;
use super::{SinkError, name};

/// The most record batches in a segment. Each has an entry of 24 bytes in the footer, so the footer
/// stays within about 1.5 MiB however short flushing makes the batches.
const BATCHES_MAX: u64 = 1 << 16;

/// What a segment needs of its file. Tests replace it with one that fails.
pub(super) trait Disk {
    /// Writes some of `bytes` at `offset_bytes` and returns how many.
    fn write_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<usize>;
    /// Returns when everything written is on the disk.
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
    /// Its `Vec` holds encoded bytes that aren't dropped yet.
    writer: FileWriter<Vec<u8>>,
    /// Bytes of the file before those in `writer`.
    drained_bytes: u64,
    /// Of those in `writer`, how many are in the file.
    written_bytes: usize,
    rows: u64,
    batches: u64,
    progress: Progress,
}

/// The last step done towards the final name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Rows,
    Footer,
    Synced,
    Renamed,
    /// See [`SinkError::SyncFailed`]: there is no way on from here. Carries the system's error
    /// number.
    SyncFailed(Option<i32>),
}

impl Segment<File> {
    /// Creates the file of a segment in a lane's folder. `memory` is taken for the encoded bytes,
    /// unless there is an error.
    pub fn create(
        folder: &Path,
        first_sequence: u64,
        schema: &Schema,
        memory: &mut Vec<u8>,
    ) -> Result<Self, SinkError> {
        let part = name::part(folder, first_sequence);
        let disk = File::create_new(&part).map_err(SinkError::io("create", &part))?;
        Ok(Self::new(
            disk,
            part,
            name::complete(folder, first_sequence),
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
        let progress = Progress::Rows;
        Self {
            disk,
            part,
            complete,
            writer,
            drained_bytes: 0,
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
        self.drained_bytes + self.writer.get_ref().len() as u64
    }

    /// Whether completing has begun or must begin: the segment takes no more batches.
    pub fn is_closed(&self, bytes_max: u64) -> bool {
        self.progress != Progress::Rows || self.bytes() >= bytes_max || self.batches >= BATCHES_MAX
    }

    /// Encodes the first `rows` rows of `batch` into memory. The memory must be empty.
    pub fn encode(&mut self, batch: &mut OpenBatch, rows: usize, first_sequence: u64) {
        assert!(self.progress == Progress::Rows, "a batch after the footer");
        assert!(
            self.batches == 0 || self.writer.get_ref().is_empty(),
            "the memory holds one batch at a time"
        );
        batch.encode(rows, first_sequence, &mut self.writer);
        self.rows += rows as u64;
        self.batches += 1;
    }

    /// Writes encoded bytes to the file, as far as possible.
    pub fn drain(&mut self) -> Result<(), SinkError> {
        let encoded = self.writer.get_ref();
        while self.written_bytes < encoded.len() {
            let offset_bytes = self.drained_bytes + self.written_bytes as u64;
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
        self.drained_bytes += encoded.len() as u64;
        self.written_bytes = 0;
        self.writer.get_mut().clear();
        Ok(())
    }

    /// Gives the segment its final name. After an error the next call repeats the failed step.
    pub fn complete(&mut self) -> Result<(), SinkError> {
        assert!(self.rows > 0, "a segment is created for its first batch");
        loop {
            self.progress = match self.progress {
                Progress::Rows => {
                    self.drain()?;
                    self.writer.finish().expect("the writer writes to memory");
                    Progress::Footer
                }
                Progress::Footer => {
                    self.drain()?;
                    self.sync()?;
                    Progress::Synced
                }
                Progress::Synced => {
                    self.rename()?;
                    Progress::Renamed
                }
                Progress::Renamed => {
                    return name::sync_folder(self.complete.parent().unwrap_or(Path::new(".")));
                }
                Progress::SyncFailed(number) => return Err(self.sync_failed(number)),
            }
        }
    }

    /// The memory for the next segment, and the file's size.
    pub fn into_memory(self) -> (Vec<u8>, u64) {
        assert!(
            self.progress == Progress::Renamed && self.writer.get_ref().is_empty(),
            "the segment isn't complete"
        );
        (self.writer.into_inner().expect("the footer is written"), self.drained_bytes)
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        loop {
            match self.disk.sync_data() {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.progress = Progress::SyncFailed(error.raw_os_error());
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

    /// The folder is locked and the name contains our sequence, so only a foreign file can be
    /// there. It isn't ours to overwrite.
    fn rename(&self) -> Result<(), SinkError> {
        if self.complete.try_exists().map_err(SinkError::io("look for", &self.complete))? {
            return Err(SinkError::Exists { path: self.complete.clone() });
        }
        fs::rename(&self.part, &self.complete).map_err(SinkError::io("rename", &self.part))
    }
}

#[cfg(test)]
mod tests;
