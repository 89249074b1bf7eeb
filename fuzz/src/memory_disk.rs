//! A disk in memory that never fails, for what the log finds on one.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use slipring_ingest::log::{Disk, DiskFile, ReadFrom};

type Bytes = Arc<Mutex<Vec<u8>>>;

/// A disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<BTreeMap<PathBuf, Bytes>>>);

/// A file of it.
#[derive(Debug)]
pub struct MemoryFile(Bytes);

impl MemoryDisk {
    /// Puts a file there.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        self.files().insert(path.to_owned(), Arc::new(Mutex::new(bytes.to_vec())));
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Bytes>> {
        self.0.lock().unwrap()
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn create_new(&self, path: &Path) -> io::Result<MemoryFile> {
        if self.files().contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.put(path, &[]);
        self.open(path, ReadFrom::Cache)
    }

    fn open(&self, path: &Path, _: ReadFrom) -> io::Result<MemoryFile> {
        self.files().get(path).cloned().map(MemoryFile).ok_or(io::ErrorKind::NotFound.into())
    }

    fn open_to_read(&self, path: &Path) -> io::Result<MemoryFile> {
        self.open(path, ReadFrom::Cache)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let is_taken = self.files().contains_key(to);
        if is_taken { Err(io::ErrorKind::AlreadyExists.into()) } else { self.rename_over(from, to) }
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files().remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let files = self.files();
        let here = files.keys().filter(|path| path.parent() == Some(folder));
        Ok(here.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn modified(&self, _: &Path) -> io::Result<SystemTime> {
        Ok(SystemTime::UNIX_EPOCH)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut content = self.0.lock().unwrap();
        let (at, end) = (offset as usize, offset as usize + bytes.len());
        let longer = content.len().max(end);
        content.resize(longer, 0);
        content[at..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.0.lock().unwrap();
        let left = content.get(offset as usize..).unwrap_or(&[]);
        let count = left.len().min(bytes.len());
        bytes[..count].copy_from_slice(&left[..count]);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn set_modified(&self, _: SystemTime) -> io::Result<()> {
        Ok(())
    }

    fn is_at(&self, _: &Path) -> io::Result<bool> {
        Ok(true)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.lock().unwrap().truncate(bytes as usize);
        Ok(())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
