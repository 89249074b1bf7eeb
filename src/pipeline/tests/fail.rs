//! Handlers that panic, fail or ask for another time: what is finished is released, what isn't isn't.

use std::panic::panic_any;

use super::{LONG, Outcome, Polled, StageSpec, by_hand, done, polled, publish, stage_number, start, state};
use crate::pipeline::{PanicPolicy, StageError, StageRefusal, View};
use crate::ring::Full;

/// Accepts events below `number` and panics at it.
fn panics_at(number: u64) -> impl FnMut(View<'_, u64>) -> Outcome {
    move |view| if *view.meta() < number { done(view) } else { panic!("event {number} is bad") }
}

#[test]
fn a_panic_in_the_middle_of_a_batch_releases_what_was_finished_and_no_more() {
    let (mut lane, [mut stage, mut next]) = by_hand(|spec| spec, ["a", "b"]);
    publish(&mut lane, 0..8);
    let Err(StageError::Failed(failure)) = stage.poll(6, panics_at(3)) else { panic!("it goes on") };
    assert_eq!((failure.stage.as_str(), failure.index, failure.sequence), ("a", 0, 3));
    assert_eq!(failure.reason, "panicked: event 3 is bad");
    assert_eq!(stage.released(), 2);
    // The next layer sees the finished events, then why there are no more.
    assert_eq!(polled(&mut next), Polled::Advanced(3));
    assert_eq!(next.poll(100, |_| panic!("an unfinished event")), Err(StageError::Failed(failure.clone())));
    assert_eq!((lane.poll().reclaimed, lane.failure()), (3, Some(failure)));
    let stats = lane.stats();
    assert_eq!((stats.stages[0].died_at, stats.stages[0].released, stats.stages[1].died_at), (Some(3), 2, None));
}

#[test]
fn a_panic_at_the_first_event_releases_nothing() {
    let (mut lane, [mut stage, mut next]) = by_hand(|spec| spec, ["a", "b"]);
    publish(&mut lane, 0..2);
    assert!(stage.poll(100, panics_at(0)).is_err());
    assert!(next.poll(100, done).is_err() && lane.poll().reclaimed == 0);
    assert_eq!((stage.poll(100, done), stage.read(1).is_err()), (next.poll(100, done), true), "the dead stay dead");
}

#[test]
fn a_panic_that_panics_again_when_it_is_dropped_is_caught() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            // Nothing that would be leaked, for Miri's sake.
            panic_any(());
        }
    }
    let mut started = start(8, vec![vec![StageSpec::inline("a")]]);
    let explode = |_: View<'_, u64>| -> Outcome { panic_any(Bomb) };
    started.lane.attach(started.stages.take("a").unwrap(), explode).unwrap();
    publish(&mut started.lane, [0]);
    assert!(started.lane.poll().is_idle());
    assert_eq!(started.lane.failure().unwrap().reason, "panicked: a panic without a message");
}

#[test]
fn retry_shows_the_same_event_again_and_releases_the_earlier_ones() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, 0..6);
    let mut asked = Vec::new();
    let mut full_disk = |view: View<'_, u64>| {
        asked.push(*view.meta());
        if *view.meta() == 2 && asked.len() < 6 { Outcome::Retry } else { done(view) }
    };
    assert_eq!(stage.poll(100, &mut full_disk), Ok(Polled::Retry(2)));
    assert_eq!(stage.poll(100, &mut full_disk), Ok(Polled::Retry(0)));
    assert_eq!(
        (stage.poll(100, &mut full_disk), stage.poll(1, &mut full_disk)),
        (Ok(Polled::Retry(0)), Ok(Polled::Advanced(1)))
    );
    assert_eq!(stage.released(), 2);
    assert_eq!(stage.poll(100, &mut full_disk), Ok(Polled::Advanced(3)));
    assert_eq!(asked, [0, 1, 2, 2, 2, 2, 3, 4, 5]);
    assert_eq!((lane.failure(), lane.poll().reclaimed), (None, 6), "a full disk isn't a panic");
}

#[test]
fn a_thread_that_retries_gets_there() {
    let mut started = start(8, vec![vec![super::parked("a")]]);
    let mut refusals = 3;
    let stage = started.stages.take("a").unwrap().spawn(move |view| {
        if *view.meta() == 2 && refusals > 0 {
            refusals -= 1;
            return Outcome::Retry;
        }
        done(view)
    });
    publish(&mut started.lane, 0..6);
    assert!(started.lane.close(LONG).is_drained());
    assert_eq!(stage.unwrap().join().processed, 6);
}

