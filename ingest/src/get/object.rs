//! The objects of a run, and the files that they are written to.
//!
//! A file is complete under its name, or absent: it is written under a temporary name in the same
//! folder and renamed after its last byte. So a failed run leaves no partial file. A killed run may
//! leave `.slipring-get-*` files, which can be deleted. Nothing is synced: what survives a power
//! failure, and what a network file system refuses after the last byte, is up to the system.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use slipring_objects::{Stores, redact};
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use super::error::{GetRunError, ObjectError};

/// Bytes written between two checks for an interruption.
const PIECE_BYTES: usize = 4 << 20;

/// One object, and the client of its store.
#[derive(Clone)]
pub(super) struct GetObject {
    /// For people and programs, without secrets.
    pub(super) url: String,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) path: ObjectPath,
}

impl fmt::Debug for GetObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl GetObject {
    /// The objects that these URLs name. Connects to nothing.
    pub(super) fn open(stores: &Stores, urls: &[String]) -> Result<Vec<GetObject>, GetRunError> {
        let open = |url: &String| {
            let (store, path) = stores.open(url)?;
            Ok(GetObject { url: redact(url), store, path })
        };
        urls.iter().map(open).collect()
    }

    /// The last part of the object's key.
    pub(super) fn name(&self) -> &str {
        self.path.filename().unwrap_or_default()
    }
}

/// Refuses names that a file can't have, and names that two objects share.
pub(super) fn check_names(objects: &[GetObject]) -> Result<(), GetRunError> {
    let mut seen: HashMap<&str, &GetObject> = HashMap::with_capacity(objects.len());
    for object in objects {
        // The URL may name a folder, by a slash at its end or by dots, which the key no longer
        // shows.
        let last_part = last_part(&object.url);
        for name in [last_part, object.name()] {
            if ["", ".", ".."].contains(&name) {
                return Err(GetRunError::Name { url: object.url.clone(), name: name.to_owned() });
            }
        }
        let name = object.name();
        if let Some(first) = seen.insert(name, object) {
            let (first, second) = (first.url.clone(), object.url.clone());
            return Err(GetRunError::SameName { first, second, name: name.to_owned() });
        }
    }
    Ok(())
}

/// The last part of a URL's path, or of the path of a file.
fn last_part(url: &str) -> &str {
    let path = match url.get(..4) {
        Some(web) if web.eq_ignore_ascii_case("http") => url.split('?').next().unwrap_or_default(),
        _ => url,
    };
    path.rsplit('/').next().unwrap_or_default()
}

/// The folder of `--output`.
#[derive(Clone, Debug)]
pub(super) struct OutputFolder {
    path: PathBuf,
}

impl OutputFolder {
    /// Creates the folder if it is missing, and checks that it can be written.
    pub(super) fn create(path: &std::path::Path) -> Result<OutputFolder, GetRunError> {
        let failed = |error| GetRunError::Folder { path: path.to_owned(), error };
        fs::create_dir_all(path).map_err(failed)?;
        let folder = OutputFolder { path: path.to_owned() };
        folder.unfinished().map_err(failed)?;
        Ok(folder)
    }

    /// Writes a file, which replaces one with the same name. Blocks.
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

    /// A file under an unused temporary name, removed if it is dropped before it is renamed. The
    /// umask decides who may read it.
    fn unfinished(&self) -> io::Result<NamedTempFile> {
        let named = Permissions::from_mode(0o666);
        tempfile::Builder::new().prefix(".slipring-get-").permissions(named).tempfile_in(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(urls: &[&str]) -> Result<(), String> {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        GetObject::open(&Stores::default(), &urls)
            .and_then(|objects| check_names(&objects))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_the_last_parts_of_keys() {
        assert_eq!(
            check(&[
                "memory:///a/one",
                "memory:///b/two",
                "/tmp/a file",
                "/tmp/?",
                "http://host/x.npy%3Fa",
                "http://host/a/y.npy?part=1/2",
                "http://host/a%2Fz"
            ]),
            Ok(())
        );
        for urls in [
            &["memory:///a/name", "memory:///b/name"][..],
            &["memory:///name", "/tmp/name"],
            &["memory:///a%20b", "/tmp/a b"],
        ] {
            let error = check(urls).unwrap_err();
            assert!(
                urls.iter().all(|url| error.contains(url)) && error.contains("two folders"),
                "{error}"
            );
        }
    }

    #[test]
    fn urls_of_folders_are_refused() {
        for url in ["http://host/dir/", "http://host/dir/?a=b", "HTTP://host/?a"] {
            let error = check(&[url]).unwrap_err();
            assert!(
                error.contains(url) && error.contains("can't be the name of a file"),
                "{error}"
            );
        }
        for url in ["memory:///dir/", "memory:///dir/file/..", "/tmp/", "/tmp/.."] {
            let error = check(&[url]).unwrap_err();
            assert!(
                error.starts_with(&format!("{url}: it")) || error.contains("no object"),
                "{error}"
            );
        }
    }

    #[test]
    fn no_secret_is_in_the_name_of_an_object() {
        let url = "http://me:hidden@host/a?sig=hidden&part=1".to_owned();
        let objects = GetObject::open(&Stores::default(), &[url]).unwrap();
        assert_eq!(objects[0].url, "http://***@host/a?sig=***&part=1");
        assert_eq!(objects[0].name(), "a");
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_complete_or_absent() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("new/folder");
        let (folder, cancel) = (OutputFolder::create(&path).unwrap(), CancellationToken::new());
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

        // A folder has this name: renaming fails, and no other file is left.
        fs::create_dir(path.join("folder")).unwrap();
        let error = folder.write("folder", b"x", &cancel).unwrap_err().to_string();
        assert!(error.contains("folder"), "{error}");
        cancel.cancel();
        assert!(matches!(folder.write("late", b"x", &cancel), Err(ObjectError::Cancelled)));
        assert_eq!(names(&path), ["empty", "folder", "large"]);
    }

    #[test]
    fn a_folder_that_cannot_be_is_refused() {
        let above = tempfile::tempdir().unwrap();
        let file = above.path().join("file");
        fs::write(&file, "mine").unwrap();
        let error = OutputFolder::create(&file.join("below")).unwrap_err();
        assert!(error.to_string().contains("--output") && error.exit_code() == 2, "{error}");
        for path in [&file, Path::new("/proc")] {
            let error = OutputFolder::create(path).unwrap_err();
            assert!(error.to_string().contains("--output") && error.exit_code() == 2, "{error}");
        }
    }
}
