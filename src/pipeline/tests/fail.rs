//! Handlers that panic, fail or retry: what was processed is released, and nothing else.

use std::panic::panic_any;

use super::{
    LONG, Outcome, Polled, StageSpec, by_hand, done, polled, publish, push_number, start, state,
};
use crate::pipeline::{PanicPolicy, PushRefusal, Refused, StageError, View};

/// Accepts events below `number` and panics at it.
fn panics_at(number: u64) -> impl FnMut(View<'_, u64>) -> Outcome {
    move |view| if *view.meta() < number { done(view) } else { panic!("event {number} is bad") }
}

#[test]
fn a_panic_in_the_middle_of_a_batch_releases_what_was_processed_and_no_more() {
    let (mut lane, [mut stage, mut next]) = by_hand(|spec| spec, ["a", "b"]);
    publish(&mut lane, 0..8);
    let Err(StageError::Failed(failure)) = stage.poll(6, panics_at(3)) else {
        panic!("it continues")
    };
    assert_eq!((failure.stage.as_str(), failure.index, failure.sequence), ("a", 0, 3));
    assert_eq!(failure.reason, "panicked: event 3 is bad");
    assert_eq!(stage.released(), 2);
    // The next layer sees the processed events, and then the reason why there are no more.
    assert_eq!(polled(&mut next), Polled::Advanced(3));
    assert_eq!(
        next.poll(100, |_| panic!("an unfinished event")),
        Err(StageError::Failed(failure.clone()))
    );
    assert_eq!((lane.poll().reclaimed, lane.failure()), (3, Some(failure)));
    let stats = lane.stats();
    assert_eq!(
        (stats.stages[0].died_at, stats.stages[0].released, stats.stages[1].died_at),
        (Some(3), 2, None)
    );
}

#[test]
fn a_panic_at_the_first_event_releases_nothing() {
    let (mut lane, [mut stage, mut next]) = by_hand(|spec| spec, ["a", "b"]);
    publish(&mut lane, 0..2);
    assert!(stage.poll(100, panics_at(0)).is_err());
    assert!(next.poll(100, done).is_err() && lane.poll().reclaimed == 0);
    assert_eq!(
        (stage.poll(100, done), stage.read(1).is_err()),
        (next.poll(100, done), true),
        "the dead stay dead"
    );
}

#[test]
fn a_panic_that_panics_again_when_it_is_dropped_is_caught() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            // Nothing here would be leaked, which Miri reports.
            panic_any(());
        }
    }
    let mut started = start(8, vec![vec![StageSpec::inline("a")]]);
    let explode = |_: View<'_, u64>| -> Outcome { panic_any(Bomb) };
    started.lane.attach(started.stages.remove("a").unwrap(), explode).unwrap();
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
    let stage = started.stages.remove("a").unwrap().spawn(move |view| {
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
    let Err(StageError::Failed(failure)) = stage.poll(100, refuse) else { panic!("it continues") };
    assert_eq!(failure.to_string(), "stage `sink` failed at sequence 1: the disk is gone");
    assert_eq!(lane.poll().reclaimed, 1);
}

#[test]
fn the_first_failure_wins() {
    let mut started = start(8, vec![vec![StageSpec::inline("a"), StageSpec::inline("b")]]);
    let [mut a, mut b] = ["a", "b"].map(|name| started.stages.remove(name).unwrap());
    publish(&mut started.lane, 0..2);
    let first = b.poll(1, |_| Outcome::Fail("first".to_owned())).unwrap_err();
    assert_eq!(a.poll(100, panics_at(1)).unwrap_err(), first, "the second also reports the first");
    drop((a, b));
    let StageError::Failed(failure) = first else { panic!("{first}") };
    assert_eq!((failure.reason.as_str(), failure.index), ("first", 1));
    assert_eq!(started.lane.failure(), Some(failure));
    assert_eq!(started.lane.reserve(1).unwrap_err(), Refused::Poisoned(1));
    assert_eq!(state(&started.lane.ring.shared, "a").died_at(), 1);
}

#[test]
fn poison_refuses_everything_and_publishes_what_has_a_sequence() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, [0]);
    let early = lane.reserve(5).unwrap().commit_all();
    push_number(&mut lane, 1).unwrap();
    lane.push_empty(2).unwrap();
    drop(stage.poll(1, panics_at(0)));
    assert_eq!(lane.reserve(1).unwrap_err(), Refused::Poisoned(0));
    assert_eq!(lane.reserve_rest(1).unwrap_err(), Refused::Poisoned(0));
    let refused = lane.push(early, 3).unwrap_err();
    assert_eq!((refused.why, refused.meta), (PushRefusal::Refused(Refused::Poisoned(0)), 3));
    assert_eq!(refused.slice.expect("it is returned").len(), 5);
    assert_eq!((lane.flush(), lane.stats().published), (2, 3));
    let report = lane.close(LONG);
    assert_eq!((report.published, report.consumed), (3, 0));
    assert!(!report.is_drained() && report.late.is_empty() && report.failure.is_some());
}

