//! Stages after a dead one get an error and don't hang, whether the lane is poisoned, continues
//! without the dead stage, or is gone.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{
    LONG, Outcome, Polled, StageSpec, View, assert_no_wake_lost, await_sleep, by_hand, done,
    parked, polled, publish, start, tiny_spec,
};
use crate::pipeline::{PanicPolicy, StageError};

fn fails(_: View<'_, u64>) -> Outcome {
    Outcome::Fail("by design".to_owned())
}

#[test]
fn a_parked_stage_after_a_dead_one_gets_an_error() {
    let mut started =
        start(8, vec![vec![StageSpec::inline("a")], vec![parked("b")], vec![parked("c")]]);
    let shared = Arc::clone(&started.lane.ring.shared);
    let [b, c] = ["b", "c"].map(|name| started.stages.remove(name).unwrap().spawn(done).unwrap());
    let mut a = started.stages.remove("a").unwrap();
    publish(&mut started.lane, 0..3);
    assert_eq!(a.poll(2, done), Ok(Polled::Advanced(2)));
    await_sleep(&shared, &["b", "c"]);
    a.poll(1, fails).unwrap_err();
    for (stage, report) in [("b", b.join()), ("c", c.join())] {
        let Some(StageError::Failed(failure)) = report.error else { panic!("{stage} continues") };
        assert_eq!(
            (failure.stage.as_str(), report.processed),
            ("a", 2),
            "{stage} has seen what was processed"
        );
    }
    let report = started.lane.close(LONG);
    assert_eq!((report.late.len(), report.consumed, report.published), (0, 2, 3));
    assert_no_wake_lost(&shared);
}

#[test]
fn layers_after_a_dead_stage_process_what_it_had_processed() {
    let (mut lane, [mut a, mut b, mut c]) = by_hand(|spec| spec, ["a", "b", "c"]);
    publish(&mut lane, 0..6);
    assert_eq!(a.poll(4, done), Ok(Polled::Advanced(4)));
    a.poll(1, fails).unwrap_err();
    // The last layer waits, because the middle one still has processed events to pass on.
    assert_eq!(
        (polled(&mut c), b.poll(3, done), polled(&mut c)),
        (Polled::Idle, Ok(Polled::Advanced(3)), Polled::Advanced(3))
    );
    assert_eq!((c.poll(9, done), b.poll(9, done)), (Ok(Polled::Idle), Ok(Polled::Advanced(1))));
    assert_eq!(polled(&mut c), Polled::Advanced(1));
    assert!(c.poll(9, done).is_err() && b.poll(9, done).is_err());
    assert_eq!(lane.poll().reclaimed, 4);
    assert!(lane.close(Duration::ZERO).late.is_empty(), "no stage has anything left to do");
}

#[test]
fn a_detached_lane_goes_on_without_the_stage() {
    let (mut lane, [mut a, mut b]) = by_hand(|spec| spec.on_panic(PanicPolicy::Detach), ["a", "b"]);
    publish(&mut lane, 0..5);
    assert_eq!(a.poll(2, done), Ok(Polled::Advanced(2)));
    assert_eq!(
        a.poll(1, |_| panic!("gone")).unwrap_err().to_string(),
        "stage `a` failed at sequence 2: panicked: gone"
    );
    assert_eq!(polled(&mut b), Polled::Advanced(2));
    lane.poll();
    assert_eq!(polled(&mut b), Polled::Advanced(3));
    for lap in 1..20 {
        publish(&mut lane, 8 * lap..8 * lap + 5);
        assert_eq!(
            b.poll(9, |_| Outcome::Done),
            Ok(Polled::Idle),
            "released by the lane's thread, in its own time"
        );
        lane.poll();
        assert_eq!(b.poll(9, |_| Outcome::Done), Ok(Polled::Advanced(5)));
    }
    lane.begin_close();
    assert_eq!(polled(&mut b), Polled::Ended);
    let report = lane.close(LONG);
    assert_eq!(
        (report.published, report.consumed, report.is_drained()),
        (100, 2, false),
        "what `a` missed isn't processed"
    );
    assert_eq!((report.stages[1].processed, report.late.len()), (100, 0));
    assert!(report.failure.is_some_and(|failure| failure.stage == "a"));
}

