//! Disks and data folders: a small disk that can be filled, and the rows in a data folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use slipring_ingest::sink::{for_each_batch, for_each_rows};

/// A file system of a few MiB: a tmpfs, or ext4 in a file. It is removed from the file tree as soon
/// as it is mounted, and is reached through an open folder from then on, so that the kernel frees
/// it when this process ends, in whatever way.
pub struct SmallDisk {
    path: PathBuf,
    _folder: File,
}

impl SmallDisk {
    /// Mounts a tmpfs, or returns why that is impossible.
    pub fn mount(mib: u32) -> Result<Self, String> {
        let size = format!("size={mib}m");
        Self::mounted(&["-t", "tmpfs", "-o", &size, "slipring-test"])
    }

    /// Mounts a ramfs, which has no size and can't be written past the page cache.
    pub fn mount_ramfs() -> Result<Self, String> {
        Self::mounted(&["-t", "ramfs", "slipring-test"])
    }

    /// Mounts ext4 in a file, or returns why that is impossible.
    pub fn mount_file(mib: u32) -> Result<Self, String> {
        let folder = super::folder();
        let image = folder.path().join("image");
        File::create(&image).unwrap().set_len(u64::from(mib) << 20).unwrap();
        let image = image.to_str().unwrap();
        ran(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", image]))?;
        // The kernel holds the file from then on.
        Self::mounted(&["-t", "ext4", "-o", "loop", image])
    }

    fn mounted(words: &[&str]) -> Result<Self, String> {
        let folder = super::folder();
        ran(Command::new("mount").args(words).arg(folder.path()))?;
        let open = File::open(folder.path());
        assert!(Command::new("umount").arg("-l").arg(folder.path()).status().unwrap().success());
        let open = open.unwrap();
        // Other processes reach the disk through this process's descriptor.
        let path = format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd()).into();
        Ok(Self { path, _folder: open })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills the disk except for this many bytes, which the disk rounds to pages.
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

/// Runs a command; its standard error if it fails.
pub fn ran(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().into()),
    }
}

/// Runs `test` on a small disk, within a time limit. Without the right to mount, it prints that
/// only the file size limit was tested.
pub fn on_small_disk(mib: u32, test: impl FnOnce(&SmallDisk) + Send + 'static) {
    match SmallDisk::mount(mib) {
        Ok(disk) => slipring_test_support::within(Duration::from_secs(90), move || test(&disk)),
        Err(why) => println!("no tmpfs here ({why}); only the file size limit was tested"),
    }
}

/// The rows of each lane, in sequence order. Missing and duplicated rows are errors of the reader.
#[track_caller]
pub fn rows(data: &Path, dim: usize) -> BTreeMap<u32, Vec<Vec<f32>>> {
    let mut lanes: BTreeMap<u32, Vec<Vec<f32>>> = BTreeMap::new();
    let read = for_each_batch(data, |lane, _, values| {
        lanes.entry(lane).or_default().extend(values.chunks(dim).map(<[f32]>::to_vec));
    });
    read.unwrap_or_else(|error| panic!("{}: {error}", data.display()));
    lanes
}

/// The first components of all rows of lane 0: the ids of [`super::vector`].
#[track_caller]
pub fn ids(data: &Path, dim: usize) -> Vec<u32> {
    rows(data, dim).remove(&0).unwrap_or_default().iter().map(|row| row[0] as u32).collect()
}

/// The rows of all lanes with their ids, lane by lane in sequence order.
#[track_caller]
pub fn rows_with_ids(data: &Path, dim: usize) -> Vec<(u64, Vec<f32>)> {
    let mut all = Vec::new();
    let read = for_each_rows(data, |_, rows| {
        assert_eq!(rows.ids.len() * dim, rows.values.len());
        let vectors = rows.values.chunks(dim).map(<[f32]>::to_vec);
        all.extend(rows.ids.iter().copied().zip(vectors));
    });
    read.unwrap_or_else(|error| panic!("{}: {error}", data.display()));
    all
}

/// The complete segments of a lane: the bytes of each, by name.
pub fn files(data: &Path, lane: u32) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = data.join(format!("lane={lane}"));
    let entries =
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let complete = entries.filter(|path| path.extension().is_some_and(|ending| ending == "arrow"));
    complete.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}
