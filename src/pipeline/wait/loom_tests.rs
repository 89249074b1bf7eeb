//! Every interleaving of wakers and a sleeper: no wake-up is lost, which loom would report as a
//! deadlock.
//!
//! Models: loom's atomics for the disruptor's cursors (`done`, one per waker) and for the end of
//! the stream (`closed`), a flag with a condition variable for the eventfd. The barrier is the
//! fence. That `membarrier(2)` is as strong as a fence on every core is the kernel's promise, and
//! not modelled.

use std::sync::Arc;

use super::{ASLEEP, ASLEEP_FULL, Announced, LaneSleeper};
use crate::barrier::Barrier;
use crate::sync::model::{model, thread};
use crate::sync::{AtomicU32, Ordering};

const BARRIER: Barrier = Barrier::Fence;

/// What a lane shares, cut down to what waking needs.
struct Lane {
    sleeper: LaneSleeper,
    done: [AtomicU32; 2],
    closed: AtomicU32,
    level: u32,
}

impl Lane {
    fn new(sleeper: LaneSleeper, level: u32) -> Arc<Self> {
        let zero = || AtomicU32::new(0);
        Arc::new(Self { sleeper, done: [zero(), zero()], closed: zero(), level })
    }

    /// As `LaneShared::advance`: the cursor, then the barrier, then the sleep word.
    fn advance(&self, waker: usize, sequence: u32) {
        self.done[waker].store(sequence, Ordering::Release);
        BARRIER.light();
        self.sleeper.wake_if(self.level);
    }

    /// As `LaneShared::close`.
    fn close(&self) {
        self.closed.store(1, Ordering::Release);
        BARRIER.light();
        self.sleeper.wake_if(ASLEEP);
    }

    /// As `LaneShared::available` after a layer of `wakers` stages.
    fn available(&self, wakers: usize) -> u32 {
        self.done[..wakers].iter().map(|done| done.load(Ordering::Acquire)).min().unwrap_or(0)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) != 0
    }

    /// A stage's thread waits for an event: as `Stage::wait`, without the spinning before.
    fn sleep_until(&self, ready: impl Fn() -> bool) {
        while !ready() {
            assert!(self.sleeper.sleep(BARRIER, self.level, &ready), "a wake-up was lost");
        }
    }

    /// The IO thread waits: as `Lane::wait`, or the service's loop around its own poll call.
    fn poll_until(&self, ready: impl Fn() -> bool) {
        let LaneSleeper::Io { event_fd, .. } = &self.sleeper else {
            unreachable!("the IO thread sleeps on an eventfd")
        };
        while !ready() {
            if self.sleeper.prepare(BARRIER, self.level, &ready) == Announced::Asleep {
                event_fd.poll();
            }
            self.sleeper.awake();
        }
    }
}

/// Runs the wakers on threads of their own and the sleeper on this one, until all have ended.
fn run(lane: &Arc<Lane>, wakers: &[fn(&Lane)], sleeper: impl FnOnce(&Lane)) {
    let start = |waker: &fn(&Lane)| {
        let (lane, waker) = (Arc::clone(lane), *waker);
        thread::spawn(move || waker(&lane))
    };
    let threads: Vec<_> = wakers.iter().map(start).collect();
    sleeper(lane);
    threads.into_iter().for_each(|thread| thread.join().expect("a waker ends"));
}

fn thread_lane() -> Arc<Lane> {
    Lane::new(LaneSleeper::thread(), ASLEEP)
}

fn io_lane(level: u32) -> Arc<Lane> {
    Lane::new(LaneSleeper::io().expect("the model of an eventfd"), level)
}

fn advance_twice(lane: &Lane) {
    // Twice, so that what the first sleep may leave over (an unpark, a set eventfd) meets the
    // second.
    (1..=2).for_each(|sequence| lane.advance(0, sequence));
}

#[test]
fn loom_a_parked_stage_gets_every_event() {
    model(|| {
        run(&thread_lane(), &[advance_twice], |lane| {
            (1..=2).for_each(|sequence| lane.sleep_until(|| lane.available(1) >= sequence));
        });
    });
}

#[test]
fn loom_a_parked_stage_after_two() {
    model(|| {
        run(&thread_lane(), &[|lane| lane.advance(0, 1), |lane| lane.advance(1, 1)], |lane| {
            lane.sleep_until(|| lane.available(2) >= 1);
        });
    });
}

#[test]
fn loom_close_meets_a_parking_stage() {
    model(|| {
        run(&thread_lane(), &[|lane| lane.advance(0, 1), Lane::close], |lane| {
            lane.sleep_until(|| lane.available(1) >= 1);
            lane.sleep_until(|| lane.is_closed());
        });
    });
}

/// A handle is Send, so a later poll may sleep on another thread.
#[test]
fn loom_a_stage_moves_to_another_thread_between_two_sleeps() {
    model(|| {
        let lane = thread_lane();
        run(&lane, &[advance_twice], |here| {
            here.sleep_until(|| here.available(1) >= 1);
            let there = Arc::clone(&lane);
            let second = thread::spawn(move || there.sleep_until(|| there.available(1) >= 2));
            second.join().expect("the second sleeper ends");
        });
    });
}

#[test]
fn loom_a_full_io_thread_learns_every_release() {
    model(|| {
        run(&io_lane(ASLEEP_FULL), &[advance_twice], |lane| {
            (1..=2).for_each(|sequence| lane.poll_until(|| lane.available(1) >= sequence));
        });
    });
}

#[test]
fn loom_a_full_io_thread_after_two() {
    model(|| {
        run(
            &io_lane(ASLEEP_FULL),
            &[|lane| lane.advance(0, 1), |lane| lane.advance(1, 1)],
            |lane| {
                lane.poll_until(|| lane.available(2) >= 1);
            },
        );
    });
}

/// The end, or a failure, wakes the IO thread even if it doesn't wait for room.
#[test]
fn loom_close_meets_an_io_thread_that_goes_to_sleep() {
    model(|| {
        run(&io_lane(ASLEEP), &[|lane| lane.advance(0, 1), Lane::close], |lane| {
            lane.poll_until(|| lane.available(1) >= 1);
            lane.poll_until(|| lane.is_closed());
        });
    });
}

/// If the eventfd stayed set, every later poll call would return immediately, and the IO thread
/// would never sleep again.
#[test]
fn loom_an_event_is_cleared_by_the_next_awake() {
    model(|| {
        let lane = io_lane(ASLEEP);
        // A socket, for example, makes the poll call return. This thread doesn't wait for the
        // eventfd.
        let pass = |lane: &Lane| {
            let _may_sleep = lane.sleeper.prepare(BARRIER, ASLEEP, || false);
            lane.sleeper.awake();
        };
        run(&lane, &[|lane| lane.advance(0, 1)], |lane| {
            pass(lane);
            pass(lane);
        });
        pass(&lane);
        let LaneSleeper::Io { event_fd, .. } = &lane.sleeper else {
            unreachable!("the IO thread sleeps on an eventfd")
        };
        assert!(!event_fd.is_set(), "a wake-up that is over still makes the eventfd readable");
    });
}