#[test]
fn fail_gives_its_reason_and_releases_the_earlier_ones() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["sink"]);
    publish(&mut lane, 0..4);
    let refuse = |view: View<'_, u64>| match view.meta() {
        1 => Outcome::Fail("the disk is gone".to_owned()),
        _ => done(view),
    };
    let Err(StageError::Failed(failure)) = stage.poll(100, refuse) else { panic!("it goes on") };
    assert_eq!(failure.to_string(), "stage `sink` failed at sequence 1: the disk is gone");
    assert_eq!(lane.poll().reclaimed, 1);
}

#[test]
fn the_first_failure_wins() {
    let mut started = start(8, vec![vec![StageSpec::inline("a"), StageSpec::inline("b")]]);
    let [mut a, mut b] = ["a", "b"].map(|name| started.stages.take(name).unwrap());
    publish(&mut started.lane, 0..2);
    let first = b.poll(1, |_| Outcome::Fail("first".to_owned())).unwrap_err();
    assert_eq!(a.poll(100, panics_at(1)).unwrap_err(), first, "also the second is told of the first");
    drop((a, b));
    let StageError::Failed(failure) = first else { panic!("{first}") };
    assert_eq!((failure.reason.as_str(), failure.index), ("first", 1));
    assert_eq!(started.lane.failure(), Some(failure));
    assert_eq!(started.lane.reserve(1).unwrap_err(), Full::Poisoned(1));
    assert_eq!(state(&started.lane.shared, "a").died_at(), 1);
}

#[test]
fn poison_refuses_everything_and_discards_what_was_staged() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, [0]);
    let early = lane.reserve(5).unwrap().commit_all();
    stage_number(&mut lane, 1).unwrap();
    lane.stage_empty(2).unwrap();
    drop(stage.poll(1, panics_at(0)));
    assert_eq!(lane.reserve(1).unwrap_err(), Full::Poisoned(0));
    assert_eq!(lane.reserve_rest(1).unwrap_err(), Full::Poisoned(0));
    let refused = lane.stage(early, 3).unwrap_err();
    assert_eq!((refused.why, refused.meta), (StageRefusal::Full(Full::Poisoned(0)), 3));
    assert_eq!(refused.slice.expect("it came back").len(), 5);
    assert_eq!((lane.flush(), lane.stats().discarded, lane.stats().published), (0, 2, 1));
    let report = lane.close(LONG);
    assert_eq!((report.discarded, report.published, report.consumed), (2, 1, 0));
    assert!(!report.is_drained() && report.late.is_empty() && report.failure.is_some());
}

#[test]
fn a_stage_dropped_before_the_end_counts_as_failed() {
    let (mut lane, [stage, mut next]) = by_hand(|spec| spec, ["a", "b"]);
    publish(&mut lane, 0..2);
    drop(stage);
    let failure = lane.failure().expect("nobody will release its events");
    assert!(failure.stage == "a" && failure.reason.contains("dropped"), "{failure}");
    assert_eq!(next.poll(1, done), Err(StageError::Failed(failure)));

    let (mut lane, [mut stage]) = by_hand(|spec| spec.on_panic(PanicPolicy::Poison), ["a"]);
    publish(&mut lane, [0]);
    lane.begin_close();
    assert_eq!(polled(&mut stage), Polled::Advanced(1));
    drop(stage);
    assert_eq!(lane.failure(), None, "at the end it may go");
    assert!(lane.close(std::time::Duration::ZERO).is_drained());
}

/// The child of this test dies by SIGABRT, and says which stage failed where.
#[cfg(not(miri))]
#[test]
fn abort_ends_the_process_and_names_the_stage() {
    use std::os::unix::process::ExitStatusExt;
    const CHILD: &str = "SLIPRING_TEST_ABORT";
    if std::env::var_os(CHILD).is_some() {
        let (mut lane, [mut stage]) = by_hand(|spec| spec.on_panic(PanicPolicy::Abort), ["fatal"]);
        publish(&mut lane, 0..4);
        let _never = stage.poll(4, panics_at(2));
        return;
    }
    let this = std::env::current_exe().expect("the test's own binary");
    let test = "pipeline::tests::fail::abort_ends_the_process_and_names_the_stage";
    let child = std::process::Command::new(this).args(["--exact", test, "--nocapture"]).env(CHILD, "1").output();
    let child = child.expect("the child starts");
    assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{child:?}");
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(said.contains("stage `fatal` failed at sequence 2"), "{said}");
}
