//! Events flow: inline, on threads, in layers, past full and past the end.

use std::time::Duration;

use super::super::{Outcome, Stage, StageSpec, View};
use super::start;
use crate::ring::Full;

fn fill(lane: &mut super::super::Lane<u64>, number: u64) -> Result<(), Full> {
    let len = 8 + (number as usize * 37) % 900;
    let mut grant = lane.reserve(len)?;
    grant.fill(number as u8);
    grant[..8].copy_from_slice(&number.to_le_bytes());
    let slice = grant.commit_all();
    lane.stage(slice, number).map(drop).map_err(|refused| match refused.why {
        super::super::StageRefusal::Full(full) => full,
        other => panic!("{other}"),
    })
}

fn check(view: View<'_, u64>) -> Outcome {
    let number = *view.meta();
    assert_eq!(view.bytes()[..8], number.to_le_bytes());
    assert!(view.bytes()[8..].iter().all(|&byte| byte == number as u8));
    assert_eq!(view.sequence(), number as i64);
    Outcome::Done
}

fn run(layers: Vec<Vec<StageSpec>>, events: u64) {
    let names: Vec<(String, bool)> = Vec::new();
    drop(names);
    let mut started = start(16, layers);
    let mut threads = Vec::new();
    for stage in started.stages {
        match Stage::spawn(stage, check) {
            Ok(thread) => threads.push(thread),
            Err(super::super::SpawnError::Placement(back)) => started.lane.attach(back.0, check).expect("inline"),
            Err(other) => panic!("{other}"),
        }
    }
    let mut next = 0;
    while next < events {
        match fill(&mut started.lane, next) {
            Ok(()) => next += 1,
            Err(Full::Ring { .. } | Full::Pool { .. }) => {
                started.lane.flush();
                if started.lane.poll().is_idle() {
                    started.lane.wait(true, Duration::from_secs(5));
                }
            }
            Err(other) => panic!("{other}"),
        }
        if next % 5 == 0 {
            started.lane.flush();
        }
    }
    let stats = started.lane.stats();
    assert!(stats.slots == 16 && stats.slots_in_use <= 16);
    let report = started.lane.close(Duration::from_secs(60));
    assert!(report.is_drained() && report.published == events, "{report:?}");
    for thread in threads {
        let report = thread.join();
        assert_eq!((report.processed, report.error), (events, None));
    }
}

#[test]
fn inline_stages_in_two_layers() {
    run(vec![vec![StageSpec::inline("a"), StageSpec::inline("b").batch(3)], vec![StageSpec::inline("c")]], 2000);
}

#[test]
fn threads_in_a_diamond() {
    let diamond = vec![
        vec![StageSpec::thread("a")],
        vec![StageSpec::thread("b"), StageSpec::inline("c")],
        vec![StageSpec::thread("d")],
    ];
    run(diamond, if cfg!(miri) { 60 } else { 20_000 });
}

#[test]
fn parked_threads() {
    let park = |name| StageSpec::thread(name).wait(super::super::Wait::Park);
    run(vec![vec![park("a")], vec![park("b")]], if cfg!(miri) { 60 } else { 20_000 });
}
