//! How a queue ends: cleanly, with an error, by a drop, by a panic.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::super::{
    Closed, Closer, CopyError, DequeueError, End, EnqueueError, Enqueuer, EnqueuerPanicked,
};
use super::{in_use, message, tiny_pool, tiny_queue, waiting_pool};

fn reset() -> Error {
    Error::from(ErrorKind::ConnectionReset)
}

#[test]
fn the_clean_end_comes_after_what_is_queued_and_stays() {
    let pool = tiny_pool(4);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 4, 1000);
    enqueuer.enqueue(message(&pool, 1, 1)).unwrap();
    enqueuer.close();
    assert_eq!(dequeuer.dequeue().unwrap().expect("a message")[..], [1]);
    for _ in 0..2 {
        assert!(dequeuer.dequeue().unwrap().is_none());
        assert!(dequeuer.try_dequeue().unwrap().is_none());
    }
    assert!(!dequeuer.close_with(reset()), "it had ended");
    assert!(matches!(dequeuer.closer().end(), Some(End::Clean)));
    assert!(dequeuer.dequeue().unwrap().is_none());
}

#[test]
fn an_error_comes_after_what_is_queued_and_stays() {
    let pool = tiny_pool(4);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 4, 1000);
    enqueuer.enqueue(message(&pool, 1, 1)).unwrap();
    assert!(enqueuer.closer().close_with(reset()));
    assert!(!enqueuer.close_with("too late"), "the first end wins");
    assert_eq!(dequeuer.dequeue().unwrap().expect("a message")[..], [1]);
    for _ in 0..2 {
        let Closed(error) = dequeuer.dequeue().unwrap_err();
        assert_eq!(
            error.downcast_ref::<Error>().expect("the error itself").kind(),
            ErrorKind::ConnectionReset
        );
        assert!(matches!(dequeuer.try_dequeue(), Err(DequeueError::Closed(_))));
    }
    let closed = enqueuer.try_enqueue(message(&pool, 2, 2)).unwrap_err();
    assert!(matches!(closed, EnqueueError::Closed { end: End::Error(_), .. }), "{closed}");
    assert_eq!(closed.into_buf()[..], [2, 2]);
    assert!(matches!(enqueuer.enqueue_copy(b"a"), Err(CopyError::Closed(End::Error(_)))));
    assert_eq!((in_use(&pool), enqueuer.stats().queued_messages), (0, 0));
}

#[test]
fn a_dropped_dequeuer_ends_the_queue_and_returns_what_is_queued() {
    let pool = tiny_pool(4);
    let (mut enqueuer, dequeuer) = tiny_queue(&pool, 2, 1000);
    enqueuer.enqueue(message(&pool, 1, 1)).unwrap();
    enqueuer.enqueue(message(&pool, 1, 2)).unwrap();
    let closer = dequeuer.closer();
    drop(dequeuer);
    assert_eq!((in_use(&pool), closer.stats().queued_bytes), (0, 0));
    let closed = enqueuer.enqueue(message(&pool, 1, 3)).unwrap_err();
    assert!(matches!(closed, EnqueueError::Closed { end: End::Abandoned, .. }), "{closed}");
    assert_eq!(closed.into_buf()[..], [3]);
}

#[test]
fn a_consumer_that_panics_returns_what_it_held() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 8, 1000);
    (1..=4).for_each(|value| enqueuer.enqueue(message(&pool, 1, value)).unwrap());
    let consumer = thread::spawn(move || {
        let _held = [dequeuer.dequeue(), dequeuer.dequeue()];
        panic!("on purpose");
    });
    assert!(consumer.join().is_err());
    assert_eq!((in_use(&pool), enqueuer.stats().queued_messages), (0, 0));
    assert!(matches!(enqueuer.try_enqueue_copy(b"a"), Err(CopyError::Closed(End::Abandoned))));
}

/// A stream that a panic has cut short must not look like one that ended.
#[test]
fn an_enqueuer_that_panics_does_not_end_cleanly() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 8, 1000);
    let producer = thread::spawn(move || {
        enqueuer.enqueue_copy(b"half").unwrap();
        panic!("on purpose");
    });
    assert!(producer.join().is_err());
    assert_eq!(&dequeuer.dequeue().unwrap().expect("a message")[..], b"half");
    let Closed(error) = dequeuer.dequeue().unwrap_err();
    assert!(error.is::<EnqueuerPanicked>(), "{error}");
    assert_eq!(in_use(&pool), 0);
}

