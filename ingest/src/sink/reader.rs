//! Reading segments back: for the demo, for tests, and for the next start of a log.
//!
//! Promises that every row is visited once, in sequence order, and that sequences which go back are
//! an error. Gaps between segments are counted: sequences jump after a crash, and segments may be
//! moved away. It reads complete segments only, takes no lock, and holds one record batch in
//! memory.
//!
//! It reads only what the log writes: Arrow IPC files of its columns without compression and
//! without nulls. Every length and offset in a file is checked against the file before it is used,
//! so a damaged file is an error. Arrow's own reader trusts them, and may allocate or panic because
//! of them; it is for files that are known to be intact. There are no checksums: damage to a
//! component goes undetected.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use arrow_ipc::reader::read_footer_length;
use arrow_ipc::{Block, RecordBatch, root_as_footer, root_as_message};

use super::columns::Columns;
use super::record::{self, Record};
use super::{SinkError, files, layout};
use crate::log::{RowShape, shape_of};

/// The content of a data folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Components of each vector.
    pub dim: u32,
    /// Rows of each lane that has a folder.
    pub lanes: BTreeMap<u32, u64>,
    /// Places where sequences are missing between segments, or before the first one.
    pub gaps: u64,
    /// Rows of all lanes.
    pub rows: u64,
    /// Complete segments of all lanes.
    pub segments: u64,
    /// The sum of all components, added in the order of lanes and sequences.
    pub sum: f64,
}

/// Reads all complete segments of the data folder `dir` and adds up their components.
///
/// # Errors
/// No data folder, an incomplete file, or a gap in a lane's sequence.
pub fn read_segments(dir: &Path) -> Result<Summary, SinkError> {
    let mut sum = 0.0;
    let summary = for_each_batch(dir, |_, _, rows| {
        sum = rows.iter().fold(sum, |sum, value| sum + f64::from(*value))
    })?;
    Ok(Summary { sum, ..summary })
}

/// Calls `visit` for every record batch in the data folder `dir`, in order: with its lane, the
/// sequence of its first row, and its rows. The sum of the summary stays 0.
///
/// # Errors
/// As [`read_segments`]; batches before the error have been visited.
pub fn for_each_batch(
    dir: &Path,
    mut visit: impl FnMut(u32, u64, &[f32]),
) -> Result<Summary, SinkError> {
    for_each_rows(dir, |lane, rows| {
        if let Some(first) = rows.sequences.first() {
            visit(lane, *first, &rows.values);
        }
    })
}

/// Calls `visit` for every record batch in the data folder `dir`, in order: with its lane and all
/// of its columns. The sum of the summary stays 0.
///
/// # Errors
/// As [`read_segments`]; batches before the error have been visited.
pub fn for_each_rows(
    dir: &Path,
    mut visit: impl FnMut(u32, &StoredRows),
) -> Result<Summary, SinkError> {
    let missing =
        || SinkError::Record { path: layout::record(dir), why: "there is no record here".into() };
    let recorded = record::read(dir)?.ok_or_else(missing)?;
    let dim = recorded.dim;
    let mut summary =
        Summary { dim, lanes: BTreeMap::new(), rows: 0, segments: 0, gaps: 0, sum: 0.0 };
    let mut rows = StoredRows::default();
    for (lane, folder) in layout::lanes(dir)? {
        let (mut expected, mut lane_rows) = (0, 0);
        for (first_sequence, path) in layout::segments(&folder)? {
            if first_sequence < expected {
                return Err(SinkError::Gap { path, expected, found: first_sequence });
            }
            summary.gaps += u64::from(first_sequence > expected);
            expected = first_sequence;
            let segment = SegmentReader::open(&path, recorded)?;
            for index in 0..segment.batches() {
                segment.read(index, &mut rows)?;
                let mut due = rows.sequences.iter().zip(expected..);
                if let Some((found, expected)) = due.find(|(found, due)| **found != *due) {
                    return Err(SinkError::Gap { path, expected, found: *found });
                }
                visit(lane, &rows);
                expected += rows.sequences.len() as u64;
                lane_rows += rows.sequences.len() as u64;
            }
            summary.segments += 1;
        }
        summary.lanes.insert(lane, lane_rows);
        summary.rows += lane_rows;
    }
    Ok(summary)
}

/// Magic and footer length at the end of an Arrow IPC file.
const TAIL_BYTES: usize = 10;
/// Marker and length before the metadata of a record batch.
const PREFIX_BYTES: usize = 8;
/// The buffers of a record batch: validity and data of the sequences, validity of the vectors,
/// validity and data of their components, then validity and data of each further column.
const BUFFERS: usize = 5;
const SEQUENCE_DATA: usize = 1;
const COMPONENT_DATA: usize = 4;
const FURTHER_DATA: usize = 6;

