//! Writes a lane's log of known content: `write_log DIR [COLUMNS]`.
//!
//! DIR gets what a data folder has for lane 0: one sealed segment with records of several sizes,
//! and a live one that stays open until the input ends, so that readers meet a log at work; then
//! it is sealed too. A row follows from its sequence. Prints `sealed PATH ROWS` or `live PATH ROWS`
//! for each. COLUMNS is what `serve --columns` takes: `id,time`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use slipring_ingest::log::{
    LaneLog, LogFolders, LogOptions, LogRows, RealDisk, RecordBuffer, RowShape, RowTimes,
    random_epoch,
};
use slipring_ingest::sink::{Columns, DataMode};

const DIM: u32 = 96;
/// 2023-11-14 22:13:20 UTC.
const TIME_US: i64 = 1_700_000_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let dir = PathBuf::from(words.first().ok_or("usage: write_log DIR [COLUMNS]")?);
    let names = words.get(1).map(|names| names.to_string_lossy()).unwrap_or_default();
    let has = |column: &str| names.split(',').any(|name| name == column);
    let columns = Columns { id: has("id"), time: has("time") };
    let open = dir.join(".slipring").join("lane=0");
    let folders = LogFolders { open, complete: dir.join("lane=0") };
    fs::create_dir_all(&folders.open)?;
    fs::create_dir_all(&folders.complete)?;
    let options = LogOptions::new(RowShape { dim: DIM, columns }, 0, random_epoch());
    let disk = RealDisk::new(DataMode::default()).direct_writes(true);
    let (mut log, _) = LaneLog::open(disk, folders, options)?;
    let mut buffer = log.buffer(1000, 0)?;
    for rows in [1, 1000, 8, 9, 333] {
        append(&mut log, &mut buffer, columns, rows)?;
    }
    let sealed = log.seal()?.ok_or("no segment")?;
    println!("sealed {} {}", sealed.path.display(), sealed.next_sequence);
    for rows in [3, 1000, 1] {
        append(&mut log, &mut buffer, columns, rows)?;
    }
    log.sync()?;
    let segment = log.segment().ok_or("no segment")?;
    let rows = log.next_sequence() - segment.first_sequence();
    println!("live {} {rows}", segment.path().display());
    std::io::read_to_string(std::io::stdin())?;
    let sealed = log.close()?.ok_or("no segment")?;
    println!("sealed {} {rows}", sealed.path.display());
    Ok(())
}

/// Appends a record. A row's id is its sequence backwards from the largest id, and each row comes a
/// second after the one before it.
fn append(
    log: &mut LaneLog<RealDisk>,
    buffer: &mut RecordBuffer,
    columns: Columns,
    rows: u64,
) -> Result<(), Box<dyn Error>> {
    buffer.clear();
    for sequence in log.next_sequence()..log.next_sequence() + rows {
        let component = |i: u64| ((sequence + i) % 251) as f32 - 125.0;
        let vector: Vec<u8> =
            (0..u64::from(DIM)).flat_map(|i| component(i).to_le_bytes()).collect();
        let id = (u64::MAX - sequence).to_le_bytes();
        let ids = if columns.id { &id[..] } else { &[] };
        let times = RowTimes::One(TIME_US + sequence as i64 * 1_000_000);
        buffer.append(&LogRows { vectors: &vector, ids, times, mark: None })?;
    }
    Ok(log.append(buffer)?)
}
