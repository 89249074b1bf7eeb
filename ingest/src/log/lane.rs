//! The log of a lane: rows in, durable records and sealed segments out.
//!
//! ```text
//!   open ──▶ Recovery
//!   buffer.append(rows) ... append(&mut buffer) ──▶ written      buffer.clear()
//!   sync, or begin_sync ▶ SyncRound::run ▶ end_sync ──▶ durable_through
//!   seal ──▶ a segment for readers                close ──▶ the next start finds a clean log
//! ```
//! Promises:
//! - A row whose sequence is below [`LaneLog::durable_through`] survives a crash of the machine,
//!   unless a [`LaneLog::replace_dead`] has said that it is lost, or its record was never written
//!   whole and [`LaneLog::seal`] has left it out.
//! - Rows are in the log in the order in which they were appended, each once.
//! - No sequence is given twice, whatever crashes and whatever is moved away: after an end without
//!   `close` the sequences go on behind a gap of [`LogOptions::gap_rows`].
//!
//! Doesn't start threads, wait, or try again: after an error for which [`LogError::may_retry`] says
//! so the caller calls again, with the same buffer.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::buffer::{RecordBuffer, check};
use super::disk::{BLOCK_BYTES, Disk};
use super::durable::{DurableMark, MarkFile};
use super::error::LogError;
use super::footer::SealedSegment;
use super::header::RecordTemplate;
use super::merge::{SegmentMerge, is_small};
use super::names::{LogFolders, remove};
use super::next::NextFile;
use super::producer_file::LogProducers;
use super::producers::{ProducerLimits, ProducerTable};
use super::recover::{LaneFiles, RecoveredFile, Recovery};
use super::segment::{Placed, SegmentKind, SegmentWriter};
use super::shape::{BLOCK_BYTES_MAX, INTEGER_BYTES, RowShape, is_block, segment_schema};
use super::sync::{LogPosition, SyncRound};
use crate::sink::DIM_MAX;

/// What a log is opened for.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// What a row holds.
    pub shape: RowShape,
    /// The lane's number, for readers.
    pub lane: u32,
    /// Of this start: random, see [`random_epoch`].
    pub epoch: u64,
    /// Records are multiples of it: the block of the device, if that is larger than 4,096.
    pub block_bytes: usize,
    /// A segment is full at this many bytes; it may be larger by a record and its end.
    pub segment_bytes: u64,
    /// How far sequences jump after an unclean end. More rows than this must never be without a
    /// durable record at the same time: pushed, in buffers, or written and not synced.
    pub gap_rows: u64,
    /// What the log remembers of producers.
    pub producers: ProducerLimits,
}

impl LogOptions {
    /// Segments of 256 MiB, and a gap of 2^32 rows.
    #[must_use]
    pub fn new(shape: RowShape, lane: u32, epoch: u64) -> Self {
        let (segment_bytes, gap_rows) = (256 << 20, 1 << 32);
        let (block_bytes, producers) = (BLOCK_BYTES, ProducerLimits::default());
        Self { shape, lane, epoch, block_bytes, segment_bytes, gap_rows, producers }
    }

    fn validate(&self) -> Result<(), LogError> {
        check("dim", self.shape.dim as usize, 1, DIM_MAX as usize)?;
        let refuse =
            |field, value, allowed: String| Err(LogError::Option { field, value, allowed });
        if !is_block(self.block_bytes) {
            let allowed = format!("a power of two from {BLOCK_BYTES} to {BLOCK_BYTES_MAX}");
            return refuse("block_bytes", self.block_bytes as u64, allowed);
        }
        if self.segment_bytes == 0 {
            return refuse("segment_bytes", 0, "at least 1".to_owned());
        }
        if self.gap_rows == 0 {
            return refuse("gap_rows", 0, "at least 1".to_owned());
        }
        Ok(())
    }
}

