//! Sinks: where the vectors of a lane go. The segment log writes them to Arrow files.
//!
//! The life of a row, in order:
//! 1. [`DataDir::open_with`] creates the data folder, locks it against a second service and checks
//!    the dimension and the columns recorded in it.
//! 2. [`SegmentLog::open`] finds in `lane=K/` where the sequence of the lane continues, and renames
//!    the segments that a crash left unfinished.
//! 3. [`Sink::append`] copies rows into the open batch. A full batch is encoded and written to the
//!    open segment, `.slipring/lane=K/*.arrow.part`.
//! 4. A segment that has reached its size, and the last one at [`Sink::close`], gets its footer, is
//!    synced and renamed to `lane=K/*.arrow`. From then on any Arrow reader opens it; ours is
//!    [`read_segments`].
//!
//! Promises:
//! - `append` accepts all of its rows or none.
//! - Accepted rows are written once and in order, despite errors and retries.
//! - No segment, complete or torn, is ever overwritten or deleted.
//!
//! Doesn't promise that accepted rows survive a crash before their segment is complete: the file of
//! such a segment is kept, but nothing here reads it.

mod batch;
mod columns;
mod error;
mod files;
mod folder;
mod layout;
mod log;
mod migrate;
mod reader;
mod record;
mod rows;
mod segment;

pub use columns::{ColumnWord, Columns};
pub(crate) use columns::{ID, SEQUENCE, TIME, VECTOR};
pub use error::SinkError;
pub use files::DataMode;
pub use folder::{DataDir, DataOptions};
pub use log::{SegmentLog, SegmentOptions};
pub use reader::{StoredRows, Summary, for_each_batch, for_each_rows, read_segments};
pub use rows::{DIM_MAX, SinkRows};

/// Where a lane's vectors go: takes rows in sequence order, on one thread at a time.
pub trait Sink: Send {
    /// Appends complete rows, which follow each other in `rows`. Either all are accepted or, with
    /// an error, none, and the caller may repeat the call later. Copies the rows once.
    ///
    /// # Errors
    /// Incomplete rows, rows without the ids that the log's id column needs, and anything that
    /// keeps the sink from accepting them; see [`SinkError::may_retry`].
    fn append(&mut self, rows: SinkRows<'_>) -> Result<(), SinkError>;

    /// The sequence that the next accepted row gets.
    fn next_sequence(&self) -> u64;

    /// Passes on accepted rows without waiting for a full batch. Promises nothing about durability.
    ///
    /// # Errors
    /// What couldn't be passed on is kept, and the next call of any method continues with it.
    fn flush(&mut self) -> Result<(), SinkError>;

    /// Completes everything accepted and returns the totals. May be called again after an error.
    /// Rows appended afterwards open a new segment.
    ///
    /// # Errors
    /// As [`Sink::flush`].
    fn close(&mut self) -> Result<SinkTotals, SinkError>;

    /// Rows that have reached their destination since the sink was opened. A crash would lose the
    /// accepted rows beyond these.
    fn rows_in_segments(&self) -> u64;
}

/// What a sink has completed since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkTotals {
    /// Rows in complete segments.
    pub rows: u64,
    /// Complete segments.
    pub segments: u64,
    /// Bytes of these segments' files.
    pub bytes: u64,
}

/// Counts rows and discards them: for measuring what comes before the sink.
#[derive(Debug)]
pub struct NullSink {
    dim: usize,
    rows: u64,
}

impl NullSink {
    /// A sink for rows of `dim` components.
    ///
    /// # Errors
    /// A dimension of 0 or above [`DIM_MAX`].
    pub fn new(dim: u32) -> Result<Self, SinkError> {
        rows::check_dim(dim)?;
        Ok(Self { dim: dim as usize, rows: 0 })
    }
}

impl Sink for NullSink {
    /// Ids are discarded with their rows, so both rows with and without them are accepted.
    fn append(&mut self, rows: SinkRows<'_>) -> Result<(), SinkError> {
        self.rows += rows.count(self.dim, Columns { id: !rows.ids.is_empty(), time: true })?;
        Ok(())
    }

    /// Counts from 0.
    fn next_sequence(&self) -> u64 {
        self.rows
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// The rows counted; no segments and no bytes.
    fn close(&mut self) -> Result<SinkTotals, SinkError> {
        Ok(SinkTotals { rows: self.rows, segments: 0, bytes: 0 })
    }

    /// All rows counted: discarding is their destination.
    fn rows_in_segments(&self) -> u64 {
        self.rows
    }
}
