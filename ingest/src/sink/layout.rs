//! The names in a data folder.
//!
//! ```text
//! DIR/lane=K/seg-(20 digits).arrow                complete
//! DIR/.slipring/lane=K/                           open segments and more, see [`LogFolders`]
//! DIR/.slipring/lane=K/seg-(20 digits).torn       left open by a crash of an earlier version
//! DIR/.slipring/lock                              locked while a service works here
//! DIR/.slipring/record.json                       format, dimension, columns
//! ```
//! The digits are the sequence of a segment's first row: `seg-00000000000000016384.arrow`. Readers
//! of datasets skip names that begin with a point, so they find complete segments and nothing else,
//! also while a service runs, and take the lane from the folder's name.
//!
//! Folders of earlier versions have `DIR/slipring.lock`, `DIR/slipring.json`, and all files of a
//! lane in `DIR/lane-K`. They can be read; `migrate.rs` renames them.

use std::path::{Path, PathBuf};

use super::{SinkError, files};

const OWN: &str = ".slipring";
const OLD_LOCK: &str = "slipring.lock";
const OLD_RECORD: &str = "slipring.json";

/// The folder of our own files.
pub(super) fn own(dir: &Path) -> PathBuf {
    dir.join(OWN)
}

pub(super) fn lock(dir: &Path) -> PathBuf {
    dir.join(OWN).join("lock")
}

pub(super) fn record(dir: &Path) -> PathBuf {
    dir.join(OWN).join("record.json")
}

pub(super) fn record_new(dir: &Path) -> PathBuf {
    dir.join(OWN).join("record.json.new")
}

pub(super) fn old_lock(dir: &Path) -> PathBuf {
    dir.join(OLD_LOCK)
}

pub(super) fn old_record(dir: &Path) -> PathBuf {
    dir.join(OLD_RECORD)
}

pub(super) fn old_record_new(dir: &Path) -> PathBuf {
    dir.join("slipring.json.new")
}

/// The folder of a lane's complete segments.
pub(super) fn lane_folder(dir: &Path, lane: u32) -> PathBuf {
    dir.join(format!("lane={lane}"))
}

/// The folder of a lane's unfinished segments.
pub(super) fn open_folder(dir: &Path, lane: u32) -> PathBuf {
    dir.join(OWN).join(format!("lane={lane}"))
}

/// Whether a name is that of an unfinished segment: open, or left open by a crash.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.ends_with(".arrow.part") || name.ends_with(".torn")
}

/// The lanes that have a folder in `dir`, with that folder, in ascending order.
pub(super) fn lanes(dir: &Path) -> Result<Vec<(u32, PathBuf)>, SinkError> {
    let mut lanes: Vec<(u32, PathBuf)> = Vec::new();
    for name in files::names(dir)? {
        let lane = lane_of(&name, "lane=").or_else(|| lane_of(&name, "lane-"));
        lanes.extend(lane.map(|lane| (lane, dir.join(&name))));
    }
    lanes.sort_unstable();
    match lanes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => {
            Err(SinkError::TwoFolders { path: pair[0].1.clone(), other: pair[1].1.clone() })
        }
        None => Ok(lanes),
    }
}

/// The lanes with a folder of an earlier version, with that folder.
pub(super) fn old_lanes(dir: &Path) -> Result<Vec<(u32, PathBuf)>, SinkError> {
    let old = |name: String| lane_of(&name, "lane-").map(|lane| (lane, dir.join(name)));
    let mut lanes: Vec<(u32, PathBuf)> = files::names(dir)?.into_iter().filter_map(old).collect();
    lanes.sort_unstable();
    Ok(lanes)
}

/// The number in a lane's name, as we write it.
fn lane_of(name: &str, prefix: &str) -> Option<u32> {
    let digits = name.strip_prefix(prefix)?;
    digits.parse::<u32>().ok().filter(|lane| lane.to_string() == digits)
}

/// First sequence and path of each complete segment in a lane's folder, in ascending order. A
/// `.arrow` file that isn't named like a segment is an error, because otherwise its rows would be
/// omitted silently.
pub(super) fn segments(folder: &Path) -> Result<Vec<(u64, PathBuf)>, SinkError> {
    let mut complete = Vec::new();
    for name in files::names(folder)? {
        let Some(stem) = name.strip_suffix(".arrow") else { continue };
        let digits = stem.strip_prefix("seg-").filter(|digits| digits.len() == 20);
        let Some(first_sequence) = digits.and_then(|digits| digits.parse().ok()) else {
            return Err(SinkError::Segment {
                path: folder.join(&name),
                why: "its name isn't seg-, 20 digits, .arrow".into(),
            });
        };
        complete.push((first_sequence, folder.join(&name)));
    }
    complete.sort_unstable();
    Ok(complete)
}
