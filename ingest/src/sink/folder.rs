//! The data folder: owned by one service, for vectors of one dimension.
//!
//! Opening it creates it, locks it and records the dimension, or checks the recorded one. The lock
//! is the kernel's (`flock`), so it is released when the process ends, in whatever way. It doesn't
//! keep readers out, and it doesn't look into segments: [`SegmentLog`](super::SegmentLog) does.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{DIM_MAX, SinkError, name};

const FORMAT: u64 = 1;

/// An open, locked data folder. The lock is held until this and every log opened from it are
/// dropped.
#[derive(Debug)]
pub struct DataDir {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    dim: u32,
    /// Lanes that have a log.
    lanes: Mutex<BTreeSet<u32>>,
    _lock: FolderLock,
}

/// The kernel's lock on the folder, released explicitly: a forked child that hasn't started its
/// program yet also has this open file, so closing ours wouldn't release the lock.
#[derive(Debug)]
struct FolderLock(File);

impl Drop for FolderLock {
    fn drop(&mut self) {
        // If this fails, the lock ends when the last copy of the file is closed.
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
        let lock = take_lock(path)?;
        match read_record(path)? {
            None => write_record(path, dim)?,
            Some(recorded) if recorded == dim => {}
            Some(recorded) => {
                return Err(SinkError::OtherDimension { path: path.into(), recorded, asked: dim });
            }
        }
        let shared = Shared { path: path.into(), dim, lanes: Mutex::default(), _lock: lock };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Components of each vector in it.
    #[must_use]
    pub fn dim(&self) -> u32 {
        self.shared.dim
    }

    /// Claims a lane, so that no two logs write to it.
    pub(super) fn claim(&self, lane: u32) -> Result<LaneClaim, SinkError> {
        // A set of integers is valid even after a panic.
        let mut lanes = self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if !lanes.insert(lane) {
            return Err(SinkError::LaneInUse { path: self.path().into(), lane });
        }
        Ok(LaneClaim { shared: Arc::clone(&self.shared), lane })
    }
}

/// The right to write to a lane. Dropping it gives the right back. It keeps the folder locked.
#[derive(Debug)]
pub(super) struct LaneClaim {
    shared: Arc<Shared>,
    lane: u32,
}

impl Drop for LaneClaim {
    fn drop(&mut self) {
        self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.lane);
    }
}

/// Refuses a dimension that no row can have.
pub(super) fn check_dim(dim: u32) -> Result<(), SinkError> {
    if dim == 0 || dim > DIM_MAX {
        return Err(SinkError::Dimension { asked: dim, max: DIM_MAX });
    }
    Ok(())
}

/// The dimension recorded in a folder, if it has a record.
pub(super) fn read_record(path: &Path) -> Result<Option<u32>, SinkError> {
    let path = path.join(name::RECORD);
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

/// Writes the record so that after a crash it is complete or absent.
fn write_record(path: &Path, dim: u32) -> Result<(), SinkError> {
    let record = serde_json::json!({ "format": FORMAT, "dim": dim });
    let new = path.join(name::RECORD_NEW);
    let mut file = File::create(&new).map_err(SinkError::io("create", &new))?;
    writeln!(file, "{record}")
        .and_then(|()| file.sync_all())
        .map_err(SinkError::io("write", &new))?;
    fs::rename(&new, path.join(name::RECORD)).map_err(SinkError::io("rename", &new))?;
    name::sync_folder(path)
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
    // Each created folder is an entry of the one above it.
    for created in path.ancestors().take_while(|folder| *folder != exists) {
        let above = created
            .parent()
            .filter(|above| !above.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        name::sync_folder(above)?;
    }
    Ok(())
}

fn take_lock(path: &Path) -> Result<FolderLock, SinkError> {
    let lock = path.join(name::LOCK);
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
    // The number only helps people; a full disk is no reason to refuse the lock.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(FolderLock(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_lock_in_a_forked_child_does_not_keep_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path(), 4).unwrap();
        // What a fork leaves in the child until it starts its program: the same open file.
        let copy = first.shared._lock.0.try_clone().unwrap();
        assert!(matches!(DataDir::open(folder.path(), 4), Err(SinkError::Locked { .. })));
        drop(first);
        DataDir::open(folder.path(), 4).unwrap();
        drop(copy);
    }
}
