//! Reading segments back: for the demo, for tests, and for the next start of a log.
//!
//! Promises that every row is visited once, in sequence order, and that a missing or duplicated row
//! is an error. It reads complete segments only, takes no lock, and holds one record batch in
//! memory.
//!
//! It reads only what the log writes: Arrow IPC files of two columns without compression and
//! without nulls. Every length and offset in a file is checked against the file before it is used,
//! so a damaged file is an error. Arrow's own reader trusts them, and may allocate or panic because
//! of them; it is for files that are known to be intact. There are no checksums: damage to a
//! component goes undetected.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use arrow_ipc::reader::read_footer_length;
use arrow_ipc::{Block, Footer, Precision, root_as_footer, root_as_message};

use super::segment::{SEQUENCE, VECTOR};
use super::{SinkError, folder};

/// The content of a data folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Components of each vector.
    pub dim: u32,
    /// Rows of each lane that has a folder.
    pub lanes: BTreeMap<u32, u64>,
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
    let missing = || SinkError::Record {
        path: dir.join(folder::RECORD),
        why: "there is no record here".into(),
    };
    let dim = folder::read_record(dir)?.ok_or_else(missing)?;
    let mut summary = Summary { dim, lanes: BTreeMap::new(), rows: 0, segments: 0, sum: 0.0 };
    let mut columns = StoredBatch::default();
    for lane in folder::lanes(dir)? {
        let mut expected = 0;
        for (first_sequence, path) in folder::segments(&folder::lane_folder(dir, lane))?.complete {
            if first_sequence != expected {
                return Err(SinkError::Gap { path, expected, found: first_sequence });
            }
            let segment = SegmentReader::open(&path, dim)?;
            for index in 0..segment.batches() {
                segment.read(index, &mut columns)?;
                let mut due = columns.sequences.iter().zip(expected..);
                if let Some((found, expected)) = due.find(|(found, due)| **found != *due) {
                    return Err(SinkError::Gap { path, expected, found: *found });
                }
                visit(lane, expected, &columns.values);
                expected += columns.sequences.len() as u64;
            }
            summary.segments += 1;
        }
        summary.lanes.insert(lane, expected);
        summary.rows += expected;
    }
    Ok(summary)
}

/// The sequence after the last row of a complete segment.
pub(super) fn next_sequence(path: &Path, dim: u32) -> Result<u64, SinkError> {
    let segment = SegmentReader::open(path, dim)?;
    let mut columns = StoredBatch::default();
    segment.read(segment.batches().saturating_sub(1), &mut columns)?;
    let next = columns.sequences.last().and_then(|last| last.checked_add(1));
    next.ok_or_else(|| SinkError::Segment {
        path: path.into(),
        why: "its last batch holds no sequence".into(),
    })
}

/// Magic and footer length at the end of an Arrow IPC file.
const TAIL_BYTES: usize = 10;
/// Marker and length before the metadata of a record batch.
const PREFIX_BYTES: usize = 8;
/// The buffers of a record batch: validity and data of the sequences, validity of the vectors,
/// validity and data of their components.
const BUFFERS: usize = 5;
const SEQUENCE_DATA: usize = 1;
const COMPONENT_DATA: usize = 4;

/// The rows of a record batch.
#[derive(Default)]
pub(super) struct StoredBatch {
    pub sequences: Vec<u64>,
    /// Component after component, row after row.
    pub values: Vec<f32>,
}

pub(super) struct SegmentReader {
    file: File,
    path: PathBuf,
    dim: usize,
    /// The positions of the record batches, all within the file.
    blocks: Vec<Block>,
}

impl SegmentReader {
    /// Opens a segment that should hold vectors of `dim` components.
    pub fn open(path: &Path, dim: u32) -> Result<Self, SinkError> {
        let file = File::open(path).map_err(SinkError::io("open", path))?;
        let mut reader = Self { file, path: path.into(), dim: dim as usize, blocks: Vec::new() };
        let file_bytes = reader.file.metadata().map_err(SinkError::io("read", path))?.len();
        let (footer, footer_at) = reader.read_footer(file_bytes)?;
        let footer = root_as_footer(&footer)
            .map_err(|error| reader.broken(format!("its footer: {error}")))?;
        match dim_of(&footer) {
            Some(recorded) if recorded == dim => {}
            Some(recorded) => {
                return Err(SinkError::OtherDimension { path: path.into(), recorded, asked: dim });
            }
            None => return Err(reader.broken("its columns aren't a sequence and a vector")),
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

    /// Reads a record batch into `columns`.
    pub fn read(&self, index: usize, columns: &mut StoredBatch) -> Result<(), SinkError> {
        let (at, body_at, end) =
            self.blocks.get(index).and_then(range).ok_or_else(|| self.broken("too few batches"))?;
        let metadata = self.read_bytes(at, body_at - at)?;
        let message =
            metadata.get(PREFIX_BYTES..).and_then(|message| root_as_message(message).ok());
        let batch = message.as_ref().and_then(|message| message.header_as_record_batch());
        let batch =
            batch.ok_or_else(|| self.broken(format!("there is no record batch at byte {at}")))?;
        let buffers = batch.buffers().filter(|buffers| buffers.len() == BUFFERS);
        let nulls = batch.nodes().into_iter().flatten().any(|node| node.null_count() != 0);
        let plain = batch.compression().is_none() && !nulls;
        let (Some(buffers), true, Ok(rows)) = (buffers, plain, usize::try_from(batch.length()))
        else {
            return Err(self.broken(format!(
                "the batch at byte {at} doesn't have the layout that the log writes"
            )));
        };
        let place = |index: usize, values: Option<usize>, size: usize| {
            let buffer = buffers.get(index);
            let start = body_at.checked_add(u64::try_from(buffer.offset()).ok()?)?;
            let bytes = u64::try_from(values?.checked_mul(size)?).ok()?;
            let fits =
                bytes <= u64::try_from(buffer.length()).ok()? && start.checked_add(bytes)? <= end;
            fits.then_some(start)
        };
        let sequences_at = place(SEQUENCE_DATA, Some(rows), size_of::<u64>());
        let values_at = place(COMPONENT_DATA, rows.checked_mul(self.dim), size_of::<f32>());
        let (Some(sequences_at), Some(values_at)) = (sequences_at, values_at) else {
            return Err(
                self.broken(format!("the batch at byte {at} has fewer than its {rows} rows"))
            );
        };
        columns.sequences.resize(rows, 0);
        columns.values.resize(rows * self.dim, 0.0);
        self.read_exact(bytemuck::cast_slice_mut(&mut columns.sequences), sequences_at)?;
        self.read_exact(bytemuck::cast_slice_mut(&mut columns.values), values_at)
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

/// The dimension of a file's vectors; None if its columns aren't those of a segment.
fn dim_of(footer: &Footer<'_>) -> Option<u32> {
    let fields = footer.schema()?.fields().filter(|fields| fields.len() == 2)?;
    let (sequence, vector) = (fields.get(0), fields.get(1));
    let integer = sequence.type_as_int()?;
    let item = vector.children().filter(|children| children.len() == 1)?.get(0);
    let named = sequence.name() == Some(SEQUENCE) && vector.name() == Some(VECTOR);
    let typed = integer.bitWidth() == 64 && !integer.is_signed();
    let single = item.type_as_floating_point()?.precision() == Precision::SINGLE;
    let dim =
        u32::try_from(vector.type_as_fixed_size_list()?.listSize()).ok().filter(|dim| *dim > 0)?;
    (named && typed && single).then_some(dim)
}
