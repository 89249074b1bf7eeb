//! Reading ahead: `Held` in order, out of order, across laps, dropped, leaked, and held while its
//! stage is dead.

use std::thread;

use super::{
    LONG, Outcome, Polled, StageSpec, by_hand, done, polled, publish, push_number, start, state,
    tiny_spec,
};
use crate::pipeline::{ColumnError, Held, PanicPolicy, Refused, SpawnError, StageError, View};
use crate::ring::Foreign;

fn numbers(held: &Held<u64>) -> Vec<u64> {
    let number = |view: View<'_, u64>| {
        super::assert_holds(view.bytes(), *view.meta());
        *view.meta()
    };
    held.views().map(number).collect()
}

#[test]
fn the_release_position_is_the_oldest_held_alive() {
    let (mut lane, [mut stage, mut next]) = by_hand(|spec| spec, ["a", "b"]);
    publish(&mut lane, 0..8);
    let [one, two, three] =
        [2, 3, 100].map(|max| stage.read(max).unwrap().expect("there are events"));
    assert_eq!([&one, &two, &three].map(numbers), [vec![0, 1], vec![2, 3, 4], vec![5, 6, 7]]);
    assert_eq!((one.len(), three.first_sequence()), (2, 5));
    assert!(stage.read(1).unwrap().is_none() && !stage.has_ended());
    assert_eq!(stage.poll(1, done), Err(StageError::Holding { since: 0 }));
    // Out of order: nothing is released until the oldest is given back.
    stage.release(two).unwrap();
    assert_eq!((stage.released(), polled(&mut next)), (-1, Polled::Idle));
    assert_eq!(lane.stats().stages[0].held_from, Some(0));
    stage.release(one).unwrap();
    assert_eq!((stage.released(), polled(&mut next)), (4, Polled::Advanced(5)));
    assert_eq!(lane.stats().stages[0].held_from, Some(5));
    assert_eq!(numbers(&three), [5, 6, 7]);
    stage.release(three).unwrap();
    assert_eq!((polled(&mut next), lane.stats().stages[0].held_from), (Polled::Advanced(3), None));
    assert_eq!(polled(&mut stage), Polled::Idle);
}

#[test]
fn the_held_of_another_stage_comes_back() {
    let (mut lane, [mut stage, mut next]) = by_hand(|spec| spec, ["a", "b"]);
    let (mut other, [mut twin]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, [0]);
    publish(&mut other, [0]);
    let held = stage.read(1).unwrap().unwrap();
    let Err(Foreign(held)) = next.release(held) else { panic!("it was accepted") };
    let Err(Foreign(held)) = twin.release(held) else { panic!("it was accepted") };
    assert_eq!(polled(&mut next), Polled::Idle);
    stage.release(held).unwrap();
    assert_eq!((polled(&mut next), polled(&mut twin)), (Polled::Advanced(1), Polled::Advanced(1)));
}

#[test]
fn the_bytes_of_a_held_stay_while_the_lane_runs_full() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, 0..8);
    let oldest = stage.read(1).unwrap().unwrap();
    while let Some(held) = stage.read(3).unwrap() {
        stage.release(held).unwrap();
    }
    for number in 8..100 {
        assert_eq!(push_number(&mut lane, number), Err(Refused::Ring { slots: 8 }));
        assert_eq!((lane.poll().reclaimed, numbers(&oldest)), (0, vec![0]));
    }
    stage.release(oldest).unwrap();
    assert_eq!(lane.poll().reclaimed, 8);
}

#[test]
fn a_leaked_held_blocks_the_lane_and_is_named() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["slow"]);
    publish(&mut lane, 0..2);
    let first = stage.read(1).unwrap().unwrap();
    stage.release(first).unwrap();
    let never_given_back = stage.read(1).unwrap();
    publish(&mut lane, 2..8);
    assert_eq!(stage.poll(1, done), Err(StageError::Holding { since: 1 }));
    while let Some(held) = stage.read(2).unwrap() {
        stage.release(held).unwrap();
    }
    let stats = lane.stats();
    assert_eq!((stats.stages[0].held_from, stats.blocked_by()), (Some(1), Some("slow")));
    let report = lane.close(std::time::Duration::ZERO);
    assert_eq!((report.late, report.consumed), (vec!["slow".to_owned()], 1));
    drop(never_given_back);
}

