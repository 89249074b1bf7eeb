//! The commands beside a service that writes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slipring_test_support::{wait_until, within};

use crate::build::{log, verify};
use crate::support::client::Client;
use crate::support::process::{Place, Process, serve};
use crate::support::vector;

fn rows(place: &Place) -> Vec<u64> {
    let printed = log("cat --format csv", &place.data());
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let text = printed.text();
    text.lines().skip(1).map(|line| line.split_once(',').unwrap().0.parse().unwrap()).collect()
}

/// What was committed is written soon, without another row and without sealing.
#[test]
fn an_idle_live_segment_is_written_to_its_end() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("")));
        assert_eq!(rows(&place), [0; 0]);
        let mut client = Client::count(&process.tcp(), 4);
        for id in 0..5 {
            client.send(0, &vector(4, id));
            assert!(client.answer().is_ok());
        }
        wait_until("all are written", || rows(&place).len() == 5);
        assert_eq!(rows(&place), [0, 1, 2, 3, 4]);
        let listed = log("ls --json", &place.data()).lines();
        assert_eq!(
            (&listed[0]["state"], &listed[0]["durable_vectors"]),
            (&"live".into(), &5.into())
        );
        assert_eq!(verify(&place.data(), 0).sums()["vectors"], 5);
        drop(client);
        assert_eq!(process.stop().code, Some(0));
        assert_eq!(rows(&place), [0, 1, 2, 3, 4]);
    });
}

/// Segments are sealed, and records written, under the commands' eyes: nothing is an error, and
/// what is written is without a gap from the first sequence on.
#[test]
fn commands_beside_a_busy_service_find_no_errors() {
    within(Duration::from_secs(90), || {
        let place = Place::new();
        let more = "--segment-bytes 64KiB --commit-interval 5ms --in-flight 8";
        let mut process = Process::start(serve(&place.words(more)));
        let is_over = AtomicBool::new(false);
        let address = process.tcp();
        let sent = std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut client = Client::count(&address, 4);
                let mut sent = 0;
                while !is_over.load(Ordering::Relaxed) {
                    client.send(0, &vector(4, sent));
                    assert!(client.answer().is_ok());
                    sent += 1;
                }
                sent
            });
            let mut last = 0;
            for _ in 0..12 {
                let printed = verify(&place.data(), 0);
                assert_eq!(printed.sums()["gaps"], 0, "{printed:?}");
                let found = rows(&place);
                assert!(found.iter().copied().eq(0..found.len() as u64), "{found:?}");
                assert!(found.len() >= last, "rows that were written are gone");
                last = found.len();
                assert_eq!(log("ls", &place.data()).code, Some(0));
            }
            is_over.store(true, Ordering::Relaxed);
            load.join().unwrap()
        });
        assert_eq!(process.stop().code, Some(0));
        assert_eq!(verify(&place.data(), 0).sums()["vectors"], u64::from(sent));
    });
}
