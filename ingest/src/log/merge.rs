//! Merging a sealed segment whose records are small: the same rows in large records, in a file that
//! takes over the segment's name.
//!
//! ```text
//!   seg-N.arrow       │ r │ r │ r │ r │ r │ ...                    │ end │   read, a step at a time
//!                         ▼ rows, marks
//!   seg-N.arrow.new   │ record         │ record         │ ... │ end │ ──▶ synced ──▶ renamed over
//! ```
//! Promises:
//! - Rows, sequences, ids, times and marks stay what they are.
//! - The name has one of the two files, whole, whatever crashes: the new one is on the disk before
//!   it takes the name, and the old one goes only by that.
//! - A step reads [`STEP_BYTES`], or one record, and syncs what it has written. So no sync has much
//!   to do, also not that of another lane's file.
//!
//! Doesn't decide when a step is due ([`Merging`](super::merging::Merging) does), and doesn't try
//! again: a segment that can't be merged stays as it is. A copy that was begun is removed by
//! [`SegmentMerge::abandon`], or by the next start.

use std::sync::Arc;

use super::buffer::{LogRows, ProducerMark, RecordBuffer, RowTimes};
use super::disk::{AlignedBytes, Disk};
use super::error::LogError;
use super::footer::SealedSegment;
use super::header::{RecordHeader, RecordTemplate};
use super::names::{LogFolders, remove};
use super::reader::{NextRecord, ReaderPlace, RecordReader};
use super::segment::{SegmentKind, SegmentWriter};

/// Bytes that a step reads.
const STEP_BYTES: u64 = 1 << 20;

/// A segment is merged if its records have fewer rows than this on average, and fewer bytes.
pub(super) const SMALL_ROWS: u64 = 1024;
pub(super) const SMALL_BYTES: u64 = 256 << 10;

/// Bytes of vectors, rows and marks that a merged record has at most.
pub(super) const MERGED_BYTES: usize = 1 << 20;
pub(super) const MERGED_ROWS_MAX: usize = 16_384;
const MERGED_MARKS_MAX: usize = 16_384;

/// The largest record that is read: one with more makes no small average.
const RECORD_BYTES_MAX: u64 = 4 << 20;

/// Memory that merging holds: a piece that is read, a record of it, and one that is written.
pub(crate) const MERGE_BYTES: u64 = 8 << 20;

/// Whether the records of a segment are small on average, and merging makes them fewer. Those of
/// earlier versions have no checksums to copy.
pub(super) fn is_small(sealed: &SealedSegment) -> bool {
    let (rows, records) = (sealed.next_sequence - sealed.first_sequence, sealed.records as u64);
    !sealed.is_old
        && records > 1
        && rows < SMALL_ROWS.saturating_mul(records)
        && sealed.file_bytes < SMALL_BYTES.saturating_mul(records)
}

/// A sealed segment on its way into a file with larger records.
#[derive(Debug)]
pub(super) struct SegmentMerge<D: Disk> {
    small: SealedSegment,
    kind: SegmentKind,
    source: Arc<D::File>,
    place: ReaderPlace,
    copy: SegmentWriter<D>,
    buffer: RecordBuffer,
}

/// What a step has come to.
#[derive(Debug)]
pub(super) enum MergeStep {
    /// There is more to do.
    More,
    /// The name has the merged file.
    Merged(SealedSegment),
    /// Somebody has moved or removed the segment: there is nothing to merge.
    Gone,
}

