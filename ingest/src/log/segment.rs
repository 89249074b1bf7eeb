//! A live segment: one file, from its creation to its final name.
//!
//! ```text
//!   rows ──▶ RecordBuffer ──place──▶ stamped record ──write──▶ seg-N.arrow.part
//!                                                              │ SyncRound::run: file, folder
//!                                                              ▼ durable
//!   seal: end of stream, footer ──▶ sync ──▶ seg-N.arrow ──▶ both folders synced
//! ```
//! Promises:
//! - A record that has its place is never changed: a write that was refused goes on at the byte
//!   where it stopped, with the same bytes.
//! - The final name appears only when the file is whole and on the disk.
//! - After a failed sync nothing is added, and no later sync is believed.
//!
//! Doesn't decide when to sync or to seal, and writes on the caller's thread. A caller that writes
//! itself, several records at once, uses [`SegmentWriter::place`], [`SegmentWriter::file`] and
//! [`SegmentWriter::note_written`] instead of [`SegmentWriter::write`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::SchemaRef;

use super::buffer::{PlacedRecord, RecordBuffer};
use super::disk::{AlignedBytes, Disk, DiskFile, sync_uninterrupted, write_on};
use super::error::LogError;
use super::footer::{RECORDS_MAX, SealedSegment, encode_end};
use super::header::{RecordHeader, RecordPlace, RecordStamp, restamp};
use super::names::{LogFolders, remove};
use super::shape::{RowShape, encode_head};
use super::sync::{LogPosition, SyncRound, SyncState};

/// What all segments of a lane's log have in common.
#[derive(Clone, Debug)]
pub(super) struct SegmentKind {
    pub schema: SchemaRef,
    pub shape: RowShape,
    pub epoch: u64,
    pub block_bytes: usize,
}

/// A record's place in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where it begins.
    pub offset: u64,
    /// Its bytes: those of [`RecordBuffer::record`].
    pub bytes: u64,
    /// The sequence of its first row.
    pub first_sequence: u64,
    /// The sequence after its last row.
    pub next_sequence: u64,
}

/// The last step towards the final name.
#[derive(Debug)]
enum SealStep {
    Records,
    /// No more of them.
    Begun,
    /// The end of the file, and how much of it is written.
    End(Vec<u8>, usize),
    Synced,
    Renamed,
}

/// A live segment.
#[derive(Debug)]
pub struct SegmentWriter<D: Disk> {
    disk: D,
    file: Arc<D::File>,
    path: PathBuf,
    /// Its final name.
    target: PathBuf,
    folders: LogFolders,
    kind: SegmentKind,
    first_sequence: u64,
    /// Behind the last record that has its place.
    placed: LogPosition,
    /// Behind the last record that is written.
    written: LogPosition,
    /// Behind the last record that is on the disk.
    durable: LogPosition,
    /// Checksum of the last placed record.
    before: u32,
    records: Vec<RecordPlace>,
    /// Whether the file's name is on the disk.
    is_named: bool,
    syncs: Arc<SyncState>,
    step: SealStep,
    /// Bytes of the end of a file without records.
    least_end_bytes: u64,
}

impl<D: Disk> SegmentWriter<D> {
    /// Creates the file of a segment at `path` and writes its head. It will be sealed as `target`.
    pub(super) fn create(
        disk: &D,
        folders: &LogFolders,
        (path, target): (PathBuf, PathBuf),
        first_sequence: u64,
        kind: SegmentKind,
    ) -> Result<Self, LogError> {
        let file = disk.create_new(&path).map_err(LogError::io("create", &path))?;
        let (head, before) = encode_head(&kind.schema, kind.epoch, kind.block_bytes);
        let least_end_bytes = encode_end(&kind.schema, &[]).len() as u64;
        let head = AlignedBytes::copy_of(&head);
        write_on(&file, &head, 0, &mut 0).map_err(LogError::io("write", &path))?;
        let segment = first_sequence;
        let file_bytes = head.len() as u64;
        let position = LogPosition { segment, file_bytes, next_sequence: first_sequence };
        let durable = LogPosition { file_bytes: 0, ..position };
        let records = Vec::new();
        Ok(Self {
            disk: disk.clone(),
            file: Arc::new(file),
            path,
            target,
            folders: folders.clone(),
            kind,
            first_sequence,
            placed: position,
            written: position,
            durable,
            before,
            records,
            is_named: false,
            syncs: Arc::default(),
            step: SealStep::Records,
            least_end_bytes,
        })
    }

