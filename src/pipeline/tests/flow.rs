//! Events flow: inline, on threads, in layers, past full and to the end.

use std::sync::Arc;
use std::time::Duration;

use super::{
    LONG, Outcome, Polled, StageSpec, View, by_hand, done, parked, polled, publish, push_number,
    start, state,
};
use crate::pipeline::{Refused, SpawnError, Wait};
use crate::ring::Full;

fn run(layers: Vec<Vec<StageSpec>>, events: u64) {
    let mut started = start(16, layers);
    let shared = Arc::clone(&started.lane.ring.shared);
    let mut threads = Vec::new();
    for stage in started.stages {
        match stage.spawn(done) {
            Ok(thread) => threads.push(thread),
            Err(SpawnError::Placement(back)) => started.lane.attach(back.0, done).expect("inline"),
            Err(error) => panic!("{error}"),
        }
    }
    let mut next = 0;
    while next < events {
        match push_number(&mut started.lane, next) {
            Ok(_) => next += 1,
            Err(Refused::Ring { .. } | Refused::Pool(Full::Pool { .. })) => {
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
    let report = started.lane.close(LONG);
    assert!(report.is_drained() && report.published == events, "{report:?}");
    for thread in threads {
        let report = thread.join();
        assert_eq!((report.processed, report.error), (events, None));
    }
    super::assert_no_wake_lost(&shared);
}

const MANY: u64 = if cfg!(miri) { 30 } else { 20_000 };

#[test]
fn inline_stages_in_two_layers() {
    let first = vec![StageSpec::inline("a"), StageSpec::inline("b").batch(3)];
    run(vec![first, vec![StageSpec::inline("c")]], if cfg!(miri) { 60 } else { 2000 });
}

#[test]
fn threads_in_a_diamond() {
    let middle = vec![StageSpec::thread("b"), StageSpec::inline("c")];
    run(vec![vec![StageSpec::thread("a")], middle, vec![StageSpec::thread("d")]], MANY);
}

#[test]
fn parked_threads() {
    run(vec![vec![parked("a")], vec![parked("b")]], MANY);
}

#[test]
fn a_spinning_thread() {
    run(vec![vec![StageSpec::thread("a").wait(Wait::Spin).batch(1)]], MANY);
}

#[test]
fn a_batch_is_never_larger_than_its_limit() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, 0..8);
    assert_eq!(stage.poll(3, done), Ok(Polled::Advanced(3)));
    assert_eq!((stage.released(), stage.poll(100, done)), (2, Ok(Polled::Advanced(5))));
    assert_eq!(polled(&mut stage), Polled::Idle);

    let mut started = start(8, vec![vec![StageSpec::inline("a").batch(2)]]);
    started.lane.attach(started.stages.remove("a").unwrap(), done).unwrap();
    publish(&mut started.lane, 0..5);
    let batches: Vec<usize> = (0..4).map(|_| started.lane.poll().processed).collect();
    assert_eq!(batches, [2, 2, 1, 0]);
}

#[test]
fn a_ring_of_two_slots_works_for_many_laps() {
    let mut started = start(2, vec![vec![StageSpec::inline("a")]]);
    let mut stage = started.stages.remove("a").unwrap();
    for lap in 0..50 {
        publish(&mut started.lane, [2 * lap, 2 * lap + 1]);
        assert_eq!(push_number(&mut started.lane, 9), Err(Refused::Ring { slots: 2 }));
        assert_eq!(polled(&mut stage), Polled::Advanced(2));
    }
    assert_eq!((started.lane.reclaim(), started.lane.free_slots()), (2, 2));
    assert_eq!(state(&started.lane.ring.shared, "a").progress(), 99);
}

#[test]
fn an_event_without_a_slice_has_no_bytes_and_pins_nothing() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    assert_eq!(lane.push_empty(7).unwrap(), 0);
    lane.flush();
    let held = stage.read(1).unwrap().unwrap();
    let handle = held.views().next().unwrap().retain().unwrap();
    assert!(handle.is_empty() && handle.clone().is_empty());
    assert_eq!(
        lane.stats().pool.pinned_chunks,
        0,
        "the slot protects no chunk that could be pinned"
    );
    stage.release(held).unwrap();
    let seen = |view: View<'_, u64>| panic!("{view:?} was released");
    assert_eq!(stage.poll(1, seen), Ok(Polled::Idle));
}

#[test]
fn rows_are_seen_where_they_were_written() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    let mut grant = lane.reserve(24).unwrap();
    for (bytes, value) in grant.chunks_exact_mut(4).zip(1u8..) {
        bytes.copy_from_slice(&f32::from(value).to_ne_bytes());
    }
    let slice = grant.commit_all();
    let written = slice.as_ptr();
    lane.publish(slice, 0).unwrap();
    let sum = stage.poll(1, |view| {
        assert_eq!(view.bytes().as_ptr(), written, "nothing was copied");
        let rows = view.rows(3).unwrap();
        assert_eq!(rows.iter().map(|row| row.iter().sum::<f32>()).collect::<Vec<_>>(), [6.0, 15.0]);
        Outcome::Done
    });
    assert_eq!(sum, Ok(Polled::Advanced(1)));
}

/// A claim is published directly into the ring, alone or after what is pushed.
#[test]
fn what_is_published_alone_stays_in_order() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    let mut expected = 0u64;
    for pushed_before in [0, 1, 3, 0, 2] {
        for at in 0..pushed_before {
            push_number(&mut lane, expected + at).unwrap();
        }
        let number = expected + pushed_before;
        let mut claim = lane.claim(8 + (number as usize * 37) % 900).unwrap();
        claim.fill(number as u8);
        claim[..8].copy_from_slice(&number.to_le_bytes());
        assert_eq!(claim.publish(number), number as i64);
        // `done` compares each event with what was pushed under its sequence.
        assert_eq!(polled(&mut stage), Polled::Advanced(pushed_before as usize + 1));
        assert!(lane.poll().reclaimed > 0 && lane.free_slots() == lane.stats().slots);
        expected = number + 1;
    }
}

#[test]
fn a_batch_without_a_limit_is_all_there_is() {
    for batch in [usize::MAX, 1 << 63, isize::MAX as usize] {
        let mut started = start(8, vec![vec![StageSpec::inline("a").batch(batch)]]);
        started.lane.attach(started.stages.remove("a").unwrap(), done).unwrap();
        publish(&mut started.lane, 0..5);
        assert_eq!(started.lane.poll().processed, 5);
    }
}