impl<D: Disk> SegmentMerge<D> {
    /// Opens a segment and creates its copy. None if the segment isn't there any more.
    pub fn begin(
        disk: &D,
        folders: &LogFolders,
        kind: &SegmentKind,
        small: SealedSegment,
    ) -> Result<Option<Self>, LogError> {
        let (first, path) = (small.first_sequence, &small.path);
        let source = match disk.open_to_read(path) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LogError::io("open", path)(error)),
        };
        let reader = RecordReader::new(&*source, path, small.file_bytes, first, kind.shape)?;
        let place = reader.place();
        let epoch = place.epoch.unwrap_or(kind.epoch);
        let kind = SegmentKind { epoch, block_bytes: place.block_bytes, ..kind.clone() };
        let rows_max = (MERGED_BYTES / kind.shape.vector_bytes()).clamp(1, MERGED_ROWS_MAX);
        let template = RecordTemplate::new(kind.shape);
        let buffer = RecordBuffer::new(&template, kind.block_bytes, rows_max, MERGED_MARKS_MAX)?;
        let paths = (folders.copy(first), folders.sealed(first));
        // Of a merge that was given up.
        remove(disk, &paths.0)?;
        let copy = SegmentWriter::create(disk, folders, paths, first, kind.clone())?;
        Ok(Some(Self { small, kind, source, place, copy, buffer }))
    }

    /// The segment that is merged.
    pub fn small(&self) -> &SealedSegment {
        &self.small
    }

    /// Bytes of the segment that aren't copied yet.
    pub fn bytes_left(&self) -> u64 {
        self.small.file_bytes.saturating_sub(self.place.at)
    }

    /// Copies the next rows; after the last ones the copy takes over the name.
    pub fn step(&mut self) -> Result<MergeStep, LogError> {
        if self.copy_rows()? {
            return self.finish_copy();
        }
        if self.copy.written() != self.copy.durable() {
            let outcome = self.copy.begin_sync().run();
            self.copy.end_sync(outcome)?;
        }
        Ok(MergeStep::More)
    }

    /// Removes the copy: the segment stays as it is.
    pub fn abandon(self, disk: &D) -> Result<(), LogError> {
        remove(disk, self.copy.path())
    }

    /// Copies what a step reads, and whether those were the last rows.
    fn copy_rows(&mut self) -> Result<bool, LogError> {
        let (source, path) = (Arc::clone(&self.source), self.small.path.clone());
        let (end, shape) = (self.small.file_bytes, self.kind.shape);
        let mut reader = RecordReader::resume(&*source, &path, end, shape, &self.place);
        let until = self.place.at + STEP_BYTES;
        let mut memory = AlignedBytes::default();
        while reader.at() < until {
            match reader.next_record()? {
                NextRecord::Record(header) => self.take_record(&reader, &header, &mut memory)?,
                NextRecord::End => return self.flush().map(|()| true),
                NextRecord::Fault(fault) => {
                    return Err(LogError::no_segment(&path, fault.to_string()));
                }
            }
        }
        self.place = reader.place();
        Ok(false)
    }

    /// Takes a record's rows into the next record of the copy.
    fn take_record(
        &mut self,
        reader: &RecordReader<'_, D::File>,
        header: &RecordHeader,
        memory: &mut AlignedBytes,
    ) -> Result<(), LogError> {
        if header.record_bytes() > RECORD_BYTES_MAX {
            let why = format!("a record of it has {} bytes", header.record_bytes());
            return Err(LogError::no_segment(&self.small.path, why));
        }
        if !self.has_room(header) {
            self.flush()?;
        }
        if !self.has_room(header) {
            // It is large enough by itself.
            return self.copy.adopt(reader.load_bytes(header, memory)?, header);
        }
        let record = reader.load(header, memory)?;
        let times = match record.times() {
            [] => RowTimes::One(0),
            times => RowTimes::Each(times),
        };
        let (vectors, ids, mark) = (record.vectors(), record.ids(), None);
        let before = self.buffer.rows() as u64;
        self.buffer.append(&LogRows { vectors, ids, times, mark })?;
        for mark in record.marks() {
            let within = mark.row.saturating_sub(header.first_sequence());
            self.buffer.keep_mark(ProducerMark { row: before + within, ..mark });
        }
        Ok(())
    }

    fn has_room(&self, header: &RecordHeader) -> bool {
        let (rows, marks) = (header.body.rows, header.body.producers);
        rows <= self.buffer.room() && marks <= self.buffer.marks_room()
    }

    /// Writes the rows that are gathered as one record.
    fn flush(&mut self) -> Result<(), LogError> {
        if self.buffer.rows() > 0 {
            self.copy.place(&mut self.buffer)?;
            self.copy.write(&mut self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn finish_copy(&mut self) -> Result<MergeStep, LogError> {
        let (found, said) = (self.copy.next_sequence(), self.small.next_sequence);
        if found != said {
            let why = format!("its records end before sequence {found}, its footer says {said}");
            return Err(LogError::no_segment(&self.small.path, why));
        }
        let merged = self.copy.seal_over(&self.source)?;
        Ok(merged.map_or(MergeStep::Gone, MergeStep::Merged))
    }
}