/// A lane is poisoned while a claim, or a slice, is on its way. Every event with a sequence is
/// published, and the report says which were processed.
#[test]
fn what_is_given_a_sequence_is_published_also_on_a_lane_that_was_poisoned_meanwhile() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, [0]);
    let mut claim = lane.claim(8).unwrap();
    claim.fill(1);
    drop(stage.poll(1, panics_at(0)));
    assert_eq!(claim.publish(1), 1);
    assert_eq!(lane.claim(8).unwrap_err(), Refused::Poisoned(0));
    let report = lane.close(LONG);
    assert_eq!((report.published, report.consumed, report.is_drained()), (2, 0, false));
}

#[test]
fn what_a_detached_stage_didnt_process_isnt_consumed() {
    let (mut lane, [stage]) = by_hand(|spec| spec.on_panic(PanicPolicy::Detach), ["sink"]);
    lane.attach(stage, panics_at(1)).unwrap();
    for number in 0..100 {
        publish(&mut lane, [number]);
        lane.poll();
    }
    let report = lane.close(LONG);
    assert_eq!((report.published, report.consumed, report.late.len()), (100, 1, 0), "{report:?}");
    assert_eq!((report.stages[0].processed, report.is_drained()), (1, false));
}

#[test]
fn a_rejected_event_fails_nothing_and_later_layers_know_it() {
    let (mut lane, [mut first, mut second]) = by_hand(|spec| spec, ["a", "b"]);
    let odd = |view: View<'_, u64>| match view.meta() % 2 {
        0 => done(view),
        _ => Outcome::Reject(format!("{} is odd", view.meta())),
    };
    for lap in 0..4 {
        publish(&mut lane, lap * 8..lap * 8 + 8);
        assert_eq!(first.poll(100, odd), Ok(Polled::Advanced(8)));
        let seen = second.poll(100, |view| {
            assert_eq!(view.is_rejected(), view.meta() % 2 == 1, "event {}", view.meta());
            done(view)
        });
        assert_eq!((seen, lane.poll().reclaimed), (Ok(Polled::Advanced(8)), 8));
    }
    assert_eq!(lane.failure(), None);
    let stats = lane.stats();
    let rejection = stats.stages[0].first_rejection.as_ref().expect("the first is recorded");
    assert_eq!(
        (stats.stages[0].rejected, rejection.sequence, rejection.reason.as_str()),
        (16, 1, "1 is odd")
    );
    assert_eq!((stats.stages[1].rejected, &stats.stages[1].first_rejection), (0, &None));
    lane.begin_close();
    assert_eq!((polled(&mut first), polled(&mut second)), (Polled::Ended, Polled::Ended));
    let report = lane.close(LONG);
    assert!(report.is_drained(), "{report:?}");
    assert_eq!((report.consumed, report.rejected(), report.stages[0].rejected), (32, 16, 16));
}

#[test]
fn a_stage_dropped_before_the_end_counts_as_failed() {
    let (mut lane, [stage, mut next]) = by_hand(|spec| spec, ["a", "b"]);
    publish(&mut lane, 0..2);
    drop(stage);
    let failure = lane.failure().expect("nothing will release its events");
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

/// Runs the test of this name again in a process of its own, with `SLIPRING_TEST_CHILD` set and
/// with this standard error.
#[cfg(not(miri))]
fn in_a_child(test: &str, stderr: impl Into<std::process::Stdio>) -> std::process::Output {
    let this = std::env::current_exe().expect("the test's own binary");
    let mut child = std::process::Command::new(this);
    child
        .args(["--exact", &format!("pipeline::tests::fail::{test}"), "--nocapture"])
        .env(CHILD, "1");
    child.stdout(std::process::Stdio::null()).stderr(stderr);
    child.spawn().and_then(std::process::Child::wait_with_output).expect("the child starts")
}

#[cfg(not(miri))]
const CHILD: &str = "SLIPRING_TEST_CHILD";

/// In a child: the first of two inline stages fails under `Abort`.
#[cfg(not(miri))]
fn fail_inline_under_abort() -> ! {
    let layers = vec![vec![StageSpec::inline("fatal"), StageSpec::inline("next")]];
    let mut started =
        super::tiny_spec(8, layers).on_panic(PanicPolicy::Abort).start::<u64>().unwrap();
    let [fatal, next] = ["fatal", "next"].map(|name| started.stages.remove(name).unwrap());
    started.lane.attach(fatal, |_| Outcome::Fail("by design".to_owned())).unwrap();
    started.lane.attach(next, |_| panic!("the next handler ran")).unwrap();
    publish(&mut started.lane, 0..1);
    unreachable!("the process continues: {:?}", started.lane.poll());
}

/// In a child: a stage's thread fails under `Abort`.
#[cfg(not(miri))]
fn fail_under_abort() -> ! {
    let layers = vec![vec![StageSpec::thread("fatal")]];
    let mut started =
        super::tiny_spec(8, layers).on_panic(PanicPolicy::Abort).start::<u64>().unwrap();
    let refuse = |view: View<'_, u64>| {
        if *view.meta() == 2 { Outcome::Fail("by design".to_owned()) } else { done(view) }
    };
    let stage = started.stages.remove("fatal").unwrap().spawn(refuse).unwrap();
    publish(&mut started.lane, 0..4);
    let report = stage.join();
    unreachable!("the process continues: {report:?}, {:?}", started.lane.failure());
}

