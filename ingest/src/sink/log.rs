//! The segment log of a lane: rows in, complete segments out.
//!
//! ```text
//!   append ──copy once──▶ open batch ──full: encode──▶ memory of the open segment
//!     ──write──▶ *.arrow.part ──large enough: complete──▶ *.arrow
//! ```
//! Promises that `append` accepts all of its rows or none, and that accepted rows reach the file
//! once and in order, even if the disk refuses repeatedly in between. Its memory is one open batch
//! and one encoded batch. While the disk refuses, the rows of one `append` may exceed the batch.
//!
//! Doesn't wait, retry or write to the service's log: it returns an error, and the caller calls
//! again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::batch::OpenBatch;
use super::folder::{DataDir, LaneClaim};
use super::record::Record;
use super::segment::{LaneFolders, Segment};
use super::{Sink, SinkError, SinkRows, SinkTotals, files, layout, reader};
use crate::log::{RowShape, segment_schema};

/// The most bytes of vectors in a record batch (which holds at least one row).
const BATCH_BYTES_MAX: usize = 8 << 20;

/// How a log cuts rows into batches and batches into segments.
#[derive(Clone, Copy, Debug)]
pub struct SegmentOptions {
    /// A segment is completed once its file has at least this many bytes, so it may be larger by
    /// one batch and the footer. At least 1.
    pub segment_bytes: u64,
    /// Rows of a record batch, at most as many as fit in 8 MiB of vectors. At least 1.
    pub batch_rows: usize,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self { segment_bytes: 256 << 20, batch_rows: 16_384 }
    }
}

impl SegmentOptions {
    fn validate(self, dim: u32) -> Result<Self, SinkError> {
        let refuse = |field| Err(SinkError::Option { field, value: 0, min: 1 });
        if self.segment_bytes == 0 {
            return refuse("segment_bytes");
        }
        if self.batch_rows == 0 {
            return refuse("batch_rows");
        }
        let rows_max = BATCH_BYTES_MAX / (dim as usize * size_of::<f32>());
        Ok(Self { batch_rows: self.batch_rows.min(rows_max.max(1)), ..self })
    }
}

/// The sink that writes a lane's rows into Arrow IPC segments.
///
/// Invariant: rows accepted = rows in complete segments + rows of the open segment + rows of the
/// open batch.
///
/// If it is dropped with rows that aren't in a complete segment, it tries once to
/// [`close`](Sink::close), and can't report a failure. So call `close` yourself.
pub struct SegmentLog {
    folders: LaneFolders,
    segment_bytes: u64,
    batch: OpenBatch,
    segment: Option<Segment<File>>,
    /// Memory for the encoded bytes of the next segment.
    memory: Vec<u8>,
    /// The sequence of the first row of the open batch.
    batch_sequence: u64,
    rows_accepted: u64,
    /// Of the complete segments.
    totals: SinkTotals,
    torn: Vec<PathBuf>,
    /// Keeps the folder locked and prevents another log for this lane. The last field, so that it
    /// is dropped last.
    _claim: LaneClaim,
}

impl SegmentLog {
    /// Opens the log of a lane. Its sequence continues after the last complete segment. A segment
    /// that a crash left unfinished gets the ending `.torn`, see [`SegmentLog::torn`]. Reads the
    /// footer and the last batch of the last segment.
    ///
    /// # Errors
    /// An option out of range, a lane that already has a log, a last segment that is incomplete or
    /// holds another dimension, and system errors.
    pub fn open(dir: &DataDir, lane: u32, options: SegmentOptions) -> Result<Self, SinkError> {
        let options = options.validate(dir.dim())?;
        let claim = dir.claim(lane)?;
        let (dim, columns, mode) = (dir.dim(), dir.columns(), dir.mode());
        let folders = LaneFolders {
            open: layout::open_folder(dir.path(), lane),
            complete: layout::lane_folder(dir.path(), lane),
            mode,
        };
        files::create_folder(&folders.open, mode)?;
        files::create_folder(&folders.complete, mode)?;
        let next_sequence = match layout::segments(&folders.complete)?.last() {
            Some((_, last)) => reader::next_sequence(last, Record { dim, columns })?,
            None => 0,
        };
        let torn = rename_torn(&folders.open)?;
        let batch = OpenBatch::new(
            segment_schema(RowShape { dim, columns }, lane),
            dim,
            columns,
            options.batch_rows,
        );
        Ok(Self {
            folders,
            segment_bytes: options.segment_bytes,
            memory: Vec::with_capacity(batch.encoded_bytes()),
            batch,
            segment: None,
            batch_sequence: next_sequence,
            rows_accepted: 0,
            totals: SinkTotals::default(),
            torn,
            _claim: claim,
        })
    }

