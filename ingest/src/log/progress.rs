//! How far a lane's log is, for any thread to read.
//!
//! One thread writes, the committer's. What it publishes with Release is read with Acquire: a
//! reader that sees a row below [`LogProgress::durable_through`] also sees whether it was lost.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::footer::SealedSegment;
use crate::units::RoundedSize;

/// What keeps a log from taking rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LogState {
    /// Nothing.
    Open,
    /// The disk is full. It is tried again until there is space.
    NoSpace,
    /// The disk refuses for another cause. It is tried again.
    Refusing,
    /// It has ended: closed, or for good after a failure.
    Ended,
}

impl LogState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Open, Self::NoSpace, Self::Refusing, Self::Ended];

    /// The state in one word.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::NoSpace => "no-space",
            Self::Refusing => "refusing",
            Self::Ended => "ended",
        }
    }
}

/// A lane's log as other threads see it. Copies show the same log.
#[derive(Clone, Debug)]
pub struct LogProgress(Arc<ProgressCells>);

#[derive(Debug)]
struct ProgressCells {
    /// The first sequence of this start.
    first: u64,
    state: AtomicU8,
    appended: AtomicU64,
    durable: AtomicU64,
    losses: AtomicU64,
    lost: Mutex<Vec<Range<u64>>>,
    syncs: AtomicU64,
    last_sync_ns: AtomicU64,
    sealed_rows: AtomicU64,
    sealed_segments: AtomicU64,
    sealed_bytes: AtomicU64,
    merged_segments: AtomicU64,
    is_direct: AtomicBool,
    left_open_rows: AtomicU64,
}

/// The figures of a log at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFigures {
    /// What keeps it from taking rows.
    pub state: LogState,
    /// The sequence that the next appended row gets.
    pub appended_through: u64,
    /// The sequence before which every row is on the disk, or lost.
    pub durable_through: u64,
    /// Syncs so far.
    pub syncs: u64,
    /// How long the last one took.
    pub last_sync: Duration,
    /// Rows in segments that were sealed since the start.
    pub sealed_rows: u64,
    /// These segments.
    pub sealed_segments: u64,
    /// Bytes of their files.
    pub sealed_bytes: u64,
    /// Sealed segments, of earlier starts too, whose small records were merged into large ones.
    pub merged_segments: u64,
    /// Whether the last record was written past the page cache.
    pub is_direct: bool,
    /// Rows that are on the disk in a segment that couldn't be sealed; the next start seals it.
    pub left_open_rows: u64,
    /// Rows that were appended and are lost.
    pub lost_rows: u64,
}

/// A data folder as other threads see it. Copies show the same folder.
#[derive(Clone, Debug, Default)]
pub struct FolderProgress(Arc<FolderCells>);

#[derive(Debug, Default)]
struct FolderCells {
    removed_segments: AtomicU64,
    removed_bytes: AtomicU64,
    free_bytes: AtomicU64,
}

/// The figures of a data folder at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderFigures {
    /// Old segments that were removed since the start.
    pub removed_segments: u64,
    /// Bytes of their files.
    pub removed_bytes: u64,
    /// Bytes that were free on its disk when something was last written.
    pub free_bytes: u64,
}

impl fmt::Display for FolderFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (free, removed) = (RoundedSize(self.free_bytes), RoundedSize(self.removed_bytes));
        write!(f, "{free} free")?;
        match self.removed_segments {
            0 => Ok(()),
            segments => write!(f, "; {segments} old segments removed, {removed}"),
        }
    }
}

impl FolderProgress {
    /// All figures of now.
    #[must_use]
    pub fn figures(&self) -> FolderFigures {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        FolderFigures {
            removed_segments: get(&self.0.removed_segments),
            removed_bytes: get(&self.0.removed_bytes),
            free_bytes: get(&self.0.free_bytes),
        }
    }

    pub(super) fn note_removed(&self, bytes: u64) {
        self.0.removed_segments.fetch_add(1, Ordering::Relaxed);
        self.0.removed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn note_free(&self, bytes: u64) {
        self.0.free_bytes.store(bytes, Ordering::Relaxed);
    }
}

impl LogFigures {
    /// Rows that were appended and aren't known to be on the disk yet.
    #[must_use]
    pub fn unsynced_rows(&self) -> u64 {
        self.appended_through.saturating_sub(self.durable_through)
    }
}

impl fmt::Display for LogFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, durable through {}, {} vectors not yet; {} syncs, the last took {:.3} ms; {} \
             segments sealed",
            self.state.label(),
            self.durable_through,
            self.unsynced_rows(),
            self.syncs,
            self.last_sync.as_secs_f64() * 1e3,
            self.sealed_segments
        )?;
        let way = if self.is_direct { "past" } else { "through" };
        write!(f, "; written {way} the page cache")?;
        match self.lost_rows {
            0 => Ok(()),
            lost => write!(f, "; {lost} vectors lost"),
        }
    }
}

