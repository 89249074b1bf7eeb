//! What the model found, each as small as possible.

use std::thread;
use std::time::Duration;

use super::super::{StageSpec, by_hand, done, publish, start};
use crate::pipeline::{Outcome, PanicPolicy, Polled, StageError, View};

fn fails(_: View<'_, u64>) -> Outcome {
    Outcome::Fail("by design".to_owned())
}

#[test]
fn a_dead_stage_accepts_what_it_has_read() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, 0..2);
    let [older, newer] = [1, 1].map(|max| stage.read(max).unwrap().unwrap());
    drop(newer);
    stage.read(1).unwrap_err();
    stage.release(older).unwrap();
    assert_eq!(stage.released(), -1, "the report says that nothing was processed");
}

#[test]
fn what_is_cut_off_stays_cut_off() {
    let (mut lane, [mut stage, mut next]) = by_hand(|spec| spec, ["a", "b"]);
    publish(&mut lane, 0..2);
    let [older, newer] = [1, 1].map(|max| stage.read(max).unwrap().unwrap());
    drop(newer);
    let error = next.poll(9, done).unwrap_err();
    stage.release(older).unwrap();
    assert_eq!(next.poll(9, done), Err(error), "no event comes after the error");
}

#[test]
fn a_stage_whose_held_is_dropped_elsewhere_learns_why_it_died() {
    for _ in 0..if cfg!(miri) { 20 } else { 500 } {
        let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
        publish(&mut lane, [0]);
        let held = stage.read(1).unwrap();
        let elsewhere = thread::spawn(move || drop(held));
        let error = loop {
            match stage.read(1) {
                Ok(_) => std::hint::spin_loop(),
                Err(error) => break error,
            }
        };
        elsewhere.join().unwrap();
        assert!(matches!(error, StageError::Failed(_)), "{error:?}: {error}");
    }
}

#[test]
fn nothing_is_held_after_the_last_held() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec.on_panic(PanicPolicy::Detach), ["a"]);
    publish(&mut lane, [0]);
    drop(stage.read(1).unwrap());
    drop(stage);
    lane.poll();
    assert_eq!(lane.stats().stages[0].held_from, None);
}

#[test]
fn a_batch_that_ends_in_a_failure_counts_what_was_processed() {
    let mut started = start(8, vec![vec![StageSpec::inline("a")]]);
    let handler = |view: View<'_, u64>| if *view.meta() < 2 { done(view) } else { fails(view) };
    started.lane.attach(started.stages.remove("a").unwrap(), handler).unwrap();
    publish(&mut started.lane, 0..3);
    assert_eq!(started.lane.poll().processed, 2);
}

#[test]
fn a_sink_that_processed_a_part_leaves_no_lane_drained() {
    let (mut lane, [mut sink]) = by_hand(|spec| spec.on_panic(PanicPolicy::Detach), ["sink"]);
    publish(&mut lane, 0..4);
    assert_eq!(sink.poll(1, done), Ok(Polled::Advanced(1)));
    sink.poll(1, fails).unwrap_err();
    let report = lane.close(Duration::ZERO);
    assert!(!report.is_drained(), "three events were processed by no stage: {report:?}");
}