#[test]
fn a_dropped_held_fails_its_stage() {
    let (mut lane, [mut stage, mut next]) = by_hand(|spec| spec, ["a", "b"]);
    publish(&mut lane, 0..4);
    let held = stage.read(2).unwrap().unwrap();
    let newer = stage.read(1).unwrap().unwrap();
    // Any thread may drop it.
    std::thread::spawn(move || drop(held)).join().unwrap();
    let failure = lane.failure().expect("its events weren't processed");
    assert_eq!((failure.stage.as_str(), failure.sequence), ("a", 0));
    assert!(failure.reason.contains("Held"), "{failure}");
    assert_eq!(lane.reserve(1).unwrap_err(), Refused::Poisoned(0));
    assert_eq!(stage.read(1).map(drop), Err(StageError::Failed(failure.clone())));
    assert_eq!(numbers(&newer), [2], "its bytes stay as long as it does");
    stage.release(newer).unwrap();
    assert_eq!(
        next.poll(1, |_| Outcome::Done),
        Err(StageError::Failed(failure)),
        "nothing unprocessed is shown"
    );
}

#[test]
fn a_dead_stage_is_not_pumped_while_a_held_of_its_is_alive() {
    let (mut lane, [mut stage, mut next]) =
        by_hand(|spec| spec.on_panic(PanicPolicy::Detach), ["a", "b"]);
    publish(&mut lane, 0..8);
    let [one, two] = [3, 2].map(|max| stage.read(max).unwrap().unwrap());
    drop(stage);
    for number in 8..60 {
        // If the stage were pumped, the lane would wrap and overwrite what the Helds show.
        lane.poll();
        next.poll(100, |_| panic!("nothing may be released")).unwrap();
        assert_eq!(push_number(&mut lane, number), Err(Refused::Ring { slots: 8 }));
        assert_eq!([&one, &two].map(numbers), [vec![0, 1, 2], vec![3, 4]]);
    }
    drop(one);
    assert_eq!((lane.poll().reclaimed, polled(&mut next)), (0, Polled::Idle));
    drop(two);
    lane.poll();
    assert_eq!(state(&lane.ring.shared, "a").progress(), 7);
    assert_eq!((polled(&mut next), lane.poll().reclaimed), (Polled::Advanced(8), 8));
    assert!(push_number(&mut lane, 8).is_ok(), "the lane continues without the stage");
}

#[test]
fn a_held_outlives_its_stage_and_its_lane() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec.on_panic(PanicPolicy::Detach), ["a"]);
    publish(&mut lane, 0..3);
    let held = stage.read(3).unwrap().unwrap();
    let handle = held.views().nth(1).unwrap().retain().unwrap();
    drop(stage);
    drop(lane);
    let seen = std::thread::spawn(move || numbers(&held)).join().unwrap();
    assert_eq!(seen, [0, 1, 2]);
    super::assert_holds(&handle, 1);
}

#[test]
fn the_end_of_the_stream_waits_for_what_is_held() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, 0..3);
    let held = stage.read(3).unwrap().unwrap();
    lane.begin_close();
    // The end has been read, so this returns, although the stage can't have ended.
    stage.wait_for_work();
    assert!(stage.read(1).unwrap().is_none() && !stage.has_ended());
    stage.release(held).unwrap();
    assert!(stage.read(1).unwrap().is_none() && stage.has_ended());
    assert!(lane.close(std::time::Duration::ZERO).is_drained());
    assert_eq!(
        (stage.poll(1, done), stage.read(1).map(|held| held.is_none())),
        (Ok(Polled::Ended), Ok(true))
    );
}

/// A row that its stage didn't write isn't shown, although the pump may run as soon as the `Held`
/// is dropped.
#[test]
fn a_held_that_is_dropped_is_recorded_before_anything_of_it_is_pumped() {
    let rounds = if cfg!(miri) { 3 } else { 100 };
    for round in 0..rounds {
        let layers = vec![vec![StageSpec::inline("a")], vec![StageSpec::inline("b")]];
        let spec = tiny_spec(8, layers).on_panic(PanicPolicy::Detach);
        let (mut rows, column) = spec.column::<i64>("a", 1).unwrap();
        let mut started = spec.start::<u64>().unwrap();
        let [mut a, mut b] = ["a", "b"].map(|name| started.stages.remove(name).unwrap());
        publish(&mut started.lane, 0..8);
        let [early, late] = [3, 5].map(|events| a.read(events).unwrap().unwrap());
        for view in early.views() {
            rows.row(&view).unwrap()[0] = view.sequence() + 1;
        }
        // The later one is dropped first. The stage is dead after what it had released, which is
        // nothing.
        drop(late);
        assert_eq!(started.lane.stats().stages[0].died_at, Some(0));
        assert!(a.poll(1, done).is_err(), "its poller waits for the pump");
        let drops = round % 2 == 0;
        let other = thread::spawn(move || {
            if drops {
                drop(early);
            } else {
                a.release(early).unwrap();
            }
        });
        let mut seen = 0;
        while seen < 8 {
            started.lane.poll();
            let polled = b.poll(8, |view| {
                assert_eq!(
                    column.row(&view).map(|row| row[0]),
                    Err(ColumnError::NotWritten),
                    "event {}",
                    view.sequence()
                );
                Outcome::Done
            });
            let Ok(Polled::Advanced(more)) = polled else {
                thread::yield_now();
                continue;
            };
            seen += more;
        }
        other.join().unwrap();
    }
}