/// The rows of a record batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredRows {
    /// The number of each row in its lane.
    pub sequences: Vec<u64>,
    /// Component after component, row after row.
    pub values: Vec<f32>,
    /// Empty without an id column.
    pub ids: Vec<u64>,
    /// Microseconds since 1970 in UTC; empty without a time column.
    pub times_us: Vec<i64>,
}

/// A complete segment of an earlier version, whose batches have no checksums.
pub(crate) struct OldSegment(SegmentReader);

impl OldSegment {
    /// Opens a segment that should hold such rows.
    pub(crate) fn open(path: &Path, shape: RowShape) -> Result<Self, SinkError> {
        let record = Record { dim: shape.dim, columns: shape.columns };
        SegmentReader::open(path, record).map(Self)
    }

    /// Number of record batches in the segment.
    pub(crate) fn batches(&self) -> usize {
        self.0.batches()
    }

    /// Where a batch begins.
    pub(crate) fn at(&self, index: usize) -> u64 {
        let place = self.0.blocks.get(index).and_then(range);
        place.map_or(0, |(at, _, _)| at)
    }

    /// Reads a record batch whose rows have the sequences from `first` on. Returns the one after
    /// the last.
    pub(crate) fn read(
        &self,
        index: usize,
        first: u64,
        rows: &mut StoredRows,
    ) -> Result<u64, SinkError> {
        self.0.read(index, rows)?;
        let broken = |why: String| {
            self.0.broken(format!(
                "the sequence column of the batch at byte {}: {why}",
                self.at(index)
            ))
        };
        let next = first.checked_add(rows.sequences.len() as u64);
        let next = next.ok_or_else(|| broken("its sequences don't end".to_owned()))?;
        let mut due = rows.sequences.iter().copied().zip(first..next);
        match due.find(|(found, expected)| found != expected) {
            Some((found, expected)) => Err(broken(format!("it has {found}, not {expected}"))),
            None => Ok(next),
        }
    }
}

pub(super) struct SegmentReader {
    file: File,
    path: PathBuf,
    dim: usize,
    columns: Columns,
    /// The positions of the record batches, all within the file.
    blocks: Vec<Block>,
}

impl SegmentReader {
    /// Opens a segment that should hold what is recorded.
    pub fn open(path: &Path, Record { dim, columns }: Record) -> Result<Self, SinkError> {
        let gone = || SinkError::io("open", path)(io::ErrorKind::NotFound.into());
        let file = files::open(path, OpenOptions::new().read(true))?.ok_or_else(gone)?;
        let blocks = Vec::new();
        let mut reader = Self { file, path: path.into(), dim: dim as usize, columns, blocks };
        let file_bytes = reader.file.metadata().map_err(SinkError::io("read", path))?.len();
        let (footer, footer_at) = reader.read_footer(file_bytes)?;
        let footer = root_as_footer(&footer)
            .map_err(|error| reader.broken(format!("its footer: {error}")))?;
        let found = footer
            .schema()
            .and_then(shape_of)
            .ok_or_else(|| reader.broken("its columns aren't those that the log writes"))?;
        let path = || path.to_owned();
        if found.dim != dim {
            return Err(SinkError::OtherDimension {
                path: path(),
                recorded: found.dim,
                asked: dim,
            });
        }
        if found.columns != columns {
            let recorded = found.columns;
            return Err(SinkError::OtherColumns { path: path(), recorded, asked: columns });
        }
        reader.blocks = footer.recordBatches().into_iter().flatten().copied().collect();
        let outside = |block: &Block| range(block).is_none_or(|(_, _, end)| end > footer_at);
        if let Some(block) = reader.blocks.iter().find(|block| outside(block)) {
            return Err(reader.broken(format!("{block:?} is outside of its {file_bytes} bytes")));
        }
        Ok(reader)
    }

    /// Number of record batches in the segment.
    pub fn batches(&self) -> usize {
        self.blocks.len()
    }

