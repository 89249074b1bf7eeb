//! Reading segments back: for the demo, for tests, and for the next start of a log.
//!
//! Promises that every row is seen once, in sequence order, and that a missing or doubled one is an error. It reads complete segments only,
//! takes no lock, and holds one record batch in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt64Type};
use arrow_ipc::reader::{FileReader, read_footer_length};
use arrow_schema::ArrowError;

use super::{SinkError, batch, folder, name};

/// Magic and footer length at the end of an Arrow IPC file.
const TAIL_BYTES: usize = 10;

/// What lies in a data folder.
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
    /// The sum of all components, added up in lane and sequence order.
    pub sum: f64,
}

/// Reads all complete segments of the data folder `dir` and sums them up.
///
/// # Errors
/// No data folder, a file that isn't whole, a gap in a lane's sequence.
pub fn read_segments(dir: &Path) -> Result<Summary, SinkError> {
    let mut sum = 0.0;
    let summary = for_each_batch(dir, |_, _, rows| sum = rows.iter().fold(sum, |sum, value| sum + f64::from(*value)))?;
    Ok(Summary { sum, ..summary })
}

/// Calls `visit` with lane, sequence of the first row, and rows of every record batch in the data folder `dir`, in order. The summary's
/// sum is left at 0.
///
/// # Errors
/// As [`read_segments`]; batches before the error have been visited.
pub fn for_each_batch(dir: &Path, mut visit: impl FnMut(u32, u64, &[f32])) -> Result<Summary, SinkError> {
    let missing = || SinkError::Record { path: dir.join(name::RECORD), why: "there is no record here".into() };
    let dim = folder::read_record(dir)?.ok_or_else(missing)?;
    let mut summary = Summary { dim, lanes: BTreeMap::new(), rows: 0, segments: 0, sum: 0.0 };
    for lane in name::lanes(dir)? {
        let mut expected = 0;
        for (first_sequence, path) in name::segments(&name::lane_folder(dir, lane))?.complete {
            if first_sequence != expected {
                return Err(SinkError::Gap { path, expected, found: first_sequence });
            }
            for batch in open_segment(&path, dim)? {
                let batch = batch.map_err(broken(&path))?;
                let (sequences, rows) = columns(&batch);
                if let Some((found, expected)) = sequences.iter().zip(expected..).find(|(found, due)| **found != *due) {
                    return Err(SinkError::Gap { path, expected, found: *found });
                }
                visit(lane, expected, rows);
                expected += sequences.len() as u64;
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
    let mut segment = open_segment(path, dim)?;
    let last = segment.num_batches().saturating_sub(1);
    segment.set_index(last).map_err(broken(path))?;
    let batch = segment.next().transpose().map_err(broken(path))?;
    let last = batch.as_ref().and_then(|batch| columns(batch).0.last());
    last.and_then(|last| last.checked_add(1)).ok_or_else(|| broken(path)("its last batch holds no sequence"))
}

/// Opens a segment and checks that it ends as one, that its batches lie within it and that its columns are ours.
fn open_segment(path: &Path, dim: u32) -> Result<FileReader<File>, SinkError> {
    let mut file = File::open(path).map_err(SinkError::io("open", path))?;
    check_bounds(&mut file).map_err(broken(path))?;
    let reader = FileReader::try_new(file, None).map_err(broken(path))?;
    match batch::dim_of(&reader.schema()) {
        Some(recorded) if recorded == dim => Ok(reader),
        Some(recorded) => Err(SinkError::OtherDimension { path: path.into(), recorded, asked: dim }),
        None => Err(broken(path)("its columns aren't a sequence and a vector")),
    }
}

/// Arrow's reader takes lengths on trust, and allocates or panics by them; so they are checked first.
fn check_bounds(file: &mut File) -> Result<(), ArrowError> {
    let file_bytes = file.seek(SeekFrom::End(0))?;
    let outside = |what: &str| ArrowError::ParseError(format!("{what} would lie outside of its {file_bytes} bytes"));
    let mut tail = [0; TAIL_BYTES];
    let before_tail = file_bytes.checked_sub(TAIL_BYTES as u64).ok_or_else(|| outside("the footer's length"))?;
    file.seek(SeekFrom::Start(before_tail))?;
    file.read_exact(&mut tail)?;
    let mut footer = Vec::new();
    let footer_bytes = read_footer_length(tail)?;
    let at = before_tail.checked_sub(footer_bytes as u64).ok_or_else(|| outside("the footer"))?;
    file.seek(SeekFrom::Start(at))?;
    file.take(footer_bytes as u64).read_to_end(&mut footer)?;
    let footer = arrow_ipc::root_as_footer(&footer).map_err(|error| ArrowError::ParseError(error.to_string()))?;
    for block in footer.recordBatches().into_iter().flatten() {
        let parts = [block.offset(), i64::from(block.metaDataLength()), block.bodyLength()];
        let end = parts.iter().try_fold(0_u64, |end, part| end.checked_add(u64::try_from(*part).ok()?));
        if end.is_none_or(|end| end > at) {
            return Err(outside("a record batch"));
        }
    }
    Ok(())
}

/// Sequences and components of a batch whose schema [`open_segment`] has checked.
fn columns(batch: &RecordBatch) -> (&[u64], &[f32]) {
    let vectors = batch.column(1).as_fixed_size_list();
    (batch.column(0).as_primitive::<UInt64Type>().values(), vectors.values().as_primitive::<Float32Type>().values())
}

/// For `map_err`: the segment at `path` isn't whole.
fn broken<W: ToString>(path: &Path) -> impl Fn(W) -> SinkError + use<'_, W> {
    move |why| SinkError::Segment { path: path.into(), why: why.to_string() }
}