/// A number that no other start has.
#[must_use]
pub fn random_epoch() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// What was found for readers and has small records.
fn small_of(recovery: &Recovery) -> VecDeque<SealedSegment> {
    let made = recovery.files.iter().filter(|file| !file.is_apart).flat_map(|file| &file.sealed);
    recovery.sealed.iter().chain(made).filter(|sealed| is_small(sealed)).cloned().collect()
}

/// The log of a lane. One at a time for its folders, which the caller has locked.
#[derive(Debug)]
pub struct LaneLog<D: Disk> {
    disk: D,
    folders: LogFolders,
    options: LogOptions,
    kind: SegmentKind,
    template: RecordTemplate,
    segment: Option<SegmentWriter<D>>,
    /// The first sequence of a segment whose file may be there without a whole head.
    begun: Option<u64>,
    /// Whether the next file may say that the log is closed.
    is_closed: bool,
    /// A segment whose disk has failed, until it is read again.
    dead: Option<(u64, PathBuf)>,
    mark: MarkFile<D>,
    next_sequence: u64,
    durable_through: u64,
    producers: LogProducers,
    /// Sealed segments whose records are small, the oldest first.
    small: VecDeque<SealedSegment>,
}

impl<D: Disk> LaneLog<D> {
    /// Opens the log in folders that are there, and makes whole what a crash has left in them.
    ///
    /// # Errors
    /// An option out of its range, system errors, and files of a later version or of other rows.
    /// What was done until then stays, and a later call does the rest.
    pub fn open(
        disk: D,
        folders: LogFolders,
        options: LogOptions,
    ) -> Result<(Self, Recovery), LogError> {
        options.validate()?;
        let schema = segment_schema(options.shape, options.lane);
        let LogOptions { shape, epoch, block_bytes, .. } = options;
        let kind = SegmentKind { schema, shape, epoch, block_bytes };
        let said = NextFile::read(&disk, &folders)?;
        let (mut producers, is_whole) =
            LogProducers::open(&disk, &folders, options.producers, options.lane)?;
        let mut files =
            LaneFiles { disk: &disk, folders: &folders, kind: &kind, producers: &mut producers };
        let mut recovery = files.recover()?;
        recovery.producers_lost = !is_whole;
        // Without the file an earlier version was here last, or nobody.
        let was_clean = recovery.files.is_empty() && said.is_none_or(|said| said.is_clean);
        let found = recovery.next_sequence.max(said.map_or(0, |said| said.next_sequence));
        let gap = if was_clean { 0 } else { options.gap_rows };
        let end = || LogError::SequencesEnd { path: folders.complete.clone() };
        let next_sequence = found.checked_add(gap).ok_or_else(end)?;
        recovery.next_sequence = next_sequence;
        recovery.was_clean = was_clean;
        NextFile { next_sequence, is_clean: false }.write(&disk, &folders)?;
        let template = RecordTemplate::new(shape);
        let log = Self {
            disk,
            folders,
            options,
            kind,
            template,
            segment: None,
            begun: None,
            is_closed: false,
            dead: None,
            mark: MarkFile::new(),
            next_sequence,
            durable_through: next_sequence,
            producers,
            small: small_of(&recovery),
        };
        Ok((log, recovery))
    }

    /// A buffer for up to `rows_max` rows and `marks_max` producer marks a record. Two or three of
    /// them let one fill while another is written.
    ///
    /// # Errors
    /// A size out of its range.
    pub fn buffer(&self, rows_max: usize, marks_max: usize) -> Result<RecordBuffer, LogError> {
        RecordBuffer::new(&self.template, self.options.block_bytes, rows_max, marks_max)
    }

    /// What the log's records and its file of producers hold of producers' requests.
    #[must_use]
    pub fn producers(&self) -> &ProducerTable {
        self.producers.table()
    }

    /// The sequence that the next record begins with.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The sequence before which every row of this start is on the disk, those aside that
    /// [`LaneLog::replace_dead`] has reported as lost or [`LaneLog::seal`] has left out.
    #[must_use]
    pub fn durable_through(&self) -> u64 {
        self.durable_through
    }

