//! Every wake edge, one by one, with sleepers that sleep: threads that are parked, and an IO thread
//! that has announced its sleep.
//!
//! A wake-up of the IO thread shows in its eventfd, which is read here without waiting. A stage's
//! thread whose wake-up is lost finds its work by itself after seconds, and that is counted.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{
    LONG, Lane, Outcome, Polled, Stage, StageSpec, Started, Wait, assert_no_wake_lost, await_sleep,
    by_hand, done, parked, polled, publish, push_number, start, tiny_spec,
};
use crate::pipeline::{PanicPolicy, Refused};

/// If a wake-up is lost and something else finds the work, the test shouldn't last long.
const SHORT: Duration = Duration::from_secs(2);

/// Whether the IO thread was woken since its eventfd was last read.
fn was_woken(lane: &Lane<u64>) -> bool {
    let fd = lane.wake_fd().try_clone_to_owned().expect("a descriptor can be copied");
    File::from(fd).read(&mut [0; 8]).is_ok()
}

/// Runs `then` on another thread while the IO thread sleeps. Returns whether the IO thread was
/// woken.
fn wakes(lane: &mut Lane<u64>, full: bool, then: impl FnOnce() + Send) -> bool {
    assert!(lane.prepare_sleep(full), "there is nothing to do");
    thread::scope(|scope| scope.spawn(then).join().expect("it is done"));
    let woken = was_woken(lane);
    lane.awake();
    woken
}

#[test]
fn flush_wakes_the_first_layer_and_its_release_the_next() {
    let mut started = start(8, vec![vec![parked("a")], vec![parked("b")]]);
    let shared = Arc::clone(&started.lane.ring.shared);
    let threads = ["a", "b"].map(|name| started.stages.remove(name).unwrap().spawn(done).unwrap());
    for number in 0..if cfg!(miri) { 2 } else { 200 } {
        await_sleep(&shared, &["a", "b"]);
        publish(&mut started.lane, [number]);
        while started.lane.poll().reclaimed == 0 {
            started.lane.wait(true, SHORT);
        }
        assert_no_wake_lost(&shared);
    }
    await_sleep(&shared, &["a", "b"]);
    assert!(started.lane.close(LONG).is_drained(), "close wakes parked stages");
    threads.into_iter().for_each(|thread| assert_eq!(thread.join().error, None));
    assert_no_wake_lost(&shared);
}

#[test]
fn the_last_layer_wakes_a_full_lane_and_no_other() {
    let (mut lane, [mut a, mut b]) = by_hand_on_threads(["a", "b"]);
    publish(&mut lane, 0..8);
    assert_eq!(push_number(&mut lane, 8), Err(Refused::Ring { slots: 8 }));
    assert!(
        !wakes(&mut lane, true, || assert_eq!(polled(&mut a), Polled::Advanced(8))),
        "nothing is free yet"
    );
    assert!(
        !wakes(&mut lane, false, || assert_eq!(b.poll(1, done), Ok(Polled::Advanced(1)))),
        "it doesn't wait for room"
    );
    assert_eq!(lane.reclaim(), 1);
    assert!(wakes(&mut lane, true, || assert_eq!(polled(&mut b), Polled::Advanced(7))));
    assert!(!lane.prepare_sleep(true), "and it looks again before it sleeps");
    lane.awake();
    assert!(push_number(&mut lane, 8).is_ok());
}

#[test]
fn a_full_lane_asleep_is_woken() {
    let mut started = start(8, vec![vec![parked("a")]]);
    let shared = Arc::clone(&started.lane.ring.shared);
    let mut stage = started.stages.remove("a").unwrap();
    publish(&mut started.lane, 0..8);
    let other = thread::spawn(move || {
        while !cfg!(miri) && !shared.io.is_asleep() {
            thread::yield_now();
        }
        (polled(&mut stage), stage)
    });
    // Miri has no poll(2), so there the wait returns immediately.
    while push_number(&mut started.lane, 8) == Err(Refused::Ring { slots: 8 }) {
        started.lane.wait(true, SHORT);
    }
    assert_eq!(other.join().unwrap().0, Polled::Advanced(8));
}

#[test]
fn a_sleeper_publishes_what_is_pushed() {
    let (mut lane, [mut a]) = by_hand_on_threads(["a"]);
    push_number(&mut lane, 0).unwrap();
    assert!(
        wakes(&mut lane, true, || assert_eq!(polled(&mut a), Polled::Advanced(1))),
        "or both would wait for ever"
    );
    push_number(&mut lane, 1).unwrap();
    lane.wait(false, Duration::ZERO);
    assert_eq!((polled(&mut a), lane.flush()), (Polled::Advanced(1), 0));
}