    /// Rows accepted since the log was opened.
    #[must_use]
    pub fn rows_accepted(&self) -> u64 {
        self.rows_accepted
    }

    /// The new names of the segments that a crash left unfinished. Their rows were accepted but are
    /// in no complete segment, and their sequences are used again.
    #[must_use]
    pub fn torn(&self) -> &[PathBuf] {
        &self.torn
    }

    /// Does all pending work: writes encoded bytes, completes a segment that is large enough, and
    /// encodes a full batch.
    fn write_pending(&mut self) -> Result<(), SinkError> {
        loop {
            if let Some(segment) = &mut self.segment {
                segment.write_encoded()?;
                if segment.is_full(self.segment_bytes) {
                    self.complete_segment()?;
                }
            }
            if !self.batch.is_full() {
                return Ok(());
            }
            self.encode(self.batch.rows_max())?;
        }
    }

    /// Encodes the first rows of the open batch into the segment's memory, which must be empty.
    fn encode(&mut self, rows: usize) -> Result<(), SinkError> {
        let segment = match &mut self.segment {
            Some(segment) => segment,
            none => {
                let created = Segment::create(
                    &self.folders,
                    self.batch_sequence,
                    self.batch.schema(),
                    &mut self.memory,
                )?;
                none.insert(created)
            }
        };
        segment.encode(&mut self.batch, rows, self.batch_sequence);
        self.batch_sequence += rows as u64;
        Ok(())
    }

    fn complete_segment(&mut self) -> Result<(), SinkError> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        segment.complete()?;
        self.totals.rows += segment.rows();
        self.totals.segments += 1;
        if let Some(segment) = self.segment.take() {
            let (memory, file_bytes) = segment.into_memory();
            self.memory = memory;
            self.totals.bytes += file_bytes;
        }
        Ok(())
    }

    fn is_conserved(&self) -> bool {
        let in_open_segment = self.segment.as_ref().map_or(0, Segment::rows);
        self.rows_accepted == self.totals.rows + in_open_segment + self.batch.rows() as u64
    }

    fn check(&self) {
        debug_assert!(
            self.is_conserved(),
            "{} rows accepted, {:?} complete",
            self.rows_accepted,
            self.totals
        );
    }
}

impl Sink for SegmentLog {
    /// Refuses rows while earlier ones can't be written. An error that occurs after these rows have
    /// been accepted is returned by the next call.
    fn append(&mut self, rows: SinkRows<'_>) -> Result<(), SinkError> {
        let count = self.batch.whole_rows(&rows)?;
        self.write_pending()?;
        // From here on the rows are accepted.
        self.rows_accepted += count;
        let mut remaining = self.batch.fill(rows);
        while self.batch.is_full() {
            if self.write_pending().is_err() {
                self.batch.overfill(remaining);
                break;
            }
            remaining = self.batch.fill(remaining);
        }
        self.check();
        Ok(())
    }

    fn next_sequence(&self) -> u64 {
        self.batch_sequence + self.batch.rows() as u64
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.write_pending()?;
        if self.batch.rows() > 0 {
            self.encode(self.batch.rows())?;
            self.write_pending()?;
        }
        self.check();
        Ok(())
    }

    fn close(&mut self) -> Result<SinkTotals, SinkError> {
        self.flush()?;
        self.complete_segment()?;
        self.check();
        assert!(
            self.totals.rows == self.rows_accepted,
            "{:?} of {} rows",
            self.totals,
            self.rows_accepted
        );
        Ok(self.totals)
    }

    fn rows_in_segments(&self) -> u64 {
        self.totals.rows
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        // After a panic inside the log the invariant may not hold. Then the segment stays
        // unfinished rather than appear complete.
        if self.is_conserved() && self.totals.rows < self.rows_accepted {
            let _ = self.close();
        }
    }
}

fn rename_torn(folder: &Path) -> Result<Vec<PathBuf>, SinkError> {
    let mut torn = Vec::new();
    for part in layout::parts(folder)? {
        let new = layout::torn(&part)?;
        fs::rename(&part, &new).map_err(SinkError::io("rename", &part))?;
        torn.push(new);
    }
    if !torn.is_empty() {
        files::sync_folder(folder)?;
    }
    Ok(torn)
}