    /// The live segment.
    #[must_use]
    pub fn segment(&self) -> Option<&SegmentWriter<D>> {
        self.segment.as_ref()
    }

    /// Whether the live segment is full: the next record seals it first.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.segment.as_ref().is_some_and(|segment| segment.is_full(self.options.segment_bytes))
    }

    /// How far the live segment is durable, if its readers haven't been shown yet.
    fn unshown(&self) -> Option<DurableMark> {
        let segment = self.segment.as_ref()?;
        let (epoch, durable) = (self.options.epoch, segment.durable());
        let mark = DurableMark { epoch, segment: durable.segment, file_bytes: durable.file_bytes };
        (durable.file_bytes > 0 && !self.mark.is_last(&mark)).then_some(mark)
    }

    /// Whether readers of the live segment haven't been shown yet how far it is durable.
    pub(super) fn has_unshown(&self) -> bool {
        self.unshown().is_some()
    }

    /// Shows the readers of the live segment how far it is durable, by the lane's file `durable`.
    /// That is neither synced nor owed to anybody, so a disk that refuses it is no error.
    pub fn show_durable(&mut self) {
        if let Some(mark) = self.unshown() {
            self.mark.write(&self.disk, &self.folders, mark);
        }
    }

    /// Takes back what `close` has said, before a sequence is given: also where it failed, because
    /// what it said may be on the disk all the same.
    fn reopen(&mut self) -> Result<(), LogError> {
        if self.is_closed {
            let next_sequence = self.next_sequence;
            NextFile { next_sequence, is_clean: false }.write(&self.disk, &self.folders)?;
            self.is_closed = false;
        }
        Ok(())
    }

    /// Removes the file of a segment that the disk refused to begin: it holds no record.
    fn remove_begun(&mut self) -> Result<(), LogError> {
        if let Some(first) = self.begun {
            remove(&self.disk, &self.folders.part(first))?;
            self.begun = None;
        }
        Ok(())
    }

    /// Whether records have their place and aren't written.
    fn is_behind(&self) -> bool {
        let behind = |s: &SegmentWriter<D>| s.written().next_sequence < s.next_sequence();
        self.segment.as_ref().is_some_and(behind)
    }

    /// Writes the rows of a buffer as one record behind the last one. The caller clears the buffer.
    /// After an error that may be tried again the next call, with the same buffer, goes on where
    /// this one stopped. Another buffer says that this one is given up: its record is left out, and
    /// the segment sealed before it. A buffer without rows writes nothing.
    ///
    /// # Errors
    /// System errors; a segment whose disk has failed, see [`LaneLog::replace_dead`].
    pub fn append(&mut self, buffer: &mut RecordBuffer) -> Result<(), LogError> {
        if buffer.rows() == 0 {
            return Ok(());
        }
        let is_given_up =
            |segment: &SegmentWriter<D>| segment.written().next_sequence < segment.next_sequence();
        if buffer.record().is_none() && self.segment.as_ref().is_some_and(is_given_up) {
            self.seal()?;
        }
        self.place(buffer)?;
        match &mut self.segment {
            Some(segment) => segment.write(buffer),
            None => Ok(()),
        }
    }

    /// The first half of [`LaneLog::append`], for a caller that writes itself: the record gets its
    /// place, in a new segment if there is none or it is full. The record's bytes then go to that
    /// place of [`SegmentWriter::file`], and [`LaneLog::note_written`] follows, in order. A log is
    /// written either so or by `append`.
    ///
    /// # Errors
    /// As [`LaneLog::append`]; a buffer without rows.
    pub fn place(&mut self, buffer: &mut RecordBuffer) -> Result<Placed, LogError> {
        if buffer.rows() == 0 {
            return Err(LogError::NoRows);
        }
        let is_ending = self.segment.as_ref().is_some_and(SegmentWriter::is_ending);
        // A full segment grows on while records are on their way into it.
        if buffer.record().is_none() && (is_ending || self.is_full() && !self.is_behind()) {
            self.seal()?;
        }
        if self.segment.is_none() {
            self.remove_begun()?;
            self.reopen()?;
        }
        let segment = match &mut self.segment {
            Some(segment) => segment,
            none => {
                if let Some((_, path)) = &self.dead {
                    let source = io::ErrorKind::Other.into();
                    return Err(LogError::SyncFailed { path: path.clone(), source });
                }
                let first = self.next_sequence;
                let path = self.folders.part(first);
                self.begun = Some(first);
                let paths = (path, self.folders.sealed(first));
                let (folders, kind) = (&self.folders, self.kind.clone());
                let created = SegmentWriter::create(&self.disk, folders, paths, first, kind)?;
                self.begun = None;
                none.insert(created)
            }
        };
        let is_new = buffer.placed().is_none();
        let placed = segment.place(buffer)?;
        self.next_sequence = segment.next_sequence();
        if is_new {
            self.producers.note(buffer.marks());
        }
        Ok(placed)
    }

    /// Notes that a record is written whose place was given by [`LaneLog::place`].
    pub fn note_written(&mut self, placed: &Placed) {
        if let Some(segment) = &mut self.segment {
            segment.note_written(placed);
        }
    }

    /// What makes durable all that is written now; None if nothing isn't, or if the segment is
    /// being sealed: then [`LaneLog::seal`] does it. It may run on another
    /// thread, while this one appends. Its outcome belongs into [`LaneLog::end_sync`].
    pub fn begin_sync(&self) -> Option<SyncRound<D>> {
        let segment = self.segment.as_ref()?;
        let is_due = segment.durable() != segment.written() && !segment.is_ending();
        is_due.then(|| segment.begin_sync())
    }

    /// Notes the outcome of a round.
    ///
    /// # Errors
    /// The failure: the segment is dead, and the acknowledgements that waited for this round fail.
    pub fn end_sync(&mut self, outcome: Result<LogPosition, LogError>) -> Result<(), LogError> {
        match &mut self.segment {
            Some(segment) => {
                segment.end_sync(outcome)?;
                let durable = segment.durable().next_sequence;
                self.durable_through = self.durable_through.max(durable);
                Ok(())
            }
            None => outcome.map(drop),
        }
    }

    /// Makes durable all that is written. Goes on sealing a segment whose sealing has begun.
    ///
    /// # Errors
    /// As [`LaneLog::end_sync`].
    pub fn sync(&mut self) -> Result<(), LogError> {
        if self.segment.as_ref().is_some_and(SegmentWriter::is_ending) {
            return self.seal().map(drop);
        }
        match self.begin_sync() {
            Some(round) => self.end_sync(round.run()),
            None => Ok(()),
        }
    }

    /// Seals the live segment; None if it has no written record. A record that has its place and
    /// isn't written is left out: its rows aren't in the log, and a later [`LaneLog::append`] of
    /// its buffer says so. Waits for a round that runs.
    ///
    /// # Errors
    /// As [`SegmentWriter::seal`].
    pub fn seal(&mut self) -> Result<Option<SealedSegment>, LogError> {
        let Some(segment) = &mut self.segment else { return Ok(None) };
        segment.end_records();
        // A sealed segment may be moved away. Then this file alone says that its sequences are
        // given, so it says it first.
        let next_sequence = self.next_sequence;
        NextFile { next_sequence, is_clean: false }.write(&self.disk, &self.folders)?;
        if segment.sync_end()? {
            self.producers.forget(segment.next_sequence()..next_sequence);
            self.producers.write(&self.disk, &self.folders)?;
        }
        let sealed = segment.seal()?;
        if let Some(sealed) = &sealed {
            self.durable_through = sealed.next_sequence;
        }
        self.segment = None;
        self.small.extend(sealed.clone().filter(is_small));
        Ok(sealed)
    }

    /// After a failed sync: reads the dead segment again from the disk, and seals what is valid.
    /// Its rows that [`RecoveredFile::holds`] doesn't know are lost, the others durable. Buffers
    /// that had their place in it are to be cleared. The next record begins a new segment. None if
    /// no segment is dead.
    ///
    /// # Errors
    /// System errors. The next call tries again; until it succeeds nothing can be appended.
    pub fn replace_dead(&mut self) -> Result<Option<RecoveredFile>, LogError> {
        if let Some(segment) = self.segment.take_if(|segment| segment.is_dead()) {
            self.dead = Some((segment.first_sequence(), segment.path().to_owned()));
        }
        let Some((first, path)) = self.dead.clone() else { return Ok(None) };
        let next_sequence = self.next_sequence;
        NextFile { next_sequence, is_clean: false }.write(&self.disk, &self.folders)?;
        // Those that are found in it are noted again.
        self.producers.forget(first..next_sequence);
        let (disk, folders, kind) = (&self.disk, &self.folders, &self.kind);
        let producers = &mut self.producers;
        let mut files = LaneFiles { disk, folders, kind, producers };
        let (file, _) = files.recover_file(first, &path)?;
        self.dead = None;
        if let Some(last) = file.sealed.last() {
            self.durable_through = self.durable_through.max(last.next_sequence);
        }
        self.small.extend(file.sealed.iter().filter(|sealed| is_small(sealed)).cloned());
        Ok(Some(file))
    }

    /// Forgets a live segment whose file somebody has removed or moved: its rows are gone. The next
    /// record begins a new segment. Returns the file's path and its sequences, or None if it is
    /// where it should be.
    ///
    /// # Errors
    /// System errors. The next call tries again.
    pub fn drop_removed(&mut self) -> Result<Option<(PathBuf, Range<u64>)>, LogError> {
        let Some(segment) = &self.segment else { return Ok(None) };
        let path = segment.path().to_owned();
        if !segment.is_gone()? {
            return Ok(None);
        }
        let rows = segment.first_sequence()..segment.next_sequence();
        let next_sequence = self.next_sequence;
        NextFile { next_sequence, is_clean: false }.write(&self.disk, &self.folders)?;
        self.producers.forget(rows.clone());
        self.segment = None;
        Ok(Some((path, rows)))
    }

    /// Whether a sealed segment should be merged.
    pub(super) fn has_small(&self) -> bool {
        !self.small.is_empty()
    }

    /// The next sealed segment to merge.
    pub(super) fn take_small(&mut self) -> Option<SealedSegment> {
        self.small.pop_front()
    }

    /// Begins to merge a sealed segment; None if it isn't there any more.
    pub(super) fn begin_merge(
        &self,
        small: SealedSegment,
    ) -> Result<Option<SegmentMerge<D>>, LogError> {
        SegmentMerge::begin(&self.disk, &self.folders, &self.kind, small)
    }

    pub(super) fn disk(&self) -> &D {
        &self.disk
    }

    /// Bytes of a vector, and of a row with all of its columns.
    pub(super) fn row_bytes(&self) -> (usize, u64) {
        let shape = self.options.shape;
        (shape.vector_bytes(), (shape.vector_bytes() + shape.integers() * INTEGER_BYTES) as u64)
    }

    /// Bytes that may still be written on the log's disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes(&self.folders.open)
    }

    /// Seals the live segment and notes that nothing is open. The log can be used on, and is open
    /// again with the next record.
    ///
    /// # Errors
    /// As [`LaneLog::seal`]; a dead segment that wasn't replaced.
    pub fn close(&mut self) -> Result<Option<SealedSegment>, LogError> {
        if let Some((_, path)) = &self.dead {
            let source = io::ErrorKind::Other.into();
            return Err(LogError::SyncFailed { path: path.clone(), source });
        }
        let sealed = self.seal()?;
        self.remove_begun()?;
        self.is_closed = true;
        let next_sequence = self.next_sequence;
        NextFile { next_sequence, is_clean: true }.write(&self.disk, &self.folders)?;
        Ok(sealed)
    }
}
