//! The end of a lane: drained, late, dropped; with slices, handles and events that outlive it.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::{
    LONG, Outcome, Polled, StageSpec, View, assert_holds, by_hand, done, is_filled, polled,
    publish, push_number, start,
};
use crate::pipeline::PanicPolicy;

#[test]
fn close_drains_what_is_pushed() {
    let mut started = start(8, vec![vec![StageSpec::inline("a").batch(1)]]);
    started.lane.attach(started.stages.remove("a").unwrap(), done).unwrap();
    for number in 0..7 {
        push_number(&mut started.lane, number).unwrap();
    }
    let report = started.lane.close(LONG);
    assert!(report.is_drained(), "{report:?}");
    assert_eq!((report.published, report.consumed, report.rejected()), (7, 7, 0));
}

#[test]
fn a_late_stage_is_named_and_reads_on_in_memory_that_stays_mapped() {
    let mut started =
        start(8, vec![vec![StageSpec::thread("late")], vec![StageSpec::thread("after")]]);
    let (go, wait) = channel::<()>();
    let late = started.stages.remove("late").unwrap().spawn(move |view| {
        // Blocks until long after the lane was dropped.
        while wait.recv().is_ok() {}
        done(view)
    });
    let after = started.stages.remove("after").unwrap().spawn(done).unwrap();
    publish(&mut started.lane, 0..5);
    let report = started.lane.close(Duration::ZERO);
    assert_eq!(
        (&report.late[..], report.consumed),
        (&["late".to_owned(), "after".to_owned()][..], 0)
    );
    assert!(!report.is_drained() && report.failure.is_none());
    drop(go);
    for thread in [late.unwrap(), after] {
        let report = thread.join();
        assert_eq!(
            (report.processed, report.error),
            (5, None),
            "it continues to the end on its own"
        );
    }
}

#[test]
fn an_inline_stage_that_is_not_polled_is_late() {
    let (mut lane, [stage]) = by_hand(|spec| spec, ["forgotten"]);
    publish(&mut lane, [0]);
    let report = lane.close(Duration::from_millis(1));
    assert_eq!(report.late, ["forgotten"]);
    assert_eq!(stage.run(done).processed, 1, "it can still be run");
}

#[test]
fn a_lane_may_go_while_slices_and_handles_live() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, 0..4);
    let shared = Arc::clone(&lane.ring.shared);
    let slice = {
        let mut grant = lane.reserve(300).unwrap();
        grant.fill(9);
        grant.commit_all()
    };
    let mut token = lane.reserve(64).unwrap().into_token();
    let from_slice = slice.retain().unwrap();
    let mut from_view = None;
    let retain = |view: super::View<'_, u64>| {
        from_view = Some(view.retain().unwrap());
        done(view)
    };
    assert_eq!(stage.poll(1, retain), Ok(Polled::Advanced(1)));
    drop(lane);
    // What was published can still be read, and the stream has an end.
    assert_eq!((polled(&mut stage), polled(&mut stage)), (Polled::Advanced(3), Polled::Ended));
    token.fill(3);
    drop(stage);
    drop(shared);
    assert_eq!(&token.commit(2).unwrap()[..], &[3; 2]);
    assert!(is_filled(&slice, 9));
    drop(slice);
    let other = thread::spawn(move || {
        assert_holds(&from_view.expect("a view was retained"), 0);
        from_slice.len()
    });
    assert_eq!(other.join().unwrap(), 300);
}

#[test]
fn a_lane_that_is_dropped_publishes_what_is_pushed() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    push_number(&mut lane, 0).unwrap();
    drop(lane);
    assert_eq!((polled(&mut stage), polled(&mut stage)), (Polled::Advanced(1), Polled::Ended));
    assert!(stage.has_ended());
}

#[test]
fn a_lane_that_was_never_used_ends_well() {
    let mut started = start(2, vec![vec![StageSpec::thread("a")]]);
    let a = started.stages.remove("a").unwrap().spawn(|_| Outcome::Done).unwrap();
    let report = started.lane.close(LONG);
    assert!(report.is_drained() && report.published == 0);
    assert_eq!(a.join().error, None);
    drop(start(2, vec![vec![StageSpec::thread("a")]]));
}

#[test]
fn a_lane_with_a_failed_stage_isnt_drained_though_nothing_was_left() {
    for policy in [PanicPolicy::Poison, PanicPolicy::Detach] {
        let (mut lane, [mut stage]) = by_hand(|spec| spec.on_panic(policy), ["a"]);
        publish(&mut lane, 0..3);
        assert_eq!(polled(&mut stage), Polled::Advanced(3));
        drop(stage);
        let report = lane.close(LONG);
        assert_eq!(
            (report.consumed, report.late.len(), report.is_drained()),
            (3, 0, false),
            "{report:?}"
        );
    }
}

/// Its drop panics, which only the panic hook reports.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

#[test]
fn a_handler_whose_drop_panics_loses_no_report() {
    let mut started = start(8, vec![vec![StageSpec::inline("a")], vec![StageSpec::thread("b")]]);
    let [a, b] = ["a", "b"].map(|name| started.stages.remove(name).unwrap());
    let with_a_bomb = || {
        let bomb = Bomb;
        move |view: View<'_, u64>| {
            let _kept = &bomb;
            done(view)
        }
    };
    started.lane.attach(a, with_a_bomb()).unwrap();
    let b = b.spawn(with_a_bomb()).unwrap();
    publish(&mut started.lane, 0..3);
    assert!(started.lane.close(LONG).is_drained());
    assert_eq!(b.join().processed, 3);
}
