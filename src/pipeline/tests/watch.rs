//! Statistics on another thread, and waiting for room.

use std::thread;
use std::time::Duration;

use super::{LONG, Outcome, Polled, by_hand, done, parked, polled, publish, stage_number, start, state};
use crate::pipeline::{PanicPolicy, Refused};
use crate::ring::Full;

#[test]
fn another_thread_reads_what_the_owner_knows() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    let watch = lane.watch();
    publish(&mut lane, 0..3);
    assert_eq!(polled(&mut stage), Polled::Advanced(3));
    // The stages' part is read at once, the owner's as it was told last.
    let early = watch.stats(Duration::ZERO).unwrap();
    assert_eq!((early.stages[0].released, early.published), (2, 0));
    assert_eq!(lane.poll().reclaimed, 3);
    assert_eq!(watch.stats(Duration::ZERO).unwrap(), lane.stats(), "the round has told them");
    // Answers what was asked last: from here on only the reader asks.
    lane.poll();
    let reader = thread::spawn(move || (watch.stats(LONG).unwrap(), watch));
    while !lane.shared.figures.are_asked() {
        // Asleep until the reader wakes it.
        lane.wait(false, LONG);
    }
    lane.poll();
    let (stats, watch) = reader.join().unwrap();
    assert_eq!((stats.published, stats.reclaimed, stats.pool.released), (3, 3, 2));
    stage_number(&mut lane, 3).unwrap();
    drop(lane);
    let last = watch.stats(LONG).unwrap();
    assert_eq!((last.published, last.slots_in_use), (4, 1), "a lane that goes tells its figures once more");
    drop(stage);
    assert_eq!(watch.stats(LONG), None, "it keeps nothing alive");
}

#[test]
fn waiting_for_room_ends_with_room_or_with_the_reason() {
    let mut started = start(8, vec![vec![parked("slow")]]);
    let slow = started.stages.take("slow").unwrap().spawn(done).unwrap();
    for number in 0..1000 {
        started.lane.wait_for_room(908, LONG).unwrap();
        stage_number(&mut started.lane, number).expect("there is room");
    }
    assert_eq!(
        started.lane.wait_for_room(1025, LONG),
        Err(Refused::Pool(Full::TooLarge { asked_bytes: 1025, max_slice_bytes: 1024 }))
    );
    assert!(started.lane.close(LONG).is_drained());
    assert_eq!(slow.join().processed, 1000);

    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, 0..8);
    assert_eq!(lane.wait_for_room(1, Duration::from_millis(1)), Err(Refused::Ring { slots: 8 }));
    drop(stage.poll(1, |_| Outcome::Fail("by design".to_owned())));
    assert_eq!(lane.wait_for_room(1, LONG), Err(Refused::Poisoned(0)));
    lane.begin_close();
    assert_eq!(lane.wait_for_room(1, LONG), Err(Refused::Poisoned(0)));
}

/// What README does while the lane is full, behind a stage that fails: it ends, under every policy.
#[test]
fn waiting_for_room_behind_a_failed_stage_ends() {
    for policy in [PanicPolicy::Poison, PanicPolicy::Detach] {
        let (mut lane, [stage]) = by_hand(|spec| spec.on_panic(policy), ["a"]);
        lane.attach(stage, |view| if *view.meta() == 3 { Outcome::Fail("by design".to_owned()) } else { done(view) })
            .unwrap();
        let refused = (0..100)
            .find_map(|number| lane.wait_for_room(908, LONG).and_then(|()| stage_number(&mut lane, number)).err());
        let expected = if policy == PanicPolicy::Poison { Some(Refused::Poisoned(0)) } else { None };
        assert_eq!(refused, expected);
        assert_eq!(state(&lane.shared, "a").processed(), 3);
    }
}
