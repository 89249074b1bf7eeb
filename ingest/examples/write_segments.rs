//! Writes segments of known content into a data folder: `write_segments DIR`.
//!
//! Two lanes with several segments each, and full and short record batches. Another run adds to
//! them. A row follows from its sequence, and all components are small whole numbers, so that their
//! sum is exact in any order. Prints the rows and the sum that a reader must find.

use std::error::Error;
use std::path::PathBuf;

use slipring_ingest::sink::{DataDir, SegmentLog, SegmentOptions, Sink, SinkRows, read_segments};

const DIM: u32 = 96;

fn main() -> Result<(), Box<dyn Error>> {
    let path = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: write_segments DIR")?);
    let dir = DataDir::open(&path, DIM)?;
    let options = SegmentOptions { segment_bytes: 256 << 10, batch_rows: 100 };
    let (mut rows, mut sum) = (0, 0.0);
    for (lane, lane_rows) in [(0, 2500), (1, 1)] {
        let mut log = SegmentLog::open(&dir, lane, options)?;
        for sequence in log.next_sequence()..log.next_sequence() + lane_rows {
            log.append(SinkRows::plain(&row(sequence)))?;
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
    Ok(())
}

fn row(sequence: u64) -> Vec<f32> {
    (0..u64::from(DIM)).map(|i| ((sequence + i) % 251) as f32 - 125.0).collect()
}