    /// A segment whose records were found in a file, to be sealed. It has nothing behind them.
    pub(super) fn found(
        disk: &D,
        folders: &LogFolders,
        (path, file): (PathBuf, D::File),
        kind: SegmentKind,
        first_sequence: u64,
        records: &[RecordHeader],
    ) -> Self {
        let segment = first_sequence;
        let least_end_bytes = encode_end(&kind.schema, &[]).len() as u64;
        let durable = LogPosition { segment, file_bytes: 0, next_sequence: first_sequence };
        let end = records.last().map_or(durable, |last| LogPosition {
            segment,
            file_bytes: last.offset() + last.record_bytes(),
            next_sequence: last.next_sequence(),
        });
        Self {
            disk: disk.clone(),
            file: Arc::new(file),
            path,
            target: folders.sealed(first_sequence),
            folders: folders.clone(),
            kind,
            first_sequence,
            placed: end,
            written: end,
            durable,
            before: 0,
            records: records.iter().map(RecordHeader::place).collect(),
            is_named: false,
            syncs: Arc::default(),
            step: SealStep::Records,
            least_end_bytes,
        }
    }

    /// Adds a record of another file: its bytes get their place here.
    pub(super) fn adopt(
        &mut self,
        record: &mut [u8],
        header: &RecordHeader,
    ) -> Result<(), LogError> {
        let offset = self.written.file_bytes;
        let stamp = RecordStamp { offset, before: self.before, durable_bytes: 0, ..header.stamp };
        let damaged = || LogError::no_segment(&self.path, "a record changed while it was copied");
        self.before = restamp(record, header, &stamp).ok_or_else(damaged)?;
        write_on(&*self.file, record, offset, &mut 0).map_err(LogError::io("write", &self.path))?;
        self.records.push(RecordPlace { offset, ..header.place() });
        self.written = LogPosition {
            segment: self.first_sequence,
            file_bytes: offset + record.len() as u64,
            next_sequence: header.next_sequence(),
        };
        self.placed = self.written;
        Ok(())
    }

