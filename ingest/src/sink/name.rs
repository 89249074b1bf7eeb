//! The names in a data folder, all in this one place.
//!
//! ```text
//! DIR/slipring.lock                               locked while a service works here; holds its process id
//! DIR/slipring.json                               format and dimension
//! DIR/lane-K/seg-00000000000000000000.arrow       complete; the number is the sequence of its first row
//! DIR/lane-K/seg-00000000000000016384.arrow.part  at work
//! DIR/lane-K/seg-00000000000000016384.torn        left at work by a crash, then `.2.torn` and so on
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::SinkError;

pub(super) const LOCK: &str = "slipring.lock";
pub(super) const RECORD: &str = "slipring.json";
pub(super) const RECORD_NEW: &str = "slipring.json.new";

/// The folder of a lane.
pub(super) fn lane_folder(dir: &Path, lane: u32) -> PathBuf {
    dir.join(format!("lane-{lane}"))
}

/// The name of a complete segment whose first row has this sequence.
pub(super) fn complete(folder: &Path, first_sequence: u64) -> PathBuf {
    folder.join(format!("seg-{first_sequence:020}.arrow"))
}

/// The name of the same segment while it is open.
pub(super) fn part(folder: &Path, first_sequence: u64) -> PathBuf {
    folder.join(format!("seg-{first_sequence:020}.arrow.part"))
}

/// A free name for a segment that a crash left unfinished.
pub(super) fn torn(part: &Path) -> Result<PathBuf, SinkError> {
    // `seg-N.arrow.part` without its two endings.
    let stem = part.with_extension("").with_extension("");
    let mut torn = stem.with_extension("torn");
    let mut copy = 2;
    while torn.try_exists().map_err(SinkError::io("look for", &torn))? {
        torn = stem.with_extension(format!("{copy}.torn"));
        copy += 1;
    }
    Ok(torn)
}

/// The lanes that have a folder in `dir`, in order.
pub(super) fn lanes(dir: &Path) -> Result<Vec<u32>, SinkError> {
    let lane_of = |name: String| name.strip_prefix("lane-")?.parse::<u32>().ok();
    let mut lanes: Vec<u32> = entries(dir)?.into_iter().filter_map(lane_of).collect();
    lanes.sort_unstable();
    Ok(lanes)
}

/// The content of a lane's folder.
pub(super) struct Segments {
    /// First sequence and path of each complete segment, in order.
    pub complete: Vec<(u64, PathBuf)>,
    /// Open segments.
    pub parts: Vec<PathBuf>,
}

/// Reads the folder of a lane. A `.arrow` file that isn't named like a segment is an error, because
/// its rows would be omitted silently.
pub(super) fn segments(folder: &Path) -> Result<Segments, SinkError> {
    let mut found = Segments { complete: Vec::new(), parts: Vec::new() };
    for name in entries(folder)? {
        let path = folder.join(&name);
        if name.ends_with(".arrow.part") {
            found.parts.push(path);
        } else if let Some(stem) = name.strip_suffix(".arrow") {
            let digits = stem.strip_prefix("seg-").filter(|digits| digits.len() == 20);
            let Some(first_sequence) = digits.and_then(|digits| digits.parse().ok()) else {
                return Err(SinkError::Segment {
                    path,
                    why: "its name isn't seg-, 20 digits, .arrow".into(),
                });
            };
            found.complete.push((first_sequence, path));
        }
    }
    found.complete.sort_unstable();
    found.parts.sort_unstable();
    Ok(found)
}

/// Makes the names created in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), SinkError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(SinkError::io("sync the folder", folder))
}

/// The names in a folder that are text; ours all are.
fn entries(folder: &Path) -> Result<Vec<String>, SinkError> {
    let io = || SinkError::io("read the folder", folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io())? {
        names.extend(entry.map_err(io())?.file_name().into_string().ok());
    }
    Ok(names)
}
