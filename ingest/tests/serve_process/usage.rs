//! Usage that is refused: exit code 2, and the option by its name. And folders that can't be used:
//! exit code 1.

use std::time::Duration;

use slipring_test_support::{wait_until, within};

use crate::support::client::Client;
use crate::support::process::{Place, Process, refused, serve};
use crate::support::{segments, vector};

#[test]
fn what_no_memory_could_hold_is_usage() {
    let place = Place::new();
    let cases: [(&str, &[&str]); 10] = [
        // Smaller than one frame.
        ("--pool 512", &["--pool", "512"]),
        ("--pool 100KiB --max-vectors 65535", &["--pool", "102400"]),
        ("--slots 3", &["--slots", "3"]),
        ("--slots 1", &["--slots", "1"]),
        ("--window 1", &["--window", "1"]),
        ("--segment-bytes 0", &["--segment-bytes", "0"]),
        // The answers that a connection may be owed, and the scores of a ring.
        ("--in-flight 65536 --max-vectors 65535 --pool 64MiB", &["--in-flight", "--max-vectors"]),
        (
            "--slots 8388608 --max-vectors 65535 --in-flight 1 --pool 64MiB",
            &["--slots", "--max-vectors"],
        ),
        ("--reclaim overwrite --slots 4096 --pool 64KiB", &["--pool", "at least"]),
        // A node that isn't there, with those that are.
        ("--node 99999", &["--node 99999", "choose one of [0"]),
    ];
    for (words, names) in cases {
        println!("{words}");
        refused(serve(&place.words(words)), 2, names);
    }
}

#[test]
fn what_is_missing_is_usage() {
    let place = Place::new();
    let folder = place.folder.path().display();
    refused(serve(&format!("--data {folder}/data --listen 127.0.0.1:0")), 2, &["--dim"]);
    refused(serve("--dim 4 --listen 127.0.0.1:0"), 2, &["--data", "--sink null"]);
    refused(serve(&place.words("--nonsense 1")), 2, &["--nonsense"]);
}

#[test]
fn figures_that_are_none_are_usage() {
    let place = Place::new();
    for (option, bad) in [
        ("--dim", "0"),
        ("--dim", "65536"),
        ("--dim", "-1"),
        ("--dim", "four"),
        ("--max-vectors", "0"),
        ("--max-vectors", "65536"),
        ("--lanes", "0"),
        ("--lanes", "257"),
        ("--pool", "12XB"),
        ("--pool", "1.5MiB"),
        ("--pool", "99999999999999GiB"),
        ("--window", "x"),
        ("--slots", "1000"),
        ("--slots", "0"),
        ("--in-flight", "0"),
        ("--metrics", "localhost"),
        ("--metrics", "70000"),
        ("--report-every", "0s"),
        ("--max-connections", "0"),
        ("--pages", "huge"),
        ("--node", "far"),
        ("--node", "0,1"),
        ("--reclaim", "sometimes"),
        ("--wait", "long"),
        ("--stages", "none"),
        ("--score", "max"),
        ("--sink", "s3"),
        ("--drain", "soon"),
        ("--carry-bytes", "lots"),
    ] {
        println!("{option} {bad}");
        refused(serve(&place.words(&format!("{option} {bad}"))), 2, &[option]);
    }
    // Each fits, but their product doesn't.
    refused(serve(&place.words("--dim 65535 --max-vectors 65535")), 2, &["max-vectors"]);
}

/// Every machine has node 0: it is taken, and the report of each lane names it where the kernel
/// knows nodes at all.
#[test]
fn a_node_that_is_there_is_reported() {
    within(Duration::from_secs(60), || {
        let knows_nodes = std::path::Path::new("/sys/devices/system/node/node0").exists();
        for words in ["--node 0 --lanes 2", "--node local"] {
            let place = Place::new();
            let mut process = Process::start(serve(&place.words(words)));
            let mut client = Client::count(&process.tcp(), 4);
            client.send(0, &vector(4, 1));
            assert!(client.answer().is_ok());
            drop(client);
            let ended = process.stop();
            let named = |lane: &&str| {
                ended.stderr.lines().any(|line| line.contains(lane) && line.contains(": node: "))
            };
            let lanes = if words.contains("--lanes 2") {
                &["lane 0: ", "lane 1: "][..]
            } else {
                &["lane 0: "]
            };
            assert!(
                ended.code == Some(0) && (!knows_nodes || lanes.iter().all(named)),
                "{ended:?}"
            );
        }
    });
}

#[test]
fn folders_that_cannot_be_used_are_refused() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("")));
        let id = process.id().to_string();
        refused(serve(&place.words("")), 1, &["--data", "in use", &id]);
        refused(serve(&place.words("--lanes 2")), 1, &["--data", "in use"]);
        assert_eq!(process.stop().code, Some(0));
        refused(serve(&place.words("--dim 5")), 1, &["--data", "dimension 4, not 5", "--dim 4"]);
        let file = place.folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        refused(
            serve(&place.words(&format!("--data {}", file.display()))),
            1,
            &["--data", "name a folder"],
        );
        refused(serve(&place.words("--data /proc/nowhere")), 1, &["/proc/nowhere"]);
    });
}

/// A start goes on where the last one ended: sequences continue, and no file is touched again.
#[test]
fn a_restart_adds_segments_and_overwrites_none() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let (mut ids, mut files) = (Vec::new(), segments::files(&place.data(), 0));
        for start in 0..4u32 {
            let mut process = Process::start(serve(&place.words("--segment-bytes 1500")));
            let mut client = Client::header(&process.tcp(), 4);
            for id in start * 100..(start + 1) * 100 {
                client.send(id.into(), &vector(4, id));
                assert!(client.answer().is_ok());
                ids.push(id);
            }
            drop(client);
            let ended = process.stop();
            assert_eq!(
                (ended.code, ended.total("vectors_in_segments")),
                (Some(0), 100),
                "{ended:?}"
            );
            assert_eq!(segments::ids(&place.data(), 4), ids, "sequences go on without a gap");
            let now = segments::files(&place.data(), 0);
            assert!(now.len() > files.len(), "a start adds segments");
            for (path, bytes) in &files {
                assert!(now.get(path) == Some(bytes), "{} was changed", path.display());
            }
            files = now;
        }
    });
}

/// Killed in the middle, it leaves an unfinished segment, which is kept aside; complete ones stay
/// as they are.
#[test]
fn a_start_after_a_crash_keeps_what_it_finds() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("--segment-bytes 1MiB")));
        let mut client = Client::count(&process.tcp(), 4);
        let vectors: Vec<f32> = (0..64).flat_map(|id| vector(4, id)).collect();
        for _ in 0..300 {
            client.send(0, &vectors);
            assert!(client.answer().is_ok());
        }
        let part =
            || std::fs::read_dir(place.data().join("lane-0")).into_iter().flatten().count() > 0;
        wait_until("a segment is at work", part);
        process.signal(rustix::process::Signal::KILL);
        assert_eq!(process.wait().code, None);
        drop(client);
        let mut process = Process::start(serve(&place.words("")));
        let mut client = Client::count(&process.tcp(), 4);
        client.send(0, &vector(4, 7));
        assert!(client.answer().is_ok());
        drop(client);
        let ended = process.stop();
        assert!(ended.code == Some(0) && ended.stderr.contains("crash"), "{ended:?}");
        assert_eq!(segments::ids(&place.data(), 4), [7]);
    });
}
