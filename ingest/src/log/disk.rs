//! The disk, as far as a log needs one: a value, so that tests can bring one that fails.
//!
//! [`RealDisk`](super::RealDisk) is the file system. What an implementation owes its caller:
//! - A write or a sync does what it says or returns an error; a write may be short.
//! - What was written is on the disk only after [`DiskFile::sync_data`] on the descriptor that
//!   wrote it: after an error another descriptor, or a second call, may report success over bytes
//!   that are lost.
//! - A name that was created, renamed or removed is on the disk only after [`Disk::sync_folder`].
//!
//! Nothing here waits, retries or keeps state of its own.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// Where the bytes of an opened file are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The page cache, where there are also bytes that aren't on the disk yet, or never will be.
    Cache,
    /// The disk. After a crash of the process or a failed sync only these bytes are certain.
    Disk,
}

/// A file system.
pub trait Disk: Clone + Debug + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Creates a file that must not exist, for reading and writing.
    ///
    /// # Errors
    /// Whatever keeps the file from being created, among it a file of that name.
    fn create_new(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a regular file for reading and writing. Doesn't follow a link.
    ///
    /// # Errors
    /// Whatever keeps the file from being opened.
    fn open(&self, path: &Path, from: ReadFrom) -> io::Result<Self::File>;

    /// Opens a regular file for reading alone, through the cache. Doesn't follow a link.
    ///
    /// # Errors
    /// Whatever keeps the file from being opened.
    fn open_to_read(&self, path: &Path) -> io::Result<Self::File>;

    /// Renames a file to a name that must be free.
    ///
    /// # Errors
    /// `AlreadyExists` if the name isn't free, or what the system says.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames a file; one that has the new name is replaced.
    ///
    /// # Errors
    /// What the system says.
    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Returns once the names in a folder are on the disk.
    ///
    /// # Errors
    /// What the system says.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// The names in a folder that are valid text, as all of ours are, in ascending order.
    ///
    /// # Errors
    /// What the system says.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// When the bytes of a file were written last.
    ///
    /// # Errors
    /// What the system says.
    fn modified(&self, path: &Path) -> io::Result<SystemTime>;

    /// Bytes that this user may still write on the folder's file system.
    ///
    /// # Errors
    /// `Unsupported` on file systems that don't know, or what the system says.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;
}

/// An open file. Calls may come from several threads.
#[allow(clippy::len_without_is_empty)]
pub trait DiskFile: Debug + Send + Sync {
    /// Writes some of `bytes` at `offset` and returns the number written.
    ///
    /// # Errors
    /// What the system says; some of the bytes may be written all the same.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Reads some bytes at `offset` into `bytes`, and returns the number read; 0 at the end of the
    /// file. A file that is read from the disk wants memory and offsets in multiples of the
    /// device's block, see [`AlignedBytes`].
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The length of the file in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;

    /// Cuts the file to `bytes`.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&self, bytes: u64) -> io::Result<()>;

    /// Whether the file has this name. Without it somebody has removed or moved it, and it may be
    /// gone once it is closed.
    ///
    /// # Errors
    /// What the system says.
    fn is_at(&self, path: &Path) -> io::Result<bool>;

    /// Reserves space from `offset` on, without making the file longer: no zeros appear in it.
    ///
    /// # Errors
    /// `Unsupported` on file systems that can't, or what the system says.
    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()>;

    /// Sets when the file was written, as [`Disk::modified`] says it.
    ///
    /// # Errors
    /// What the system says.
    fn set_modified(&self, time: SystemTime) -> io::Result<()>;

    /// Whether what is written goes past the page cache, for the figures.
    fn is_direct(&self) -> bool {
        false
    }

    /// Returns once everything that was written through this descriptor is on the disk.
    ///
    /// # Errors
    /// Bytes may be lost. This is reported once: the next call may succeed and store nothing.
    fn sync_data(&self) -> io::Result<()>;
}

/// Writes all of `bytes` at `offset`. Counts in `written` what is written, so that a call after an
/// error goes on at exactly that byte.
pub(super) fn write_on<F: DiskFile>(
    file: &F,
    bytes: &[u8],
    offset: u64,
    written: &mut usize,
) -> io::Result<()> {
    while *written < bytes.len() {
        match file.write_at(&bytes[*written..], offset + *written as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(now) => *written += now,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until at least `enough` of `bytes` are read or the file ends, and returns the number read.
pub(super) fn read_enough<F: DiskFile>(
    file: &F,
    bytes: &mut [u8],
    offset: u64,
    enough: usize,
) -> io::Result<usize> {
    let mut read = 0;
    while read < enough {
        match file.read_at(&mut bytes[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(now) => read += now,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// What a sync returns once no signal interrupts it.
pub(super) fn sync_uninterrupted<F: DiskFile>(file: &F) -> io::Result<()> {
    loop {
        match file.sync_data() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// The least block: records begin at multiples of it, and so does the memory that they are written
/// from.
pub const BLOCK_BYTES: usize = 4096;

/// Zeroed memory that begins at a multiple of [`BLOCK_BYTES`], as reads and writes past the page
/// cache want it.
#[derive(Debug, Default)]
pub struct AlignedBytes {
    bytes: Vec<u8>,
    at: usize,
    len: usize,
}

impl AlignedBytes {
    /// Memory of `len` bytes.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let bytes = vec![0_u8; len + BLOCK_BYTES - 1];
        let at = bytes.as_ptr().addr().next_multiple_of(BLOCK_BYTES) - bytes.as_ptr().addr();
        Self { bytes, at, len }
    }

    /// A copy of these bytes.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }

    /// The same, of at least `len` bytes: what is there already is kept if it suffices.
    pub fn grow(&mut self, len: usize) {
        if self.len < len {
            *self = Self::zeroed(len);
        }
    }
}

impl std::ops::Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.at..self.at + self.len]
    }
}

impl std::ops::DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.at..self.at + self.len]
    }
}