#[test]
fn a_thread_wakes_the_inline_stage_after_it() {
    let mut started = start(8, vec![vec![StageSpec::thread("a")], vec![StageSpec::inline("b")]]);
    let mut a = started.stages.remove("a").unwrap();
    started.lane.attach(started.stages.remove("b").unwrap(), done).unwrap();
    publish(&mut started.lane, 0..2);
    assert!(wakes(&mut started.lane, false, || assert_eq!(polled(&mut a), Polled::Advanced(2))));
    assert!(!started.lane.prepare_sleep(false), "the inline stage has work");
    started.lane.awake();
    assert_eq!(started.lane.poll().processed, 2);
}

#[test]
fn an_inline_stage_wakes_the_thread_after_it() {
    let mut started = start(8, vec![vec![StageSpec::inline("a")], vec![parked("b")]]);
    let shared = Arc::clone(&started.lane.ring.shared);
    started.lane.attach(started.stages.remove("a").unwrap(), done).unwrap();
    let thread = started.stages.remove("b").unwrap().spawn(done).unwrap();
    for number in 0..if cfg!(miri) { 2 } else { 20 } {
        await_sleep(&shared, &["b"]);
        publish(&mut started.lane, [number]);
        assert_eq!(started.lane.poll().processed, 1);
        while started.lane.ring.reclaimed < number as i64 {
            started.lane.wait(true, SHORT);
            started.lane.reclaim();
        }
        assert_no_wake_lost(&shared);
    }
    assert!(started.lane.close(LONG).is_drained());
    assert_eq!(thread.join().error, None);
}

/// The cursor of a stage in the disruptor, which lets events through, moves before its progress is
/// stored, which wakes the next stage. In the opposite order, the next stage would be woken
/// repeatedly and find nothing. `Stage::poll` asserts this when it finds nothing.
#[test]
fn a_thread_that_is_woken_finds_the_events() {
    let mut started =
        start(8, vec![vec![StageSpec::inline("a")], vec![StageSpec::thread("b").wait(Wait::Spin)]]);
    started.lane.attach(started.stages.remove("a").unwrap(), done).unwrap();
    let thread = started.stages.remove("b").unwrap().spawn(done).unwrap();
    for number in 0..if cfg!(miri) { 20 } else { 20_000 } {
        loop {
            match push_number(&mut started.lane, number) {
                Ok(_) => break,
                Err(refused) => assert!(refused.is_full(), "{refused}"),
            }
            started.lane.poll();
        }
        started.lane.flush();
        assert_eq!(started.lane.poll().processed, 1);
    }
    assert!(started.lane.close(LONG).is_drained());
    assert_eq!(thread.join().error, None);
}

#[test]
fn failures_and_ends_wake_the_lane() {
    let (mut lane, [mut a]) = by_hand_on_threads(["a"]);
    publish(&mut lane, [0]);
    assert!(wakes(&mut lane, false, || drop(a.poll(1, |_| Outcome::Fail("by design".to_owned())))));
    assert!(!lane.prepare_sleep(false), "a poisoned lane is to be closed");
    lane.awake();

    let (mut lane, [mut a]) = by_hand_on_threads(["a"]);
    lane.begin_close();
    assert!(
        wakes(&mut lane, false, || assert_eq!(polled(&mut a), Polled::Ended)),
        "it may wait for this in `close`"
    );
}

#[test]
fn what_concerns_a_detached_stage_wakes_the_lane() {
    let (mut lane, [mut a, mut b, mut c]) = {
        let layers = ["a", "b", "c"].map(|name| vec![StageSpec::thread(name)]).to_vec();
        let mut started =
            tiny_spec(8, layers).on_panic(PanicPolicy::Detach).start::<u64>().unwrap();
        let stages = ["a", "b", "c"].map(|name| started.stages.remove(name).unwrap());
        (started.lane, stages)
    };
    publish(&mut lane, 0..3);
    assert_eq!(a.poll(2, done), Ok(Polled::Advanced(2)));
    let [one, two] = [1, 1].map(|max| b.read(max).unwrap().unwrap());
    // The stage's death: one of its Helds is dropped.
    assert!(wakes(&mut lane, false, || drop(one)));
    assert!(b.read(1).is_err());
    lane.poll();
    // The stage's last Held, after which it can be pumped.
    assert!(wakes(&mut lane, false, move || {
        b.release(two).unwrap();
    }));
    assert!(!lane.prepare_sleep(false), "the dead stage holds others up");
    lane.awake();
    lane.poll();
    assert_eq!(polled(&mut c), Polled::Advanced(2));
    // The layer before it, which wakes the lane instead of the dead stage.
    assert!(wakes(&mut lane, false, || assert_eq!(polled(&mut a), Polled::Advanced(1))));
    lane.poll();
    assert_eq!(polled(&mut c), Polled::Advanced(1));
}

