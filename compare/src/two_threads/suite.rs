//! The suite that every contender on two threads runs, at sizes where ring and pool are full all
//! the time; and readers that end too early.

use super::case::Case;
use super::harness::{Setting, measure};
use super::run::contenders;
use crate::measure::Rounds;
use crate::threads::Cpus;

const ROUNDS: Rounds = Rounds { repeats: 1, ops: 3000, verified_ops: 3000 };

/// On a machine of one CPU both share it: slow, and as correct.
fn cpus() -> Cpus {
    Cpus::pick().unwrap_or_else(|_| Cpus::one())
}

#[test]
fn the_reader_gets_every_payload_of_every_contender() {
    // Pools that wrap within a few laps of a ring that is always full; an odd stride, and 8 bytes
    // alone.
    for (payload_bytes, batch) in [(520, 1), (520, 7), (520, 64), (8, 1), (8, 64)] {
        let case = Case { payload_bytes, batch, pool_bytes: 128 << 10, slots: 64 };
        let timings = measure(&case, cpus(), &contenders(false), &ROUNDS).unwrap();
        assert!(timings.iter().all(|timing| timing.ns_per_op.len() == 1 && timing.min_ns() > 0.0));
    }
}

#[test]
fn names_are_those_that_others_rely_on() {
    let names = |quick| contenders(quick).iter().map(|runner| runner.name).collect::<Vec<_>>();
    assert_eq!(names(true), ["slipring", "arc-ring", "rtrb"]);
    let ours =
        ["slipring", "slipring-overwrite", "slipring-slices", "arc-ring", "arc-ring-patient"];
    let chunks = ["rtrb", "crossbeam", "std-mpsc", "flume", "kanal"];
    assert_eq!(
        names(false),
        [&ours[..], &chunks, &chunks.map(|name| format!("{name}-vec").leak() as &str)].concat()
    );
}

#[test]
fn a_dead_reader_is_an_error_of_every_contender() {
    // The reader panics over payloads that don't hold their number.
    let case = Case { payload_bytes: 4, batch: 1, pool_bytes: 128 << 10, slots: 64 };
    for runner in contenders(false) {
        let name = runner.name;
        let failure = measure(&case, cpus(), &[runner], &ROUNDS).err().unwrap_or_default();
        assert!(failure.starts_with(&format!("{name}: ")), "{name}: {failure}");
        let why = ["gone after 0", "stage `read`", "reader 0, which was dropped"];
        assert!(why.iter().any(|why| failure.contains(why)), "{failure}");
    }
}

#[test]
fn a_pool_smaller_than_the_ring_is_an_error_where_it_must_be() {
    let case = Case { payload_bytes: 512, batch: 1, pool_bytes: 64 << 10, slots: 4096 };
    for runner in contenders(false) {
        let outcome = (runner.verify)(&Setting { case, cpus: cpus() }, 20_000);
        match runner.name {
            "arc-ring" | "arc-ring-patient" => {
                assert!(outcome.is_err_and(|error| error.contains("smaller than a ring")))
            }
            "slipring-overwrite" | "slipring-slices" => {
                assert!(outcome.is_err_and(|error| error.contains("pool.bytes")))
            }
            // A contender that releases as it reads waits for its reader.
            name => assert_eq!(outcome, Ok(()), "{name}"),
        }
    }
}
