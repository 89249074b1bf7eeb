//! Real disks that fill up, fail or lie: what was on the disk stays, and the service says what it
//! does. strace causes errors, where it is installed and may trace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, Signal};
use slipring_ingest::wire::frames::Status;
use slipring_test_support::{wait_until, within};

use crate::support::admin::samples;
use crate::support::client::Client;
use crate::support::data::{SmallDisk, on_small_disk};
use crate::support::process::{BINARY, Ended, Place, Process, refused, serve, words};
use crate::support::{data, vector};

/// A service whose system calls on its first live segment fail as these words of strace say. None
/// where there is no strace, or it may not trace.
fn failing(place: &Place, faults: &[&str], more: &str) -> Option<Process> {
    let part = place.data().join(".slipring/lane=0/seg-00000000000000000000.arrow.part");
    let strace = |program: &str| {
        let mut command = Command::new("strace");
        // The tracer isn't the parent, so that signals go to the service.
        command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64,fdatasync"]);
        for fault in faults {
            command.args(["-e", &format!("inject={fault}")]);
        }
        command.arg("-P").arg(&part).arg(program);
        command
    };
    if !strace("true").output().is_ok_and(|output| output.status.success()) {
        println!("no strace here, or it may not trace");
        return None;
    }
    let mut command = strace(BINARY);
    let words = place.words(&format!("--commit-interval 1ms --metrics 0 {more}"));
    command.arg("serve").args(words.split_whitespace());
    Some(Process::start(command))
}

/// Sends vectors, each of which gets a record and a sync of its own, and waits until the log has
/// dealt with each.
fn send(process: &Process, client: &mut Client, ids: std::ops::Range<u32>) {
    for id in ids {
        client.send(0, &vector(4, id));
        assert!(client.answer().is_ok());
        wait_until("a vector is on the disk, or lost", || durable(process) > f64::from(id));
    }
}

fn durable(process: &Process) -> f64 {
    samples(process)["slipring_log_durable_sequence{lane=\"0\"}"]
}

fn state(process: &Process, state: &str) -> bool {
    samples(process)[&format!("slipring_log_state{{lane=\"0\",state=\"{state}\"}}")] == 1.0
}

fn count(ended: &Ended, text: &str) -> usize {
    ended.stderr.matches(text).count()
}

/// A disk that fills up while the service runs, on both kinds: it is said once and shown, what came
/// waits, and everything is there in the end.
fn fills_up(disk: &SmallDisk) {
    disk.leave(400 << 10);
    let more = "--in-flight 64 --metrics 0 --segment-bytes 64KiB --commit-interval 1ms";
    let mut process = Process::start(serve(&words(disk.path(), more)));
    let mut client = Client::count(&process.tcp(), 4);
    let (mut sent, mut answered) = (0, 0);
    while !state(&process, "no-space") {
        client.send(0, &vector(4, sent));
        sent += 1;
        assert!(client.answer().is_ok());
        answered += 1;
    }
    assert!(samples(&process)["slipring_log_free_bytes"] < f64::from(400 << 10));
    // Some more, which wait in memory, however often the disk is tried.
    for _ in 0..20 {
        client.send(0, &vector(4, sent));
        sent += 1;
    }
    std::thread::sleep(Duration::from_millis(500));
    assert!(process.is_running() && !state(&process, "open"));
    disk.free();
    while answered < sent {
        assert!(client.answer().is_ok());
        answered += 1;
    }
    wait_until("it goes on", || state(&process, "open"));
    for _ in 0..100 {
        client.send(0, &vector(4, sent));
        sent += 1;
        assert!(client.answer().is_ok());
    }
    drop(client);
    let ended = process.stop();
    let totals = (ended.code, ended.total("vectors_in_segments"));
    assert_eq!(totals, (Some(0), u64::from(sent)), "{ended:?}");
    assert_eq!((count(&ended, "tries again"), count(&ended, "takes vectors again")), (1, 1));
    assert_eq!(data::ids(&disk.path().join("data"), 4), (0..sent).collect::<Vec<_>>());
}

