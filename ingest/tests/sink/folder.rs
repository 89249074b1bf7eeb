//! The data folder: what it refuses, and which services it excludes.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use slipring_ingest::sink::{
    Columns, DIM_MAX, DataDir, DataMode, DataOptions, SinkError, read_segments,
};

use crate::lane::{Lane, Sizes};

/// Set in a child process: the folder that it is to open.
const CHILD: &str = "SLIPRING_TEST_FOLDER";

/// A child process that runs the test of this name again.
fn child(program: &Path, test: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env(CHILD, folder).stdin(Stdio::null());
    command
}

fn refusal(folder: &Path, dim: u32) -> SinkError {
    DataDir::open(folder, dim).expect_err("the folder was to be refused")
}

#[test]
fn a_second_opening_in_the_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path(), 4).unwrap();
    let error = refusal(folder.path(), 4);
    assert!(matches!(error, SinkError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(dir);
    DataDir::open(folder.path(), 4).unwrap();
}

#[test]
fn a_second_process_is_refused() {
    const TEST: &str = "folder::a_second_process_is_refused";
    if let Some(folder) = std::env::var_os(CHILD) {
        let error = refusal(Path::new(&folder), 4);
        println!("refused: {error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path(), 4).unwrap();
    let output = child(&std::env::current_exe().unwrap(), TEST, folder.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("in use by process {}", std::process::id())), "{said}");
    drop(dir);
}

#[test]
fn a_killed_process_holds_no_lock() {
    const TEST: &str = "folder::a_killed_process_holds_no_lock";
    if let Some(folder) = std::env::var_os(CHILD) {
        let dir = DataDir::open(Path::new(&folder), 4).unwrap();
        let mut log = Lane::open(&dir, 0, Sizes::default()).unwrap();
        log.append(&[1.0; 8]).unwrap();
        log.flush().unwrap();
        std::process::abort();
    }
    let folder = tempfile::tempdir().unwrap();
    let output = child(&std::env::current_exe().unwrap(), TEST, folder.path()).output().unwrap();
    assert!(!output.status.success());
    let dir = DataDir::open(folder.path(), 4).unwrap();
    let log = Lane::open(&dir, 0, Sizes::default()).unwrap();
    assert!(log.next_sequence() > 2 && log.recovery.files.len() == 1, "{:?}", log.recovery);
    assert_eq!(
        read_segments(folder.path()).unwrap().rows,
        2,
        "the rows that were flushed are kept"
    );
}

#[test]
fn another_dimension_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/by/us");
    drop(DataDir::open(&path, 128).unwrap());
    assert_eq!(
        fs::read_to_string(path.join(".slipring/record.json")).unwrap().trim(),
        r#"{"columns":[],"dim":128,"format":2}"#
    );
    let error = refusal(&path, 64);
    let said = error.to_string();
    assert!(matches!(error, SinkError::OtherDimension { recorded: 128, asked: 64, .. }), "{said}");
    assert!(said.contains("dimension 128, not 64; use --dim 128"), "{said}");
    assert_eq!(DataDir::open(&path, 128).unwrap().dim(), 128);
}

/// Everything in a folder, with the content of its files.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_folder = path.is_dir();
            found.insert(path.clone(), if is_folder { vec![] } else { fs::read(&path).unwrap() });
            folders.extend(is_folder.then_some(path));
        }
    }
    found
}

/// A copy of the lanes alone has no record. A start with the wrong dimension or columns is refused
/// and records nothing, so that the right one works afterwards; so is a migration.
#[test]
fn a_refused_opening_does_not_keep_the_right_one_out() {
    for lane in [0, 7] {
        for old in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let dir = DataDir::open(folder.path(), 4).unwrap();
            let mut log = Lane::open(&dir, lane, Sizes::default()).unwrap();
            log.append(&[1.0; 4]).unwrap();
            log.close().unwrap();
            drop((log, dir));
            let own = folder.path().join(".slipring");
            fs::remove_dir_all(&own).unwrap();
            let new = folder.path().join(format!("lane={lane}"));
            if old {
                fs::rename(&new, folder.path().join(format!("lane-{lane}"))).unwrap();
            }
            let before = content(folder.path());
            let error = refusal(folder.path(), 2);
            let is_named = matches!(error, SinkError::OtherDimension { recorded: 4, asked: 2, .. });
            assert!(is_named, "{error}");
            let columns = Columns { time: true, ..Columns::default() };
            let options = DataOptions { dim: 4, columns, mode: DataMode::default() };
            let error = DataDir::open_with(folder.path(), options).unwrap_err();
            assert!(matches!(error, SinkError::OtherColumns { .. }), "{error}");
            // The locks are all that is new.
            let mut after = content(folder.path());
            after.retain(|path, _| !path.starts_with(&own) && !path.ends_with("slipring.lock"));
            assert_eq!(after, before);
            assert_eq!(content(&own).into_keys().collect::<Vec<_>>(), [own.join("lock")]);
            let dir = DataDir::open(folder.path(), 4).unwrap();
            let log = Lane::open(&dir, lane, Sizes::default()).unwrap();
            assert_eq!(log.next_sequence(), 1);
        }
    }
}

