//! Files of objects: complete under their names, or absent.
//!
//! A file is written under a temporary name in the same folder, and renamed after its last byte. So
//! a failed run leaves no partial file. A killed run may leave `.slipring-get-*` files, which can
//! be deleted. Nothing is synced: what survives a power failure, and what a network file system
//! refuses after the last byte, is up to the system.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use super::{GetError, ObjectError};

/// Bytes between two looks at the interruption.
const PIECE_BYTES: usize = 4 << 20;

/// The folder of `--output`.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Creates it if it is missing, and checks that it can be written, before anything is fetched.
    pub(super) fn create(path: &Path) -> Result<Folder, GetError> {
        let failed = |error| GetError::Folder { path: path.to_owned(), error };
        fs::create_dir_all(path).map_err(failed)?;
        let folder = Folder { path: path.to_owned() };
        folder.unfinished().map_err(failed)?;
        Ok(folder)
    }

    /// Writes a file, replacing one with this name. Blocks.
    pub(super) fn write(
        &self,
        name: &str,
        bytes: &[u8],
        cancel: &CancellationToken,
    ) -> Result<(), ObjectError> {
        let path = self.path.join(name);
        let failed = |error| ObjectError::Write { path: path.clone(), error };
        let mut file = self.unfinished().map_err(failed)?;
        for piece in bytes.chunks(PIECE_BYTES) {
            if cancel.is_cancelled() {
                return Err(ObjectError::Cancelled);
            }
            file.write_all(piece).map_err(failed)?;
        }
        file.persist(&path).map_err(|refused| failed(refused.error))?;
        Ok(())
    }

    /// A file under an unused temporary name, removed if it is dropped with that name. The umask
    /// decides who may read it.
    fn unfinished(&self) -> io::Result<NamedTempFile> {
        let named = Permissions::from_mode(0o666);
        tempfile::Builder::new().prefix(".slipring-get-").permissions(named).tempfile_in(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_whole_or_not_there() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("new/folder");
        let (folder, cancel) = (Folder::create(&path).unwrap(), CancellationToken::new());
        let large = vec![7; PIECE_BYTES + 1];
        folder.write("large", &large, &cancel).unwrap();
        folder.write("empty", &[], &cancel).unwrap();
        folder.write("empty", b"replaced", &cancel).unwrap();
        assert_eq!(fs::read(path.join("large")).unwrap(), large);
        assert_eq!(fs::read(path.join("empty")).unwrap(), b"replaced");
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode();
        fs::write(path.join("plain"), "as any program does").unwrap();
        assert_eq!(mode("large"), mode("plain"));
        fs::remove_file(path.join("plain")).unwrap();

        // A folder has the name: renaming fails, and nothing else is left.
        fs::create_dir(path.join("taken")).unwrap();
        let error = folder.write("taken", b"x", &cancel).unwrap_err().to_string();
        assert!(error.contains("taken"), "{error}");
        cancel.cancel();
        assert!(matches!(folder.write("late", b"x", &cancel), Err(ObjectError::Cancelled)));
        assert_eq!(names(&path), ["empty", "large", "taken"]);
    }

    #[test]
    fn a_folder_that_cannot_be_is_refused() {
        let above = tempfile::tempdir().unwrap();
        let file = above.path().join("file");
        fs::write(&file, "mine").unwrap();
        let error = Folder::create(&file.join("below")).unwrap_err();
        assert!(error.to_string().contains("--output") && error.exit_code() == 2, "{error}");
        for path in [&file, Path::new("/proc")] {
            let error = Folder::create(path).unwrap_err();
            assert!(error.to_string().contains("--output") && error.exit_code() == 2, "{error}");
        }
    }
}