#[test]
fn a_full_tmpfs_is_waited_for() {
    on_small_disk(8, fills_up);
}

#[test]
fn a_full_file_system_in_a_file_is_waited_for() {
    match SmallDisk::mount_file(16) {
        Ok(disk) => within(Duration::from_secs(90), move || fills_up(&disk)),
        Err(why) => println!("no ext4 in a file here: {why}"),
    }
}

/// Writes that are refused, for whatever cause, are tried again at the byte where they stopped.
#[test]
fn refused_writes_are_tried_again_and_nothing_is_lost() {
    within(Duration::from_secs(60), || {
        // The head of the segment is the first write.
        for (fault, said) in [
            ("pwrite64:error=EIO:when=3..5", "Input/output error"),
            ("pwrite64:error=ENOSPC:when=3", "free space on this disk"),
            ("pwrite64:error=EDQUOT:when=2..3", "free space on this disk"),
            ("pwrite64:error=ENOMEM:when=1", "Cannot allocate memory"),
            ("pwrite64:error=EINTR:when=2..9", ""),
        ] {
            let place = Place::new();
            let Some(mut process) = failing(&place, &[fault], "") else { return };
            let mut client = Client::count(&process.tcp(), 4);
            send(&process, &mut client, 0..6);
            drop(client);
            let ended = process.stop();
            assert_eq!(ended.code, Some(0), "{fault}: {ended:?}");
            let times = usize::from(!said.is_empty());
            assert_eq!(count(&ended, "tries again"), times, "{fault}: {ended:?}");
            assert_eq!(count(&ended, "takes vectors again"), times, "{fault}: {ended:?}");
            assert!(ended.stderr.contains(said), "{fault}: {ended:?}");
            assert_eq!(data::ids(&place.data(), 4), [0, 1, 2, 3, 4, 5], "{fault}");
        }
    });
}

/// A write that the system makes in part, because of a limit of file sizes here, goes on at the
/// byte where it stopped.
#[test]
fn a_short_write_goes_on_where_it_stopped() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("--commit-interval 1ms --metrics 0")));
        let mut client = Client::count(&process.tcp(), 4);
        send(&process, &mut client, 0..2);
        // The third record would begin behind the head and two others.
        let length = 3 * 4096 + 1000;
        process.limit(Resource::Fsize, Some(length));
        client.send(0, &vector(4, 2));
        assert!(client.answer().is_ok());
        wait_until("it is refused", || state(&process, "refusing"));
        let part = ".slipring/lane=0/seg-00000000000000000000.arrow.part";
        assert_eq!(fs::metadata(place.data().join(part)).unwrap().len(), length);
        process.limit(Resource::Fsize, None);
        wait_until("it goes on", || durable(&process) == 3.0);
        send(&process, &mut client, 3..5);
        drop(client);
        let ended = process.stop();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stderr.contains("raise the file size limit"), "{ended:?}");
        assert_eq!(data::ids(&place.data(), 4), [0, 1, 2, 3, 4]);
    });
}

/// A sync fails, and the bytes are there when they are read again: nothing is lost, later vectors
/// are in a new segment, and nothing more is written to the old one.
#[test]
fn a_failed_sync_ends_its_segment_and_the_service_can_go_on() {
    within(Duration::from_secs(60), || {
        for error in ["EIO", "ENOSPC", "EDQUOT"] {
            let place = Place::new();
            let fault = format!("fdatasync:error={error}:when=3");
            let more = "--on-disk-error continue";
            let Some(mut process) = failing(&place, &[&fault], more) else { return };
            let mut client = Client::count(&process.tcp(), 4);
            send(&process, &mut client, 0..5);
            drop(client);
            let ended = process.stop();
            assert_eq!(ended.code, Some(0), "{error}: {ended:?}");
            assert_eq!(count(&ended, "the disk failed while syncing"), 1, "{ended:?}");
            assert_eq!(count(&ended, "0 vectors of it are lost"), 1, "{ended:?}");
            assert_eq!(data::ids(&place.data(), 4), [0, 1, 2, 3, 4]);
            assert_eq!(names(&place.data()), [0, 3]);
        }
    });
}