#[test]
fn a_dead_stage_whose_handle_is_held_lets_the_lane_sleep() {
    let (mut lane, [mut a]) = by_hand(|spec| spec.on_panic(PanicPolicy::Detach), ["a"]);
    publish(&mut lane, 0..2);
    drop(a.read(1).unwrap());
    // The stage's handle is still held, so there is nothing that the lane could release.
    assert!(lane.prepare_sleep(true));
    lane.awake();
    drop(a);
    assert!(!lane.prepare_sleep(true));
    lane.awake();
    assert_eq!(lane.poll().reclaimed, 2);
}

#[test]
fn a_late_write_to_the_eventfd_lets_the_lane_sleep() {
    let (mut lane, [_a]) = by_hand(|spec| spec, ["a"]);
    assert!(lane.prepare_sleep(true));
    // The waker has cleared the word, and writes after the sleeper has looked, as if the sleeper
    // had announced the next sleep by then.
    lane.ring.shared.io.wake();
    assert!(lane.prepare_sleep(true));
    lane.awake();
    assert!(!was_woken(&lane), "it would be readable for ever, because the word was never cleared");
}

#[test]
fn a_handle_that_changes_threads_is_woken_where_it_sleeps() {
    let mut started = start(8, vec![vec![parked("a")]]);
    let shared = Arc::clone(&started.lane.ring.shared);
    let mut stage = started.stages.remove("a").unwrap();
    for number in 0..2 {
        let waiting = thread::spawn(move || -> Stage<u64> {
            stage.wait_for_work();
            assert_eq!(polled(&mut stage), Polled::Advanced(1));
            stage
        });
        await_sleep(&shared, &["a"]);
        publish(&mut started.lane, [number]);
        stage = waiting.join().unwrap();
    }
    assert_no_wake_lost(&shared);
}

#[test]
fn times_without_an_end_are_accepted() {
    let (mut lane, [mut a]) = by_hand(|spec| spec, ["a"]);
    publish(&mut lane, [0]);
    lane.wait(true, Duration::MAX);
    assert_eq!(polled(&mut a), Polled::Advanced(1));
    lane.begin_close();
    assert_eq!(polled(&mut a), Polled::Ended);
    assert!(lane.close(Duration::MAX).is_drained());
}

/// The progress of a thread in the last layer is on a cache line that it writes. If the lane looked
/// at it for each event, the line would move back and forth for each.
#[test]
fn a_busy_lane_looks_at_its_threads_now_and_then() {
    let (mut lane, [mut a]) = by_hand_on_threads(["a"]);
    let mut round = |numbers: std::ops::Range<u64>| {
        publish(&mut lane, numbers);
        let _idle = polled(&mut a);
        lane.poll().reclaimed
    };
    // A quarter of the ring is two events.
    let rounds = [round(0..1), round(1..2), round(2..3), round(3..4), round(4..7)];
    assert_eq!(rounds, [1, 0, 2, 0, 4]);
    // Nothing new is published, so the next round finds what was released.
    assert_eq!((round(7..8), round(8..8), round(8..8)), (0, 1, 0));
    // For a large ring it is 64 events. They have no bytes, so that no claim looks for memory.
    let Started { mut lane, mut stages, .. } = start(512, vec![vec![StageSpec::thread("a")]]);
    let mut a = stages.remove("a").unwrap();
    let mut looks = Vec::new();
    for number in 0..130 {
        lane.push_empty(number).unwrap();
        lane.flush();
        assert_eq!(a.poll(1, |_| Outcome::Done), Ok(Polled::Advanced(1)));
        let reclaimed = lane.poll().reclaimed;
        looks.extend((reclaimed > 0).then_some((number, reclaimed)));
    }
    assert_eq!(looks, [(0, 1), (64, 64), (128, 64)]);
}

/// Stages specified with threads, so that they have sleep words of their own, but polled by hand.
fn by_hand_on_threads<const N: usize>(names: [&str; N]) -> (Lane<u64>, [Stage<u64>; N]) {
    let mut started = start(8, names.iter().map(|name| vec![StageSpec::thread(name)]).collect());
    let stages = names.map(|name| started.stages.remove(name).unwrap());
    (started.lane, stages)
}
