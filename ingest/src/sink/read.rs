//! Reading segments back: for the demo, for tests, and for the next start of a log.
//!
//! Promises that every row is visited once, in sequence order, and that a missing or doubled row is
//! an error. It reads complete segments only, takes no lock, and holds one record batch in memory.

use std::collections::BTreeMap;
use std::path::Path;

use super::reader::{Columns, SegmentReader};
use super::{SinkError, folder, name};

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
    /// The sum of all components, added up in lane and sequence order.
    pub sum: f64,
}

/// Reads all complete segments of the data folder `dir` and sums them up.
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

/// Calls `visit` with lane, sequence of the first row, and rows of every record batch in the data
/// folder `dir`, in order. The summary's sum is left at 0.
///
/// # Errors
/// As [`read_segments`]; batches before the error have been visited.
pub fn for_each_batch(
    dir: &Path,
    mut visit: impl FnMut(u32, u64, &[f32]),
) -> Result<Summary, SinkError> {
    let missing = || SinkError::Record {
        path: dir.join(name::RECORD),
        why: "there is no record here".into(),
    };
    let dim = folder::read_record(dir)?.ok_or_else(missing)?;
    let mut summary = Summary { dim, lanes: BTreeMap::new(), rows: 0, segments: 0, sum: 0.0 };
    let mut columns = Columns::default();
    for lane in name::lanes(dir)? {
        let mut expected = 0;
        for (first_sequence, path) in name::segments(&name::lane_folder(dir, lane))?.complete {
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
    let mut columns = Columns::default();
    segment.read(segment.batches().saturating_sub(1), &mut columns)?;
    let next = columns.sequences.last().and_then(|last| last.checked_add(1));
    next.ok_or_else(|| SinkError::Segment {
        path: path.into(),
        why: "its last batch holds no sequence".into(),
    })
}
