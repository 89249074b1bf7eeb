//! Edges of waking, one by one: which thread must wake which when a stage is dead, and what could
//! leave a full lane asleep forever.

use std::io::{ErrorKind, Read};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use slipring::pipeline::{
    Lane, LaneError, LaneSpec, Outcome, PanicPolicy, Polled, Reclaim, Refused, StageError,
    StageSpec, Wait,
};
use slipring::ring::{RingError, RingOptions};
use slipring_test_support::{forbid_membarrier, patience};

use crate::lane_feed;

const SLOTS: usize = 4;
/// Only a lost wake-up lets anything wait this long.
const LONG: Duration = patience(20);

fn pool(chunks: usize, pinned_chunks_max: u32) -> RingOptions {
    RingOptions { pinned_chunks_max: Some(pinned_chunks_max), ..lane_feed::pool(chunks) }
}

fn fill(lane: &mut Lane<u64>) {
    for number in 0..SLOTS as u64 {
        let slice = lane.reserve(8).expect("an empty pool").commit_all();
        lane.publish(slice, number).expect("an empty ring");
    }
    assert_eq!(lane.push_empty(0).map_err(|refused| refused.meta), Err(0), "the ring is full");
}

/// Whether a poll call on the lane's descriptor would return now. This clears the descriptor.
fn is_woken(lane: &Lane<u64>) -> bool {
    let fd = lane.wake_fd().try_clone_to_owned().expect("a descriptor");
    match std::fs::File::from(fd).read(&mut [0; 8]) {
        Ok(bytes) => bytes == 8,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            false
        }
    }
}

/// Only the IO thread releases the events of a dead stage. So an earlier stage's release must wake
/// that thread, and not the dead stage's.
#[test]
fn a_full_io_thread_wakes_to_pump_a_dead_stage() {
    let spec = LaneSpec::new(pool(8, 2), SLOTS)
        .on_panic(PanicPolicy::Detach)
        .layer([StageSpec::thread("alive")])
        .layer([StageSpec::thread("dead")]);
    let mut started = spec.start::<u64>().expect("a small lane");
    let (mut lane, mut alive) =
        (started.lane, started.stages.remove("alive").expect("it was specified"));
    drop(started.stages.remove("dead"));
    fill(&mut lane);
    assert!(lane.poll().is_idle());
    assert!(lane.prepare_sleep(true), "there is nothing to do: the events are at the first stage");
    assert!(!is_woken(&lane));
    assert_eq!(alive.poll(SLOTS, |_| Outcome::Done), Ok(Polled::Advanced(SLOTS)));
    assert!(is_woken(&lane), "the dead stage's events wait for the IO thread");
    lane.awake();
    lane.poll();
    assert_eq!(lane.free_slots(), SLOTS);
    lane.begin_close();
    assert_eq!(alive.poll(1, |_| Outcome::Done), Ok(Polled::Ended));
    assert!(lane.close(Duration::from_secs(10)).late.is_empty());
}

/// The stage's thread sleeps while another thread drops what the stage has read ahead. That fails
/// the stage, and its thread must wake up and see it.
#[test]
fn a_stage_wakes_when_its_held_is_dropped_elsewhere() {
    let spec = LaneSpec::new(pool(8, 2), SLOTS).layer([StageSpec::thread("reader")]);
    let mut started = spec.start::<u64>().expect("a small lane");
    let (mut lane, mut stage) =
        (started.lane, started.stages.remove("reader").expect("it was specified"));
    fill(&mut lane);
    let held = stage.read(SLOTS).expect("it is alive").expect("events are there");
    let (result, results) = channel();
    let thread = thread::spawn(move || {
        stage.wait_for_work();
        result.send(stage.read(1).map(|held| held.is_some())).expect("the test listens");
    });
    drop(held);
    let end = results.recv_timeout(LONG).expect("the stage's thread still sleeps");
    assert!(
        matches!(end, Err(StageError::Failed(ref failure)) if failure.stage == "reader"),
        "{end:?}"
    );
    thread.join().expect("the thread ends");
    assert_eq!(lane.reserve(8).map(drop), Err(Refused::Poisoned(0)));
}

