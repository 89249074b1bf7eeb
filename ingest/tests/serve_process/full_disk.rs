//! A disk that is full: back-pressure, no loss, an end by the deadline.
//!
//! The disk is a tmpfs of 1 MiB, where mounting is allowed; the file size limit, which needs no right, runs everywhere.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::disk::SmallDisk;
use crate::support::process::{Process, serve, serve_in_shell, words};
use crate::support::{segments, vector, wait_until, within};

/// Runs `test` on a small disk, or says why the limit's test has to do.
fn on_small_disk(test: impl FnOnce(SmallDisk) + Send + 'static) {
    match SmallDisk::mount() {
        Ok(disk) => within(Duration::from_secs(90), || test(disk)),
        Err(why) => println!("no tmpfs here ({why}); only the file size limit was tested"),
    }
}

/// Sends single vectors until the service stops reading, and counts the answers; returns how many were sent.
fn send_until_stopped(client: &mut Client) -> u32 {
    let (mut sent, mut last, mut rest) = (0, Instant::now(), Vec::new());
    let until = Instant::now() + Duration::from_secs(30);
    while last.elapsed() < Duration::from_millis(500) {
        assert!(Instant::now() < until, "{sent} requests, and the service still reads");
        if rest.is_empty() {
            rest = client.request(0, &vector(4, sent));
            sent += 1;
        }
        let some = client.send_some(&rest);
        rest.drain(..some);
        if some > 0 {
            last = Instant::now();
        }
        client.take_answers();
    }
    if rest.len() == client.request(0, &vector(4, 0)).len() { sent - 1 } else { sent }
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
        let (answered, stored) = (ended.total("vectors_answered"), ended.total("vectors_in_segments"));
        assert!(ended.code == Some(1) && answered > stored, "{ended:?}");
        let missing = format!("missing: {} answered vectors", answered - stored);
        assert!(ended.stdout.contains(&missing) && ended.stderr.contains("free space on this disk"), "{ended:?}");
        assert_eq!(segments::ids(&disk.path().join("data"), 4).len() as u64, stored);
    });
}
