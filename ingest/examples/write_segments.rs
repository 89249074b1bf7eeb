//! Writes segments of known content into a data folder: `write_segments DIR [COLUMNS [live]]`.
//!
//! Two lanes with several segments each, and full and short record batches. Another run adds to
//! them. A row follows from its sequence, and all components are small whole numbers, so that their
//! sum is exact in any order. Prints the rows and the sum that a reader must find. COLUMNS is what
//! `serve --columns` takes: `id,time`. With `live` it leaves a segment open until its input ends,
//! so that readers meet a folder at work.

use std::error::Error;
use std::path::PathBuf;

use slipring_ingest::log::{
    LaneLog, LogOptions, LogRows, RealDisk, RecordBuffer, RowShape, RowTimes,
};
use slipring_ingest::sink::{Columns, DataDir, DataMode, DataOptions, read_segments};

const DIM: u32 = 96;
/// 2023-11-14 22:13:20 UTC.
const TIME_US: i64 = 1_700_000_000_000_000;

/// The log of a lane, and the buffer of its next record.
struct Lane {
    log: LaneLog<RealDisk>,
    buffer: RecordBuffer,
    columns: Columns,
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let path = PathBuf::from(words.first().ok_or("usage: write_segments DIR [COLUMNS [live]]")?);
    let names = words.get(1).map(|names| names.to_string_lossy()).unwrap_or_default();
    let has = |column: &str| names.split(',').any(|name| name == column);
    let columns = Columns { id: has("id"), time: has("time") };
    let dir =
        DataDir::open_with(&path, DataOptions { dim: DIM, columns, mode: DataMode::default() })?;
    let (mut rows, mut sum) = (0, 0.0);
    for (lane, lane_rows) in [(0, 2500), (1, 1)] {
        let mut lane = Lane::open(&dir, lane)?;
        for sequence in lane.next_sequence()..lane.next_sequence() + lane_rows {
            lane.append()?;
            if sequence % 130 == 7 {
                lane.write()?;
            }
        }
        lane.close()?;
        rows += lane.next_sequence();
        sum += (0..lane.next_sequence()).flat_map(row).map(f64::from).sum::<f64>();
    }
    let found = read_segments(&path)?;
    if (found.rows, found.sum) != (rows, sum) {
        return Err(format!("wrote {rows} rows with sum {sum}, read {found:?}").into());
    }
    println!("{rows} {sum}");
    if words.get(2).is_some() {
        let mut lane = Lane::open(&dir, 0)?;
        lane.append()?;
        lane.write()?;
        lane.log.sync()?;
        lane.log.show_durable();
        println!("live");
        std::io::read_to_string(std::io::stdin())?;
        lane.close()?;
    }
    Ok(())
}

impl Lane {
    fn open(dir: &DataDir, lane: u32) -> Result<Self, Box<dyn Error>> {
        let shape = RowShape { dim: DIM, columns: dir.columns() };
        let options = LogOptions { segment_bytes: 256 << 10, ..LogOptions::new(shape, lane, 1) };
        let (disk, folders) = (RealDisk::new(dir.mode()), dir.lane_folders(lane)?);
        let (log, _) = LaneLog::open(disk, folders, options)?;
        let buffer = log.buffer(100, 0)?;
        Ok(Self { log, buffer, columns: dir.columns() })
    }

    fn next_sequence(&self) -> u64 {
        self.log.next_sequence() + self.buffer.rows() as u64
    }

    /// Appends the next row. Its id is its sequence backwards from the largest id, and each row
    /// comes a second after the one before it.
    fn append(&mut self) -> Result<(), Box<dyn Error>> {
        if self.buffer.is_closed() {
            self.write()?;
        }
        let sequence = self.next_sequence();
        let id = (u64::MAX - sequence).to_le_bytes();
        let ids = if self.columns.id { &id[..] } else { &[] };
        let times = RowTimes::One(TIME_US + sequence as i64 * 1_000_000);
        let vectors: Vec<u8> = row(sequence).iter().flat_map(|value| value.to_le_bytes()).collect();
        self.buffer.append(&LogRows { vectors: &vectors, ids, times, mark: None })?;
        Ok(())
    }

    fn write(&mut self) -> Result<(), Box<dyn Error>> {
        self.log.append(&mut self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn close(&mut self) -> Result<(), Box<dyn Error>> {
        self.write()?;
        self.log.close()?;
        Ok(())
    }
}

fn row(sequence: u64) -> Vec<f32> {
    (0..u64::from(DIM)).map(|i| ((sequence + i) % 251) as f32 - 125.0).collect()
}
