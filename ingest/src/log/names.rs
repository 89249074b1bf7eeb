//! The names of a lane's files.
//!
//! ```text
//! COMPLETE/seg-(20 digits).arrow      sealed
//! OPEN/seg-(20 digits).arrow.part     live, or what a crash left of it
//! OPEN/seg-(20 digits).arrow.new      a copy that recovery makes, removed by the next one
//! OPEN/seg-(20 digits).arrow.bad      damaged; kept, and never read again
//! OPEN/next, next.kept, next.new      the next sequence, see `next.rs`
//! OPEN/producers, producers.new       the known requests of producers
//! OPEN/durable                        how far the live segment is durable, for its readers
//! ```
//! The digits are the sequence of the first row. COMPLETE is what readers open as a dataset; they
//! skip OPEN, because a part of its path begins with a point.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, sync_uninterrupted, write_on};
use super::error::LogError;

/// The folders of a lane. Both are on one file system, and are there before the log is opened.
#[derive(Clone, Debug)]
pub struct LogFolders {
    /// Of unfinished segments and all that isn't for readers.
    pub open: PathBuf,
    /// Of sealed segments.
    pub complete: PathBuf,
}

pub(super) const SEALED: &str = ".arrow";
pub(super) const PART: &str = ".arrow.part";
pub(super) const NEW: &str = ".arrow.new";
pub(super) const BAD: &str = ".arrow.bad";

impl LogFolders {
    /// The final name of a segment.
    pub(crate) fn sealed(&self, first_sequence: u64) -> PathBuf {
        named(&self.complete, first_sequence, SEALED)
    }

    pub(super) fn part(&self, first_sequence: u64) -> PathBuf {
        named(&self.open, first_sequence, PART)
    }

    pub(super) fn copy(&self, first_sequence: u64) -> PathBuf {
        named(&self.open, first_sequence, NEW)
    }

    /// The name for a damaged file, if `taken` copies of the name are in use.
    pub(super) fn bad(&self, first_sequence: u64, taken: usize) -> PathBuf {
        let path = named(&self.open, first_sequence, BAD);
        if taken == 0 { path } else { path.with_extension(format!("{}.bad", taken + 1)) }
    }

    pub(super) fn next(&self) -> PathBuf {
        self.open.join("next")
    }

    pub(super) fn next_kept(&self) -> PathBuf {
        self.open.join("next.kept")
    }

    pub(super) fn durable(&self) -> PathBuf {
        self.open.join("durable")
    }

    pub(super) fn next_new(&self) -> PathBuf {
        self.open.join("next.new")
    }

    pub(super) fn producers(&self) -> PathBuf {
        self.open.join("producers")
    }

    pub(super) fn producers_new(&self) -> PathBuf {
        self.open.join("producers.new")
    }
}

fn named(folder: &Path, first_sequence: u64, ending: &str) -> PathBuf {
    folder.join(format!("seg-{first_sequence:020}{ending}"))
}

/// The first sequence in a name with this ending, as we write it.
pub(super) fn first_sequence(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_prefix("seg-")?.strip_suffix(ending)?;
    let is_ours = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|_| is_ours)
}

/// Replaces a small file of a lane as a whole, by one that is synced before it gets its name.
/// Returns once the new one is on the disk.
pub(super) fn replace<D: Disk>(
    disk: &D,
    folders: &LogFolders,
    path: &Path,
    new: &Path,
    bytes: &[u8],
) -> Result<(), LogError> {
    remove(disk, new)?;
    let file = disk.create_new(new).map_err(LogError::io("create", new))?;
    write_on(&file, bytes, 0, &mut 0).map_err(LogError::io("write", new))?;
    sync_uninterrupted(&file).map_err(LogError::io("sync", new))?;
    disk.rename_over(new, path).map_err(LogError::io("rename", new))?;
    disk.sync_folder(&folders.open).map_err(LogError::io("sync the folder", &folders.open))
}

/// Removes a file, if it is there.
pub(super) fn remove<D: Disk>(disk: &D, path: &Path) -> Result<(), LogError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let folders = LogFolders { open: "o".into(), complete: "c".into() };
        for sequence in [0, 7, u64::MAX] {
            let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(first_sequence(&name(folders.sealed(sequence)), SEALED), Some(sequence));
            assert_eq!(first_sequence(&name(folders.part(sequence)), PART), Some(sequence));
            assert_eq!(first_sequence(&name(folders.part(sequence)), SEALED), None);
        }
        assert_eq!(folders.bad(1, 1), Path::new("o/seg-00000000000000000001.arrow.2.bad"));
        for wrong in ["seg-1.arrow", "seg-+0000000000000000001.arrow", "a.arrow", ".arrow"] {
            assert_eq!(first_sequence(wrong, SEALED), None, "{wrong}");
        }
        let too_large = format!("seg-{}.arrow", "9".repeat(20));
        assert_eq!(first_sequence(&too_large, SEALED), None);
    }
}
