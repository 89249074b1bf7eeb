//! Removing old sealed segments, so that a folder holds no more than it may.
//!
//! - The oldest of all lanes goes first, and within a lane the one with the lowest sequences.
//! - One goes in a round, and its folder is synced before the next one: a crash leaves no hole.
//! - A live segment and files that are kept as `.bad` are never removed, and don't count.
//! - For its bytes, the newest sealed segment of a lane that is served stays. For its age, every
//!   sealed segment goes; then `next.kept` says, besides `next`, which sequences are given.
//!
//! The age of a segment is the time since it was sealed. What was sealed before this start is as
//! old as the file's time of modification says; from then on the machine's clock may be set.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::time::{Duration, Instant, SystemTime};

use super::disk::Disk;
use super::error::LogError;
use super::footer::SealedSegment;
use super::names::{LogFolders, SEALED, first_sequence, remove};
use super::next::NextFile;
use super::notes::LogNote;
use super::progress::FolderProgress;
use super::recover::Recovery;

/// The pause before a removal that was refused is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// What sealed segments a folder may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Bytes of all lanes' sealed segments.
    pub bytes: Option<u64>,
    /// How long a segment stays after it was sealed.
    pub age: Option<Duration>,
}

impl RetentionLimits {
    /// Whether anything is ever removed.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self != Self::default()
    }
}

/// The sealed segments of a lane, in ascending order.
#[derive(Debug)]
pub struct SealedFiles<D: Disk> {
    disk: D,
    folders: LogFolders,
    lane: u32,
    /// Whether more of them come.
    is_served: bool,
    segments: VecDeque<KeptSegment>,
    /// Of all of them.
    bytes: u64,
    /// No removal before, because the last one was refused.
    retry_at: Option<Instant>,
    /// Whether that was said.
    is_refused: bool,
}

#[derive(Debug)]
struct KeptSegment {
    first_sequence: u64,
    next_sequence: u64,
    bytes: u64,
    sealed_at: Instant,
}

impl<D: Disk> SealedFiles<D> {
    /// The segments that are there after a recovery. `now` is the same moment on both clocks.
    ///
    /// # Errors
    /// What the system says.
    pub fn found(
        disk: D,
        folders: LogFolders,
        (lane, is_served): (u32, bool),
        recovery: &Recovery,
        now: (Instant, SystemTime),
    ) -> Result<Self, LogError> {
        let mut found = Self {
            disk,
            folders,
            lane,
            is_served,
            segments: VecDeque::new(),
            bytes: 0,
            retry_at: None,
            is_refused: false,
        };
        let made = recovery.files.iter().filter(|file| !file.is_apart).flat_map(|f| &f.sealed);
        let mut sealed: Vec<&SealedSegment> = recovery.sealed.iter().chain(made).collect();
        sealed.sort_unstable_by_key(|sealed| sealed.first_sequence);
        for sealed in sealed {
            let modified = match found.disk.modified(&sealed.path) {
                Ok(modified) => modified,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(LogError::io("look at", &sealed.path)(error)),
            };
            // One from the future is new.
            let age = now.1.duration_since(modified).unwrap_or_default();
            found.push(sealed, now.0.checked_sub(age).unwrap_or(now.0));
        }
        Ok(found)
    }

    fn push(&mut self, sealed: &SealedSegment, sealed_at: Instant) {
        let SealedSegment { first_sequence, next_sequence, file_bytes: bytes, .. } = *sealed;
        let kept = KeptSegment { first_sequence, next_sequence, bytes, sealed_at };
        self.segments.push_back(kept);
        self.bytes += bytes;
    }

    fn note_merged(&mut self, merged: &SealedSegment) {
        let first = merged.first_sequence;
        let kept = self.segments.iter_mut().find(|kept| kept.first_sequence == first);
        if let Some(kept) = kept {
            self.bytes = self.bytes - kept.bytes + merged.file_bytes;
            kept.bytes = merged.file_bytes;
        }
    }

    /// The segment that goes next, if one may go for its age, or for the bytes of all.
    fn next_to_go(&self, limits: &SegmentLimitsNow) -> Option<&KeptSegment> {
        // A forwarder that still needs the oldest segment holds it here.
        let oldest = self.segments.front()?;
        let may_go = limits.is_over_bytes && (self.segments.len() > 1 || !self.is_served);
        let is_old = limits.age.is_some_and(|age| oldest.sealed_at + age <= limits.now);
        (self.retry_at.is_none() && (is_old || may_go)).then_some(oldest)
    }

    /// Removes the oldest segment, if it is there, and returns its bytes.
    fn remove_oldest(&mut self) -> Result<u64, LogError> {
        let Some(oldest) = self.segments.front() else { return Ok(0) };
        if self.segments.len() == 1 {
            NextFile::write_kept(&self.disk, &self.folders, oldest.next_sequence)?;
        }
        remove(&self.disk, &self.folders.sealed(oldest.first_sequence))?;
        // A merged file may have come from the other folder by a rename whose sync failed.
        for folder in [&self.folders.open, &self.folders.complete] {
            self.disk.sync_folder(folder).map_err(LogError::io("sync the folder", folder))?;
        }
        let bytes = oldest.bytes;
        self.segments.pop_front();
        self.bytes -= bytes;
        self.is_refused = false;
        Ok(bytes)
    }

