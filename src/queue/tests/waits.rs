//! Threads and tasks that wait: for messages, for room, for the end, for a time.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use slipring_test_support::block_on;

use super::super::{CopyError, DequeueError, End, EnqueueError};
use super::{in_use, message, tiny_pool, tiny_queue, waiting_pool};

const SHORT: Duration = Duration::from_millis(3);
/// Longer than an end spins, so the other end sleeps by then.
const A_WHILE: Duration = Duration::from_millis(2);

#[test]
fn time_limits_end_a_wait() {
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
    enqueuer.close();
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
    assert!(closers.iter().all(|closer| closer.close_with("reset")));
    for thread in [producer, consumer] {
        assert_eq!(thread.join().unwrap(), "the queue was closed: reset");
    }
    drop((dequeuer, empty_in));
}

/// Sends its name when it is woken.
struct Named(u32, Sender<u32>);

impl Wake for Named {
    fn wake(self: Arc<Self>) {
        let _is_received = self.1.send(self.0);
    }
}

fn poll<F: Future>(future: Pin<&mut F>, name: u32, sender: &Sender<u32>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::new(Named(name, sender.clone())));
    future.poll(&mut Context::from_waker(&waker))
}

#[test]
fn two_tasks_pass_messages_through_a_small_queue() {
    let count = if cfg!(miri) { 20 } else { 2000 };
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 2, 1000);
    let producer = thread::spawn(move || {
        block_on(async {
            for number in 0..count {
                let bytes = u32::to_le_bytes(number);
                if number % 2 == 0 {
                    enqueuer.enqueue_copy_async(&bytes).await.unwrap();
                } else {
                    let mut buf = enqueuer.pool().get_async(4).await.unwrap();
                    buf.copy_from_slice(&bytes);
                    enqueuer.enqueue_async(buf).await.unwrap();
                }
            }
        });
    });
    block_on(async {
        for number in 0..count {
            let message = dequeuer.dequeue_async().await.unwrap().expect("a message");
            assert_eq!(message[..], u32::to_le_bytes(number));
        }
        assert!(dequeuer.dequeue_async().await.unwrap().is_none());
    });
    producer.join().unwrap();
    assert_eq!((in_use(&pool), dequeuer.stats().wakes_lost), (0, 0));
}

#[test]
fn the_waker_of_the_last_poll_is_woken() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 2, 1000);
    let (sender, receiver) = channel();
    let mut future = pin!(dequeuer.dequeue_async());
    assert!(poll(future.as_mut(), 1, &sender).is_pending());
    assert!(poll(future.as_mut(), 2, &sender).is_pending());
    enqueuer.try_enqueue_copy(b"a").unwrap();
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [2]);
    assert!(poll(future.as_mut(), 3, &sender).is_ready());
    enqueuer.try_enqueue_copy(b"b").unwrap();
    assert_eq!(receiver.try_iter().count(), 0, "no task waits");
}

#[test]
fn a_dropped_future_has_done_nothing_and_is_not_woken() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    let (sender, receiver) = channel();
    assert!(poll(pin!(dequeuer.dequeue_async()), 1, &sender).is_pending());
    enqueuer.try_enqueue_copy(b"a").unwrap();
    let mut full = enqueuer.enqueue_async(message(&pool, 1, 9));
    assert!(poll(Pin::new(&mut full), 2, &sender).is_pending());
    assert_eq!(full.into_buf().expect("it wasn't enqueued")[..], [9]);
    assert!(poll(pin!(enqueuer.enqueue_copy_async(b"b")), 3, &sender).is_pending());
    assert_eq!(&block_on(dequeuer.dequeue_async()).unwrap().expect("a message")[..], b"a");
    assert_eq!((receiver.try_iter().count(), in_use(&pool)), (0, 0));
}

#[test]
fn the_end_wakes_tasks() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    let (sender, receiver) = channel();
    let closer = enqueuer.closer();
    {
        let mut next = pin!(dequeuer.dequeue_async());
        assert!(poll(next.as_mut(), 1, &sender).is_pending());
        enqueuer.try_enqueue_copy(b"a").unwrap();
        let mut room = pin!(enqueuer.enqueue_copy_async(b"b"));
        assert!(poll(room.as_mut(), 2, &sender).is_pending());
        assert!(closer.close_with("reset"));
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2]);
        assert!(matches!(
            poll(room, 2, &sender),
            Poll::Ready(Err(CopyError::Closed(End::Error(_))))
        ));
        assert!(matches!(poll(next, 1, &sender), Poll::Ready(Ok(Some(_)))));
    }
    assert!(block_on(dequeuer.dequeue_async()).is_err());
}

/// The other side holds its message, and the pool has no other buffer.
#[test]
fn the_end_reaches_a_task_that_waits_for_the_pool() {
    let pool = waiting_pool();
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 8, 2000);
    let (sender, receiver) = channel();
    enqueuer.try_enqueue_copy(b"held").unwrap();
    enqueuer.try_enqueue(pool.get(1024).unwrap()).unwrap();
    let held = dequeuer.try_dequeue().unwrap().expect("a message");
    let closer = enqueuer.closer();
    {
        let mut copy = pin!(enqueuer.enqueue_copy_async(b"more"));
        assert!(poll(copy.as_mut(), 1, &sender).is_pending());
        // It is woken by room, which it doesn't need, and goes on waiting.
        drop(dequeuer.try_dequeue().unwrap());
        assert!(poll(copy.as_mut(), 2, &sender).is_pending());
        receiver.try_iter().for_each(drop);
        assert!(closer.close_with("reset"));
        assert_eq!(
            receiver.try_iter().collect::<Vec<_>>(),
            [2],
            "the end wakes the task that waits for a buffer"
        );
        assert!(matches!(
            poll(copy, 3, &sender),
            Poll::Ready(Err(CopyError::Closed(End::Error(_))))
        ));
    }
    assert_eq!(pool.stats().classes[0].waiting, 0);
    drop(held);
    assert_eq!(in_use(&pool), 0);
}

#[test]
fn a_task_that_waits_for_the_pool_gets_its_buffer() {
    let pool = waiting_pool();
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 8, 1000);
    let (sender, receiver) = channel();
    enqueuer.try_enqueue_copy(b"held").unwrap();
    let held = dequeuer.try_dequeue().unwrap();
    {
        let mut copy = pin!(enqueuer.enqueue_copy_async(b"more"));
        assert!(poll(copy.as_mut(), 1, &sender).is_pending());
        drop(held);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1]);
        assert!(matches!(poll(copy, 2, &sender), Poll::Ready(Ok(()))));
    }
    assert_eq!(&dequeuer.try_dequeue().unwrap().expect("a message")[..], b"more");
    assert_eq!(receiver.try_iter().count(), 0, "no task waits");
}
