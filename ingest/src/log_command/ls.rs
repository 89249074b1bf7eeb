//! `slipring log ls`: the files of all lanes.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::error::LogCommandError;
use super::files::{open_found, short, state_label};
use super::options::LsOptions;
use super::output::Output;
use crate::log::{
    FileState, LaneFile, LogError, RealDisk, RealFile, RowShape, SealedSegment, check_live,
    check_old,
};
use crate::sink::{DataMode, FolderView, LaneView};
use crate::units::RoundedSize;

/// What is in a file.
#[derive(Clone, Copy, Debug, Default)]
struct Content {
    next_sequence: u64,
    vectors: u64,
    durable_vectors: u64,
    records: u64,
}

/// The same, or why it can't be read.
type Found = Result<Option<Content>, LogError>;

#[derive(Debug, Default)]
struct LsSums {
    segments: u64,
    live: u64,
    kept: u64,
    vectors: u64,
    bytes: u64,
    problems: u64,
}

pub(super) fn run(options: &LsOptions, output: &mut Output) -> Result<u8, LogCommandError> {
    let view = FolderView::look(&options.data)?;
    let disk = RealDisk::new(DataMode::default());
    let mut sums = LsSums::default();
    for lane in &view.lanes {
        let files = lane.folders.files(&disk)?;
        for found in &files {
            let opened = open_found(&disk, lane, found, &files);
            let (file, content) = match (opened, view.shape) {
                (Ok(None), _) => continue,
                (Ok(Some((_, file))), None) => (file, Ok(None)),
                (Ok(Some((opened, file))), Some(shape)) => {
                    let content = look(&disk, lane, (&opened, &file), shape);
                    (file, content)
                }
                (Err(error), _) => (found.clone(), Err(error)),
            };
            let Some((bytes, modified)) = size_and_time(&file.path) else { continue };
            sums.add(&file, bytes, content.as_ref().ok().copied().flatten());
            sums.problems += u64::from(content.is_err());
            let line = match options.json {
                true => json_line(&options.data, lane.lane, &file, (bytes, &modified), &content),
                false => text_line(&options.data, lane.lane, &file, (bytes, &modified), &content),
            };
            output.line(line).map_err(LogCommandError::Output)?;
        }
    }
    let lanes = view.lanes.len();
    let line = if options.json { sums.to_json(lanes).to_string() } else { sums.to_text(lanes) };
    output.line(line).map_err(LogCommandError::Output)?;
    Ok(u8::from(sums.problems > 0))
}

fn size_and_time(path: &Path) -> Option<(u64, String)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    let modified = found.modified().map_or_else(|_| String::new(), utc);
    Some((found.len(), modified))
}

/// A time as text. One that a calendar of four digits doesn't have is empty.
fn utc(time: SystemTime) -> String {
    const YEAR_10000: u64 = 253_402_300_800;
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) if since.as_secs() < YEAR_10000 => {
            humantime::format_rfc3339_seconds(time).to_string()
        }
        _ => String::new(),
    }
}

/// What is in a file; None for one whose rows are elsewhere.
fn look(
    disk: &RealDisk,
    lane: &LaneView,
    (opened, file): (&RealFile, &LaneFile),
    shape: RowShape,
) -> Found {
    let (path, first) = (&file.path, file.first_sequence);
    let check = match file.state {
        FileState::Sealed | FileState::Apart => {
            let (sealed, ..) = SealedSegment::read(opened, path, first, shape)?;
            let vectors = sealed.next_sequence - first;
            return Ok(Some(Content {
                next_sequence: sealed.next_sequence,
                vectors,
                durable_vectors: vectors,
                records: sealed.records as u64,
            }));
        }
        FileState::Live => check_live(disk, &lane.folders, opened, path, first, shape)?,
        FileState::Torn => match check_old(opened, path, first, shape)? {
            Some(check) => check,
            None => return Ok(None),
        },
        FileState::Foreign => {
            let why = "its name isn't seg-, 20 digits, .arrow".to_owned();
            return Err(LogError::NoSegment { path: path.clone(), why });
        }
        FileState::Damaged | FileState::Copy => return Ok(None),
    };
    if let Some(fault) = check.faults.first() {
        let why = format!("damaged at byte {}: {}", fault.at, fault.found);
        return Err(LogError::NoSegment { path: path.clone(), why });
    }
    Ok(Some(Content {
        next_sequence: check.next_sequence,
        vectors: check.rows,
        durable_vectors: check.durable_rows(),
        records: check.record_count,
    }))
}

fn json_line(
    data: &Path,
    lane: u32,
    file: &LaneFile,
    (bytes, modified): (u64, &str),
    content: &Found,
) -> String {
    let figure = |of: fn(&Content) -> u64| match content {
        Ok(Some(content)) => json!(of(content)),
        _ => Value::Null,
    };
    let mut line = json!({
        "lane": lane,
        "state": state_label(file.state),
        "file": short(data, &file.path).to_string(),
        "first_sequence": file.first_sequence,
        "next_sequence": figure(|content| content.next_sequence),
        "vectors": figure(|content| content.vectors),
        "durable_vectors": figure(|content| content.durable_vectors),
        "records": figure(|content| content.records),
        "bytes": bytes,
        "modified": modified,
    });
    if let Err(error) = content {
        line["problem"] = json!(error.to_string());
    }
    line.to_string()
}

fn text_line(
    data: &Path,
    lane: u32,
    file: &LaneFile,
    (bytes, modified): (u64, &str),
    content: &Found,
) -> String {
    let (state, first) = (state_label(file.state), file.first_sequence);
    let found = match content {
        Ok(Some(content)) => {
            format!("{first:>12} {:>12} vectors {:>6} records", content.vectors, content.records)
        }
        _ => format!("{first:>12} {:>12} vectors {:>6} records", "-", "-"),
    };
    let size = RoundedSize(bytes).to_string();
    let file = short(data, &file.path);
    let problem = content.as_ref().err().map(|error| format!("  {error}")).unwrap_or_default();
    format!("lane {lane}  {state:<7} {found} {size:>10}  {modified}  {file}{problem}")
}

impl LsSums {
    fn add(&mut self, file: &LaneFile, bytes: u64, content: Option<Content>) {
        self.bytes += bytes;
        match file.state {
            FileState::Sealed | FileState::Foreign => self.segments += 1,
            FileState::Live => self.live += 1,
            _ => self.kept += 1,
        }
        // Rows of the others are in segments, or have the sequences of others.
        if matches!(file.state, FileState::Sealed | FileState::Live) {
            self.vectors += content.map_or(0, |content| content.vectors);
        }
    }

    fn to_json(&self, lanes: usize) -> Value {
        json!({
            "lanes": lanes,
            "segments": self.segments,
            "live": self.live,
            "kept": self.kept,
            "vectors": self.vectors,
            "bytes": self.bytes,
            "problems": self.problems,
        })
    }

    fn to_text(&self, lanes: usize) -> String {
        format!(
            "{lanes} lanes, {} sealed segments, {} live, {} other files: {} vectors, {}",
            self.segments,
            self.live,
            self.kept,
            self.vectors,
            RoundedSize(self.bytes)
        )
    }
}
