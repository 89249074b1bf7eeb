//! Sinks: where a lane's batches go. The segment log is the first of them.
//!
//! The life of a row, in order:
//! 1. [`DataDir::open`] creates the data folder, locks it against a second service and checks the
//!    dimension recorded in it;
//! 2. [`SegmentLog::open`] finds in `lane-K/` where the lane's sequence continues, and sets aside
//!    what a crash has left;
//! 3. [`Sink::append`] copies rows into the open batch; a full batch is encoded and written to the
//!    segment at work, `*.arrow.part`;
//! 4. a segment that has reached its size, and the last one at [`Sink::finish`], gets its footer,
//!    is synced and renamed to `*.arrow`. From then on any Arrow reader opens it; ours is
//!    [`read_segments`].
//!
//! Promised: `append` accepts all of its rows or none; accepted rows are written once, in order,
//! despite errors and retries; no segment, whole or torn, is ever overwritten or deleted. Not
//! promised: that accepted rows survive a crash before their segment is complete; the file of such
//! a segment is kept, but nothing here reads it.

mod batch;
mod error;
mod folder;
mod log;
mod name;
mod null;
mod read;
mod reader;
mod segment;

pub use error::SinkError;
pub use folder::DataDir;
pub use log::{SegmentLog, SegmentOptions};
pub use null::NullSink;
pub use read::{Summary, for_each_batch, read_segments};

/// The last station of a lane: takes rows in sequence order, on one thread at a time.
pub trait Sink: Send {
    /// Takes complete rows, one after the other in `rows`. Either all are accepted or, with an
    /// error, none, and the caller may repeat the call later. Copies the rows once.
    ///
    /// # Errors
    /// Incomplete rows, and whatever keeps the sink from taking them; see [`SinkError::may_retry`].
    fn append(&mut self, rows: &[f32]) -> Result<(), SinkError>;

    /// Passes on accepted rows without waiting for a full batch. Promises nothing about durability.
    ///
    /// # Errors
    /// What couldn't be passed on is kept, and the next call of any method continues with it.
    fn flush(&mut self) -> Result<(), SinkError>;

    /// Completes everything accepted and returns the totals. May be called again after an error,
    /// and rows may follow.
    ///
    /// # Errors
    /// As [`Sink::flush`].
    fn finish(&mut self) -> Result<Totals, SinkError>;

    /// Rows that have reached their destination since the sink was opened. A crash would lose the
    /// accepted rows beyond these.
    fn rows_in_segments(&self) -> u64;
}

/// What a sink has completed since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows in complete segments.
    pub rows: u64,
    /// Complete segments.
    pub segments: u64,
    /// Bytes of these segments' files.
    pub bytes: u64,
}

/// The largest dimension of a vector, in components: a row stays within 4 MiB.
pub const DIM_MAX: u32 = 1 << 20;
