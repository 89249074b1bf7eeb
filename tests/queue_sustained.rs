//! Sustained progress of queues. A lost wake-up shows only under load, so queues are tiny, both
//! ends sleep all the time and pause at random, and threads, tasks, time limits and dropped futures
//! use the same queue.
//!
//! `SLIPRING_EVENTS` sets the sum of messages of all runs. A run without progress for a minute ends
//! the process and prints the last statistics of the queue.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use slipring::class::{ClassOptions, ClassPool};
use slipring::queue::{CopyError, Dequeuer, Enqueuer, QueueOptions, QueueStats, queue};
use slipring_test_support::{
    Draw, PAYLOAD_BYTES_MAX, Watch, check_payload, events, forbid_membarrier, payload_len,
    write_payload,
};

/// The tests of this file, and the queues that each runs over.
const TESTS: u64 = 4;
const QUEUES: [QueueOptions; 3] = [
    QueueOptions { messages: 1, bytes: 1 << 20 },
    QueueOptions { messages: 64, bytes: PAYLOAD_BYTES_MAX / 2 },
    QueueOptions { messages: 1024, bytes: 1 << 20 },
];

struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a future until it is ready, or once if not `patient`.
fn poll<F: Future>(future: F, patient: bool) -> Option<F::Output> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return Some(value),
            Poll::Pending if patient => thread::park(),
            Poll::Pending => return None,
        }
    }
}

/// Pauses in one call of 32, mostly for longer than an end spins.
fn pause(draw: &mut Draw) {
    if draw.below(32) == 0 {
        thread::sleep(Duration::from_micros(draw.below(150)));
    }
}

fn enqueue(mut enqueuer: Enqueuer, count: u64, mixed: bool, seed: u64) {
    let (mut draw, mut bytes) = (Draw::new(seed), vec![0; PAYLOAD_BYTES_MAX]);
    for number in 0..count {
        let message = &mut bytes[..payload_len(number)];
        write_payload(message, number);
        pause(&mut draw);
        if number + 1 == count {
            // Before the last message the dequeuer runs out of messages and sleeps, also if this
            // thread has been ahead all the time.
            while enqueuer.stats().queued_messages > 0 {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(100));
        }
        loop {
            let outcome = match if mixed { draw.below(4) } else { 0 } {
                0 => Some(enqueuer.enqueue_copy(message)),
                1 => Some(
                    enqueuer.enqueue_copy_timeout(message, Duration::from_micros(draw.below(100))),
                ),
                how => poll(enqueuer.enqueue_copy_async(message), how == 2),
            };
            match outcome {
                Some(Ok(())) => break,
                Some(Err(CopyError::Full(_))) | None => (),
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }
}

fn dequeue(mut dequeuer: Dequeuer, watch: &Watch<QueueStats>, mixed: bool, seed: u64) -> u64 {
    let (mut draw, mut number) = (Draw::new(seed), 0);
    loop {
        pause(&mut draw);
        let next = match if mixed { draw.below(4) } else { 0 } {
            0 => dequeuer.dequeue().ok(),
            1 => dequeuer.dequeue_timeout(Duration::from_micros(draw.below(100))).ok(),
            how => poll(dequeuer.dequeue_async(), how == 2).and_then(Result::ok),
        };
        match next {
            Some(Some(message)) => check_payload(&message, number),
            Some(None) => return number,
            None => continue,
        }
        number += 1;
        watch.step();
        let stats = dequeuer.stats();
        // Checked for each message: a lost wake-up costs a second, so a run with many would not
        // end.
        assert_eq!(stats.wakes_lost, 0, "{stats:?}");
        if number.is_multiple_of(256) {
            watch.saw(stats);
        }
    }
}

fn run(options: QueueOptions, mixed: bool) {
    run_after(options, mixed, || ());
}

/// `start` is called after the queue is made and before its ends are used.
fn run_after(options: QueueOptions, mixed: bool, start: impl FnOnce()) {
    let count = events(45_000) / TESTS / QUEUES.len() as u64;
    let name = format!("{options:?}, mixed: {mixed}");
    let (watch, dog) = Watch::start(name.clone());
    let pool = ClassPool::new(&ClassOptions::default()).expect("a pool");
    let (enqueuer, dequeuer) = queue(&pool, options).expect("small bounds");
    let closer = dequeuer.closer();
    start();
    let seed = options.messages as u64;
    let filler = thread::spawn(move || enqueue(enqueuer, count, mixed, seed));
    assert_eq!(dequeue(dequeuer, &watch, mixed, seed + 1), count, "{name}");
    filler.join().expect("the enqueuer ends");
    watch.end(dog);
    let stats = closer.stats();
    assert!(stats.dequeue_waits > 0, "{name}: the dequeuer never slept: {stats:?}");
    assert_eq!((stats.wakes_lost, stats.queued_messages), (0, 0), "{name}: {stats:?}");
}

#[test]
fn threads() {
    QUEUES.iter().for_each(|&options| run(options, false));
}

#[test]
fn threads_tasks_times_and_dropped_futures() {
    QUEUES.iter().for_each(|&options| run(options, true));
}

/// The fallback of the barrier: both sides of the sleep protocol use fences.
#[test]
fn threads_without_membarrier() {
    forbid_membarrier();
    QUEUES.iter().for_each(|&options| run(options, true));
}

/// A filter is installed after the process has registered for membarrier. No wake-up is certain
/// then, so threads and tasks that sleep check again by themselves.
#[test]
fn threads_and_tasks_whose_membarrier_is_forbidden_later() {
    for options in QUEUES {
        // Each queue is made on a thread of its own: a queue that is made after the filter uses
        // fences from the start.
        let run = thread::spawn(move || run_after(options, true, forbid_membarrier));
        run.join().expect("the run ends");
    }
}