/// A destructor that a panic elsewhere runs may close cleanly: the call is explicit.
#[test]
fn an_explicit_close_in_an_unwind_is_clean() {
    struct Farewell(Option<Enqueuer>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            let mut enqueuer = self.0.take().unwrap();
            enqueuer.try_enqueue_copy(b"bye").unwrap();
            enqueuer.close();
        }
    }
    let pool = tiny_pool(8);
    let (enqueuer, mut dequeuer) = tiny_queue(&pool, 8, 1000);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _farewell = Farewell(Some(enqueuer));
        panic!("somewhere else");
    }));
    assert!(panicked.is_err());
    assert_eq!(&dequeuer.try_dequeue().unwrap().unwrap()[..], b"bye");
    assert!(dequeuer.dequeue().unwrap().is_none());
}

/// An error whose drop reads the end of the queue. It must be dropped with no lock held.
#[derive(Debug)]
struct ReadsEnd(Closer);

impl fmt::Display for ReadsEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error that reads the end")
    }
}

impl std::error::Error for ReadsEnd {}

impl Drop for ReadsEnd {
    fn drop(&mut self) {
        assert!(matches!(self.0.end(), Some(End::Error(_))));
    }
}

#[test]
fn the_error_of_a_close_that_is_too_late_is_dropped_outside_of_locks() {
    let pool = tiny_pool(1);
    let (enqueuer, _dequeuer) = tiny_queue(&pool, 1, 1000);
    assert!(enqueuer.close_with("first"));
    assert!(!enqueuer.close_with(ReadsEnd(enqueuer.closer())));
}

/// The other side holds its message, and the pool has no other buffer.
#[test]
fn the_end_reaches_a_thread_that_waits_for_the_pool() {
    const LONG: Duration = slipring_test_support::patience(20);
    for timeout in [None, Some(2 * LONG)] {
        let pool = waiting_pool();
        let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 8, 1000);
        enqueuer.enqueue_copy(b"held").unwrap();
        let held = dequeuer.dequeue().unwrap().expect("a message");
        let (closer, (sender, receiver)) = (enqueuer.closer(), channel());
        let waiting = thread::spawn(move || {
            let copied = match timeout {
                Some(timeout) => enqueuer.enqueue_copy_timeout(b"more", timeout),
                None => enqueuer.enqueue_copy(b"more"),
            };
            sender.send(copied).expect("the test receives");
        });
        while pool.stats().classes[0].waiting == 0 {
            thread::yield_now();
        }
        assert!(closer.close_with(reset()));
        drop(dequeuer);
        let copied = receiver.recv_timeout(LONG);
        drop(held);
        waiting.join().unwrap();
        assert!(
            matches!(copied, Ok(Err(CopyError::Closed(End::Error(_))))),
            "{copied:?} while the buffer was held"
        );
        assert_eq!((in_use(&pool), pool.stats().classes[0].waiting), (0, 0));
    }
}

/// The gauges don't stay up after a close.
#[test]
fn gauges_go_down_after_a_close() {
    let pool = tiny_pool(8);
    for is_drained in [true, false] {
        let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 4, 1000);
        (1..=3).for_each(|value| enqueuer.try_enqueue(message(&pool, 10, value)).unwrap());
        let closer = enqueuer.closer();
        assert!(closer.close_with("the peer has gone"));
        assert_eq!((closer.stats().queued_messages, closer.stats().queued_bytes), (3, 30));
        if is_drained {
            (1..=3).for_each(|value| {
                assert_eq!(dequeuer.dequeue().unwrap().expect("a message")[..], [value; 10])
            });
            assert!(dequeuer.dequeue().is_err());
        } else {
            drop(dequeuer);
        }
        assert_eq!(
            (closer.stats().queued_messages, closer.stats().queued_bytes, in_use(&pool)),
            (0, 0, 0)
        );
    }
}

/// A close doesn't wait for held messages. They stay valid, and return to the pool later.
#[test]
fn close_waits_for_no_held_message() {
    let pool = tiny_pool(4);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 4, 1000);
    enqueuer.enqueue(message(&pool, 10, 7)).unwrap();
    let held = dequeuer.dequeue().unwrap().expect("a message");
    assert!(enqueuer.close_with("the peer has gone"));
    assert!(dequeuer.dequeue().is_err());
    drop((enqueuer, dequeuer));
    assert_eq!((held[..].to_vec(), in_use(&pool)), (vec![7; 10], 1));
    drop(held);
    assert_eq!(in_use(&pool), 0);
}
