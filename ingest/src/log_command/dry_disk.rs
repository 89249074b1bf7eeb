//! A disk on which a repair changes nothing: what it would change is kept in memory.
//!
//! So the code that repairs decides what a dry run says. Names are changed in memory alone; bytes
//! are counted and not kept, because a repair reads back nothing that it has written. Files are
//! read through the page cache: after a failed sync it may show what the disk doesn't have.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::log::{Disk, DiskFile, ReadFrom, RealDisk, RealFile};

/// A disk that is read and not changed.
#[derive(Clone, Debug)]
pub(super) struct DryDisk {
    real: RealDisk,
    /// What a name means that was changed; None: nothing any more.
    names: Arc<Mutex<BTreeMap<PathBuf, Option<DryName>>>>,
}

/// What a name means.
#[derive(Clone, Debug)]
enum DryName {
    /// The file that has this name on the real disk.
    Real(PathBuf),
    Made,
}

/// A file of it.
#[derive(Debug)]
pub(super) struct DryFile {
    real: Option<RealFile>,
    length: AtomicU64,
}

impl DryDisk {
    pub fn new(real: RealDisk) -> Self {
        Self { real, names: Arc::default() }
    }

    fn changed(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Option<DryName>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, path: &Path) -> Option<DryName> {
        match self.changed().get(path) {
            Some(changed) => changed.clone(),
            None => path.symlink_metadata().is_ok().then(|| DryName::Real(path.to_owned())),
        }
    }

    fn set(&self, path: &Path, name: Option<DryName>) {
        self.changed().insert(path.to_owned(), name);
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for DryDisk {
    type File = DryFile;

    fn create_new(&self, path: &Path) -> io::Result<DryFile> {
        if self.find(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.set(path, Some(DryName::Made));
        Ok(DryFile { real: None, length: AtomicU64::new(0) })
    }

    fn open(&self, path: &Path, _: ReadFrom) -> io::Result<DryFile> {
        self.open_to_read(path)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<DryFile> {
        match self.find(path).ok_or_else(gone)? {
            DryName::Real(path) => {
                let file = self.real.open_to_read(&path)?;
                let length = AtomicU64::new(file.len()?);
                Ok(DryFile { real: Some(file), length })
            }
            DryName::Made => Ok(DryFile { real: None, length: AtomicU64::new(0) }),
        }
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.find(to) {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => self.rename_over(from, to),
        }
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        let name = self.find(from).ok_or_else(gone)?;
        self.set(to, Some(name));
        self.set(from, None);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.find(path).ok_or_else(gone)?;
        self.set(path, None);
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = match self.real.names(folder) {
            // A start makes it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names?,
        };
        let changed = self.changed();
        names.retain(|name| !changed.contains_key(&folder.join(name)));
        for (path, _) in changed.iter().filter(|(_, name)| name.is_some()) {
            let name = path.file_name().and_then(|name| name.to_str());
            names.extend(name.filter(|_| path.parent() == Some(folder)).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn modified(&self, path: &Path) -> io::Result<SystemTime> {
        match self.find(path).ok_or_else(gone)? {
            DryName::Real(path) => self.real.modified(&path),
            DryName::Made => Ok(SystemTime::now()),
        }
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        self.real.free_bytes(folder)
    }
}

impl DiskFile for DryFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.length.fetch_max(offset + bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.real.as_ref().map_or(Ok(0), |file| file.read_at(bytes, offset))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.length.load(Ordering::Relaxed))
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.length.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn set_modified(&self, _: SystemTime) -> io::Result<()> {
        Ok(())
    }

    fn is_at(&self, _: &Path) -> io::Result<bool> {
        Ok(true)
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::DataMode;

    #[test]
    fn names_change_in_memory_alone() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a", "b", "c"] {
            std::fs::write(at(name), name).unwrap();
        }
        let disk = DryDisk::new(RealDisk::new(DataMode::default()));
        let names = || disk.names(folder.path()).unwrap().join(" ");
        let taken = disk.rename_new(&at("a"), &at("b")).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        disk.rename_new(&at("a"), &at("d")).unwrap();
        disk.remove(&at("b")).unwrap();
        let made = disk.create_new(&at("b")).unwrap();
        assert_eq!(made.write_at(b"bytes", 3).unwrap(), 5);
        assert_eq!(made.len().unwrap(), 8);
        disk.rename_over(&at("b"), &at("c")).unwrap();
        assert_eq!(names(), "c d");
        let moved = disk.open_to_read(&at("d")).unwrap();
        let mut byte = [0];
        assert_eq!((moved.read_at(&mut byte, 0).unwrap(), byte), (1, *b"a"));
        assert_eq!(disk.open_to_read(&at("a")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.names(&at("none")).unwrap(), [""; 0]);
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort_unstable();
        assert_eq!(left, ["a", "b", "c"]);
    }
}