/// The first sequences of the sealed segments.
fn names(data: &Path) -> Vec<u64> {
    let stems = data::files(data, 0).into_keys();
    stems.map(|path| path.file_stem().unwrap().to_str().unwrap()[4..].parse().unwrap()).collect()
}

/// A write that the disk only says it has made, and the sync that reports it: this vector is lost,
/// and is said to be. The service goes on, or drains and ends, as it was asked to.
#[test]
fn what_a_failed_sync_has_lost_is_said() {
    within(Duration::from_secs(60), || {
        let faults = ["pwrite64:retval=4096:when=4", "fdatasync:error=EIO:when=3"];
        for (asked, more) in [("continue", "--on-disk-error continue"), ("stop", "")] {
            let place = Place::new();
            let Some(mut process) = failing(&place, &faults, more) else { return };
            let mut client = Client::count(&process.tcp(), 4);
            send(&process, &mut client, 0..2);
            client.send(0, &vector(4, 2));
            assert!(client.answer().is_ok());
            let ended = if asked == "stop" {
                process.wait()
            } else {
                wait_until("the sync fails", || durable(&process) > 2.0);
                let lost = samples(&process)["slipring_log_lost_vectors_total{lane=\"0\"}"];
                assert_eq!(lost, 1.0);
                send(&process, &mut client, 3..5);
                drop(client);
                process.stop()
            };
            assert_eq!(ended.code, Some(1), "{asked}: {ended:?}");
            assert_eq!(count(&ended, "the disk failed while syncing"), 1, "{asked}: {ended:?}");
            assert_eq!(count(&ended, "; 1 vectors of it are lost"), 1, "{asked}: {ended:?}");
            assert!(ended.stdout.contains("missing: 1 answered vectors"), "{asked}: {ended:?}");
            let failed = ended.stdout.contains("failed: lane 0: the log: the disk failed");
            assert_eq!(failed, asked == "stop", "{ended:?}");
            let stored: &[u32] = if asked == "stop" { &[0, 1] } else { &[0, 1, 3, 4] };
            assert_eq!(data::ids(&place.data(), 4), stored);
        }
    });
}

/// The answers that wait for a sync that fails say so, if their vectors aren't on the disk. Those
/// before and behind it say `ok`, and are right.
#[test]
fn a_stored_answer_says_what_its_sync_has_lost() {
    within(Duration::from_secs(60), || {
        let faults = ["pwrite64:retval=4096:when=4", "fdatasync:error=EIO:when=3"];
        for (more, said, code) in [
            ("--on-disk-error continue", &[true, true, false, true, true][..], 0),
            ("", &[true, true, false], 1),
        ] {
            let place = Place::new();
            let more = format!("--ack stored {more}");
            let Some(mut process) = failing(&place, &faults, &more) else { return };
            let mut client = Client::header1(&process.tcp(), 4);
            let mut stored = Vec::new();
            for (id, is_ok) in said.iter().enumerate() {
                client.send(id as u64, &vector(4, id as u32));
                let expected = if *is_ok { Status::Ok } else { Status::Failed };
                assert_eq!(client.answer().status, Some(expected), "{id}");
                stored.extend(is_ok.then_some(id as u32));
            }
            drop(client);
            let ended = if code == 0 { process.stop() } else { process.wait() };
            assert_eq!(ended.code, Some(code), "{ended:?}");
            assert_eq!(count(&ended, "; 1 vectors of it are lost"), 1, "{ended:?}");
            assert_eq!(data::ids(&place.data(), 4), stored);
        }
    });
}

