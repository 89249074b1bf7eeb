//! What somebody does to the data folder while the service works there.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use slipring_ingest::sink::for_each_rows;
use slipring_test_support::{wait_until, within};

use crate::support::client::Client;
use crate::support::process::{Place, Process, serve};
use crate::support::{data, vector};

fn part(place: &Place) -> Option<PathBuf> {
    let entries = fs::read_dir(place.data().join(".slipring/lane=0")).ok()?;
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.into_iter().find(|path| path.extension().is_some_and(|end| end == "part"))
}

fn send(client: &mut Client, ids: std::ops::Range<u32>) {
    for id in ids {
        client.send(0, &vector(4, id));
        assert!(client.answer().is_ok());
    }
}

/// A live segment is removed, or moved away: its rows are gone, and the others aren't. The count
/// says so.
#[test]
fn a_live_segment_that_is_removed_costs_its_rows_alone() {
    within(Duration::from_secs(60), || {
        for is_moved in [false, true] {
            let place = Place::new();
            let mut process = Process::start(serve(&place.words("--in-flight 8")));
            let mut client = Client::count(&process.tcp(), 4);
            send(&mut client, 0..5);
            wait_until("a segment is open", || part(&place).is_some());
            std::thread::sleep(Duration::from_millis(500));
            let path = part(&place).unwrap();
            match is_moved {
                true => fs::rename(&path, place.folder.path().join("elsewhere")).unwrap(),
                false => fs::remove_file(&path).unwrap(),
            }
            // The next commit notices it: these go with the segment.
            send(&mut client, 5..7);
            std::thread::sleep(Duration::from_secs(1));
            send(&mut client, 7..10);
            drop(client);
            let ended = process.stop();
            assert!(ended.stderr.contains("removed or moved"), "{ended:?}");
            assert!(ended.stdout.contains("missing: 7 answered vectors"), "{ended:?}");
            assert_eq!((ended.code, ended.total("vectors_in_segments")), (Some(1), 3), "{ended:?}");
            assert_eq!(data::ids(&place.data(), 4), [7, 8, 9]);
        }
    });
}

/// So are a lane's folders: they are made again, and sequences go on.
#[test]
fn a_lanes_folders_that_are_removed_are_made_again() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("--in-flight 8")));
        let mut client = Client::count(&process.tcp(), 4);
        send(&mut client, 0..5);
        wait_until("a segment is open", || part(&place).is_some());
        std::thread::sleep(Duration::from_millis(500));
        for folder in [".slipring/lane=0", "lane=0"] {
            fs::remove_dir_all(place.data().join(folder)).unwrap();
        }
        send(&mut client, 5..7);
        std::thread::sleep(Duration::from_secs(1));
        send(&mut client, 7..10);
        drop(client);
        let ended = process.stop();
        assert!(ended.stderr.contains("removed or moved"), "{ended:?}");
        assert_eq!((ended.code, ended.total("vectors_in_segments")), (Some(1), 3), "{ended:?}");
        let name = "lane=0/seg-00000000000000000007.arrow";
        assert!(place.data().join(name).exists(), "{ended:?}");
    });
}

/// Sealed segments may be moved away: sequences go on behind them, and no name comes twice.
#[test]
fn sequences_go_on_when_all_segments_are_moved_away() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut names = Vec::new();
        for start in 0..3 {
            let mut process = Process::start(serve(&place.words("")));
            let mut client = Client::count(&process.tcp(), 4);
            send(&mut client, start * 10..start * 10 + 10);
            drop(client);
            let ended = process.stop();
            assert_eq!((ended.code, ended.total("segments")), (Some(0), 1), "{ended:?}");
            for path in data::files(&place.data(), 0).into_keys() {
                names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
                fs::remove_file(path).unwrap();
            }
        }
        let expected = [0, 10, 20].map(|first| format!("seg-{first:020}.arrow"));
        assert_eq!(names, expected);
    });
}

/// A lock that is removed is made again. One that is another file is another service's: this one
/// ends and writes nothing more.
#[test]
fn a_lock_that_is_removed_or_replaced_is_noticed() {
    within(Duration::from_secs(60), || {
        for is_replaced in [false, true] {
            let place = Place::new();
            let mut process = Process::start(serve(&place.words("")));
            let mut client = Client::count(&process.tcp(), 4);
            send(&mut client, 0..3);
            std::thread::sleep(Duration::from_millis(500));
            let lock = place.data().join(".slipring/lock");
            fs::remove_file(&lock).unwrap();
            if is_replaced {
                fs::write(&lock, "somebody else").unwrap();
            }
            client.send(0, &vector(4, 3));
            let _answered = client.answer_or_end();
            let ended = if is_replaced {
                process.wait()
            } else {
                std::thread::sleep(Duration::from_millis(500));
                assert!(lock.exists());
                drop(client);
                process.stop()
            };
            if is_replaced {
                assert_eq!(ended.code, Some(1), "{ended:?}");
                assert!(ended.stdout.contains("removed or replaced"), "{ended:?}");
                assert_eq!(ended.total("vectors_left_open"), 3, "{ended:?}");
                assert!(part(&place).is_some() && data::ids(&place.data(), 4).is_empty());
            } else {
                assert_eq!((ended.code, ended.total("segments")), (Some(0), 1), "{ended:?}");
                assert!(ended.stderr.contains("locked again"), "{ended:?}");
            }
        }
    });
}

/// Vectors that come one by one are one batch once their segment is merged: while the service
/// works, and for what it left at its stop, when it works again.
#[test]
fn small_batches_are_merged() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let words = place.words("--commit-interval 1ms --columns time");
        let batches = || {
            let mut batches = Vec::new();
            let read = for_each_rows(&place.data(), |_, rows| batches.push(rows.sequences.len()));
            read.map(|_| batches)
        };
        let one_by_one = |process: &Process, ids: std::ops::Range<u32>| {
            let mut client = Client::count(&process.tcp(), 4);
            for id in ids {
                send(&mut client, id..id + 1);
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        let mut process = Process::start(serve(&words));
        one_by_one(&process, 0..30);
        process.signal(Signal::USR1);
        wait_until("it is merged", || batches().is_ok_and(|batches| batches == [30]));
        one_by_one(&process, 30..50);
        let ended = process.stop();
        assert_eq!((ended.code, ended.total("vectors_in_segments")), (Some(0), 50), "{ended:?}");
        assert!(batches().unwrap().len() > 2, "{:?}", batches());
        let mut process = Process::start(serve(&words));
        wait_until("it is merged", || batches().is_ok_and(|batches| batches == [30, 20]));
        assert_eq!(data::ids(&place.data(), 4), (0..50).collect::<Vec<_>>());
        let ended = process.stop();
        assert!(ended.code == Some(0) && !ended.stderr.contains("warn"), "{ended:?}");
    });
}
