//! The folder of `--output`, and the files in it.
//!
//! A file is complete under its name, or absent: its parts are written at their places under a
//! temporary name in the same folder, and it is renamed after its last byte. So a failed run leaves
//! no partial file. A killed run may leave `.slipring-get-*` files, which can be deleted. The space
//! is reserved when the size is known, so a full disk is known before the object is fetched.
//! Nothing is synced: what survives a power failure, and what a network file system refuses after
//! the last byte, is up to the system.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectMeta;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use slipring::class::PooledBuf;
use slipring_objects::PartSink;
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use super::error::{GetRunError, ObjectError};

/// The folder of `--output`.
#[derive(Clone, Debug)]
pub(super) struct OutputFolder {
    path: PathBuf,
}

impl OutputFolder {
    /// Creates the folder if it is missing, and checks that it can be written.
    pub(super) fn create(path: &Path) -> Result<OutputFolder, GetRunError> {
        let failed = |error| GetRunError::Folder { path: path.to_owned(), error };
        fs::create_dir_all(path).map_err(failed)?;
        let folder = OutputFolder { path: path.to_owned() };
        folder.unfinished().map_err(failed)?;
        Ok(folder)
    }

    /// A file of this name, which replaces one with the same name when it is finished. A name that
    /// it can't get is refused, before anything is fetched for it.
    pub(super) async fn file(&self, name: &str) -> Result<OutputFile, ObjectError> {
        let (folder, path) = (self.clone(), self.path.join(name));
        let named_path = path.clone();
        let unfinished = blocking(move || {
            check_name(&named_path)?;
            let named = folder.unfinished()?;
            let writer = Arc::new(named.as_file().try_clone()?);
            Ok((named, writer))
        });
        match unfinished.await {
            Ok((named, writer)) => Ok(OutputFile { path, named, writer }),
            Err(error) => Err(ObjectError::Write { path, error }),
        }
    }

    /// A file under an unused temporary name, removed if it is dropped before it is renamed. The
    /// umask decides who may read it.
    fn unfinished(&self) -> io::Result<NamedTempFile> {
        let named = Permissions::from_mode(0o666);
        tempfile::Builder::new().prefix(".slipring-get-").permissions(named).tempfile_in(&self.path)
    }
}

/// One object's file. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub(super) struct OutputFile {
    path: PathBuf,
    /// Under its temporary name.
    named: NamedTempFile,
    /// The same file, for writes that outlive a dropped download.
    writer: Arc<File>,
}

impl OutputFile {
    /// Gives the file its name.
    pub(super) async fn give_name(self) -> Result<(), ObjectError> {
        let OutputFile { path, named, .. } = self;
        blocking(move || match named.persist(&path) {
            Ok(_) => Ok(()),
            Err(refused) => Err(ObjectError::Write { path, error: refused.error }),
        })
        .await
    }

    /// The error of this file.
    pub(super) fn failed(&self, error: io::Error) -> ObjectError {
        ObjectError::Write { path: self.path.clone(), error }
    }
}

impl PartSink for OutputFile {
    async fn begin(&self, meta: &ObjectMeta) -> io::Result<()> {
        let (writer, size) = (Arc::clone(&self.writer), meta.size);
        blocking(move || reserve(&writer, size)).await
    }

    async fn put(&self, offset: u64, bytes: PooledBuf) -> io::Result<()> {
        let writer = Arc::clone(&self.writer);
        blocking(move || writer.write_all_at(&bytes, offset)).await
    }
}

/// Refuses the path of a folder, and a name that is too long.
fn check_name(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => Err(Errno::ISDIR.into()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reserves the space of a file, or tells why there is none. A file system that can't reserve shows
/// it with the first write.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    loop {
        let error = match fallocate(file, FallocateFlags::empty(), 0, size) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => continue,
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return file.set_len(size),
            Err(error) => io::Error::from(error),
        };
        let fix = match error.kind() {
            io::ErrorKind::FileTooLarge => {
                "raise the limit of file sizes (`ulimit -f`), or name a folder of another file system"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free some space, or name a folder of another file system"
            }
            _ => "name another folder",
        };
        let text = format!("no space for its {size} bytes: {error}; {fix}");
        return Err(io::Error::new(error.kind(), text));
    }
}

/// Runs `work` on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        // It is never aborted, so it has panicked.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use object_store::path::Path as ObjectPath;
    use slipring_objects::{PartBufferOptions, RangeEngine, RangeOptions};

    const KIB: usize = 1 << 10;

    /// Writes a file as a run does, in parts of 1 KiB.
    fn write(folder: &OutputFolder, name: &str, bytes: Vec<u8>) -> Result<(), ObjectError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (store, path) = (InMemory::new(), ObjectPath::from("key"));
            store.put(&path, bytes.into()).await.unwrap();
            let options = RangeOptions { part_bytes: Some(KIB as u64), ..RangeOptions::default() };
            let parts = PartBufferOptions { buffers: 3, ..PartBufferOptions::default() };
            let engine = RangeEngine::new(&options).unwrap().with_part_buffers(&parts).unwrap();
            let file = folder.file(name).await?;
            engine.download_into(&store, &path, &file).await.unwrap();
            file.give_name().await
        })
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
        let folder = OutputFolder::create(&path).unwrap();
        let large: Vec<u8> = (0..9 * KIB + 1).map(|at| (at % 251) as u8).collect();
        write(&folder, "large", large.clone()).unwrap();
        write(&folder, "empty", Vec::new()).unwrap();
        assert_eq!(fs::read(path.join("empty")).unwrap(), b"");
        write(&folder, "empty", b"replaced".to_vec()).unwrap();
        assert_eq!(fs::read(path.join("large")).unwrap(), large);
        assert_eq!(fs::read(path.join("empty")).unwrap(), b"replaced");
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode();
        fs::write(path.join("plain"), "as any program does").unwrap();
        assert_eq!(mode("large"), mode("plain"));
        fs::remove_file(path.join("plain")).unwrap();

        // A folder has this name: renaming fails, and no other file is left.
        fs::create_dir(path.join("folder")).unwrap();
        let error = write(&folder, "folder", vec![1]).unwrap_err().to_string();
        assert!(error.contains("folder"), "{error}");
        assert_eq!(names(&path), ["empty", "folder", "large"]);
    }

    #[test]
    fn space_that_is_not_there_is_missed_before_the_first_part() {
        let above = tempfile::tempdir().unwrap();
        let file = OutputFolder::create(above.path()).unwrap().unfinished().unwrap();
        // More than any file system holds in one file.
        let error = reserve(file.as_file(), i64::MAX as u64).unwrap_err().to_string();
        assert!(error.contains("9223372036854775807 bytes") && error.contains("name "), "{error}");
        drop(file);
        assert_eq!(names(above.path()).len(), 0);
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
