//! The file system of the machine: permissions, links, and reads and writes past the page cache.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::super::*;
use super::rows::{Row, options, read_rows};
use crate::sink::DataMode;

fn folders(dir: &std::path::Path) -> LogFolders {
    let folders = LogFolders { open: dir.join("open"), complete: dir.join("complete") };
    fs::create_dir(&folders.open).unwrap();
    fs::create_dir(&folders.complete).unwrap();
    folders
}

#[test]
fn a_log_is_the_same_through_the_page_cache_and_past_it() {
    let mut files = Vec::new();
    for direct in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(DataMode::default()).direct_writes(direct);
        let folders = folders(dir.path());
        let (mut log, _) = LaneLog::open(disk, folders.clone(), options(5)).unwrap();
        let mut buffer = log.buffer(100, 0).unwrap();
        for rows in [1, 100] {
            buffer.clear();
            (0..rows).for_each(|number| assert!(Row::of(number).append(&mut buffer)));
            log.append(&mut buffer).unwrap();
            log.sync().unwrap();
        }
        // Head and records have left it as the file system gave it.
        let other = disk.create_new(&dir.path().join("other")).unwrap();
        assert_eq!(log.segment().unwrap().file().is_direct(), other.is_direct());
        assert!(direct || !other.is_direct());
        let live = log.segment().unwrap().path().to_owned();
        let file = disk.open(&live, ReadFrom::Disk).unwrap();
        assert_eq!(read_rows(&file, &live, 0, file.len().unwrap()).unwrap().len(), 101);
        // As if killed.
        drop(log);
        let (log, recovery) = LaneLog::open(disk, folders, options(6)).unwrap();
        assert_eq!((recovery.files[0].rows(), log.next_sequence()), (101, 10_101));
        let sealed = &recovery.files[0].sealed[0].path;
        assert_eq!(fs::metadata(sealed).unwrap().permissions().mode() & 0o7777, 0o640);
        let mut bytes = fs::read(sealed).unwrap();
        // The second record says how far the first was synced; that is the same in both.
        files.push(std::mem::take(&mut bytes));
    }
    assert!(files[0] == files[1]);
}

#[test]
fn nothing_is_reached_through_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new("0600".parse().unwrap());
    let (file, link) = (dir.path().join("file"), dir.path().join("link"));
    drop(disk.create_new(&file).unwrap());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    symlink(&file, &link).unwrap();
    for from in [ReadFrom::Cache, ReadFrom::Disk] {
        assert_eq!(disk.open(&link, from).unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }
    assert!(disk.open_to_read(&link).is_err() && disk.open_to_read(dir.path()).is_err());
    assert_eq!(disk.create_new(&link).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.rename_new(&file, &link).unwrap_err().kind(), ErrorKind::AlreadyExists);
    disk.rename_over(&file, &link).unwrap();
    assert_eq!(disk.names(dir.path()).unwrap(), ["link"]);
    assert!(disk.free_bytes(dir.path()).unwrap() > 0);
    disk.sync_folder(dir.path()).unwrap();
    disk.remove(&link).unwrap();
    assert_eq!(disk.remove(&link).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn reserved_space_makes_no_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let file = RealDisk::new(DataMode::default()).create_new(&dir.path().join("file")).unwrap();
    match file.allocate(0, 1 << 20) {
        Ok(()) => assert_eq!(file.len().unwrap(), 0),
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{error}"),
    }
    assert_eq!(file.write_at(b"abc", 2).unwrap(), 3);
    file.truncate(4).unwrap();
    file.sync_data().unwrap();
    let mut bytes = [9; 8];
    assert_eq!((file.read_at(&mut bytes, 0).unwrap(), &bytes[..4]), (4, &b"\0\0ab"[..]));
}

/// A write that can't go past the page cache, as behind a short one, goes through it, and so does
/// all that follows.
#[test]
fn what_isnt_aligned_goes_through_the_page_cache() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let file = RealDisk::new(DataMode::default()).direct_writes(true).create_new(&path).unwrap();
    let mut block = AlignedBytes::zeroed(8192);
    block.fill(1);
    file.write_at(&block[..4096], 0).unwrap();
    println!("past the page cache: {}", file.is_direct());
    // The first 1,000 bytes of a block were written, and then the rest.
    file.write_at(&block[..1000], 4096).unwrap();
    assert!(!file.is_direct());
    file.write_at(&block[1000..4096], 4096 + 1000).unwrap();
    file.write_at(&block, 8192).unwrap();
    file.sync_data().unwrap();
    assert!(!file.is_direct() && fs::read(&path).unwrap() == [1; 16_384]);
}