#[track_caller]
fn assert_refused(spec: LaneSpec, field_expected: &str) {
    match spec.layer([StageSpec::thread("any")]).start::<u64>() {
        Err(LaneError::Option { field, must, .. }) => assert_eq!(field, field_expected, "{must}"),
        Err(LaneError::Pool(RingError::Option { field, .. })) => assert_eq!(field, field_expected),
        other => panic!("{other:?}"),
    }
}

/// A dropped handle wakes no thread, so a lane whose whole pool can be pinned could sleep forever.
#[test]
fn handles_alone_can_not_fill_a_lane() {
    assert_refused(LaneSpec::new(pool(8, 8), SLOTS), "pinned_chunks_max");
    let on_overwrite = |chunks| LaneSpec::new(pool(chunks, 2), 2).reclaim(Reclaim::OnOverwrite);
    assert_refused(on_overwrite(4), "pool.bytes");
    for spec in [LaneSpec::new(pool(8, 7), SLOTS), on_overwrite(5)] {
        assert!(spec.layer([StageSpec::thread("any")]).start::<u64>().is_ok());
    }
}

/// A filter of system calls that is installed after the lane has started refuses the barrier to its
/// sleepers. They can't rely on a wake-up, so they nap and look again, repeatedly.
#[test]
fn a_lane_runs_to_its_end_though_membarrier_is_forbidden_after_its_start() {
    let run = thread::spawn(|| {
        let spec = LaneSpec::new(pool(8, 2), SLOTS)
            .wait(Wait::Park)
            .layer([StageSpec::thread("reader").wait(Wait::Park)]);
        let mut started = spec.start::<u64>().expect("a small lane");
        let (mut lane, stage) =
            (started.lane, started.stages.remove("reader").expect("it was specified"));
        forbid_membarrier();
        let mut next = 0;
        let reader = stage.spawn(move |view| {
            assert_eq!(*view.meta(), next, "events come in order");
            next += 1;
            // Sometimes longer than the IO thread spins, so that it sleeps.
            if next.is_multiple_of(7) {
                thread::sleep(Duration::from_micros(200));
            }
            Outcome::Done
        });
        let reader = reader.expect("a thread");
        for number in 0..500 {
            offer(&mut lane, number);
            // Sometimes longer than the stage spins, so that it sleeps.
            if number % 5 == 0 {
                lane.flush();
                thread::sleep(Duration::from_micros(200));
            }
        }
        while lane.free_slots() < SLOTS {
            lane.wait(true, Duration::from_secs(10));
            lane.poll();
        }
        // There is nothing to do for a while. A thread that goes to sleep must not return
        // immediately, over and over.
        let (start, mut sleeps) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_millis(20) {
            if lane.prepare_sleep(false) {
                // It may block: the kernel accepts no filter.
                thread::sleep(Duration::from_millis(1));
            }
            lane.awake();
            sleeps += 1;
        }
        assert!(
            sleeps <= 1 + start.elapsed().as_millis(),
            "{sleeps} sleeps in {:?}",
            start.elapsed()
        );
        assert!(lane.close(Duration::from_secs(60)).late.is_empty());
        assert_eq!(reader.join().error, None);
    });
    run.join().expect("the lane runs to its end");
}

/// Pushes an event, and waits for room before.
fn offer(lane: &mut Lane<u64>, number: u64) {
    while lane.free_slots() == 0 {
        assert!(!lane.has_failed(), "the stage has failed");
        lane.flush();
        lane.wait(true, Duration::from_secs(10));
        lane.poll();
    }
    let slice = lane.reserve(8).expect("a slot is free").commit_all();
    lane.push(slice, number).expect("a slot is free");
}
