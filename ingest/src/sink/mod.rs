//! Sinks: where the vectors of a lane go, and the data folder of those that are kept.
//!
//! [`DataDir::open_with`] creates the data folder, locks it against a second service and checks the
//! dimension and the columns recorded in it. The [log](crate::log) of each lane lives in two
//! folders of it. Sealed segments are read back by [`read_segments`].

mod columns;
mod dim;
mod error;
mod files;
mod folder;
mod layout;
mod migrate;
mod null;
mod reader;
mod record;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub use columns::{ColumnWord, Columns};
pub(crate) use columns::{ID, SEQUENCE, TIME, VECTOR};
pub use dim::DIM_MAX;
pub use error::SinkError;
pub use files::DataMode;
pub use folder::{DataDir, DataOptions, LockLoss, LookLock};
pub use null::NullSink;
pub(crate) use reader::OldSegment;
pub use reader::{StoredRows, Summary, for_each_batch, for_each_rows, read_segments};
pub use view::{FolderView, LaneView};

use crate::log::{FeedError, LaneFeed, LogProgress, LogRows};

/// Where a lane's vectors go: takes rows in sequence order, on one thread at a time.
pub trait Sink: Send {
    /// Takes rows, which follow each other. Copies them once. With `is_wanted` somebody waits for
    /// them to be durable.
    ///
    /// # Errors
    /// [`FeedError::Full`]: some of them may be taken, and the next call, with the same rows, goes
    /// on there. The others are final.
    fn append(&mut self, rows: &LogRows<'_>, is_wanted: bool) -> Result<(), FeedError>;

    /// The sequence that the next row gets.
    fn next_sequence(&self) -> u64;

    /// Completes everything taken, and waits for that. Until `until` the disk may refuse.
    ///
    /// # Errors
    /// Why not everything is complete.
    fn close(&mut self, until: Instant) -> Result<(), String>;

    /// What it has completed, for any thread to read.
    fn counts(&self) -> SinkCounts;
}

/// What a sink has completed, at the moment of a look.
#[derive(Clone, Debug)]
pub enum SinkCounts {
    /// Of a log.
    Log(LogProgress),
    /// Rows of a sink without segments.
    Rows(Arc<AtomicU64>),
}

/// What a sink has completed since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkTotals {
    /// Rows in sealed segments.
    pub rows: u64,
    /// Sealed segments.
    pub segments: u64,
    /// Bytes of these segments' files.
    pub bytes: u64,
    /// Rows that are on the disk in a segment that couldn't be sealed; the next start seals it.
    pub left_open_rows: u64,
}

impl SinkCounts {
    /// The totals of now.
    #[must_use]
    pub fn totals(&self) -> SinkTotals {
        match self {
            Self::Rows(rows) => {
                SinkTotals { rows: rows.load(Ordering::Relaxed), ..SinkTotals::default() }
            }
            Self::Log(progress) => {
                let figures = progress.figures();
                SinkTotals {
                    rows: figures.sealed_rows,
                    segments: figures.sealed_segments,
                    bytes: figures.sealed_bytes,
                    left_open_rows: figures.left_open_rows,
                }
            }
        }
    }
}

impl Sink for LaneFeed {
    fn append(&mut self, rows: &LogRows<'_>, is_wanted: bool) -> Result<(), FeedError> {
        Self::append(self, rows, is_wanted)
    }

    fn next_sequence(&self) -> u64 {
        Self::next_sequence(self)
    }

    fn close(&mut self, until: Instant) -> Result<(), String> {
        Self::close(self, until)
    }

    fn counts(&self) -> SinkCounts {
        SinkCounts::Log(self.progress().clone())
    }
}
