//! The data folder: owned by one service, for vectors of one dimension in segments of one schema.
//!
//! Opening the folder creates it, locks it, and records the dimension and the columns or checks the
//! recorded ones. Where nothing is recorded, as in a copy of the lanes alone, the segments say what
//! they are. A folder of an earlier version is migrated. Nothing is recorded or migrated before
//! everything is checked. The lock is the kernel's (`flock`),
//! so it is released when the process ends, in whatever way. It doesn't keep readers out.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::files::{self, DataMode};
use super::reader::SegmentReader;
use super::record::{self, Record};
use super::rows::check_dim;
use super::{Columns, SinkError, layout, migrate};

/// What a data folder is opened for.
#[derive(Clone, Copy, Debug)]
pub struct DataOptions {
    /// Components of each vector.
    pub dim: u32,
    /// The columns besides `sequence` and `vector`.
    pub columns: Columns,
    /// Permissions of what is created.
    pub mode: DataMode,
}

/// An open, locked data folder. The lock is held until this and every log opened from it are
/// dropped.
#[derive(Debug)]
pub struct DataDir {
    folder: Arc<LockedFolder>,
}

#[derive(Debug)]
struct LockedFolder {
    path: PathBuf,
    options: DataOptions,
    migrated: bool,
    /// The lanes that have a log.
    lanes: Mutex<BTreeSet<u32>>,
    _lock: FolderLock,
}

/// The kernel's lock on the folder. It is released explicitly, because a forked child that hasn't
/// started its program yet shares the open file, so closing ours wouldn't release the lock.
#[derive(Debug)]
struct FolderLock(File);

impl FolderLock {
    /// Locks a folder by the file at `lock`.
    fn on(folder: &Path, lock: &Path, mode: DataMode) -> Result<Self, SinkError> {
        let mut file = files::open_or_create(lock, mode)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = files::read_text(lock)?.unwrap_or_default();
                let holder = if holder.trim().is_empty() { "unknown" } else { holder.trim() };
                return Err(SinkError::Locked { path: folder.into(), holder: holder.into() });
            }
            Err(TryLockError::Error(error)) => return Err(SinkError::io("lock", lock)(error)),
        }
        // The process id is only a help for the operator; a full disk is no reason to refuse the
        // lock.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self(file))
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // If this fails, the lock is released when the last copy of the file is closed.
        let _ = self.0.unlock();
    }
}

impl DataDir {
    /// Opens the folder at `path` for vectors of `dim` components, without further columns.
    ///
    /// # Errors
    /// As [`DataDir::open_with`].
    pub fn open(path: &Path, dim: u32) -> Result<Self, SinkError> {
        let (columns, mode) = (Columns::default(), DataMode::default());
        Self::open_with(path, DataOptions { dim, columns, mode })
    }

    /// Opens the folder at `path`, creating what is missing. A folder of an earlier version gets
    /// this version's names.
    ///
    /// # Errors
    /// The path leads to a file, the folder can't be written, is locked, or holds vectors of
    /// another dimension or with other columns; or one of our names in it is a symbolic link.
    pub fn open_with(path: &Path, options: DataOptions) -> Result<Self, SinkError> {
        let DataOptions { dim, columns, mode } = options;
        check_dim(dim)?;
        files::create_folders(path, mode)?;
        files::create_folder(&layout::own(path), mode)?;
        let lock = FolderLock::on(path, &layout::lock(path), mode)?;
        let migrated = migrate::is_old(path)?;
        // An earlier version that still runs holds this one, and none starts meanwhile.
        let old_lock =
            migrated.then(|| FolderLock::on(path, &layout::old_lock(path), mode)).transpose()?;
        let asked = Record { dim, columns };
        let recorded = record::read(path)?;
        if let Some(recorded) = &recorded {
            check_record(path, recorded, &asked)?;
        }
        // A record that doesn't fit the segments would refuse the right one from then on.
        if migrated || recorded.is_none() {
            check_segments(path, asked)?;
        }
        if migrated {
            migrate::migrate(path, &asked, mode, &mut || Ok(()))?;
        } else if recorded.is_none() {
            record::write(path, &asked, mode)?;
        }
        drop(old_lock);
        let lanes = Mutex::default();
        let folder = LockedFolder { path: path.into(), options, migrated, lanes, _lock: lock };
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
        self.folder.options.dim
    }

    /// The columns of the folder's segments besides `sequence` and `vector`.
    #[must_use]
    pub fn columns(&self) -> Columns {
        self.folder.options.columns
    }

    /// Whether the folder was one of an earlier version when it was opened.
    #[must_use]
    pub fn was_migrated(&self) -> bool {
        self.folder.migrated
    }

    pub(super) fn mode(&self) -> DataMode {
        self.folder.options.mode
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

fn check_record(path: &Path, recorded: &Record, asked: &Record) -> Result<(), SinkError> {
    if recorded.dim != asked.dim {
        let (recorded, asked) = (recorded.dim, asked.dim);
        return Err(SinkError::OtherDimension { path: path.into(), recorded, asked });
    }
    if recorded.columns != asked.columns {
        let (recorded, asked) = (recorded.columns, asked.columns);
        return Err(SinkError::OtherColumns { path: path.into(), recorded, asked });
    }
    Ok(())
}

/// Refuses a folder with a complete segment of another kind in any lane.
fn check_segments(path: &Path, asked: Record) -> Result<(), SinkError> {
    for (_, lane) in layout::lanes(path)? {
        files::check_folder(&lane)?;
        for (_, segment) in layout::segments(&lane)? {
            SegmentReader::open(&segment, asked)?;
        }
    }
    Ok(())
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