    /// Forgets segments that somebody has moved away.
    fn forget_missing(&mut self) -> Result<(), LogError> {
        let folder = &self.folders.complete;
        let names = self.disk.names(folder).map_err(LogError::io("read the folder", folder))?;
        let there: BTreeSet<u64> =
            names.iter().filter_map(|name| first_sequence(name, SEALED)).collect();
        self.segments.retain(|segment| there.contains(&segment.first_sequence));
        self.bytes = self.segments.iter().map(|segment| segment.bytes).sum();
        Ok(())
    }
}

/// The limits of a folder at a moment.
struct SegmentLimitsNow {
    now: Instant,
    age: Option<Duration>,
    is_over_bytes: bool,
}

/// Keeps the sealed segments of a folder within their limits.
#[derive(Debug)]
pub(super) struct SegmentKeeper<D: Disk> {
    limits: RetentionLimits,
    lanes: Vec<SealedFiles<D>>,
    folder: FolderProgress,
    /// Whether the bytes were over their limit at the last look.
    was_over: bool,
    notes: Vec<(usize, LogNote)>,
}

impl<D: Disk> SegmentKeeper<D> {
    /// The served lanes come first, by their numbers. Without limits nothing is ever removed, and
    /// no lane is needed.
    pub fn new(
        limits: RetentionLimits,
        lanes: Vec<SealedFiles<D>>,
        folder: FolderProgress,
    ) -> Self {
        Self { limits, lanes, folder, was_over: false, notes: Vec::new() }
    }

    /// A lane has sealed a segment.
    pub fn note_sealed(&mut self, lane: usize, sealed: &SealedSegment, now: Instant) {
        if let Some(files) = self.lanes.get_mut(lane) {
            files.push(sealed, now);
        }
    }

    /// A segment has other bytes now.
    pub fn note_merged(&mut self, lane: usize, merged: &SealedSegment) {
        if let Some(files) = self.lanes.get_mut(lane) {
            files.note_merged(merged);
        }
    }

    pub fn take_notes(&mut self) -> std::vec::Drain<'_, (usize, LogNote)> {
        self.notes.drain(..)
    }

    /// Removes a segment, if one has to go. Whether another one has to.
    pub fn round(&mut self, now: Instant) -> bool {
        for files in &mut self.lanes {
            files.retry_at.take_if(|retry| *retry <= now);
        }
        let mut over = self.is_over_bytes();
        if over && !self.was_over {
            for lane in 0..self.lanes.len() {
                let looked = self.lanes[lane].forget_missing();
                self.note_refused(lane, looked, now);
            }
            over = self.is_over_bytes();
        }
        self.was_over = over;
        let Some(lane) = self.lane_to_go(now) else { return false };
        let removed = self.lanes[lane].remove_oldest();
        let removed = removed.map(|bytes| self.folder.note_removed(bytes));
        self.note_refused(lane, removed, now);
        self.lane_to_go(now).is_some()
    }

    /// When a segment will be too old, or a removal is tried again.
    pub fn next_due(&self) -> Option<Instant> {
        let retries = self.lanes.iter().filter_map(|files| files.retry_at);
        let fronts = self.lanes.iter().filter(|files| files.retry_at.is_none());
        let fronts = fronts.filter_map(|files| files.segments.front());
        let ages = fronts.filter_map(|oldest| Some(oldest.sealed_at + self.limits.age?));
        retries.chain(ages).min()
    }

    fn is_over_bytes(&self) -> bool {
        let bytes = || self.lanes.iter().map(|files| files.bytes).sum::<u64>();
        self.limits.bytes.is_some_and(|most| bytes() > most)
    }

    /// The lane whose oldest segment goes next.
    fn lane_to_go(&self, now: Instant) -> Option<usize> {
        let is_over_bytes = self.is_over_bytes();
        let limits = SegmentLimitsNow { now, age: self.limits.age, is_over_bytes };
        let going = self.lanes.iter().enumerate();
        let going = going.filter_map(|(lane, files)| Some((lane, files.next_to_go(&limits)?)));
        going.min_by_key(|(_, oldest)| oldest.sealed_at).map(|(lane, _)| lane)
    }

    fn note_refused(&mut self, lane: usize, outcome: Result<(), LogError>, now: Instant) {
        let Err(error) = outcome else { return };
        let files = &mut self.lanes[lane];
        files.retry_at = Some(now + RETRY);
        if !std::mem::replace(&mut files.is_refused, true) {
            let note = LogNote::NotRemoved(error.to_string());
            self.notes.push((files.lane as usize, note));
        }
    }
}
