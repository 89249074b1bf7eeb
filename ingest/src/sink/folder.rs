//! The data folder: owned by one service, for vectors of one dimension.
//!
//! ```text
//! DIR/slipring.lock                     locked while a service works here; holds its process id
//! DIR/slipring.json                     format and dimension
//! DIR/lane-K/seg-(20 digits).arrow      complete
//! DIR/lane-K/seg-(20 digits).arrow.part open
//! DIR/lane-K/seg-(20 digits).torn       left open by a crash; the next ones `.2.torn` and so on
//! ```
//! The digits are the sequence of a segment's first row: `seg-00000000000000016384.arrow`.
//!
//! Opening the folder creates it, locks it, and records the dimension or checks the recorded one.
//! The lock is the kernel's (`flock`), so it is released when the process ends, in whatever way. It
//! doesn't keep readers out. This file knows all names in the folder, but nothing of the content of
//! segments: [`SegmentLog`](super::SegmentLog) does.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::SinkError;

/// The largest dimension of a vector, in components: a row stays within 4 MiB.
pub const DIM_MAX: u32 = 1 << 20;

const LOCK: &str = "slipring.lock";
pub(super) const RECORD: &str = "slipring.json";
const RECORD_NEW: &str = "slipring.json.new";
const FORMAT: u64 = 1;

/// An open, locked data folder. The lock is held until this and every log opened from it are
/// dropped.
#[derive(Debug)]
pub struct DataDir {
    folder: Arc<LockedFolder>,
}

#[derive(Debug)]
struct LockedFolder {
    path: PathBuf,
    dim: u32,
    /// The lanes that have a log.
    lanes: Mutex<BTreeSet<u32>>,
    _lock: FolderLock,
}

/// The kernel's lock on the folder. It is released explicitly, because a forked child that hasn't
/// started its program yet shares the open file, so closing ours wouldn't release the lock.
#[derive(Debug)]
struct FolderLock(File);

impl Drop for FolderLock {
    fn drop(&mut self) {
        // If this fails, the lock is released when the last copy of the file is closed.
        let _ = self.0.unlock();
    }
}

impl DataDir {
    /// Opens the folder at `path` for vectors of `dim` components, creating what is missing.
    ///
    /// # Errors
    /// The path leads to a file, the folder can't be written, is locked, or holds vectors of
    /// another dimension.
    pub fn open(path: &Path, dim: u32) -> Result<Self, SinkError> {
        check_dim(dim)?;
        create_folder(path)?;
        let lock = lock_folder(path)?;
        match read_record(path)? {
            None => write_record(path, dim)?,
            Some(recorded) if recorded == dim => {}
            Some(recorded) => {
                return Err(SinkError::OtherDimension { path: path.into(), recorded, asked: dim });
            }
        }
        let folder = LockedFolder { path: path.into(), dim, lanes: Mutex::default(), _lock: lock };
        Ok(Self { folder: Arc::new(folder) })
    }

    /// The path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder.path
    }

    /// Components of each vector in the folder.
    #[must_use]
    pub fn dim(&self) -> u32 {
        self.folder.dim
    }

    /// Claims a lane, so that no two logs write to the same lane.
    pub(super) fn claim(&self, lane: u32) -> Result<LaneClaim, SinkError> {
        // A set of integers stays valid after a panic.
        let mut lanes = self.folder.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if !lanes.insert(lane) {
            return Err(SinkError::LaneInUse { path: self.path().into(), lane });
        }
        Ok(LaneClaim { folder: Arc::clone(&self.folder), lane })
    }
}

/// The right to write to a lane, given up when dropped. It also keeps the folder locked.
#[derive(Debug)]
pub(super) struct LaneClaim {
    folder: Arc<LockedFolder>,
    lane: u32,
}

impl Drop for LaneClaim {
    fn drop(&mut self) {
        self.folder.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.lane);
    }
}

/// Refuses a dimension of 0 or above [`DIM_MAX`].
pub(super) fn check_dim(dim: u32) -> Result<(), SinkError> {
    if dim == 0 || dim > DIM_MAX {
        return Err(SinkError::Dimension { asked: dim, max: DIM_MAX });
    }
    Ok(())
}

