//! Sustained progress. Hangs of sleeping and waking show only under load, so rings and pools are
//! tiny, every idle thread goes to sleep, and the IO thread sometimes pauses so that stages fall
//! asleep as well.
//!
//! There are two shapes of load: many small flushes (of one event) and few large ones (of 64
//! events). `SLIPRING_EVENTS` sets the number of events of all runs together. A run without
//! progress for a minute ends the process and prints the last statistics of the lane.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use slipring::machine::{CpuMask, PinPolicy};
use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View, Wait};
use slipring::ring::RingOptions;
use slipring_test_support::{Draw, Watch, check_payload, events, forbid_membarrier, patience};

use crate::lane_feed::{feed, pool};

/// The number of tests in this file, and the slots of the rings that each test uses.
const TESTS: u64 = 5;
const RINGS: [usize; 3] = [2, 16, 1024];
/// Refusals between two snapshots of the lane.
const SNAPSHOT: u64 = 16;

/// A lane over two chunks of 4 KiB, the smallest pool. The IO thread has one CPU, and the stages
/// share another.
fn start(slots: usize, wait: Wait) -> Started<u64> {
    let pool = RingOptions { pinned_chunks_max: None, ..pool(2) };
    let cpus = CpuMask::read().cpus().to_vec();
    let (io, stages) = (cpus[0], cpus[1 % cpus.len()]);
    let stage = |name| StageSpec::thread(name).wait(wait).cpu(stages).batch(16);
    LaneSpec::new(pool, slots)
        .wait(wait)
        .cpu(io, PinPolicy::Prefer)
        .layer([stage("left"), stage("right")])
        .layer([StageSpec::inline("middle").batch(16)])
        .layer([stage("last")])
        .start()
        .expect("a small lane")
}

fn run(slots: usize, wait: Wait, flush: u64) {
    let events = events(45_000) / TESTS / RINGS.len() as u64;
    let name = format!("{slots} slots, {wait:?}, flushes of {flush}");
    let (watch, dog) = Watch::start(name.clone());
    let mut started = start(slots, wait);
    let mut threads = Vec::new();
    for stage in started.stages {
        let watch = Arc::clone(&watch);
        let handler = move |view: View<'_, u64>| {
            check_payload(view.bytes(), *view.meta());
            watch.step();
            Outcome::Done
        };
        if stage.name() == "middle" {
            started.lane.attach(stage, handler).expect("it is inline");
        } else {
            threads.push(stage.spawn(handler).expect("a thread"));
        }
    }
    let mut draw = Draw::new(flush + slots as u64);
    let group = || {
        // About as long as a stage spins or yields before it sleeps.
        if draw.below(256) < flush.min(16) {
            let longest_us = if wait == Wait::Park { 100 } else { 2000 };
            thread::sleep(Duration::from_micros(draw.below(longest_us)));
        }
        flush
    };
    let mut refusals = 0;
    feed(&mut started.lane, events, group, |lane, full| {
        refusals += u64::from(full.is_some());
        if refusals % SNAPSHOT == 1 {
            let stats = lane.stats();
            assert!(stats.stages.iter().all(|stage| stage.wakes_lost == 0), "{name}: {stats:#?}");
            watch.saw(stats);
        }
        false
    });
    let stats = started.lane.stats();
    let report = started.lane.close(patience(60));
    assert!(report.is_drained() && report.published == events, "{name}: {report:?}");
    for thread in threads {
        let report = thread.join();
        assert_eq!((report.processed, report.error), (events, None), "{name}");
    }
    watch.end(dog);
    assert!(refusals > 0, "{name}: never full");
    assert!(stats.stages.iter().all(|stage| stage.wakes_lost == 0), "{name}: {stats:#?}");
}

#[test]
fn small_flushes_parked() {
    RINGS.iter().for_each(|&slots| run(slots, Wait::Park, 1));
}

#[test]
fn large_flushes_parked() {
    RINGS.iter().for_each(|&slots| run(slots, Wait::Park, 64));
}

#[test]
fn small_flushes_with_backoff() {
    RINGS.iter().for_each(|&slots| run(slots, Wait::Backoff, 1));
}

#[test]
fn large_flushes_with_backoff() {
    RINGS.iter().for_each(|&slots| run(slots, Wait::Backoff, 64));
}

/// Without the barrier both sides of the sleep protocol use fences.
#[test]
fn small_flushes_parked_without_membarrier() {
    forbid_membarrier();
    RINGS.iter().for_each(|&slots| run(slots, Wait::Park, 1));
}
