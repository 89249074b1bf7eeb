//! Timed lanes: every event of every stage is in its histogram, whichever way it is released.

use std::thread;
use std::time::{Duration, Instant};

use super::{LONG, Outcome, StageSpec, View, by_hand, done, parked, polled, publish, tiny_spec};
use crate::latency::Clock;
use crate::pipeline::{Lane, PanicPolicy, Polled, StageActivity, StageTiming};

fn counts(lane: &Lane<u64>) -> Vec<(String, u64)> {
    let count_of = |StageTiming { stage, latencies, .. }: StageTiming| {
        let count = latencies.count();
        // The interpreter needs seconds for a histogram.
        assert!(
            count == 0 || latencies.sum().as_nanos() >= u128::from(latencies.histogram().max()) / 2
        );
        (stage, count)
    };
    lane.watch().timings().expect("the lane is there").into_iter().map(count_of).collect()
}

#[test]
fn every_event_is_timed_in_every_stage() {
    let (mut lane, [mut a, mut b]) = by_hand(|spec| spec.timed(Clock::start()), ["a", "b"]);
    assert_eq!(counts(&lane), [("a".to_owned(), 0), ("b".to_owned(), 0)]);
    for lap in 0..20 {
        publish(&mut lane, lap * 8..lap * 8 + 8);
        // By batches that differ from the flushes, and read ahead.
        a.poll(3, done).unwrap();
        let held = a.read(5).unwrap().unwrap();
        a.release(held).unwrap();
        b.poll(1, done).unwrap();
        polled(&mut b);
        assert_eq!(lane.reclaim(), 8);
    }
    // One event is published alone, which is another path.
    lane.claim(0).unwrap().publish(0);
    for stage in [&mut a, &mut b] {
        assert_eq!(stage.poll(1, |_| Outcome::Done), Ok(Polled::Advanced(1)));
    }
    assert_eq!(counts(&lane), [("a".to_owned(), 161), ("b".to_owned(), 161)]);
}

#[test]
fn a_lane_that_is_not_timed_reports_no_times() {
    let (mut lane, [mut a]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, 0..8);
    polled(&mut a);
    assert_eq!(counts(&lane), []);
    let watch = lane.watch();
    drop((lane, a));
    assert!(watch.timings().is_none());
}

#[test]
fn threads_report_times_also_in_an_idle_lane() {
    let spec = tiny_spec(8, vec![vec![parked("a")], vec![parked("b")]]).timed(Clock::start());
    let mut started = spec.start::<u64>().unwrap();
    let threads = ["a", "b"].map(|name| started.stages.remove(name).unwrap().spawn(done).unwrap());
    let watch = started.lane.watch();
    let events = if cfg!(miri) { 16 } else { 400 };
    for number in 0..events {
        started.lane.wait_for_room(908, LONG).unwrap();
        publish(&mut started.lane, [number]);
    }
    // No request to the owner.
    let all_timed = || {
        watch.timings().is_some_and(|all| all.iter().all(|stage| stage.latencies.count() == events))
    };
    while !all_timed() {
        thread::yield_now();
    }
    assert!(started.lane.close(LONG).is_drained());
    threads.into_iter().for_each(|thread| assert_eq!(thread.join().processed, events));
}

#[test]
fn what_is_pumped_for_a_dead_stage_is_not_timed() {
    let (mut lane, [mut a, mut b]) =
        by_hand(|spec| spec.on_panic(PanicPolicy::Detach).timed(Clock::start()), ["a", "b"]);
    publish(&mut lane, 0..8);
    let fails = |view: View<'_, u64>| {
        if *view.meta() == 3 { Outcome::Fail("by design".to_owned()) } else { done(view) }
    };
    assert!(a.poll(8, fails).is_err());
    lane.poll();
    polled(&mut b);
    assert_eq!(counts(&lane), [("a".to_owned(), 3), ("b".to_owned(), 8)]);
}

#[test]
fn the_time_of_a_stage_thread_is_busy_idle_or_retry() {
    let spec = tiny_spec(8, vec![vec![parked("a"), StageSpec::inline("b")]]).timed(Clock::start());
    let (mut started, start) = (spec.start::<u64>().unwrap(), Instant::now());
    let timings = started.lane.watch().timings().unwrap();
    let spent =
        |stage: usize| StageActivity::ALL.map(|activity| timings[stage].thread.spent(activity));
    assert_eq!((spent(0), timings[0].thread.is_running()), ([Duration::ZERO; 3], false));
    let mut asked = 0;
    // The first event is processed at the second attempt, which is slow.
    let handler = move |view: View<'_, u64>| {
        asked += 1;
        thread::sleep(Duration::from_millis(2));
        if asked == 1 { Outcome::Retry } else { done(view) }
    };
    let a = started.stages.remove("a").unwrap().spawn(handler).unwrap();
    started.lane.attach(started.stages.remove("b").unwrap(), done).unwrap();
    // A look counts the current activity.
    while spent(0)[StageActivity::Idle as usize].is_zero() {
        thread::yield_now();
    }
    assert!(timings[0].thread.is_running());
    publish(&mut started.lane, [0]);
    assert!(started.lane.close(LONG).is_drained());
    assert_eq!(a.join().processed, 1);
    let ([busy, idle, retry], least) = (spent(0), Duration::from_millis(1));
    assert!(
        busy >= 4 * least && retry >= least && busy + idle + retry <= start.elapsed(),
        "{:?}",
        spent(0)
    );
    // The time of an inline stage is the lane's time.
    assert_eq!(
        (spent(1), timings.iter().any(|stage| stage.thread.is_running())),
        ([Duration::ZERO; 3], false)
    );
}
