//! The log: one file a segment that is log and Arrow file at once (docs/LOG.md has its bytes).
//!
//! The life of a row:
//! 1. [`LaneLog::open`] looks at what the lane's folders hold, makes whole what a crash has left
//!    ([`Recovery`]), and says where the sequences go on.
//! 2. [`RecordBuffer::append`] copies the row into memory where it stays; its slot is free then.
//! 3. [`LaneLog::append`] gives the buffer's rows their sequences and writes them as one record,
//!    behind the last one.
//! 4. [`LaneLog::begin_sync`] and [`SyncRound::run`] make durable what is written, on any thread;
//!    [`LaneLog::end_sync`] moves [`LaneLog::durable_through`].
//! 5. [`LaneLog::seal`] appends a footer and gives the file its final name. From then on any Arrow
//!    reader opens it; a live one is a stream from byte 8.
//! 6. If its records are small, the committer copies them into large ones (`merge`), and the copy
//!    takes over the name.
//!
//! Promises are at [`LaneLog`]. Its disk is a value ([`Disk`]): tests run it on one that loses,
//! tears and refuses, and crash it at every step.
//!
//! Knows nothing of threads, connections and acknowledgements, and doesn't lock its folders.
#![forbid(unsafe_code)]

mod buffer;
mod check;
mod committer;
mod disk;
mod durable;
mod error;
mod feed;
mod fields;
mod footer;
mod header;
mod lane;
mod lane_commit;
mod merge;
mod merging;
mod names;
mod next;
mod notes;
mod old;
mod producer_file;
mod producers;
mod progress;
mod reader;
mod real_disk;
mod record;
mod recover;
mod retention;
mod segment;
mod shape;
mod space;
mod sync;

pub use buffer::{
    LogRows, MARKS_MAX, ProducerMark, RECORD_VECTOR_BYTES_MAX, RecordBuffer, RequestMark, RowTimes,
};
pub(crate) use check::shape_in;
pub use check::{FileCheck, FileFault, FileState, LaneFile, check_live, check_old, check_sealed};
pub use committer::{BufferSizes, CommitAsks, Committer};
pub use disk::{AlignedBytes, BLOCK_BYTES, Disk, DiskFile, ReadFrom};
pub use durable::DurableMark;
pub(crate) use error::fix_of;
pub use error::{LogError, RecordFault};
pub use feed::{FeedError, LaneFeed};
pub use footer::SealedSegment;
pub use header::{RecordHeader, RecordPlace};
pub use lane::{LaneLog, LogOptions, random_epoch};
pub use lane_commit::CommitTimes;
pub(crate) use merge::MERGE_BYTES;
pub use names::LogFolders;
pub use notes::LogNote;
pub use producers::{
    KnownRequest, PRODUCER_REQUESTS_MAX, PRODUCERS_MAX, ProducerLimits, ProducerTable,
    ProducerVerdict,
};
pub use progress::{FolderFigures, FolderProgress, LogFigures, LogProgress, LogState};
pub use reader::{NextRecord, RecordReader};
pub use real_disk::{RealDisk, RealFile};
pub use record::RecordView;
pub use recover::{Damage, RecoveredFile, Recovery};
pub use retention::{RetentionLimits, SealedFiles};
pub use segment::{Placed, SegmentWriter};
pub use shape::RowShape;
pub(crate) use shape::{segment_schema, shape_of};
pub(crate) use space::SPACE_KEPT_BYTES;
pub use sync::{LogPosition, SyncRound};

#[cfg(test)]
mod tests;
