//! The demonstration's data folder: new, for this user only, and removed on drop unless it is to
//! stay. Also the check for free space.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{statfs, statvfs};

use super::options::DemoError;
use super::text::mib;
use crate::printable::Printable;

/// Folders in the temporary folder that one process tries before it gives up.
const NAMES_MAX: u32 = 1000;
/// A file system in memory: filling it takes memory from all processes. The width of the type
/// number differs between machines.
const TMPFS_MAGIC: i128 = 0x0102_1994;
/// The least room for a demonstration: the digits, the segments' headers and footers, and some
/// mixed load.
const ROOM_BYTES_MIN: u64 = 16 << 20;

/// The folder. Dropping this removes it with everything in it, unless it stays.
#[derive(Debug)]
pub(super) struct DemoFolder {
    path: PathBuf,
    stays: bool,
}

impl DemoFolder {
    /// Creates `path`, with the folders above it, or a new folder in the system's folder for
    /// temporary files. An existing one
    /// is never used, because another user may have put it, or a link, there.
    pub(super) fn create(path: Option<&Path>) -> Result<Self, DemoError> {
        let create = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        if let Some(path) = path {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty());
            let made = above.map_or(Ok(()), make_all);
            let made = made.and_then(|()| create(path)).and_then(|()| fs::canonicalize(path));
            let path = made.map_err(|error| DemoError::Folder { path: path.to_owned(), error })?;
            return Ok(Self { path, stays: false });
        }
        let above = std::env::temp_dir();
        for number in 0..NAMES_MAX {
            let path = above.join(format!("slipring-demo-{}-{number}", std::process::id()));
            match create(&path) {
                Ok(()) => return Ok(Self { path, stays: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(DemoError::Folder { path, error }),
            }
        }
        Err(DemoError::Folder { path: above, error: io::ErrorKind::AlreadyExists.into() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the folder stays after this is dropped.
    pub(super) fn set_stays(&mut self, stays: bool) {
        self.stays = stays;
    }

    /// The free space for this folder.
    pub(super) fn room(&self) -> Result<FreeSpace, DemoError> {
        let failed = |error: rustix::io::Errno| DemoError::Folder {
            path: self.path.clone(),
            error: error.into(),
        };
        let disk = statvfs(&self.path).map_err(failed)?;
        let disk_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        let in_memory = i128::from(statfs(&self.path).map_err(failed)?.f_type) == TMPFS_MAGIC;
        let memory_bytes = if in_memory { memory_available_bytes() } else { None };
        let free_bytes = disk_bytes.min(memory_bytes.unwrap_or(u64::MAX));
        Ok(FreeSpace { path: self.path.clone(), free_bytes, in_memory })
    }
}

/// Creates a folder and those above it, as far as they aren't there. They stay.
fn make_all(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}

impl Drop for DemoFolder {
    fn drop(&mut self) {
        if !self.stays {
            // Its contents aren't needed any more, and an error couldn't be reported.
            let _gone = fs::remove_dir_all(&self.path);
        }
    }
}

/// The free space for a folder.
#[derive(Clone, Debug)]
pub(super) struct FreeSpace {
    path: PathBuf,
    free_bytes: u64,
    in_memory: bool,
}

impl FreeSpace {
    /// The bytes of load: those requested, but at most half of the free space.
    pub(super) fn bound(&self, asked_bytes: u64) -> Result<u64, DemoError> {
        if self.free_bytes < ROOM_BYTES_MIN {
            let (path, free_bytes) = (self.path.clone(), self.free_bytes);
            return Err(DemoError::Room { path, free_bytes, least_bytes: ROOM_BYTES_MIN });
        }
        Ok(asked_bytes.min(self.free_bytes / 2))
    }

    /// Text that says why less is sent than was requested.
    pub(super) fn lowered(&self, bytes: u64) -> String {
        let whose = if self.in_memory { ", which is in memory" } else { "" };
        format!(
            "room      only {} MiB are free at {}{whose}:\n          at most {} MiB are sent",
            mib(self.free_bytes),
            Printable(self.path.display()),
            mib(bytes)
        )
    }
}

fn memory_available_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_private_and_removed_unless_it_stays() {
        use std::os::unix::fs::PermissionsExt;
        let mut folder = DemoFolder::create(None).unwrap();
        let path = folder.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(
            matches!(DemoFolder::create(Some(&path)), Err(DemoError::Folder { .. })),
            "it isn't a new one"
        );
        folder.set_stays(true);
        drop(folder);
        fs::write(path.join("file"), "stays").unwrap();
        drop(DemoFolder { path: path.clone(), stays: false });
        assert!(!path.exists());
    }

    #[test]
    fn little_room_means_less_load_and_then_none() {
        let room = |free_bytes| FreeSpace { path: "/tmp".into(), free_bytes, in_memory: true };
        assert_eq!(room(1 << 30).bound(512 << 20).unwrap(), 512 << 20);
        assert_eq!(room(100 << 20).bound(512 << 20).unwrap(), 50 << 20);
        assert!(
            room(100 << 20)
                .lowered(50 << 20)
                .contains("only 100 MiB are free at /tmp, which is in memory")
        );
        let refused = room(ROOM_BYTES_MIN - 1).bound(512 << 20).unwrap_err();
        assert!(refused.to_string().contains("at least 16 are needed"), "{refused}");
        assert!(DemoFolder::create(None).unwrap().room().is_ok());
    }
}
