//! A folder of an earlier version stays whole whenever the migration stops, and the next start
//! completes it.

use std::collections::BTreeMap;
use std::fs::File;

use super::super::{Columns, DataDir, DataOptions, for_each_batch};
use super::*;
use crate::log::{LaneLog, LogOptions, LogRows, RealDisk, RowShape, RowTimes};

const DIM: u32 = 2;
const RECORD: Record = Record { dim: DIM, columns: Columns { id: false, time: false } };

fn open_log(data: &DataDir, lane: u32) -> LaneLog<RealDisk> {
    let shape = RowShape { dim: DIM, columns: Columns::default() };
    let options = LogOptions { segment_bytes: 8192, ..LogOptions::new(shape, lane, 1) };
    let folders = data.lane_folders(lane).unwrap();
    LaneLog::open(RealDisk::new(data.mode()), folders, options).unwrap().0
}

/// A folder as the earlier version left it: two lanes, one of them with an unfinished segment and
/// a torn one, and what a crash left of a record that was being written.
fn old_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let data = DataDir::open(dir, DIM).unwrap();
    for (lane, rows) in [(0, 5), (11, 3)] {
        let mut log = open_log(&data, lane);
        for row in 0..rows {
            let mut buffer = log.buffer(1, 0).unwrap();
            let vectors: Vec<u8> =
                [row as f32, 0.5].iter().flat_map(|value| value.to_le_bytes()).collect();
            let times = RowTimes::One(0);
            buffer.append(&LogRows { vectors: &vectors, ids: &[], times, mark: None }).unwrap();
            log.append(&mut buffer).unwrap();
        }
        log.close().unwrap();
        fs::rename(layout::lane_folder(dir, lane), dir.join(format!("lane-{lane}"))).unwrap();
    }
    drop(data);
    fs::remove_dir_all(layout::own(dir)).unwrap();
    for (name, text) in [
        ("slipring.json", r#"{"dim":2,"format":1}"#),
        ("slipring.json.new", "{"),
        ("slipring.lock", "1\n"),
        ("lane-0/seg-00000000000000000005.arrow.part", "part"),
        ("lane-0/seg-00000000000000000003.torn", "torn"),
        ("lane-0/seg-00000000000000000003.2.torn", "torn twice"),
    ] {
        fs::write(dir.join(name), text).unwrap();
    }
    folder
}

fn rows(dir: &Path) -> BTreeMap<u32, Vec<f32>> {
    let mut lanes: BTreeMap<u32, Vec<f32>> = BTreeMap::new();
    for_each_batch(dir, |lane, _, rows| lanes.entry(lane).or_default().extend_from_slice(rows))
        .unwrap();
    lanes
}

/// The files below a folder, besides segments.
fn others(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            match path.is_dir() {
                true => folders.push(path),
                false if name.ends_with(".arrow") => assert!(name.starts_with("lane="), "{name}"),
                false => drop(found.insert(name, fs::read_to_string(&path).unwrap())),
            }
        }
    }
    found
}

#[test]
fn a_crash_between_any_two_steps_loses_nothing() {
    let all = rows(old_folder().path());
    assert_eq!(all.values().map(Vec::len).collect::<Vec<_>>(), [10, 6]);
    let mut steps = 0;
    loop {
        let folder = old_folder();
        let dir = folder.path();
        fs::create_dir(layout::own(dir)).unwrap();
        let mut left = steps;
        let stopped = migrate(dir, &RECORD, DataMode::default(), &mut || {
            let crash = || SinkError::Dimension { asked: 0, max: 0 };
            left = Some(left).filter(|left| *left > 0).ok_or_else(crash)? - 1;
            Ok(())
        });
        assert_eq!(rows(dir), all, "a reader between the steps, after {steps}");
        let data = DataDir::open(dir, DIM).unwrap();
        assert_eq!(data.was_migrated(), stopped.is_err(), "{steps}");
        drop(data);
        assert_eq!(rows(dir), all, "after {steps} steps and a start");
        let id = format!("{}\n", std::process::id());
        let own = [
            ("lane=0/seg-00000000000000000003.2.torn", "torn twice"),
            ("lane=0/seg-00000000000000000003.torn", "torn"),
            ("lane=0/seg-00000000000000000005.arrow.part", "part"),
            ("lock", id.as_str()),
            ("record.json", "{\"columns\":[],\"dim\":2,\"format\":2}\n"),
        ];
        let own = own.map(|(name, text)| (format!(".slipring/{name}"), text.to_owned()));
        assert_eq!(others(dir), BTreeMap::from(own), "{steps}");
        if stopped.is_ok() {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 11, "only {steps} steps were tried");
}

#[test]
fn a_service_of_the_earlier_version_that_runs_is_noticed() {
    let folder = old_folder();
    let before = others_of_old(folder.path());
    let lock = File::open(folder.path().join("slipring.lock")).unwrap();
    lock.lock().unwrap();
    let error = DataDir::open(folder.path(), DIM).unwrap_err();
    assert!(matches!(&error, SinkError::Locked { holder, .. } if holder == "1"), "{error}");
    assert_eq!(others_of_old(folder.path()), before);
    lock.unlock().unwrap();
    DataDir::open(folder.path(), DIM).unwrap();
}

/// The names in a folder and in its lanes of the earlier version.
fn others_of_old(dir: &Path) -> Vec<String> {
    let mut found = files::names(dir).unwrap();
    found.retain(|name| !name.starts_with('.'));
    for (lane, folder) in layout::old_lanes(dir).unwrap() {
        found.extend(files::names(&folder).unwrap().iter().map(|name| format!("{lane}/{name}")));
    }
    found.sort_unstable();
    found
}

#[test]
fn a_refused_folder_is_not_migrated() {
    let folder = old_folder();
    let before = others_of_old(folder.path());
    let error = DataDir::open(folder.path(), DIM + 1).unwrap_err();
    assert!(matches!(error, SinkError::OtherDimension { recorded: DIM, .. }), "{error}");
    let columns = Columns { id: true, time: false };
    let options = DataOptions { dim: DIM, columns, mode: DataMode::default() };
    let error = DataDir::open_with(folder.path(), options).unwrap_err();
    assert!(error.to_string().contains("leave --columns out"), "{error}");
    assert_eq!(others_of_old(folder.path()), before);
}

#[test]
fn lanes_of_both_versions_are_refused() {
    let folder = old_folder();
    fs::create_dir(folder.path().join("lane=0")).unwrap();
    for error in [
        DataDir::open(folder.path(), DIM).unwrap_err(),
        for_each_batch(folder.path(), |_, _, _| ()).unwrap_err(),
    ] {
        assert!(matches!(error, SinkError::TwoFolders { .. }), "{error}");
    }
    // So is a record of the earlier version that says something else.
    fs::remove_dir(folder.path().join("lane=0")).unwrap();
    drop(DataDir::open(folder.path(), DIM).unwrap());
    fs::write(folder.path().join("slipring.json"), r#"{"dim":7,"format":1}"#).unwrap();
    let error = DataDir::open(folder.path(), DIM).unwrap_err();
    assert!(matches!(error, SinkError::Record { .. }), "{error}");
    assert!(error.to_string().contains("for dimension 7"), "{error}");
}