/// A full disk in header mode: what is accepted is stored once there is space, and the others are
/// refused on a connection that lives on.
#[test]
fn what_a_full_disk_refuses_is_not_stored_and_the_rest_is() {
    on_small_disk(8, |disk| {
        disk.leave(400 << 10);
        let more = "--ack stored --in-flight 64 --metrics 0 --segment-bytes 64KiB";
        let mut process = Process::start(serve(&words(disk.path(), more)));
        let mut client = Client::header1(&process.tcp(), 4);
        let (mut sent, mut answers) = (0, Vec::new());
        let mut send = |client: &mut Client| {
            client.send(sent, &vector(4, sent as u32));
            sent += 1;
            sent as usize
        };
        // The answer to what the disk has no room for waits.
        while !state(&process, "no-space") {
            let sent = send(&mut client);
            wait_until("an answer, or a full disk", || {
                answers.extend(client.take_answers());
                answers.len() == sent || state(&process, "no-space")
            });
        }
        for _ in 0..20 {
            send(&mut client);
        }
        std::thread::sleep(Duration::from_millis(300));
        disk.free();
        wait_until("it goes on", || state(&process, "open"));
        let sent = (0..10).map(|_| send(&mut client)).max().unwrap();
        wait_until("all answers", || {
            answers.extend(client.take_answers());
            answers.len() == sent
        });
        let (mut stored, mut refused) = (Vec::new(), 0);
        for answer in answers {
            match answer.status {
                Some(Status::Ok) => stored.push(answer.sequence as u32),
                Some(Status::NoSpace) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        drop(client);
        let ended = process.stop();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(refused > 0 && stored.len() > 10, "{refused} refused, {ended:?}");
        assert_eq!(data::ids(&disk.path().join("data"), 4), stored);
    });
}

/// The sync that belongs to the last sealing fails: what is on the disk is sealed all the same.
#[test]
fn a_failed_sync_of_a_segments_end_loses_nothing() {
    within(Duration::from_secs(60), || {
        for (more, code) in [("--on-disk-error continue", 0), ("", 1)] {
            let place = Place::new();
            let fault = "fdatasync:error=EIO:when=4";
            let Some(mut process) = failing(&place, &[fault], more) else { return };
            let mut client = Client::count(&process.tcp(), 4);
            send(&process, &mut client, 0..3);
            drop(client);
            let ended = process.stop();
            assert_eq!(ended.code, Some(code), "{ended:?}");
            assert_eq!(count(&ended, "0 vectors of it are lost"), 1, "{ended:?}");
            assert_eq!(ended.total("vectors_in_segments"), 3, "{ended:?}");
            assert_eq!(data::ids(&place.data(), 4), [0, 1, 2]);
        }
    });
}

/// A service that was killed with these vectors on its disk, and its live segment.
fn killed(place: &Place, vectors: u32) -> PathBuf {
    let mut process = Process::start(serve(&place.words("--commit-interval 1ms --metrics 0")));
    let mut client = Client::count(&process.tcp(), 4);
    send(&process, &mut client, 0..vectors);
    process.signal(Signal::KILL);
    assert_eq!(process.wait().code, None);
    place.data().join(".slipring/lane=0/seg-00000000000000000000.arrow.part")
}

/// Bits of a live segment flip while the service doesn't run. It starts, keeps what is damaged, and
/// has every other vector.
#[test]
fn flipped_bits_cost_their_record_alone() {
    within(Duration::from_secs(90), || {
        const VECTORS: u32 = 5;
        // The head is the first block, and each record has one.
        for (at, lost) in
            [(200, None), (4096 + 4, Some(0)), (2 * 4096 + 700, Some(1)), (4 * 4096 + 90, Some(3))]
        {
            let place = Place::new();
            let part = killed(&place, VECTORS);
            let mut bytes = fs::read(&part).unwrap();
            assert_eq!(bytes.len(), 4096 * (VECTORS as usize + 1));
            bytes[at] ^= 0x10;
            fs::write(&part, &bytes).unwrap();
            let ended = Process::start(serve(&place.words(""))).stop();
            assert_eq!(ended.code, Some(0), "{at}: {ended:?}");
            assert!(ended.stderr.contains("is damaged at byte"), "{at}: {ended:?}");
            let kept = part.with_extension("bad");
            assert!(ended.stderr.contains(kept.to_str().unwrap()), "{at}: {ended:?}");
            assert!(fs::read(&kept).unwrap() == bytes, "{at}");
            let stored: Vec<u32> = (0..VECTORS).filter(|id| Some(*id) != lost).collect();
            assert_eq!(data::ids(&place.data(), 4), stored, "{at}");
        }
    });
}

/// Writes this format into a segment's footer, where it has four digits.
fn set_format(path: &Path, format: u8) {
    let mut bytes = fs::read(path).unwrap();
    let is_format = |found: &[u8]| found.starts_with(b"\x04\x00\x00\x00000");
    let at = bytes.windows(8).rposition(is_format).expect("a format");
    bytes[at + 7] = b'0' + format;
    fs::write(path, bytes).unwrap();
}

/// A folder of a later version, or of other vectors, is refused by name, and nothing in it changes.
#[test]
fn folders_of_later_versions_and_of_other_vectors_are_refused() {
    within(Duration::from_secs(90), || {
        for (name, text, names) in [
            ("lane=0/next", r#"{"clean": true, "crc": "", "format": 2, "next": 3}"#, "format 2"),
            ("record.json", r#"{"columns": [], "dim": 4, "format": 3}"#, "format is 3"),
        ] {
            let place = Place::new();
            let part = killed(&place, 3);
            let path = place.data().join(".slipring").join(name);
            fs::write(&path, text).unwrap();
            let before = fs::read(&part).unwrap();
            refused(serve(&place.words("")), 1, &[path.to_str().unwrap(), names]);
            assert!(
                fs::read(part).unwrap() == before && fs::read(path).unwrap() == text.as_bytes()
            );
        }
        // Without its record the folder is what its segments are.
        let place = Place::new();
        killed(&place, 3);
        assert_eq!(Process::start(serve(&place.words(""))).stop().code, Some(0));
        let record = place.data().join(".slipring/record.json");
        fs::remove_file(&record).unwrap();
        let name = "seg-00000000000000000000.arrow";
        refused(serve(&place.words("--dim 5")), 1, &[name, "dimension 4, not 5", "--dim 4"]);
        refused(serve(&place.words("--columns time")), 1, &[name, "leave --columns out"]);
        assert!(!record.exists(), "a refused start has recorded something");
        let sealed = place.data().join("lane=0").join(name);
        set_format(&sealed, 2);
        let names = [name, "format 2", "formats up to 1", "start the version that wrote it"];
        refused(serve(&place.words("")), 1, &names);
        set_format(&sealed, 1);
        assert_eq!(Process::start(serve(&place.words(""))).stop().code, Some(0));
    });
}

/// A folder on a file system that is read-only is refused at the start, and the folder is named.
#[test]
fn a_folder_that_cant_be_written_is_refused() {
    let place = Place::new();
    let (above, words) = (place.folder.path().display().to_string(), place.words(""));
    let script = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && echo mounted >&2 &&
        exec "$@""#;
    let read_only = move || {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script, &above, BINARY, "serve"]);
        command.args(words.split_whitespace());
        command
    };
    let is_mounted =
        |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).contains("mounted");
    if !read_only().arg("--help").output().is_ok_and(|output| is_mounted(&output)) {
        return println!("no read-only folder here");
    }
    within(Duration::from_secs(60), move || {
        let data = place.data().display().to_string();
        refused(read_only(), 1, &["--data", &data, "mounted read-only: name another folder"]);
        assert!(!place.data().exists());
        killed(&place, 3);
        refused(read_only(), 1, &["--data", &data, "mounted read-only: name another folder"]);
        assert_eq!(Process::start(serve(&place.words(""))).stop().code, Some(0));
        assert_eq!(data::ids(&place.data(), 4), [0, 1, 2]);
    });
}
