//! The data folder: owned by one service, for vectors of one dimension in segments of one schema.
//!
//! Opening the folder creates it, locks it, and records the dimension and the columns or checks the
//! recorded ones. Where nothing is recorded, as in a copy of the lanes alone, the segments say what
//! they are. A folder of an earlier version is migrated. Nothing is recorded or migrated before
//! everything is checked. The lock is the kernel's (`flock`),
//! so it is released when the process ends, in whatever way. It doesn't keep readers out.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::dim::check_dim;
use super::files::{self, DataMode};
use super::reader::SegmentReader;
use super::record::{self, Record};
use super::{Columns, SinkError, layout, migrate};
use crate::log::LogFolders;

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

/// An open, locked data folder. The lock is held until this is dropped, which is after all logs in
/// the folder.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    options: DataOptions,
    migrated: bool,
    lock: FolderLock,
}

/// What somebody has done to the lock's file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockLoss {
    /// It was removed, and nobody had locked the folder since. It is locked again.
    #[error("{} was removed while the service worked here; the folder is locked again",
        path.display())]
    Restored {
        /// The lock's file.
        path: PathBuf,
    },
    /// It is another file, or gone for good: another service may work in the folder.
    #[error("{} was removed or replaced while the service worked here ({why}), so another service \
        may work in the folder: nothing more is written to it", path.display())]
    Lost {
        /// The lock's file.
        path: PathBuf,
        /// How that was seen.
        why: String,
    },
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

/// The locks of a folder that is looked at, as far as it has any. Nobody starts to work there as
/// long as this is held.
#[derive(Debug)]
pub struct LookLock {
    _locks: Vec<FolderLock>,
}

impl LookLock {
    /// Locks a folder without creating anything in it: no service works in one without a lock's
    /// file.
    ///
    /// # Errors
    /// The folder is in use, and system errors.
    pub fn on(path: &Path) -> Result<Self, SinkError> {
        let mut locks = Vec::new();
        for lock in [layout::lock(path), layout::old_lock(path)] {
            if files::is_there(&lock)? {
                locks.push(FolderLock::on(path, &lock, DataMode::default())?);
            }
        }
        Ok(Self { _locks: locks })
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
        Ok(Self { path: path.into(), options, migrated, lock })
    }

    /// The path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Components of each vector in the folder.
    #[must_use]
    pub fn dim(&self) -> u32 {
        self.options.dim
    }

    /// The columns of the folder's segments besides `sequence` and `vector`.
    #[must_use]
    pub fn columns(&self) -> Columns {
        self.options.columns
    }

    /// Whether the folder was one of an earlier version when it was opened.
    #[must_use]
    pub fn was_migrated(&self) -> bool {
        self.migrated
    }

    /// Permissions of what is created in the folder.
    #[must_use]
    pub fn mode(&self) -> DataMode {
        self.options.mode
    }

    /// The lanes that have a folder, in ascending order.
    ///
    /// # Errors
    /// System errors, and two folders of one lane.
    pub fn lanes(&self) -> Result<Vec<u32>, SinkError> {
        let mut lanes: Vec<u32> =
            layout::lanes(&self.path)?.into_iter().map(|(lane, _)| lane).collect();
        // One whose first segment was never sealed.
        lanes.extend(layout::lanes(&layout::own(&self.path))?.into_iter().map(|(lane, _)| lane));
        lanes.sort_unstable();
        lanes.dedup();
        Ok(lanes)
    }

    /// The folders of a lane's log, which are created if they are missing.
    ///
    /// # Errors
    /// System errors, and something else in their place.
    pub fn lane_folders(&self, lane: u32) -> Result<LogFolders, SinkError> {
        let open = layout::open_folder(&self.path, lane);
        let complete = layout::lane_folder(&self.path, lane);
        for folder in [&open, &complete] {
            files::create_folder(folder, self.options.mode)?;
        }
        Ok(LogFolders { open, complete })
    }

    /// Looks whether the lock's file is still the one that was locked. One that was removed is made
    /// again: as no start is without one, nobody else has come meanwhile.
    ///
    /// # Errors
    /// What somebody has done to it.
    pub fn check_lock(&mut self) -> Result<(), LockLoss> {
        let path = layout::lock(&self.path);
        let lost = |why: String| LockLoss::Lost { path: path.clone(), why };
        let own = self.lock.0.metadata().map_err(|error| lost(error.to_string()))?;
        match fs::symlink_metadata(&path) {
            Ok(found) if (found.dev(), found.ino()) == (own.dev(), own.ino()) => Ok(()),
            Ok(_) => Err(lost("there is another file in its place".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = files::create_new(&path, self.options.mode);
                drop(file.map_err(|error| lost(error.to_string()))?);
                let lock = FolderLock::on(&self.path, &path, self.options.mode);
                self.lock = lock.map_err(|error| lost(error.to_string()))?;
                Err(LockLoss::Restored { path })
            }
            // It may be there all the same.
            Err(_) => Ok(()),
        }
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
        let copy = first.lock.0.try_clone().unwrap();
        assert!(matches!(DataDir::open(folder.path(), 4), Err(SinkError::Locked { .. })));
        drop(first);
        DataDir::open(folder.path(), 4).unwrap();
        drop(copy);
    }

    #[test]
    fn a_lock_that_is_removed_is_made_again_and_one_that_is_replaced_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let mut dir = DataDir::open(folder.path(), 4).unwrap();
        let lock = layout::lock(folder.path());
        assert_eq!(dir.check_lock(), Ok(()));
        fs::remove_file(&lock).unwrap();
        assert_eq!(dir.check_lock(), Err(LockLoss::Restored { path: lock.clone() }));
        assert_eq!(dir.check_lock(), Ok(()));
        assert!(matches!(DataDir::open(folder.path(), 4), Err(SinkError::Locked { .. })));
        // Another service has come between.
        fs::remove_file(&lock).unwrap();
        let other = DataDir::open(folder.path(), 4).unwrap();
        for _ in 0..2 {
            let lost = dir.check_lock().unwrap_err();
            assert!(matches!(lost, LockLoss::Lost { .. }), "{lost}");
        }
        drop(other);
        fs::remove_dir_all(folder.path()).unwrap();
        assert!(matches!(dir.check_lock(), Err(LockLoss::Lost { .. })));
    }
}