    /// The sequence of its first row.
    #[must_use]
    pub fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// The sequence that the next record begins with.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.placed.next_sequence
    }

    /// How far the file is written.
    #[must_use]
    pub fn written(&self) -> LogPosition {
        self.written
    }

    /// How far the file is on the disk.
    #[must_use]
    pub fn durable(&self) -> LogPosition {
        self.durable
    }

    /// The file while it is live.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file, for a caller that writes records itself.
    #[must_use]
    pub fn file(&self) -> &Arc<D::File> {
        &self.file
    }

    /// Whether somebody has removed or moved the file.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_gone(&self) -> Result<bool, LogError> {
        let path = match self.step {
            SealStep::Renamed => &self.target,
            _ => &self.path,
        };
        self.file.is_at(path).map(|is_at| !is_at).map_err(LogError::io("look at", path))
    }

    /// Whether the disk has failed: the segment takes no more records.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.syncs.has_failed()
    }

    /// Whether it takes no more records: it has `segment_bytes`, its footer is full, or it is being
    /// sealed.
    #[must_use]
    pub fn is_full(&self, segment_bytes: u64) -> bool {
        self.placed.file_bytes >= segment_bytes
            || self.records.len() >= RECORDS_MAX
            || self.is_ending()
    }

    /// Gives the rows of a buffer their sequences, and their record its place behind the last one.
    /// A buffer that has its place already keeps it: it must be the last that was placed here.
    ///
    /// # Errors
    /// A segment whose disk has failed, and the end of the sequences.
    pub fn place(&mut self, buffer: &mut RecordBuffer) -> Result<Placed, LogError> {
        self.check_alive()?;
        if buffer.placed().is_some() {
            return self.place_in_here(buffer);
        }
        assert!(matches!(self.step, SealStep::Records), "a record behind the end of the stream");
        assert!(buffer.shape() == self.kind.shape, "a buffer of another log");
        let first_sequence = self.placed.next_sequence;
        let end = || LogError::SequencesEnd { path: self.folders.complete.clone() };
        first_sequence.checked_add(buffer.rows() as u64).ok_or_else(end)?;
        let stamp = RecordStamp {
            epoch: self.kind.epoch,
            offset: self.placed.file_bytes,
            first_sequence,
            durable_bytes: self.durable.file_bytes,
            before: self.before,
        };
        let record = buffer.place(stamp, self.first_sequence);
        let placed = place_of(&record);
        let header_bytes = record.header_bytes;
        let body_bytes = placed.bytes - header_bytes as u64;
        self.records.push(RecordPlace { offset: placed.offset, header_bytes, body_bytes });
        self.before = record.crc;
        self.placed = LogPosition {
            segment: self.first_sequence,
            file_bytes: placed.offset + placed.bytes,
            next_sequence: placed.next_sequence,
        };
        Ok(placed)
    }

    /// The place of a buffer's record, if that is in this segment.
    fn place_in_here(&self, buffer: &RecordBuffer) -> Result<Placed, LogError> {
        let first_sequence = self.placed.next_sequence;
        let record = buffer.placed().ok_or(LogError::LeftOut { first_sequence })?;
        let placed = place_of(record);
        let is_here = record.segment == self.first_sequence
            && placed.offset + placed.bytes <= self.placed.file_bytes;
        match is_here {
            true => Ok(placed),
            false => Err(LogError::LeftOut { first_sequence: placed.first_sequence }),
        }
    }

    /// Writes the record of a buffer that has its place. After an error the next call goes on where
    /// this one stopped.
    ///
    /// # Errors
    /// A segment whose disk has failed, and system errors.
    pub fn write(&mut self, buffer: &mut RecordBuffer) -> Result<(), LogError> {
        self.check_alive()?;
        let placed = self.place_in_here(buffer)?;
        if let Some((record, written)) = buffer.record_and_written() {
            write_on(&*self.file, record, placed.offset, written)
                .map_err(LogError::io("write", &self.path))?;
        }
        self.note_written(&placed);
        Ok(())
    }

    /// Notes that a record is written. Records are noted in the order of their places.
    pub fn note_written(&mut self, placed: &Placed) {
        let end = placed.offset + placed.bytes;
        assert!(
            placed.offset <= self.written.file_bytes && end <= self.placed.file_bytes,
            "a record before the one that is next"
        );
        if end > self.written.file_bytes {
            let (segment, next_sequence) = (self.first_sequence, placed.next_sequence);
            self.written = LogPosition { segment, file_bytes: end, next_sequence };
        }
    }

    /// What has to be done to make durable what is written now. It may run on another thread; its
    /// outcome belongs into [`SegmentWriter::end_sync`].
    pub fn begin_sync(&self) -> SyncRound<D> {
        SyncRound {
            disk: self.disk.clone(),
            file: Arc::clone(&self.file),
            path: self.path.clone(),
            folder: (!self.is_named).then(|| self.folders.open.clone()),
            syncs: Arc::clone(&self.syncs),
            position: self.written,
        }
    }

    /// Notes the outcome of a [`SyncRound`]. One of another segment changes nothing: that segment
    /// has been sealed or replaced meanwhile.
    ///
    /// # Errors
    /// The failure: the segment of the round is dead.
    pub fn end_sync(&mut self, outcome: Result<LogPosition, LogError>) -> Result<(), LogError> {
        let position = outcome?;
        if position.segment == self.first_sequence {
            self.is_named = true;
            if position.file_bytes > self.durable.file_bytes {
                self.durable = position;
            }
        }
        Ok(())
    }

    /// Whether it takes no more records and isn't sealed yet.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        !matches!(self.step, SealStep::Records)
    }

    /// Takes no more records: the next step is [`SegmentWriter::seal`].
    pub fn end_records(&mut self) {
        if let SealStep::Records = self.step {
            self.step = SealStep::Begun;
        }
    }

    /// Gives the segment its final name, and removes it if no record is written. Records that are
    /// placed and not written are left out: their sequences stay without rows. After an error that
    /// may be tried again the next call repeats the failed step.
    ///
    /// # Errors
    /// System errors; a failed sync, after which the segment is dead.
    pub fn seal(&mut self) -> Result<Option<SealedSegment>, LogError> {
        self.seal_by(|segment| segment.take_free_name().map(|()| true))
    }

    /// The same for a copy of a sealed segment, whose name it takes over. If that isn't the open
    /// file `old` any more, somebody has moved it: then the copy is removed.
    ///
    /// # Errors
    /// As [`SegmentWriter::seal`].
    pub(super) fn seal_over(&mut self, old: &D::File) -> Result<Option<SealedSegment>, LogError> {
        self.seal_by(|segment| segment.take_name_of(old))
    }

    /// Seals by `take_name`, which says whether the name was taken.
    fn seal_by(
        &mut self,
        take_name: impl Fn(&Self) -> Result<bool, LogError>,
    ) -> Result<Option<SealedSegment>, LogError> {
        if !self.sync_end()? {
            return remove(&self.disk, &self.path).map(|()| None);
        }
        if let SealStep::Synced = self.step {
            self.check_alive()?;
            if !take_name(self)? {
                return remove(&self.disk, &self.path).map(|()| None);
            }
            self.step = SealStep::Renamed;
        }
        for folder in [&self.folders.complete, &self.folders.open] {
            self.disk.sync_folder(folder).map_err(LogError::io("sync the folder", folder))?;
        }
        self.durable = self.written;
        Ok(Some(self.sealed()))
    }

    /// The first half of sealing: ends the file, and returns once all of it is on the disk. False
    /// if no record is written.
    ///
    /// # Errors
    /// As [`SegmentWriter::seal`].
    pub(super) fn sync_end(&mut self) -> Result<bool, LogError> {
        loop {
            self.check_alive()?;
            match &mut self.step {
                SealStep::Records => self.end_records(),
                SealStep::Begun => {
                    self.leave_unwritten_out()?;
                    if self.records.is_empty() {
                        return Ok(false);
                    }
                    let end = encode_end(&self.kind.schema, &self.records);
                    self.step = SealStep::End(end, 0);
                }
                SealStep::End(end, written) => {
                    write_on(&*self.file, end, self.written.file_bytes, written)
                        .map_err(LogError::io("write", &self.path))?;
                    self.syncs.run(&self.path, || {
                        sync_uninterrupted(&*self.file).map_err(LogError::sync(&self.path))
                    })?;
                    self.step = SealStep::Synced;
                }
                SealStep::Synced | SealStep::Renamed => return Ok(true),
            }
        }
    }

    fn leave_unwritten_out(&mut self) -> Result<(), LogError> {
        let written = self.written.file_bytes;
        if self.placed.file_bytes > written {
            self.file.truncate(written).map_err(LogError::io("cut", &self.path))?;
            self.records.retain(|record| record.end() <= written);
            self.placed = self.written;
        }
        Ok(())
    }

    /// Bytes that sealing adds to the file: what a full disk must still have room for.
    #[must_use]
    pub fn end_bytes(&self) -> u64 {
        self.least_end_bytes + 24 * self.records.len() as u64 + 8
    }

    fn sealed(&self) -> SealedSegment {
        let path = self.target.clone();
        let end_bytes = encode_end(&self.kind.schema, &self.records).len() as u64;
        SealedSegment {
            path,
            first_sequence: self.first_sequence,
            next_sequence: self.written.next_sequence,
            file_bytes: self.written.file_bytes + end_bytes,
            records: self.records.len(),
            is_old: false,
        }
    }

    fn take_name_of(&self, old: &D::File) -> Result<bool, LogError> {
        let is_there = old.is_at(&self.target).map_err(LogError::io("look at", &self.target))?;
        if is_there {
            // Its rows are as old as they were: their time on the disk is counted from there.
            let sealed_at = self.disk.modified(&self.target);
            let kept = sealed_at.and_then(|sealed_at| self.file.set_modified(sealed_at));
            kept.map_err(LogError::io("keep the time of", &self.target))?;
            let renamed = self.disk.rename_over(&self.path, &self.target);
            renamed.map_err(LogError::io("rename", &self.path))?;
        }
        Ok(is_there)
    }

    fn take_free_name(&self) -> Result<(), LogError> {
        self.disk.rename_new(&self.path, &self.target).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => LogError::Exists { path: self.target.clone() },
            _ => LogError::io("rename", &self.path)(error),
        })
    }

    fn check_alive(&self) -> Result<(), LogError> {
        self.syncs.check(&self.path)
    }
}

fn place_of(record: &PlacedRecord) -> Placed {
    Placed {
        offset: record.stamp.offset,
        bytes: record.range.len() as u64,
        first_sequence: record.stamp.first_sequence,
        next_sequence: record.stamp.first_sequence + record.rows as u64,
    }
}
