//! How it ends: drained, late, or at once.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::process::{Place, Process, serve};
use crate::support::{score, segments, vector, wait_until, within};

/// A client that doesn't read its answers can't be drained. What it was answered is in the segments all the same: the sink has its
/// own part of the deadline.
#[test]
fn a_client_that_never_reads_delays_the_end_and_costs_no_segment() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("--drain 2s --max-vectors 4096 --pool 8MiB")));
        let mut good = Client::count(&process.tcp(), 4);
        for id in 0..100 {
            good.send(0, &vector(4, id));
            assert_eq!(good.answer().scores, [score(4, id)]);
        }
        let mut deaf = Client::count(&process.tcp(), 4);
        let request = deaf.request(0, &vec![1.0; 4 * 4096]);
        // Its answers fill the socket's buffers and then the service's.
        let mut sent = 0;
        let mut last = std::time::Instant::now();
        wait_until("the service stops reading", || {
            let some = deaf.send_some(&request[sent % request.len()..]);
            if some > 0 {
                last = std::time::Instant::now();
            }
            sent += some;
            last.elapsed() > Duration::from_millis(300)
        });
        let ended = process.stop();
        assert_eq!((ended.code, ended.total("connections_left")), (Some(1), 1), "{ended:?}");
        assert!(!ended.stdout.contains("late"), "the sink had no time: {ended:?}");
        assert_eq!(ended.total("vectors_answered"), ended.total("vectors_in_segments"), "{ended:?}");
        let rows = segments::rows(&place.data(), 4).remove(&0).unwrap();
        assert_eq!(rows.len() as u64, ended.total("vectors_in_segments"));
        assert!((0..100).all(|id| rows[id as usize] == vector(4, id)));
    });
}

/// Whoever started it may have closed its ends of the pipes: that isn't the service's end.
#[test]
fn closed_output_is_no_failure() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("")));
        process.close_stdout();
        let mut client = Client::count(&process.tcp(), 4);
        client.send(0, &vector(4, 1));
        assert!(client.answer().is_ok());
        drop(client);
        process.signal(Signal::TERM);
        assert_eq!(process.wait().code, Some(0));
    });
}

/// A client that was answered in full and keeps its side open isn't owed anything.
#[test]
fn a_client_that_stays_is_no_failure() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("--drain 300ms")));
        let mut client = Client::count(&process.tcp(), 4);
        client.send(0, &vector(4, 1));
        assert!(client.answer().is_ok());
        let ended = process.stop();
        assert_eq!((ended.code, ended.total("vectors_in_segments")), (Some(0), 1), "{ended:?}");
    });
}
