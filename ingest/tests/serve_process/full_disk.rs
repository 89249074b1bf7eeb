//! A disk that is full: back-pressure, no loss, an end by the deadline.
//!
//! The disk is a tmpfs of 8 MiB, where mounting is allowed; the file size limit, which needs no
//! right, runs everywhere.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Signal};
use slipring_test_support::within;

use crate::support::client::{Address, Client};
use crate::support::disk::SmallDisk;
use crate::support::process::{BINARY, Process, serve, serve_in_shell, words};
use crate::support::{folder, segments, vector};

/// Runs `test` on a small disk, or says why the limit's test has to do.
fn on_small_disk(test: impl FnOnce(SmallDisk) + Send + 'static) {
    match SmallDisk::mount() {
        Ok(disk) => within(Duration::from_secs(90), || test(disk)),
        Err(why) => println!("no tmpfs here ({why}); only the file size limit was tested"),
    }
}

/// Sends single vectors until the service stops reading. How many requests that were, and the bytes
/// of the last one that it didn't take.
fn send_until_stopped(client: &mut Client) -> (u32, Vec<u8>) {
    let (mut sent, mut last, mut rest) = (0, Instant::now(), Vec::new());
    let until = Instant::now() + Duration::from_secs(30);
    while last.elapsed() < Duration::from_secs(1) {
        assert!(Instant::now() < until, "{sent} requests, and the service still reads");
        while rest.len() < 4096 {
            rest.extend(client.request(0, &vector(4, sent)));
            sent += 1;
        }
        let some = client.send_some(&rest);
        rest.drain(..some);
        if some > 0 {
            last = Instant::now();
        }
        assert!(client.take_answers().iter().all(|answer| answer.is_ok()));
    }
    (sent, rest)
}

/// The disk stays full: what is missing is said, what was written is whole.
#[test]
fn a_disk_that_stays_full_ends_with_the_number() {
    on_small_disk(|disk| {
        disk.leave(200 << 10);
        let mut process = Process::start(serve(&words(disk.path(), "--drain 1s --in-flight 64")));
        let mut client = Client::count(&process.tcp(), 4);
        send_until_stopped(&mut client);
        let ended = process.stop();
        let (answered, stored) =
            (ended.total("vectors_answered"), ended.total("vectors_in_segments"));
        assert!(ended.code == Some(1) && answered > stored, "{ended:?}");
        let missing = format!("missing: {} answered vectors", answered - stored);
        assert!(
            ended.stdout.contains(&missing) && ended.stderr.contains("free space on this disk"),
            "{ended:?}"
        );
        assert_eq!(segments::ids(&disk.path().join("data"), 4).len() as u64, stored);
    });
}

/// Rows that lie in the sink's memory when the disk fills: the last segment can't even be created.
#[test]
fn a_disk_that_is_full_at_the_end_ends_with_the_number() {
    on_small_disk(|disk| {
        let mut process = Process::start(serve(&words(disk.path(), "--drain 500ms")));
        let mut client = Client::count(&process.tcp(), 4);
        for id in 0..7 {
            client.send(0, &vector(4, id));
            assert!(client.answer().is_ok());
        }
        disk.leave(0);
        let ended = process.stop();
        assert!(
            ended.code == Some(1) && ended.stdout.contains("missing: 7 answered vectors"),
            "{ended:?}"
        );
    });
}

/// Space comes back while it serves: everything goes on, in order. Nobody reads its complaints, and
/// that is no failure either.
#[test]
fn a_disk_with_space_again_loses_nothing() {
    on_small_disk(|disk| {
        disk.leave(200 << 10);
        // A Unix socket's buffers don't grow, so that all that is sent fits the disk.
        let folder = folder();
        let socket = folder.path().join("socket");
        let more = format!("--in-flight 64 --unix {}", socket.display());
        let mut process = Process::start_unheard(serve(&words(disk.path(), &more)));
        let mut client = Client::count(&Address::Unix(socket), 4);
        let (mut sent, rest) = send_until_stopped(&mut client);
        disk.free();
        client.send_bytes(&rest);
        for _ in 0..100 {
            client.send(0, &vector(4, sent));
            sent += 1;
        }
        client.end_sending();
        while client.answer_or_end().is_some_and(|answer| answer.is_ok()) {}
        let ended = process.stop();
        assert_eq!(
            (ended.code, ended.total("vectors_in_segments")),
            (Some(0), u64::from(sent)),
            "{ended:?}"
        );
        assert_eq!(segments::ids(&disk.path().join("data"), 4), (0..sent).collect::<Vec<_>>());
    });
}

