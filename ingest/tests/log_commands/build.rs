//! Folders of known content, and the commands run on them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use slipring_ingest::log::{
    LaneLog, LogOptions, LogRows, RealDisk, RecordBuffer, RowShape, RowTimes,
};
use slipring_ingest::sink::{Columns, DataDir, DataMode, DataOptions};

use crate::support::process::BINARY;

pub const DIM: u32 = 4;
/// 2023-11-14 22:13:20 UTC.
pub const TIME_US: i64 = 1_700_000_000_000_000;
pub const ALL: Columns = Columns { id: true, time: true };
pub const NONE: Columns = Columns { id: false, time: false };

/// The row with this sequence: its components need all of their digits.
pub fn row(sequence: u64) -> [f32; DIM as usize] {
    [sequence as f32, 0.1, -1.5e30, 1.0 / (sequence as f32 + 3.0)]
}

pub fn id(sequence: u64) -> u64 {
    u64::MAX - sequence
}

pub fn time(sequence: u64) -> i64 {
    TIME_US + sequence as i64
}

/// A folder that is open for rows of [`row`], [`id`] and [`time`].
pub struct Built {
    pub folder: tempfile::TempDir,
    columns: Columns,
    dir: Option<DataDir>,
}

impl Built {
    pub fn new(columns: Columns) -> Self {
        let folder = crate::support::folder();
        let options = DataOptions { dim: DIM, columns, mode: DataMode::default() };
        let dir = Some(DataDir::open_with(&folder.path().join("data"), options).unwrap());
        Self { folder, columns, dir }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A lane whose segments are full at this many bytes.
    pub fn lane(&self, lane: u32, segment_bytes: u64) -> Lane {
        let dir = self.dir.as_ref().expect("an open folder");
        let shape = RowShape { dim: DIM, columns: self.columns };
        let options = LogOptions { segment_bytes, ..LogOptions::new(shape, lane, 7) };
        let folders = dir.lane_folders(lane).unwrap();
        let (log, _) = LaneLog::open(RealDisk::new(dir.mode()), folders, options).unwrap();
        let buffer = log.buffer(16, 0).unwrap();
        Lane { log, buffer, columns: self.columns }
    }

    /// A whole lane 0: records of these many rows.
    pub fn whole(columns: Columns, segment_bytes: u64, records: &[u64]) -> Self {
        let mut built = Self::new(columns);
        let mut lane = built.lane(0, segment_bytes);
        records.iter().for_each(|rows| lane.append(*rows));
        lane.log.close().unwrap();
        built.unlock();
        built
    }

    /// A lane 0 that a crash has ended: the records before the last are known to be durable, or
    /// all are.
    pub fn crashed(columns: Columns, records: &[u64], is_all_durable: bool) -> Self {
        let mut built = Self::new(columns);
        let mut lane = built.lane(0, 1 << 20);
        for (index, rows) in records.iter().enumerate() {
            if index + 1 == records.len() && !is_all_durable {
                lane.log.show_durable();
            }
            lane.append(*rows);
            lane.log.sync().unwrap();
        }
        if is_all_durable {
            lane.log.show_durable();
        }
        drop(lane);
        built.unlock();
        built
    }

    /// Gives the folder's lock back.
    pub fn unlock(&mut self) {
        self.dir = None;
    }

    /// The only file of lane 0 with this ending.
    #[track_caller]
    pub fn file(&self, ending: &str) -> PathBuf {
        let found: Vec<PathBuf> = files(&self.data())
            .into_keys()
            .filter(|path| path.to_str().unwrap().ends_with(ending))
            .collect();
        assert_eq!(found.len(), 1, "{ending}: {found:?}");
        found[0].clone()
    }
}

pub struct Lane {
    pub log: LaneLog<RealDisk>,
    buffer: RecordBuffer,
    columns: Columns,
}

impl Lane {
    /// Appends a record with this many rows.
    pub fn append(&mut self, rows: u64) {
        for sequence in self.log.next_sequence()..self.log.next_sequence() + rows {
            let vectors: Vec<u8> = row(sequence).iter().flat_map(|c| c.to_le_bytes()).collect();
            let ids = id(sequence).to_le_bytes();
            let ids = if self.columns.id { &ids[..] } else { &[] };
            let rows = LogRows {
                vectors: &vectors,
                ids,
                times: RowTimes::One(time(sequence)),
                mark: None,
            };
            assert_eq!(self.buffer.append(&rows).unwrap(), 1);
        }
        self.log.append(&mut self.buffer).unwrap();
        self.buffer.clear();
    }
}

/// All files below a folder, with their bytes.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// What a command has printed.
#[derive(Debug)]
pub struct Printed {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Printed {
    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    /// The lines of `--json`.
    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The last of them.
    #[track_caller]
    pub fn sums(&self) -> Value {
        self.lines().pop().unwrap_or_else(|| panic!("{self:?}"))
    }

    /// Those of this kind.
    pub fn findings(&self, kind: &str) -> Vec<Value> {
        let mut lines = self.lines();
        lines.retain(|line| line["kind"] == kind);
        lines
    }
}

/// Runs `slipring log` with these words and `--data`.
pub fn log(words: &str, data: &Path) -> Printed {
    let mut command = Command::new(BINARY);
    command.arg("log").args(words.split_whitespace()).arg("--data").arg(data);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{words}: {stderr}");
    Printed { code: output.status.code(), stdout: output.stdout, stderr }
}

/// `log verify --json`, which must end with this code.
#[track_caller]
pub fn verify(data: &Path, code: i32) -> Printed {
    let printed = log("verify --json", data);
    assert_eq!(printed.code, Some(code), "{printed:?}");
    assert_eq!(printed.sums()["errors"] == 0, code == 0, "{printed:?}");
    printed
}