impl LogProgress {
    /// Of a log whose next row gets this sequence.
    pub(crate) fn new(next_sequence: u64) -> Self {
        Self(Arc::new(ProgressCells {
            first: next_sequence,
            state: AtomicU8::new(LogState::Open as u8),
            appended: AtomicU64::new(next_sequence),
            durable: AtomicU64::new(next_sequence),
            losses: AtomicU64::new(0),
            lost: Mutex::default(),
            syncs: AtomicU64::new(0),
            last_sync_ns: AtomicU64::new(0),
            sealed_rows: AtomicU64::new(0),
            sealed_segments: AtomicU64::new(0),
            sealed_bytes: AtomicU64::new(0),
            merged_segments: AtomicU64::new(0),
            is_direct: AtomicBool::new(false),
            left_open_rows: AtomicU64::new(0),
        }))
    }

    /// The sequence before which every row of this start is on the disk, those aside that
    /// [`LogProgress::is_lost`] names.
    #[must_use]
    pub fn durable_through(&self) -> u64 {
        self.0.durable.load(Ordering::Acquire)
    }

    /// How often rows were lost. It changes before the watermark passes them, so a reader of the
    /// watermark looks for losses only when this has changed.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.0.losses.load(Ordering::Acquire)
    }

    /// Whether the row with this sequence was appended and is lost.
    #[must_use]
    pub fn is_lost(&self, sequence: u64) -> bool {
        self.lost().iter().any(|range| range.contains(&sequence))
    }

    /// All rows that were appended and are lost.
    #[must_use]
    pub fn lost_rows(&self) -> Vec<Range<u64>> {
        self.lost().clone()
    }

    /// What keeps the log from taking rows.
    #[must_use]
    pub fn state(&self) -> LogState {
        match self.0.state.load(Ordering::Acquire) {
            0 => LogState::Open,
            1 => LogState::NoSpace,
            2 => LogState::Refusing,
            _ => LogState::Ended,
        }
    }

    /// All figures of now.
    #[must_use]
    pub fn figures(&self) -> LogFigures {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let durable_through = self.durable_through();
        LogFigures {
            state: self.state(),
            appended_through: get(&self.0.appended).max(durable_through),
            durable_through,
            syncs: get(&self.0.syncs),
            last_sync: Duration::from_nanos(get(&self.0.last_sync_ns)),
            sealed_rows: get(&self.0.sealed_rows),
            sealed_segments: get(&self.0.sealed_segments),
            sealed_bytes: get(&self.0.sealed_bytes),
            merged_segments: get(&self.0.merged_segments),
            is_direct: self.0.is_direct.load(Ordering::Relaxed),
            left_open_rows: get(&self.0.left_open_rows),
            lost_rows: self.lost().iter().map(|range| range.end - range.start).sum(),
        }
    }

    fn lost(&self) -> std::sync::MutexGuard<'_, Vec<Range<u64>>> {
        // A list of ranges stays valid after a panic.
        self.0.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_written(&self, is_direct: bool) {
        self.0.is_direct.store(is_direct, Ordering::Relaxed);
    }

    pub(crate) fn set_state(&self, state: LogState) {
        self.0.state.store(state as u8, Ordering::Release);
    }

    pub(super) fn note_appended(&self, next_sequence: u64) {
        self.0.appended.store(next_sequence, Ordering::Relaxed);
    }

    /// Moves the watermark; never back.
    pub(crate) fn note_durable(&self, through: u64) {
        self.0.durable.fetch_max(through, Ordering::Release);
    }

    /// Notes rows that are lost. Comes before the watermark passes them.
    pub(crate) fn note_lost(&self, rows: Range<u64>) {
        if rows.start < rows.end {
            self.lost().push(rows);
            self.0.losses.fetch_add(1, Ordering::Release);
        }
    }

    pub(super) fn note_sync(&self, took: Duration) {
        self.0.syncs.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.last_sync_ns.store(nanos, Ordering::Relaxed);
    }

    pub(super) fn note_sealed(&self, sealed: &SealedSegment) {
        let rows = sealed.next_sequence - sealed.first_sequence;
        self.0.sealed_rows.fetch_add(rows, Ordering::Relaxed);
        self.0.sealed_segments.fetch_add(1, Ordering::Relaxed);
        self.0.sealed_bytes.fetch_add(sealed.file_bytes, Ordering::Relaxed);
    }

    /// Notes that a sealed segment has another file.
    pub(super) fn note_merged(&self, small: &SealedSegment, merged: &SealedSegment) {
        self.0.merged_segments.fetch_add(1, Ordering::Relaxed);
        if small.first_sequence >= self.0.first {
            // Wraps as the counter does: the file has become smaller.
            let more = merged.file_bytes.wrapping_sub(small.file_bytes);
            self.0.sealed_bytes.fetch_add(more, Ordering::Relaxed);
        }
    }

    pub(super) fn note_left_open(&self, rows: u64) {
        self.0.left_open_rows.store(rows, Ordering::Relaxed);
    }
}