/// The dimension recorded in a folder, if it has a record.
pub(super) fn read_record(path: &Path) -> Result<Option<u32>, SinkError> {
    let path = path.join(RECORD);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SinkError::io("read", &path)(error)),
    };
    let record: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| SinkError::Record { path: path.clone(), why: error.to_string() })?;
    if record["format"] != FORMAT {
        let why = format!("format is {}, this version knows {FORMAT}", record["format"]);
        return Err(SinkError::Record { path, why });
    }
    let dim = record["dim"]
        .as_u64()
        .and_then(|dim| u32::try_from(dim).ok())
        .filter(|dim| check_dim(*dim).is_ok());
    dim.map(Some)
        .ok_or_else(|| SinkError::Record { path, why: format!("dim is {}", record["dim"]) })
}

/// Writes the record in such a way that a crash leaves it complete or absent.
fn write_record(path: &Path, dim: u32) -> Result<(), SinkError> {
    let record = serde_json::json!({ "format": FORMAT, "dim": dim });
    let new = path.join(RECORD_NEW);
    let mut file = File::create(&new).map_err(SinkError::io("create", &new))?;
    writeln!(file, "{record}")
        .and_then(|()| file.sync_all())
        .map_err(SinkError::io("write", &new))?;
    fs::rename(&new, path.join(RECORD)).map_err(SinkError::io("rename", &new))?;
    sync_folder(path)
}

fn create_folder(path: &Path) -> Result<(), SinkError> {
    let exists = path
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty())
        .find(|folder| folder.exists());
    let exists = exists.unwrap_or(Path::new(""));
    fs::create_dir_all(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            SinkError::NotAFolder { path: path.into() }
        }
        _ => SinkError::io("create the folder", path)(error),
    })?;
    // Each created folder is an entry of its parent, so the parent is synced.
    for created in path.ancestors().take_while(|folder| *folder != exists) {
        let above = created
            .parent()
            .filter(|above| !above.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        sync_folder(above)?;
    }
    Ok(())
}

fn lock_folder(path: &Path) -> Result<FolderLock, SinkError> {
    let lock = path.join(LOCK);
    let mut options = File::options();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock)
        .map_err(SinkError::io("create", &lock))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            if file.read_to_string(&mut holder).is_err() || holder.trim().is_empty() {
                holder = "unknown".into();
            }
            return Err(SinkError::Locked { path: path.into(), holder: holder.trim().into() });
        }
        Err(TryLockError::Error(error)) => return Err(SinkError::io("lock", &lock)(error)),
    }
    // The process id is only a help for the operator; a full disk is no reason to refuse the lock.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(FolderLock(file))
}

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

/// An unused name for a segment that a crash left unfinished.
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

/// The lanes that have a folder in `dir`, in ascending order.
pub(super) fn lanes(dir: &Path) -> Result<Vec<u32>, SinkError> {
    let lane_of = |name: String| name.strip_prefix("lane-")?.parse::<u32>().ok();
    let mut lanes: Vec<u32> = entries(dir)?.into_iter().filter_map(lane_of).collect();
    lanes.sort_unstable();
    Ok(lanes)
}

/// The content of a lane's folder.
pub(super) struct Segments {
    /// First sequence and path of each complete segment, in ascending order.
    pub complete: Vec<(u64, PathBuf)>,
    /// Open segments.
    pub parts: Vec<PathBuf>,
}

/// Reads the folder of a lane. A `.arrow` file that isn't named like a segment is an error, because
/// otherwise its rows would be omitted silently.
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

/// Syncs a folder, so that the names created in it survive a crash.
pub(super) fn sync_folder(folder: &Path) -> Result<(), SinkError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(SinkError::io("sync the folder", folder))
}

/// The names in a folder that are valid text, as all of ours are.
fn entries(folder: &Path) -> Result<Vec<String>, SinkError> {
    let io = || SinkError::io("read the folder", folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io())? {
        names.extend(entry.map_err(io())?.file_name().into_string().ok());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_lock_in_a_forked_child_does_not_keep_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path(), 4).unwrap();
        // Until it starts its program, a forked child has the same open file.
        let copy = first.folder._lock.0.try_clone().unwrap();
        assert!(matches!(DataDir::open(folder.path(), 4), Err(SinkError::Locked { .. })));
        drop(first);
        DataDir::open(folder.path(), 4).unwrap();
        drop(copy);
    }
}
