//! Statistics on another thread, and waiting for room.

use std::thread;
use std::time::Duration;

use super::{
    LONG, Outcome, Polled, by_hand, done, parked, polled, publish, push_number, start, state,
};
use crate::pipeline::{PanicPolicy, Refused};
use crate::ring::Full;

#[test]
fn another_thread_reads_what_the_owner_knows() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    let watch = lane.watch();
    publish(&mut lane, 0..3);
    assert_eq!(polled(&mut stage), Polled::Advanced(3));
    // The stages' figures are read immediately, the owner's are those that were published last.
    let early = watch.stats(Duration::ZERO).unwrap();
    assert_eq!((early.stages[0].released, early.published), (2, 0));
    assert_eq!(lane.poll().reclaimed, 3);
    assert_eq!(watch.stats(Duration::ZERO).unwrap(), lane.stats(), "the round has published them");
    // Answers the last request. From here on only the reader requests figures.
    lane.poll();
    let reader = thread::spawn(move || (watch.stats(LONG).unwrap(), watch));
    while !lane.ring.shared.figures.are_requested() {
        // Asleep until the reader wakes it.
        lane.wait(false, LONG);
    }
    lane.poll();
    let (stats, watch) = reader.join().unwrap();
    assert_eq!((stats.published, stats.reclaimed, stats.pool.released), (3, 3, 2));
    push_number(&mut lane, 3).unwrap();
    drop(lane);
    let last = watch.stats(LONG).unwrap();
    assert_eq!(
        (last.published, last.slots_in_use),
        (4, 1),
        "a lane that ends publishes its figures once more"
    );
    drop(stage);
    assert_eq!(watch.stats(LONG), None, "it holds nothing alive");
}

#[test]
fn waiting_for_room_ends_with_room_or_with_the_reason() {
    let mut started = start(8, vec![vec![parked("slow")]]);
    let slow = started.stages.remove("slow").unwrap().spawn(done).unwrap();
    let events = if cfg!(miri) { 40 } else { 1000 };
    for number in 0..events {
        started.lane.wait_for_room(908, LONG).unwrap();
        push_number(&mut started.lane, number).expect("there is room");
    }
    assert_eq!(
        started.lane.wait_for_room(1025, LONG),
        Err(Refused::Pool(Full::TooLarge { asked_bytes: 1025, max_slice_bytes: 1024 }))
    );
    assert!(started.lane.close(LONG).is_drained());
    assert_eq!(slow.join().processed, events);

    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, 0..8);
    assert_eq!(lane.wait_for_room(1, Duration::from_millis(1)), Err(Refused::Ring { slots: 8 }));
    drop(stage.poll(1, |_| Outcome::Fail("by design".to_owned())));
    assert_eq!(lane.wait_for_room(1, LONG), Err(Refused::Poisoned(0)));
    lane.begin_close();
    assert_eq!(lane.wait_for_room(1, LONG), Err(Refused::Poisoned(0)));
}

/// What README does while the lane is full, after a stage that fails: it ends, under every policy.
#[test]
fn waiting_for_room_after_a_failed_stage_ends() {
    for policy in [PanicPolicy::Poison, PanicPolicy::Detach] {
        let (mut lane, [stage]) = by_hand(|spec| spec.on_panic(policy), ["a"]);
        lane.attach(stage, |view| {
            if *view.meta() == 3 { Outcome::Fail("by design".to_owned()) } else { done(view) }
        })
        .unwrap();
        let refused = (0..100).find_map(|number| {
            lane.wait_for_room(908, LONG).and_then(|()| push_number(&mut lane, number)).err()
        });
        let expected =
            if policy == PanicPolicy::Poison { Some(Refused::Poisoned(0)) } else { None };
        assert_eq!(refused, expected);
        assert_eq!(state(&lane.ring.shared, "a").processed(), 3);
    }
}

#[test]
fn a_lane_that_ends_publishes_its_last_figures_beside_readers() {
    for _ in 0..if cfg!(miri) { 3 } else { 200 } {
        let (mut lane, [_stage]) = by_hand(|spec| spec, ["a"]);
        let watch = lane.watch();
        let readers = [watch.clone(), watch.clone()].map(|watch| {
            thread::spawn(move || (0..20).for_each(|_| drop(watch.stats(Duration::ZERO))))
        });
        publish(&mut lane, 0..5);
        drop(lane);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        let last = watch.stats(Duration::ZERO).unwrap();
        assert_eq!((last.published, last.slots_in_use), (5, 5));
    }
}

#[test]
fn waiting_for_room_is_one_refusal() {
    let (mut lane, [_stage]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, 0..8);
    assert_eq!(lane.wait_for_room(8, Duration::from_millis(30)), Err(Refused::Ring { slots: 8 }));
    assert_eq!(lane.stats().refused_ring, 1);
}

/// A full disk in an attached sink: the lane looks again after a nap, and not as fast as it can.
#[cfg(not(miri))]
#[test]
fn a_stage_that_retries_is_no_work_to_spin_for() {
    let (mut lane, [stage]) = by_hand(|spec| spec, ["sink"]);
    lane.attach(stage, |_| Outcome::Retry).unwrap();
    publish(&mut lane, [0]);
    let (start, mut rounds) = (std::time::Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(100) {
        lane.poll();
        if rounds % 2 == 0 {
            lane.wait(false, LONG);
        } else {
            assert!(!lane.prepare_sleep(false), "there is an event");
            lane.awake();
        }
        rounds += 1;
    }
    assert!((1..=150).contains(&rounds), "{rounds} rounds in a tenth of a second");
}
