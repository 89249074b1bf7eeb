//! A real disk that is small: a tmpfs, where mounting is allowed.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs of 8 MiB. It is taken out of the file tree as soon as it is mounted and reached through
/// an open folder from then on, so that the kernel clears it away however this process ends.
pub struct SmallDisk {
    path: PathBuf,
    _folder: File,
}

impl SmallDisk {
    /// Mounts it, or says why that can't be.
    pub fn mount() -> Result<Self, String> {
        let folder = super::folder();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "slipring-test"]).arg(folder.path());
        let output = mount.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().into());
        }
        let open = File::open(folder.path());
        assert!(Command::new("umount").arg("-l").arg(folder.path()).status().unwrap().success());
        let open = open.unwrap();
        // Other processes reach it through this one's descriptors.
        let path = format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd()).into();
        Ok(Self { path, _folder: open })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills the disk but for this many bytes, rounded by the disk to pages.
    pub fn leave(&self, free_bytes: u64) {
        let ballast = self.path().join("ballast");
        let mut file = File::create(&ballast).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
        let bytes = file.metadata().unwrap().len();
        file.set_len(bytes.saturating_sub(free_bytes)).unwrap();
    }

    pub fn free(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }
}
