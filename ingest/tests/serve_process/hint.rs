//! What a stop says about the pools' sizes: options that can be given again, and serve the same.

use std::time::Duration;

use slipring_test_support::within;

use crate::support::client::Client;
use crate::support::process::{Ended, Place, Process, serve};
use crate::support::vector;

/// A thousand small requests, one at a time, then a stop.
fn served(words: &str) -> Ended {
    let place = Place::new();
    let mut process = Process::start(serve(&place.words(words)));
    let mut client = Client::count(&process.tcp(), 4);
    for id in 0..1000 {
        client.send(0, &vector(4, id));
        assert!(client.answer().is_ok());
    }
    drop(client);
    let ended = process.stop();
    assert_eq!((ended.code, ended.total("vectors_in_segments")), (Some(0), 1000), "{ended:?}");
    ended
}

fn hint(ended: &Ended) -> &str {
    let line = ended.stdout.lines().find_map(|line| line.strip_prefix("lane 0: high water "));
    line.unwrap_or_else(|| panic!("no hint in {ended:?}"))
}

#[test]
fn the_hinted_options_serve_the_same() {
    within(Duration::from_secs(60), || {
        for policy in ["consume --slots 256", "overwrite --slots 256"] {
            let first = served(&format!("--pool 32MiB --reclaim {policy}"));
            let line = hint(&first);
            let (_, words) = line.split_once("; ").expect("a setting");
            let words = words.strip_suffix(" would have served").expect("a setting");
            assert!(
                line.contains(" of 32 MiB; ")
                    && words.starts_with("--pool ")
                    && words.contains(" --window "),
                "{line}"
            );
            assert!(!words.contains("--pool 32MiB"), "nearly all of it was never used: {line}");
            let again = served(&format!("{words} --reclaim {policy}"));
            assert!(!hint(&again).contains("full"), "{words}: {}", hint(&again));
        }
    });
}
