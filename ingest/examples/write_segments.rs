//! Writes segments of known content into a data folder: `write_segments DIR [COLUMNS [live]]`.
//!
//! Two lanes with several segments each, and full and short record batches. Another run adds to
//! them. A row follows from its sequence, and all components are small whole numbers, so that their
//! sum is exact in any order. Prints the rows and the sum that a reader must find. COLUMNS is what
//! `serve --columns` takes: `id,time`. With `live` it leaves a segment open until its input ends,
//! so that readers meet a folder at work.

use std::error::Error;
use std::path::PathBuf;

use slipring_ingest::sink::{
    Columns, DataDir, DataMode, DataOptions, SegmentLog, SegmentOptions, Sink, SinkRows,
    read_segments,
};

const DIM: u32 = 96;
/// 2023-11-14 22:13:20 UTC.
const TIME_US: i64 = 1_700_000_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let path = PathBuf::from(words.first().ok_or("usage: write_segments DIR [COLUMNS [live]]")?);
    let names = words.get(1).map(|names| names.to_string_lossy()).unwrap_or_default();
    let has = |column: &str| names.split(',').any(|name| name == column);
    let columns = Columns { id: has("id"), time: has("time") };
    let dir =
        DataDir::open_with(&path, DataOptions { dim: DIM, columns, mode: DataMode::default() })?;
    let options = SegmentOptions { segment_bytes: 256 << 10, batch_rows: 100 };
    let (mut rows, mut sum) = (0, 0.0);
    for (lane, lane_rows) in [(0, 2500), (1, 1)] {
        let mut log = SegmentLog::open(&dir, lane, options)?;
        for sequence in log.next_sequence()..log.next_sequence() + lane_rows {
            append(&mut log, columns)?;
            if sequence % 130 == 7 {
                log.flush()?;
            }
        }
        log.close()?;
        rows += log.next_sequence();
        sum += (0..log.next_sequence()).flat_map(row).map(f64::from).sum::<f64>();
    }
    let found = read_segments(&path)?;
    if (found.rows, found.sum) != (rows, sum) {
        return Err(format!("wrote {rows} rows with sum {sum}, read {found:?}").into());
    }
    println!("{rows} {sum}");
    if words.get(2).is_some() {
        let mut log = SegmentLog::open(&dir, 0, options)?;
        append(&mut log, columns)?;
        log.flush()?;
        println!("live");
        std::io::read_to_string(std::io::stdin())?;
        log.close()?;
    }
    Ok(())
}

/// Appends the next row. Its id is its sequence backwards from the largest id, and each row comes a
/// second after the one before it.
fn append(log: &mut SegmentLog, columns: Columns) -> Result<(), Box<dyn Error>> {
    let sequence = log.next_sequence();
    let id = (u64::MAX - sequence).to_le_bytes();
    let ids = if columns.id { &id[..] } else { &[] };
    let time_us = TIME_US + sequence as i64 * 1_000_000;
    Ok(log.append(SinkRows { values: &row(sequence), ids, time_us })?)
}

fn row(sequence: u64) -> Vec<f32> {
    (0..u64::from(DIM)).map(|i| ((sequence + i) % 251) as f32 - 125.0).collect()
}
