//! Rows for tests, and reading all rows of a lane back.

use std::path::Path;

use super::super::disk::DiskFile;
use super::super::*;
use crate::sink::Columns;

pub const DIM: u32 = 3;

pub fn shape() -> RowShape {
    RowShape { dim: DIM, columns: Columns { id: true, time: true } }
}

pub fn folders() -> LogFolders {
    LogFolders { open: "/log/.slipring/lane=0".into(), complete: "/log/lane=0".into() }
}

pub fn options(epoch: u64) -> LogOptions {
    LogOptions { segment_bytes: 24 << 10, gap_rows: 10_000, ..LogOptions::new(shape(), 0, epoch) }
}

/// A row: its vector's bytes, id and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub vector: Vec<u8>,
    pub id: u64,
    pub time: i64,
}

impl Row {
    pub fn of(number: u64) -> Self {
        let vector =
            (0..DIM).flat_map(|i| ((number * 8) as f32 + i as f32).to_le_bytes()).collect();
        Self { vector, id: number ^ 0xabcd_ef01_2345_6789, time: number as i64 * 1_000 + 1 }
    }

    /// Appends the row to a buffer, and whether it fits.
    pub fn append(&self, buffer: &mut RecordBuffer) -> bool {
        self.append_marked(None, buffer)
    }

    /// The same, as a producer's request.
    pub fn append_marked(&self, mark: Option<RequestMark>, buffer: &mut RecordBuffer) -> bool {
        let (id, time) = (self.id.to_le_bytes(), self.time.to_le_bytes());
        let times = if self.id.is_multiple_of(2) {
            RowTimes::One(self.time)
        } else {
            RowTimes::Each(&time)
        };
        buffer.append(&LogRows { vectors: &self.vector, ids: &id, times, mark }).unwrap() == 1
    }
}

/// The rows of a record with their sequences.
pub fn rows_of(record: &RecordView<'_>) -> Vec<(u64, Row)> {
    let number = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let sequences = record.sequences().as_chunks().0.iter().map(number);
    let vectors = record.vectors().chunks(shape().vector_bytes());
    let ids = record.ids().as_chunks().0.iter().map(number);
    let times = record.times().as_chunks().0.iter().map(|time| i64::from_le_bytes(*time));
    let rows = vectors.zip(ids).zip(times);
    let row = |((vector, id), time): ((&[u8], u64), i64)| Row { vector: vector.to_vec(), id, time };
    sequences.zip(rows.map(row)).collect()
}

/// All rows in the first `end` bytes of a file, or why they can't be read.
pub fn read_rows<F: DiskFile>(
    file: &F,
    path: &Path,
    first: u64,
    end: u64,
) -> Result<Vec<(u64, Row)>, String> {
    let reader = RecordReader::new(file, path, end, first, shape());
    let mut reader = reader.map_err(|error| error.to_string())?;
    let (mut rows, mut memory) = (Vec::new(), AlignedBytes::default());
    loop {
        match reader.next_record().map_err(|error| error.to_string())? {
            NextRecord::Record(header) => {
                let record = reader.load(&header, &mut memory);
                rows.extend(rows_of(&record.map_err(|error| error.to_string())?));
            }
            NextRecord::End => return Ok(rows),
            NextRecord::Fault(fault) => {
                return Err(format!("{} at {}: {fault}", path.display(), reader.at()));
            }
        }
    }
}

/// All rows of the sealed segments, in the order of their names; the footers must say the same.
pub fn sealed_rows<D: Disk>(disk: &D) -> Result<Vec<(u64, Row)>, String> {
    let folder = folders().complete;
    let mut rows = Vec::new();
    for name in disk.names(&folder).unwrap() {
        let path = folder.join(&name);
        let first: u64 = name[4..24].parse().unwrap();
        let file = disk.open_to_read(&path).unwrap();
        let (sealed, places, _) =
            SealedSegment::read(&file, &path, first, shape()).map_err(|error| error.to_string())?;
        let found = read_rows(&file, &path, first, file.len().unwrap())?;
        let range = found.first().zip(found.last()).map(|(a, z)| (a.0, z.0 + 1));
        if range != Some((first, sealed.next_sequence)) || places.len() != sealed.records {
            return Err(format!("{sealed:?} holds {range:?}"));
        }
        rows.extend(found);
    }
    Ok(rows)
}