#[test]
fn detached_threads_in_a_diamond_drain() {
    let middle = vec![parked("b"), parked("c")];
    let spec = tiny_spec(8, vec![vec![parked("a")], middle, vec![parked("d")]])
        .on_panic(PanicPolicy::Detach);
    let mut started = spec.start::<u64>().unwrap();
    let shared = Arc::clone(&started.lane.ring.shared);
    let dying = |view: View<'_, u64>| if *view.meta() == 7 { fails(view) } else { done(view) };
    let b = started.stages.remove("b").unwrap().spawn(dying).unwrap();
    let others =
        ["a", "c", "d"].map(|name| started.stages.remove(name).unwrap().spawn(done).unwrap());
    for number in 0..50 {
        while let Err(full) = super::push_number(&mut started.lane, number) {
            assert!(full.is_full(), "{full}");
            if started.lane.poll().is_idle() {
                started.lane.wait(true, LONG);
            }
        }
    }
    let report = started.lane.close(LONG);
    assert_eq!((report.published, report.consumed, report.late.len()), (50, 7, 0), "{report:?}");
    assert_eq!((b.join().processed, others.map(|stage| stage.join().processed)), (7, [50; 3]));
    assert_no_wake_lost(&shared);
}

#[test]
fn a_lane_that_is_dropped_leaves_no_stage_waiting_after_a_detached_one() {
    for dies_with_the_lane in [false, true] {
        let spec = tiny_spec(8, vec![vec![StageSpec::inline("a")], vec![parked("b")]])
            .on_panic(PanicPolicy::Detach);
        let mut started = spec.start::<u64>().unwrap();
        let shared = Arc::clone(&started.lane.ring.shared);
        let b = started.stages.remove("b").unwrap().spawn(done).unwrap();
        let a = started.stages.remove("a").unwrap();
        publish(&mut started.lane, 0..3);
        await_sleep(&shared, &["b"]);
        if dies_with_the_lane {
            started.lane.attach(a, done).unwrap();
            drop(started.lane);
        } else {
            drop(a);
            drop(started.lane);
        }
        assert!(
            shared.cut_off_at(1) < i64::MAX,
            "nothing pumps for it any more, and it would wait for ever"
        );
        // Stages that the lane didn't wait for are late, and stages that were dropped before the
        // lane have failed.
        match b.join().error {
            Some(StageError::Left { stage, sequence }) => {
                assert_eq!((stage.as_str(), sequence, dies_with_the_lane), ("a", 0, true))
            }
            Some(StageError::Failed(failure)) => {
                assert_eq!((failure.stage.as_str(), dies_with_the_lane), ("a", false))
            }
            other => panic!("it has seen the end: {other:?}"),
        }
        assert_no_wake_lost(&shared);
    }
}

#[test]
fn a_stage_that_waits_learns_of_its_own_death() {
    let mut started = start(8, vec![vec![parked("a")]]);
    let shared = Arc::clone(&started.lane.ring.shared);
    let mut stage = started.stages.remove("a").unwrap();
    publish(&mut started.lane, 0..2);
    let held = stage.read(2).unwrap().unwrap();
    let waiting = thread::spawn(move || {
        stage.wait_for_work();
        stage.read(1).map(drop)
    });
    await_sleep(&shared, &["a"]);
    drop(held);
    let Err(StageError::Failed(failure)) = waiting.join().unwrap() else { panic!("it continues") };
    assert!(failure.reason.contains("Held"), "{failure}");
    assert_no_wake_lost(&shared);
}

/// Two stages of a layer die, one after the other, while the lane pumps. The death of the second is
/// known before any of its events is pumped.
#[test]
fn what_a_dying_stage_didnt_write_is_never_shown() {
    let rounds = if cfg!(miri) { 3 } else { 100 };
    for round in 0..rounds {
        let layers = vec![
            vec![StageSpec::inline("a"), StageSpec::thread("b")],
            vec![StageSpec::inline("c")],
        ];
        let spec = tiny_spec(8, layers).on_panic(PanicPolicy::Detach);
        let (mut rows, column) = spec.column::<i64>("b", 1).unwrap();
        let mut started = spec.start::<u64>().unwrap();
        let [a, mut b, mut c] = ["a", "b", "c"].map(|name| started.stages.remove(name).unwrap());
        publish(&mut started.lane, 0..8);
        drop(a);
        let dying = thread::spawn(move || {
            b.poll(8, |view| {
                if view.sequence() == round % 3 {
                    return Outcome::Fail("by design".to_owned());
                }
                rows.row(&view).unwrap()[0] = view.sequence() + 1;
                Outcome::Done
            })
        });
        let mut seen = 0;
        while seen < 8 {
            started.lane.poll();
            let polled = c.poll(8, |view| {
                match column.row(&view) {
                    Ok(row) => {
                        assert_eq!(
                            (row[0], view.sequence() < round % 3),
                            (view.sequence() + 1, true),
                            "{round}"
                        )
                    }
                    Err(error) => {
                        assert!(view.sequence() >= round % 3, "event {}: {error}", view.sequence())
                    }
                }
                Outcome::Done
            });
            let Ok(Polled::Advanced(more)) = polled else {
                thread::yield_now();
                continue;
            };
            seen += more;
        }
        assert!(dying.join().unwrap().is_err());
        assert_eq!(started.lane.stats().stages[1].died_at, Some(round % 3), "round {round}");
    }
}
