//! Files of objects: whole under their names, or not there.
//!
//! A file is written under a temporary name beside it, and renamed when the last byte is in it. So a run that fails or is killed leaves no half file
//! under the final name; one that is killed outright may leave `.slipring-get-*` files, which may be deleted. Nothing is synced: what a
//! power failure keeps is the system's choice.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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
    /// Makes it if it isn't there.
    pub(super) fn create(path: &Path) -> Result<Folder, GetError> {
        let failed = |error| GetError::Folder { path: path.to_owned(), error };
        fs::create_dir_all(path).map_err(failed)?;
        Ok(Folder { path: path.to_owned() })
    }

    /// Writes a file, in place of one that has this name already. `index` tells apart what one run writes at a time. Blocks.
    pub(super) fn write(
        &self,
        index: usize,
        name: &str,
        bytes: &[u8],
        cancel: &CancellationToken,
    ) -> Result<(), ObjectError> {
        let part = self.path.join(format!(".slipring-get-{}-{index}", std::process::id()));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| ObjectError::Write { path, error }
        };
        let mut file = File::create_new(&part).map_err(failed(&part))?;
        let mut unfinished = Unfinished { path: part, renamed: false };
        for piece in bytes.chunks(PIECE_BYTES) {
            if cancel.is_cancelled() {
                return Err(ObjectError::Cancelled);
            }
            file.write_all(piece).map_err(failed(&unfinished.path))?;
        }
        let path = self.path.join(name);
        fs::rename(&unfinished.path, &path).map_err(failed(&path))?;
        unfinished.renamed = true;
        Ok(())
    }
}

/// A file under its temporary name, removed when it is dropped with it.
struct Unfinished {
    path: PathBuf,
    renamed: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.renamed {
            // If that fails, its name says what it is.
            let _stays = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_whole_or_not_there() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("new/folder");
        let (folder, cancel) = (Folder::create(&path).unwrap(), CancellationToken::new());
        let large = vec![7; PIECE_BYTES + 1];
        folder.write(0, "large", &large, &cancel).unwrap();
        folder.write(1, "empty", &[], &cancel).unwrap();
        folder.write(2, "empty", b"replaced", &cancel).unwrap();
        assert_eq!(fs::read(path.join("large")).unwrap(), large);
        assert_eq!(fs::read(path.join("empty")).unwrap(), b"replaced");

        // A folder has the name: renaming fails, and nothing else is left.
        fs::create_dir(path.join("taken")).unwrap();
        let error = folder.write(3, "taken", b"x", &cancel).unwrap_err().to_string();
        assert!(error.contains("taken"), "{error}");
        cancel.cancel();
        assert!(matches!(folder.write(4, "late", b"x", &cancel), Err(ObjectError::Cancelled)));
        assert_eq!(names(&path), ["empty", "large", "taken"]);
    }

    #[test]
    fn a_folder_that_cannot_be_is_refused() {
        let above = tempfile::tempdir().unwrap();
        let file = above.path().join("file");
        fs::write(&file, "mine").unwrap();
        let error = Folder::create(&file.join("below")).unwrap_err();
        assert!(error.to_string().contains("--output") && error.exit_code() == 2, "{error}");
        let error = Folder::create(&file).unwrap_err();
        assert!(error.to_string().contains("--output") && error.exit_code() == 2, "{error}");
    }
}
