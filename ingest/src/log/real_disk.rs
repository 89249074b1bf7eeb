//! The file system of the machine.
//!
//! Nothing is reached through a symbolic link, because somebody else may have put that there, and
//! new files get the permissions of the data folder.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use rustix::fs::{Advice, CWD, FallocateFlags, OFlags, RenameFlags};

use super::disk::{BLOCK_BYTES, Disk, DiskFile, ReadFrom};
use crate::sink::DataMode;

/// The file system of the machine.
#[derive(Clone, Copy, Debug)]
pub struct RealDisk {
    mode: DataMode,
    direct: bool,
}

impl RealDisk {
    /// New files get these permissions.
    #[must_use]
    pub fn new(mode: DataMode) -> Self {
        Self { mode, direct: false }
    }

    /// Whether new files are written past the page cache, where the file system can.
    #[must_use]
    pub fn direct_writes(self, direct: bool) -> Self {
        Self { direct, ..self }
    }
}

/// An open file. `is_direct`: reads and writes go past the page cache as long as their memory,
/// length and offset allow it; the first that doesn't ends that for the whole file.
#[derive(Debug)]
pub struct RealFile {
    file: File,
    is_direct: AtomicBool,
}

impl Disk for RealDisk {
    type File = RealFile;

    fn create_new(&self, path: &Path) -> io::Result<RealFile> {
        let create = |flags: i32| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(self.mode.files());
            options.custom_flags(flags).open(path)
        };
        let direct = self.direct && direct_possible(path);
        let file = create(if direct { libc::O_DIRECT } else { 0 })?;
        if let Some(permissions) = self.mode.exactly(self.mode.files()) {
            file.set_permissions(permissions)?;
        }
        Ok(RealFile { file, is_direct: AtomicBool::new(direct) })
    }

    fn open(&self, path: &Path, from: ReadFrom) -> io::Result<RealFile> {
        let open = |flags| open_regular(path, OpenOptions::new().read(true).write(true), flags);
        if from == ReadFrom::Cache {
            return Ok(RealFile { file: open(0)?, is_direct: AtomicBool::new(false) });
        }
        match open(libc::O_DIRECT) {
            Ok(file) => Ok(RealFile { file, is_direct: AtomicBool::new(true) }),
            // As tmpfs says that it has no disk.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let file = RealFile { file: open(0)?, is_direct: AtomicBool::new(false) };
                file.forget_pages();
                Ok(file)
            }
            Err(error) => Err(error),
        }
    }

    fn open_to_read(&self, path: &Path) -> io::Result<RealFile> {
        let file = open_regular(path, OpenOptions::new().read(true), 0)?;
        Ok(RealFile { file, is_direct: AtomicBool::new(false) })
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // File systems without that flag: the folder is locked, so nobody else takes the name
            // between these two calls.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                match fs::symlink_metadata(to) {
                    Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
                    Err(error) => Err(error),
                }
            }
            done => done.map_err(Into::into),
        }
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn modified(&self, path: &Path) -> io::Result<SystemTime> {
        fs::symlink_metadata(path)?.modified()
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(folder)?;
        if found.f_blocks == 0 {
            // As ramfs and some FUSE file systems have it: they don't count.
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// Whether the file system of a path has O_DIRECT, as its folder says.
fn direct_possible(path: &Path) -> bool {
    let Some(folder) = path.parent() else { return false };
    // A file without a name: it is gone when it is closed.
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options.custom_flags(libc::O_TMPFILE | libc::O_DIRECT).open(folder).is_ok()
}

fn open_regular(path: &Path, options: &mut OpenOptions, flags: i32) -> io::Result<File> {
    // Opening a pipe must not wait for its other end.
    let file = options.custom_flags(flags | libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it isn't a regular file")),
    }
}

impl RealFile {
    /// Leaves O_DIRECT for good if a call can't be made with it.
    fn allow(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let block = BLOCK_BYTES as u64;
        let fits = bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES)
            && bytes.len().is_multiple_of(BLOCK_BYTES)
            && offset.is_multiple_of(block);
        match fits || !self.is_direct() {
            true => Ok(()),
            false => self.leave_direct(),
        }
    }

    /// Makes a call again through the cache if the device can't make it past that: its block may be
    /// larger than ours.
    fn or_cached(&self, mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        match call() {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && self.is_direct() => {
                self.leave_direct()?;
                call()
            }
            done => done,
        }
    }

    /// What was read through the cache before isn't believed afterwards.
    fn leave_direct(&self) -> io::Result<()> {
        let flags = rustix::fs::fcntl_getfl(&self.file)?;
        rustix::fs::fcntl_setfl(&self.file, flags - OFlags::DIRECT)?;
        self.is_direct.store(false, Ordering::Relaxed);
        self.forget_pages();
        Ok(())
    }

    /// Asks the kernel to forget what it holds of the file and has written, so that the next read
    /// comes from the disk.
    fn forget_pages(&self) {
        // Advice: without it the bytes come from the cache, which a file system without O_DIRECT
        // can't do better.
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.allow(bytes, offset)?;
        self.or_cached(|| self.file.write_at(bytes, offset))
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.allow(bytes, offset)?;
        self.or_cached(|| self.file.read_at(bytes, offset))
    }

    fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.file.set_modified(time)
    }

    fn is_direct(&self) -> bool {
        self.is_direct.load(Ordering::Relaxed)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let own = self.file.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, offset, bytes)
            .map_err(Into::into)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
