//! What a service writes in its data folder: never through a symbolic link, and with the
//! permissions asked for.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use slipring_ingest::log::LogError;
use slipring_ingest::sink::{Columns, DataDir, DataMode, DataOptions, SinkError};

use crate::lane::{Lane, Sizes};

/// Opens a folder, writes a segment and leaves another one open.
fn write(folder: &Path, mode: DataMode) -> Result<Lane, SinkError> {
    let columns = Columns::default();
    let dir = DataDir::open_with(folder, DataOptions { dim: 2, columns, mode })?;
    let mut log = Lane::open(&dir, 0, Sizes::default())?;
    log.append(&[1.0; 4])?;
    log.close()?;
    log.append(&[1.0; 4])?;
    log.flush()?;
    Ok(log)
}

/// Everything below a folder with its permissions.
fn modes(dir: &Path) -> BTreeMap<String, u32> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::metadata(&path).unwrap();
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            found.insert(name, metadata.permissions().mode() & 0o7777);
            folders.extend(metadata.is_dir().then_some(path));
        }
    }
    found
}

#[test]
fn no_link_is_followed() {
    let files = [
        ".slipring/lock",
        ".slipring/record.json",
        ".slipring/record.json.new",
        ".slipring/lane=0/seg-00000000000000000000.arrow.part",
        "slipring.lock",
        "slipring.json",
    ];
    let folders = [".slipring", ".slipring/lane=0", "lane=0", "lane-0"];
    for name in files.into_iter().chain(folders) {
        for leads_somewhere in [true, false] {
            let place = tempfile::tempdir().unwrap();
            let (folder, target) = (place.path().join("data"), place.path().join("target"));
            let link = folder.join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            let is_folder = folders.contains(&name);
            match leads_somewhere {
                true if is_folder => fs::create_dir(&target).unwrap(),
                true => fs::write(&target, "kept").unwrap(),
                false => {}
            }
            symlink(&target, &link).unwrap();
            let what = format!("{name}, to something: {leads_somewhere}");
            let error = write(&folder, DataMode::default()).err().expect(&what);
            let said = error.to_string();
            assert!(said.contains(name), "{said}");
            // Recovery sees that it can't open what a crash seems to have left.
            if !name.ends_with(".part") {
                assert!(matches!(error, SinkError::Place { .. }), "{what}: {error}");
                assert!(said.contains("is a symbolic link"), "{said}");
            }
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "{what}");
            match leads_somewhere {
                true if is_folder => {
                    assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "{what}")
                }
                true => assert_eq!(fs::read_to_string(&target).unwrap(), "kept", "{what}"),
                false => assert!(!target.exists(), "{what}"),
            }
        }
    }
}

#[test]
fn a_link_in_a_segments_way_is_not_followed() {
    let place = tempfile::tempdir().unwrap();
    let (folder, target) = (place.path().join("data"), place.path().join("target"));
    let dir = DataDir::open(&folder, 2).unwrap();
    let mut log = Lane::open(&dir, 0, Sizes::default()).unwrap();
    let part = folder.join(".slipring/lane=0/seg-00000000000000000000.arrow.part");
    symlink(&target, &part).unwrap();
    log.append(&[1.0; 4]).unwrap();
    let error = log.flush().unwrap_err();
    assert!(error.may_retry() && error.to_string().contains("arrow.part"), "{error}");
    fs::remove_file(part).unwrap();
    let complete = folder.join("lane=0/seg-00000000000000000000.arrow");
    symlink(&target, &complete).unwrap();
    let error = log.close().unwrap_err();
    assert!(matches!(error, LogError::Exists { .. }), "{error}");
    assert!(!target.exists() && fs::symlink_metadata(&complete).unwrap().is_symlink());
    fs::remove_file(complete).unwrap();
    log.close().unwrap();
    assert_eq!(slipring_ingest::sink::read_segments(&folder).unwrap().rows, 2);
}

#[test]
fn other_things_in_the_way_are_named() {
    for (name, is_folder) in
        [(".slipring", false), ("lane=0", false), (".slipring/lock", true), ("slipring.json", true)]
    {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(name);
        fs::create_dir_all(if is_folder { &path } else { path.parent().unwrap() }).unwrap();
        if !is_folder {
            fs::write(&path, "").unwrap();
        }
        let error = write(place.path(), DataMode::default()).err().unwrap();
        assert!(matches!(error, SinkError::Place { .. }), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    // A pipe without a reader doesn't keep the service waiting.
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join(".slipring")).unwrap();
    let pipe = place.path().join(".slipring/record.json");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = write(place.path(), DataMode::default()).err().unwrap();
    assert!(matches!(error, SinkError::Place { .. }), "{error}");
}

/// The umask belongs to the process, so each case runs in a child.
#[test]
fn permissions_are_those_asked_for() {
    const TEST: &str = "links::permissions_are_those_asked_for";
    const CHILD: &str = "SLIPRING_TEST_MODE";
    if let Ok(case) = std::env::var(CHILD) {
        let (folder, mode) = case.split_once(':').unwrap();
        let mode = if mode.is_empty() { DataMode::default() } else { mode.parse().unwrap() };
        drop(write(&Path::new(folder).join("made/data"), mode).unwrap());
        return;
    }
    let cases = [
        ("022", "", 0o640, 0o750),
        ("000", "", 0o640, 0o750),
        ("077", "", 0o600, 0o700),
        ("077", "0644", 0o644, 0o755),
        ("022", "0660", 0o660, 0o770),
        ("000", "0600", 0o600, 0o700),
    ];
    for (umask, mode, files, folders) in cases {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(0o700)).unwrap();
        let status = Command::new("sh")
            .args(["-c", r#"umask "$0"; exec "$@""#, umask])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", TEST])
            .env(CHILD, format!("{}:{mode}", place.path().display()))
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let found = modes(place.path());
        assert_eq!(found.len(), 10, "{found:?}");
        for (name, found) in found {
            let is_file =
                ["lock", "json", "arrow", "part", "next"].iter().any(|end| name.ends_with(end));
            let expected = if is_file { files } else { folders };
            assert_eq!(found, expected, "{name} is {found:o} under {umask} with {mode:?}");
        }
    }
}