/// Space comes back while it drains, later than a sink would be patient by itself.
#[test]
fn a_disk_with_space_again_in_time_is_a_clean_stop() {
    on_small_disk(|disk| {
        let mut process = Process::start(serve(&words(disk.path(), "--drain 20s")));
        let mut client = Client::count(&process.tcp(), 4);
        for id in 0..7 {
            client.send(0, &vector(4, id));
            assert!(client.answer().is_ok());
        }
        disk.leave(0);
        process.signal(Signal::TERM);
        std::thread::sleep(Duration::from_millis(5500));
        assert!(process.is_running(), "{:?}", process.wait());
        disk.free();
        let ended = process.wait();
        assert_eq!((ended.code, ended.total("vectors_in_segments")), (Some(0), 7), "{ended:?}");
        assert_eq!(segments::ids(&disk.path().join("data"), 4), (0..7).collect::<Vec<_>>());
    });
}

/// A limit of file sizes refuses as a full disk does; it doesn't kill.
#[test]
fn a_file_size_limit_stops_reading_until_it_is_raised() {
    within(Duration::from_secs(90), || {
        let folder = folder();
        let words = words(folder.path(), "--in-flight 64");
        let mut process = Process::start(serve_in_shell("ulimit -S -f 100", &words));
        let mut client = Client::count(&process.tcp(), 4);
        let (sent, rest) = send_until_stopped(&mut client);
        assert!(process.is_running(), "{:?}", process.wait());
        process.limit(Resource::Fsize, None);
        client.send_bytes(&rest);
        client.end_sending();
        while client.answer_or_end().is_some_and(|answer| answer.is_ok()) {}
        let ended = process.stop();
        assert_eq!(
            (ended.code, ended.total("vectors_in_segments")),
            (Some(0), u64::from(sent)),
            "{ended:?}"
        );
        assert!(ended.stderr.contains("raise the file size limit"), "{ended:?}");
        assert_eq!(segments::ids(&folder.path().join("data"), 4), (0..sent).collect::<Vec<_>>());
    });
}

/// A disk that fails, not one that is full: a failed sync can't be repaired by asking again. The
/// service ends by itself and says what is missing. The failure comes from strace, where that is
/// there and may trace.
#[test]
fn a_disk_that_fails_ends_the_service() {
    let strace = |more: &[&str]| {
        let mut command = Command::new("strace");
        command
            .args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=fdatasync",
                "-e",
                "inject=fdatasync:error=EIO",
            ])
            .args(more);
        command
    };
    if !strace(&["true"]).output().is_ok_and(|output| output.status.success()) {
        return println!("no strace here, or it may not trace");
    }
    within(Duration::from_secs(60), move || {
        let folder = folder();
        let mut command = strace(&[BINARY, "serve"]);
        command.args(words(folder.path(), "--segment-bytes 1").split(' '));
        let mut process = Process::start(command);
        let mut client = Client::count(&process.tcp(), 4);
        // More than a batch of rows, so that a segment has to be completed.
        let request = client.request(0, &vector(4, 1).repeat(64));
        for _ in 0..300 {
            if client.try_send_bytes(&request).is_err() {
                break;
            }
        }
        let ended = process.wait();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let said = ["failed: lane 0", "sync", "answered vectors aren't in a segment"];
        assert!(said.iter().all(|words| ended.stdout.contains(words)), "{ended:?}");
        assert!(
            !ended.stdout.contains("late: "),
            "it waited for a stage that nobody polls: {ended:?}"
        );
    });
}
