//! Bad input: each error names what was asked for, the limit and the fix.

use std::fs;
use std::os::unix::fs::symlink;

use crate::build::{Built, NONE, log};
use crate::support::folder;

const COMMANDS: [&str; 4] = ["ls", "verify", "cat", "repair"];

#[test]
fn what_is_no_data_folder_is_refused() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "text").unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir_all(at("newer/.slipring")).unwrap();
    let newer = r#"{"format":99,"dim":4,"columns":[]}"#;
    fs::write(at("newer/.slipring/record.json"), newer).unwrap();
    symlink(at("nothing"), at("link")).unwrap();
    for command in COMMANDS {
        for (name, said) in [
            ("missing", "there is no folder at this path; name one"),
            ("link", "there is no folder at this path; name one"),
            ("file", "there is a file at this path or above it; name a folder"),
            ("file/below", "there is a file at this path or above it; name a folder"),
            ("empty", "there is no record here, and no lane's folder; name a data folder"),
            ("newer", "format is 99, this version knows 2 there; name a data folder"),
        ] {
            let printed = log(command, &at(name));
            assert_eq!(printed.code, Some(1), "{command} {name}: {printed:?}");
            assert!(printed.stderr.contains(said), "{command} {name}: {printed:?}");
            assert!(printed.stderr.contains(&format!("log {command}: ")), "{printed:?}");
            assert!(printed.stdout.is_empty(), "{command} {name}: {printed:?}");
        }
    }
    assert!(fs::read_dir(at("empty")).unwrap().next().is_none(), "nothing is created");
    assert!(!at("missing").exists());
}

#[test]
fn wrong_ranges_and_lanes_are_refused() {
    let mut built = Built::new(NONE);
    for lane in [0, 3] {
        let mut lane = built.lane(lane, 1 << 20);
        lane.append(2);
        lane.log.close().unwrap();
    }
    built.unlock();
    for (words, said) in [
        ("--lane 0 --from 5 --to 4", "--from 5 --to 4: the range ends before it begins; name"),
        ("--lane 1", "--lane 1: the folder has the lanes 0, 3; name one of them"),
        ("", "--lane is missing: the folder has the lanes 0, 3; name one of them"),
        ("--lane x", "--lane"),
        ("--lane 0 --from x", "--from"),
        ("--lane 0 --format xml", "[possible values: arrow, csv]"),
    ] {
        let printed = log(&format!("cat {words}"), &built.data());
        assert_eq!(printed.code, Some(2), "{words}: {printed:?}");
        assert!(printed.stderr.contains(said), "{words}: {printed:?}");
        assert!(printed.stdout.is_empty(), "{words}: {printed:?}");
    }
    let printed = log("cat --lane 3 --format csv", &built.data());
    assert_eq!((printed.code, printed.text().lines().count()), (Some(0), 3), "{printed:?}");
    // A folder of a lane that is something else.
    fs::rename(built.data().join("lane=3"), built.data().join("lane=4")).unwrap();
    symlink("lane=4", built.data().join("lane=3")).unwrap();
    for command in COMMANDS {
        let printed = log(command, &built.data());
        assert_eq!(printed.code, Some(1), "{command}: {printed:?}");
        assert!(printed.stderr.contains("is a symbolic link"), "{command}: {printed:?}");
    }
}

#[test]
fn commands_want_a_command_and_a_folder() {
    for words in [&["log"][..], &["log", "look"], &["log", "ls"], &["log", "verify", "--json"]] {
        let output =
            std::process::Command::new(crate::support::process::BINARY).args(words).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{words:?}");
    }
}