    /// Reads a record batch into `rows`.
    pub fn read(&self, index: usize, rows: &mut StoredRows) -> Result<(), SinkError> {
        let (at, body_at, end) =
            self.blocks.get(index).and_then(range).ok_or_else(|| self.broken("too few batches"))?;
        let metadata = self.read_bytes(at, body_at - at)?;
        let message =
            metadata.get(PREFIX_BYTES..).and_then(|message| root_as_message(message).ok());
        let batch = message.as_ref().and_then(|message| message.header_as_record_batch());
        let batch =
            batch.ok_or_else(|| self.broken(format!("there is no record batch at byte {at}")))?;
        let further = usize::from(self.columns.id) + usize::from(self.columns.time);
        let nulls = batch.nodes().into_iter().flatten().any(|node| node.null_count() != 0);
        let buffers = batch.buffers().map_or(0, |buffers| buffers.len());
        let plain = batch.compression().is_none() && !nulls && buffers == BUFFERS + 2 * further;
        let (true, Ok(count)) = (plain, usize::try_from(batch.length())) else {
            return Err(self.broken(format!(
                "the batch at byte {at} doesn't have the layout that the log writes"
            )));
        };
        let time_data = FURTHER_DATA + if self.columns.id { 2 } else { 0 };
        let column = |is: bool, index: usize| match is {
            true => place(&batch, index, Some(count), size_of::<u64>(), body_at..end).map(Some),
            false => Some(None),
        };
        let components = count.checked_mul(self.dim);
        let (Some(sequences_at), Some(values_at), Some(ids_at), Some(times_at)) = (
            place(&batch, SEQUENCE_DATA, Some(count), size_of::<u64>(), body_at..end),
            place(&batch, COMPONENT_DATA, components, size_of::<f32>(), body_at..end),
            column(self.columns.id, FURTHER_DATA),
            column(self.columns.time, time_data),
        ) else {
            return Err(
                self.broken(format!("the batch at byte {at} has fewer than its {count} rows"))
            );
        };
        self.read_column(&mut rows.sequences, count, Some(sequences_at))?;
        self.read_column(&mut rows.values, count * self.dim, Some(values_at))?;
        self.read_column(&mut rows.ids, count, ids_at)?;
        self.read_column(&mut rows.times_us, count, times_at)
    }

    /// Reads a column's values from their place; a column that isn't there is empty.
    fn read_column<T: bytemuck::Pod>(
        &self,
        column: &mut Vec<T>,
        values: usize,
        at: Option<u64>,
    ) -> Result<(), SinkError> {
        column.resize(if at.is_some() { values } else { 0 }, T::zeroed());
        at.map_or(Ok(()), |at| self.read_exact(bytemuck::cast_slice_mut(column), at))
    }

    /// The footer and its position.
    fn read_footer(&self, file_bytes: u64) -> Result<(Vec<u8>, u64), SinkError> {
        let before_tail = file_bytes
            .checked_sub(TAIL_BYTES as u64)
            .ok_or_else(|| self.broken("it is too short"))?;
        let mut tail = [0; TAIL_BYTES];
        self.read_exact(&mut tail, before_tail)?;
        let footer_bytes =
            read_footer_length(tail).map_err(|error| self.broken(error.to_string()))? as u64;
        let footer_at = before_tail
            .checked_sub(footer_bytes)
            .ok_or_else(|| self.broken("its footer is cut"))?;
        Ok((self.read_bytes(footer_at, footer_bytes)?, footer_at))
    }

    fn read_bytes(&self, at: u64, bytes: u64) -> Result<Vec<u8>, SinkError> {
        // Callers have checked the length against that of the file.
        let mut read = vec![0; bytes as usize];
        self.read_exact(&mut read, at)?;
        Ok(read)
    }

    fn read_exact(&self, bytes: &mut [u8], at: u64) -> Result<(), SinkError> {
        self.file.read_exact_at(bytes, at).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.broken("it became shorter"),
            _ => SinkError::io("read", &self.path)(error),
        })
    }

    fn broken(&self, why: impl Into<String>) -> SinkError {
        SinkError::Segment { path: self.path.clone(), why: why.into() }
    }
}

/// The positions where a block begins, where its body begins, and where the block ends.
fn range(block: &Block) -> Option<(u64, u64, u64)> {
    let at = u64::try_from(block.offset()).ok()?;
    let body_at = at.checked_add(u64::try_from(block.metaDataLength()).ok()?)?;
    Some((at, body_at, body_at.checked_add(u64::try_from(block.bodyLength()).ok()?)?))
}

/// The position of a buffer of `values` values of `size` bytes, if it lies within `body`.
fn place(
    batch: &RecordBatch<'_>,
    index: usize,
    values: Option<usize>,
    size: usize,
    body: Range<u64>,
) -> Option<u64> {
    let buffer = batch.buffers().filter(|buffers| index < buffers.len())?.get(index);
    let start = body.start.checked_add(u64::try_from(buffer.offset()).ok()?)?;
    let bytes = u64::try_from(values?.checked_mul(size)?).ok()?;
    let fits =
        bytes <= u64::try_from(buffer.length()).ok()? && start.checked_add(bytes)? <= body.end;
    fits.then_some(start)
}
