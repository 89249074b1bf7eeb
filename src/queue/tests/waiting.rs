//! Threads that wait: for messages, for room, for the end, for a time.

use std::thread;
use std::time::{Duration, Instant};

use super::super::{DequeueError, EnqueueError};
use super::{in_use, message, tiny_pool, tiny_queue};

const SHORT: Duration = Duration::from_millis(3);
/// Longer than the ends spin: the other one sleeps by then, or will.
const A_WHILE: Duration = Duration::from_millis(2);

#[test]
fn times_end() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    let start = Instant::now();
    assert!(matches!(dequeuer.dequeue_timeout(SHORT), Err(DequeueError::Empty)));
    enqueuer.enqueue_timeout(message(&pool, 1, 1), SHORT).unwrap();
    let full = enqueuer.enqueue_timeout(message(&pool, 1, 2), SHORT).unwrap_err();
    assert!(matches!(&full, EnqueueError::Full { buf, .. } if buf[..] == [2]), "{full}");
    assert!(enqueuer.enqueue_copy_timeout(b"a", SHORT).is_err());
    assert!(start.elapsed() >= 3 * SHORT);
    assert!(dequeuer.dequeue_timeout(Duration::MAX).unwrap().is_some());
    assert!(matches!(dequeuer.dequeue_timeout(Duration::ZERO), Err(DequeueError::Empty)));
    let stats = dequeuer.stats();
    assert!(stats.dequeue_waits >= 1 && stats.enqueue_waits >= 2, "{stats:?}");
    assert_eq!((stats.wakes_lost, stats.queued_messages), (0, 0));
}

#[test]
fn a_thread_that_waits_is_woken_by_a_message_by_room_and_by_the_end() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    let consumer = thread::spawn(move || {
        assert_eq!(&dequeuer.dequeue().unwrap().expect("a message")[..], b"first");
        // The enqueuer waits for room by now.
        thread::sleep(2 * A_WHILE);
        assert_eq!(&dequeuer.dequeue().unwrap().expect("a message")[..], b"second");
        assert_eq!(&dequeuer.dequeue().unwrap().expect("a message")[..], b"third");
        assert!(dequeuer.dequeue().unwrap().is_none());
        dequeuer.stats()
    });
    thread::sleep(A_WHILE);
    for message in [&b"first"[..], b"second", b"third"] {
        enqueuer.enqueue_copy(message).unwrap();
    }
    thread::sleep(A_WHILE);
    enqueuer.finish();
    let stats = consumer.join().unwrap();
    assert_eq!((stats.dequeued_messages, stats.wakes_lost, in_use(&pool)), (3, 0, 0));
}

#[test]
fn close_wakes_both_ends() {
    let pool = tiny_pool(8);
    let (mut enqueuer, dequeuer) = tiny_queue(&pool, 1, 1000);
    let (empty_in, mut empty_out) = tiny_queue(&pool, 1, 1000);
    enqueuer.enqueue_copy(b"a").unwrap();
    let closers = [enqueuer.closer(), empty_in.closer()];
    let producer = thread::spawn(move || enqueuer.enqueue_copy(b"b").unwrap_err().to_string());
    let consumer = thread::spawn(move || empty_out.dequeue().unwrap_err().to_string());
    thread::sleep(A_WHILE);
    assert!(closers.iter().all(|closer| closer.close("reset")));
    for thread in [producer, consumer] {
        assert_eq!(thread.join().unwrap(), "the queue was closed: reset");
    }
    drop((dequeuer, empty_in));
}