#[cfg(not(miri))]
#[test]
fn abort_ends_the_process_and_names_the_stage() {
    use std::os::unix::process::ExitStatusExt;
    if std::env::var_os(CHILD).is_some() {
        fail_under_abort();
    }
    let child =
        in_a_child("abort_ends_the_process_and_names_the_stage", std::process::Stdio::piped());
    assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{child:?}");
    let stderr = String::from_utf8_lossy(&child.stderr);
    assert!(stderr.contains("stage `fatal` failed at sequence 2"), "{stderr}");
}

/// No other handler runs, not even in the round of the failure.
#[cfg(not(miri))]
#[test]
fn abort_comes_before_the_next_inline_stage() {
    if std::env::var_os(CHILD).is_some() {
        fail_inline_under_abort();
    }
    let child =
        in_a_child("abort_comes_before_the_next_inline_stage", std::process::Stdio::piped());
    let stderr = String::from_utf8_lossy(&child.stderr);
    assert!(
        stderr.contains("stage `fatal` failed at sequence 0")
            && !stderr.contains("the next handler"),
        "{stderr}"
    );
}

/// If it unwound, a slot would be counted and not written, or events would be released unseen.
#[cfg(not(miri))]
#[test]
fn a_clock_that_panics_ends_the_process() {
    use std::os::unix::process::ExitStatusExt;
    // Only once: a second panic, while the first unwinds, would end the process in any case.
    thread_local!(static HAS_STOPPED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    if std::env::var_os(CHILD).is_some() {
        let clock = crate::latency::Clock::of(|| {
            assert!(HAS_STOPPED.replace(true), "the clock has stopped");
            0
        });
        let spec = super::tiny_spec(8, vec![vec![StageSpec::inline("only")]]).timed(clock);
        let mut started = spec.start::<u64>().unwrap();
        publish(&mut started.lane, 0..1);
        unreachable!("the process continues");
    }
    let child = in_a_child("a_clock_that_panics_ends_the_process", std::process::Stdio::piped());
    assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{child:?}");
    let stderr = String::from_utf8_lossy(&child.stderr);
    assert!(stderr.contains("the clock has stopped"), "{stderr}");
}

/// A pipe whose reading end is closed, and one that is full and isn't read: neither prevents the
/// process from ending.
#[cfg(not(miri))]
#[test]
fn abort_ends_the_process_also_where_standard_error_is_broken() {
    use std::io::Write;
    use std::os::unix::process::ExitStatusExt;
    if std::env::var_os(CHILD).is_some() {
        fail_under_abort();
    }
    let test = "abort_ends_the_process_also_where_standard_error_is_broken";
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let child = in_a_child(test, writer);
    assert_eq!(child.status.signal(), Some(libc::SIGABRT), "the pipe is not read: {child:?}");

    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(&[0; 65536]).expect("a pipe holds 64 KiB");
    let child = in_a_child(test, writer);
    assert_eq!(child.status.signal(), Some(libc::SIGABRT), "full: {child:?}");
    drop(reader);
}

/// Neither a deadline that passes nor a lane that is dropped on an early return makes a stage fail:
/// a stage that hasn't processed everything is late.
#[cfg(not(miri))]
#[test]
fn a_late_inline_stage_doesnt_abort_the_process() {
    const TEST: &str = "a_late_inline_stage_doesnt_abort_the_process";
    if std::env::var_os(CHILD).is_none() {
        let child = in_a_child(TEST, std::process::Stdio::piped());
        assert!(child.status.success(), "{child:?}");
        return;
    }
    let lane = || {
        let layers = vec![vec![StageSpec::inline("retries")], vec![StageSpec::inline("after")]];
        let spec = super::tiny_spec(8, layers).on_panic(PanicPolicy::Abort);
        let mut started = spec.start::<u64>().unwrap();
        let [retries, behind] =
            ["retries", "after"].map(|name| started.stages.remove(name).unwrap());
        started.lane.attach(retries, |_| Outcome::Retry).unwrap();
        publish(&mut started.lane, 0..3);
        (started.lane, behind)
    };
    let (closed, mut behind) = lane();
    let report = closed.close(std::time::Duration::from_millis(1));
    assert_eq!(
        (report.late.as_slice(), report.failure),
        (&["retries".to_owned(), "after".to_owned()][..], None)
    );
    let error = behind.poll(1, done).unwrap_err().to_string();
    assert!(error.contains("`retries`") && error.contains("sequence 0"), "{error}");
    drop(behind);
    let (dropped, behind) = lane();
    drop(dropped);
    drop(behind);
}
