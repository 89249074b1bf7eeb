//! A lane's log on the machine's disk, with the buffer that its rows go through.

use slipring_ingest::log::{
    LaneLog, LogError, LogOptions, LogRows, RealDisk, RecordBuffer, Recovery, RowShape, RowTimes,
};
use slipring_ingest::sink::{DataDir, SinkError};

/// How a lane cuts rows into records and records into segments.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub segment_bytes: u64,
    pub record_rows: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { segment_bytes: 256 << 20, record_rows: 1024 }
    }
}

pub struct Lane {
    pub log: LaneLog<RealDisk>,
    pub recovery: Recovery,
    buffer: RecordBuffer,
    vector_bytes: usize,
}

impl Lane {
    pub fn open(dir: &DataDir, lane: u32, sizes: Sizes) -> Result<Self, SinkError> {
        let shape = RowShape { dim: dir.dim(), columns: dir.columns() };
        let segment_bytes = sizes.segment_bytes;
        let options = LogOptions { segment_bytes, ..LogOptions::new(shape, lane, 7) };
        let folders = dir.lane_folders(lane)?;
        let (log, recovery) = LaneLog::open(RealDisk::new(dir.mode()), folders, options)?;
        let buffer = log.buffer(sizes.record_rows, 0)?;
        Ok(Self { log, recovery, buffer, vector_bytes: shape.vector_bytes() })
    }

    /// The sequence that the next row gets.
    pub fn next_sequence(&self) -> u64 {
        self.log.next_sequence() + self.buffer.rows() as u64
    }

    pub fn append(&mut self, values: &[f32]) -> Result<(), LogError> {
        self.append_with(values, &[], 0)
    }

    pub fn append_with(&mut self, values: &[f32], ids: &[u8], time: i64) -> Result<(), LogError> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let (mut vectors, mut ids) = (&bytes[..], ids);
        loop {
            let rows = LogRows { vectors, ids, times: RowTimes::One(time), mark: None };
            let taken = self.buffer.append(&rows)?;
            vectors = &vectors[taken * self.vector_bytes..];
            ids = &ids[(taken * 8).min(ids.len())..];
            if vectors.is_empty() {
                return Ok(());
            }
            self.write()?;
        }
    }

    /// Writes what is in the buffer.
    pub fn write(&mut self) -> Result<(), LogError> {
        self.log.append(&mut self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    pub fn flush(&mut self) -> Result<(), LogError> {
        self.write()?;
        self.log.sync()
    }

    pub fn close(&mut self) -> Result<(), LogError> {
        self.write()?;
        self.log.close().map(drop)
    }
}
