//! The objects that are fetched: the same bytes in every process, and the folder in which servers
//! and the local store find them.
//!
//! ```text
//!   block   │ step │ step │ step │ ...                  │
//!   0       ├──────── object_bytes ───────┤
//!   1              ├──────── object_bytes ───────┤            all differ, and one block holds them all
//!   2                     ├──────── object_bytes ───────┤
//! ```
//!
//! There are only [`DISTINCT`] objects, however many are fetched, so that they fit on a disk. The
//! checksum shows if another object arrived.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, process};

use bytes::Bytes;

/// How many objects there are.
pub const DISTINCT: usize = 4;

/// The bucket, which is a folder.
pub const BUCKET: &str = "slipring";

const STEP_BYTES: usize = 4096;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// All objects of one size.
pub struct Corpus {
    block: Bytes,
    object_bytes: usize,
}

impl Corpus {
    pub fn new(object_bytes: usize) -> Self {
        let len = object_bytes + (DISTINCT - 1) * STEP_BYTES;
        let mut block = Vec::with_capacity(len.next_multiple_of(8));
        let mut state = SEED;
        while block.len() < len {
            // Xorshift: no two ranges are alike, so bytes at a wrong place are noticed.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend_from_slice(&state.to_le_bytes());
        }
        block.truncate(len);
        Self { block: block.into(), object_bytes }
    }

    /// Object `at`, without a copy.
    pub fn object(&self, at: usize) -> Bytes {
        self.block.slice(at * STEP_BYTES..at * STEP_BYTES + self.object_bytes)
    }

    pub fn checksums(&self) -> Vec<u32> {
        (0..DISTINCT).map(|at| checksum(&self.object(at))).collect()
    }
}

/// The key of object `at`.
pub fn key(at: usize) -> String {
    format!("object-{at}")
}

/// CRC-32C of all bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// A folder in the system's folder for temporary files. It is removed when the value is dropped.
pub struct Folder(PathBuf);

static FOLDERS: AtomicU32 = AtomicU32::new(0);

impl Folder {
    pub fn new() -> io::Result<Self> {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("slipring-objects-{}-{number}", process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes all objects below `BUCKET` and syncs them: a later write-back would disturb the
    /// measurement.
    pub fn fill(&self, corpus: &Corpus) -> io::Result<()> {
        let bucket = self.0.join(BUCKET);
        fs::create_dir_all(&bucket)?;
        for at in 0..DISTINCT {
            let mut file = File::create(bucket.join(key(at)))?;
            file.write_all(&corpus.object(at))?;
            file.sync_all()?;
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // If that fails, the folder uses disk space, under this program's name.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_differ_and_are_the_same_in_every_process() {
        let (one, other) = (Corpus::new(10_001), Corpus::new(10_001));
        let mut sums = one.checksums();
        assert_eq!(sums, other.checksums());
        assert!((0..DISTINCT).all(|at| one.object(at).len() == 10_001));
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), DISTINCT);
    }

    #[test]
    fn a_folder_holds_them_and_goes() {
        let (folder, corpus) = (Folder::new().unwrap(), Corpus::new(5000));
        folder.fill(&corpus).unwrap();
        let path = folder.path().join(BUCKET).join(key(1));
        assert_eq!(fs::read(&path).unwrap(), corpus.object(1));
        drop(folder);
        assert!(!path.exists());
    }
}