/// Nobody writes to a pipe in a segment's place, and opening it doesn't wait for that.
#[test]
fn a_pipe_in_a_segments_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path(), 4).unwrap();
    let folders = dir.lane_folders(0).unwrap();
    for path in [
        folders.complete.join("seg-00000000000000000001.arrow"),
        folders.open.join("seg-00000000000000000001.arrow.part"),
    ] {
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let error = Lane::open(&dir, 0, Sizes::default()).err().unwrap();
        assert!(error.to_string().contains("a regular file"), "{error}");
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
        fs::remove_file(path).unwrap();
    }
    Lane::open(&dir, 0, Sizes::default()).unwrap();
}

#[test]
fn a_dimension_that_no_folder_can_have_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for dim in [0, DIM_MAX + 1, u32::MAX] {
        let error = refusal(folder.path(), dim);
        assert!(error.to_string().contains("between 1 and 1048576"), "{error}");
    }
}

#[test]
fn a_record_that_is_not_ours_is_refused() {
    let records = [
        "",
        "{",
        "[]",
        "7",
        r#"{"format":1,"dim":4}"#,
        r#"{"format":2,"dim":4}"#,
        r#"{"format":2,"dim":4,"columns":["time","id"]}"#,
        r#"{"format":2,"dim":4,"columns":["sequence"]}"#,
        r#"{"format":2,"dim":4,"columns":"id"}"#,
        r#"{"format":2,"columns":[]}"#,
        r#"{"format":2,"dim":-4,"columns":[]}"#,
        r#"{"format":2,"dim":0,"columns":[]}"#,
    ];
    for record in records {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".slipring")).unwrap();
        fs::write(folder.path().join(".slipring/record.json"), record).unwrap();
        let error = refusal(folder.path(), 4);
        assert!(matches!(error, SinkError::Record { .. }), "{record}: {error}");
        assert!(matches!(read_segments(folder.path()), Err(SinkError::Record { .. })), "{record}");
        assert_eq!(
            fs::read_to_string(folder.path().join(".slipring/record.json")).unwrap(),
            record
        );
    }
}

#[test]
fn a_path_to_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "text").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = refusal(&path, 4);
        assert!(matches!(error, SinkError::NotAFolder { .. }), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"text");
}

#[test]
fn a_link_to_nothing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path().join("absent"), &link).unwrap();
    for path in [link.clone(), link.join("below"), link.join("below/that")] {
        let error = refusal(&path, 4);
        let named = matches!(&error, SinkError::DanglingLink { link: found, .. } if *found == link);
        assert!(named, "{error}");
    }
    assert!(!folder.path().join("absent").exists());
    // A link to a folder is one.
    fs::create_dir(folder.path().join("absent")).unwrap();
    DataDir::open(&link, 4).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    const TEST: &str = "folder::a_folder_that_cannot_be_written_is_refused";
    if let Some(folder) = std::env::var_os(CHILD) {
        let error = refusal(Path::new(&folder), 4);
        println!("refused: {error}");
        let error = refusal(&Path::new(&folder).join("below"), 4);
        println!("refused: {error}");
        return;
    }
    // Permissions don't stop root, so as root the child runs as user `nobody`. It needs a copy of
    // the program that this user may read.
    let place = tempfile::tempdir().unwrap();
    let (program, folder) = (place.path().join("program"), place.path().join("closed"));
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::create_dir(&folder).unwrap();
    for path in [place.path(), &program, &folder] {
        fs::set_permissions(path, Permissions::from_mode(0o555)).unwrap();
    }
    let mut command = child(&program, TEST, &folder);
    if fs::metadata(&folder).unwrap().uid() == 0 {
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("refused: can't create").count(), 2, "{said}");
    assert_eq!(said.matches("give this user the right to write there").count(), 2, "{said}");
}
