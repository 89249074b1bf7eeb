//! Tasks that wait, without a runtime.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use slipring_test_support::block_on;

use super::super::{CopyError, End};
use super::{in_use, message, tiny_pool, tiny_queue, waiting_pool};

/// Says its name when it is woken.
struct Named(u32, Sender<u32>);

impl Wake for Named {
    fn wake(self: Arc<Self>) {
        let _is_heard = self.1.send(self.0);
    }
}

fn poll<F: Future>(future: Pin<&mut F>, name: u32, said: &Sender<u32>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::new(Named(name, said.clone())));
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
    let (said, heard) = channel();
    let mut future = pin!(dequeuer.dequeue_async());
    assert!(poll(future.as_mut(), 1, &said).is_pending());
    assert!(poll(future.as_mut(), 2, &said).is_pending());
    enqueuer.try_enqueue_copy(b"a").unwrap();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [2]);
    assert!(poll(future.as_mut(), 3, &said).is_ready());
    enqueuer.try_enqueue_copy(b"b").unwrap();
    assert_eq!(heard.try_iter().count(), 0, "nobody waits");
}

#[test]
fn a_dropped_future_has_taken_nothing_and_is_woken_by_nothing() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    let (said, heard) = channel();
    assert!(poll(pin!(dequeuer.dequeue_async()), 1, &said).is_pending());
    enqueuer.try_enqueue_copy(b"a").unwrap();
    let mut full = enqueuer.enqueue_async(message(&pool, 1, 9));
    assert!(poll(Pin::new(&mut full), 2, &said).is_pending());
    assert_eq!(full.into_buf().expect("it wasn't enqueued")[..], [9]);
    assert!(poll(pin!(enqueuer.enqueue_copy_async(b"b")), 3, &said).is_pending());
    assert_eq!(&block_on(dequeuer.dequeue_async()).unwrap().expect("a message")[..], b"a");
    assert_eq!((heard.try_iter().count(), in_use(&pool)), (0, 0));
}

#[test]
fn the_end_wakes_tasks() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    let (said, heard) = channel();
    let closer = enqueuer.closer();
    {
        let mut next = pin!(dequeuer.dequeue_async());
        assert!(poll(next.as_mut(), 1, &said).is_pending());
        enqueuer.try_enqueue_copy(b"a").unwrap();
        let mut room = pin!(enqueuer.enqueue_copy_async(b"b"));
        assert!(poll(room.as_mut(), 2, &said).is_pending());
        assert!(closer.close("reset"));
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [1, 2]);
        assert!(matches!(
            poll(room, 2, &said),
            Poll::Ready(Err(CopyError::Closed(End::Closed(_))))
        ));
        assert!(matches!(poll(next, 1, &said), Poll::Ready(Ok(Some(_)))));
    }
    assert!(block_on(dequeuer.dequeue_async()).is_err());
}

/// The other side keeps what it got, and the pool has no more.
#[test]
fn the_end_reaches_a_task_that_waits_for_the_pool() {
    let pool = waiting_pool();
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 8, 2000);
    let (said, heard) = channel();
    enqueuer.try_enqueue_copy(b"kept").unwrap();
    enqueuer.try_enqueue(pool.get(1024).unwrap()).unwrap();
    let kept = dequeuer.try_dequeue().unwrap().expect("a message");
    let closer = enqueuer.closer();
    {
        let mut copy = pin!(enqueuer.enqueue_copy_async(b"more"));
        assert!(poll(copy.as_mut(), 1, &said).is_pending());
        // Room is no news to it, but it is woken, and waits on.
        drop(dequeuer.try_dequeue().unwrap());
        assert!(poll(copy.as_mut(), 2, &said).is_pending());
        heard.try_iter().for_each(drop);
        assert!(closer.close("reset"));
        assert_eq!(
            heard.try_iter().collect::<Vec<_>>(),
            [2],
            "the task that waits for a buffer learns of the end"
        );
        assert!(matches!(
            poll(copy, 3, &said),
            Poll::Ready(Err(CopyError::Closed(End::Closed(_))))
        ));
    }
    assert_eq!(pool.stats().classes[0].waiting, 0);
    drop(kept);
    assert_eq!(in_use(&pool), 0);
}

#[test]
fn a_task_that_waits_for_the_pool_gets_its_buffer() {
    let pool = waiting_pool();
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 8, 1000);
    let (said, heard) = channel();
    enqueuer.try_enqueue_copy(b"kept").unwrap();
    let kept = dequeuer.try_dequeue().unwrap();
    {
        let mut copy = pin!(enqueuer.enqueue_copy_async(b"more"));
        assert!(poll(copy.as_mut(), 1, &said).is_pending());
        drop(kept);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [1]);
        assert!(matches!(poll(copy, 2, &said), Poll::Ready(Ok(()))));
    }
    assert_eq!(&dequeuer.try_dequeue().unwrap().expect("a message")[..], b"more");
    assert_eq!(heard.try_iter().count(), 0, "nobody waits");
}