#[test]
fn a_stage_that_holds_events_is_neither_attached_nor_spawned() {
    let mut started = start(8, vec![vec![StageSpec::inline("a"), StageSpec::thread("b")]]);
    let [mut a, mut b] = ["a", "b"].map(|name| started.stages.remove(name).unwrap());
    publish(&mut started.lane, 0..2);
    let [from_a, from_b] = [&mut a, &mut b].map(|stage| stage.read(2).unwrap().unwrap());
    let mut a = started.lane.attach(a, done).unwrap_err().0;
    let Err(SpawnError::Placement(back)) = b.spawn(done) else { panic!("it was accepted") };
    let mut b = back.0;
    a.release(from_a).unwrap();
    b.release(from_b).unwrap();
    started.lane.attach(a, done).unwrap();
    let thread = b.spawn(done).unwrap();
    assert!(started.lane.close(LONG).is_drained());
    assert_eq!(thread.join().processed, 2);
}

/// One `Held` is given back while a later one is dropped elsewhere. The stage, its failure, its
/// report and the next layer agree on where it died.
#[test]
fn a_release_and_a_loss_at_the_same_moment_agree() {
    for round in 0..if cfg!(miri) { 5 } else { 300 } {
        let (mut lane, [mut a, mut b]) =
            by_hand(|spec| spec.on_panic(PanicPolicy::Detach), ["a", "b"]);
        publish(&mut lane, 0..8);
        let [one, two] = [4, 4].map(|events| a.read(events).unwrap().unwrap());
        let other = thread::spawn(move || drop(two));
        (0..round % 7 * 20).for_each(|_| std::hint::spin_loop());
        a.release(one).unwrap();
        other.join().unwrap();
        let released = a.released();
        while let Ok(Polled::Advanced(_)) = b.poll(8, done) {}
        assert!(a.read(1).is_err());
        assert_eq!(
            lane.failure().map(|failure| failure.sequence),
            Some(released + 1),
            "round {round}"
        );
        assert_eq!(
            (b.released(), lane.stats().stages[0].died_at),
            (released, Some(released + 1)),
            "round {round}"
        );
        drop(b);
        let report = lane.close(std::time::Duration::ZERO);
        assert_eq!(report.stages[0].processed, (released + 1) as u64, "round {round}");
    }
}

/// As above, with the other thread stopped right after its first step. A stage whose release is
/// refused is dead immediately, and shows no event twice.
#[test]
fn a_refused_release_is_a_death() {
    let (mut lane, [mut a]) = by_hand(|spec| spec.on_panic(PanicPolicy::Detach), ["a"]);
    publish(&mut lane, 0..8);
    let [one, two] = [4, 4].map(|events| a.read(events).unwrap().unwrap());
    assert_eq!(state(&lane.ring.shared, "a").mark_held_lost(), 0);
    a.release(one).unwrap();
    let failure = lane.failure().expect("it is dead");
    assert_eq!((failure.sequence, a.poll(8, done)), (0, Err(StageError::Failed(failure.clone()))));
    drop(two);
    assert_eq!((lane.failure(), a.released()), (Some(failure), -1));
}

/// A stage's thread has stopped right after the first step of a release, while a later `Held` is
/// dropped elsewhere. The stage is dead where its release ends, and late until it has released that
/// far. So the report doesn't contradict the failure.
#[test]
fn a_dead_stage_that_still_releases_is_late() {
    let (mut lane, [mut a]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, 0..8);
    let [one, two] = [4, 4].map(|events| a.read(events).unwrap().unwrap());
    assert!(state(&lane.ring.shared, "a").move_held_release(-1, 3));
    drop(two);
    let report = lane.close(std::time::Duration::from_millis(10));
    assert_eq!((report.late.as_slice(), report.stages[0].processed), (&["a".to_owned()][..], 0));
    assert_eq!(report.failure.map(|failure| failure.sequence), Some(4));
    drop((one, a));
}
