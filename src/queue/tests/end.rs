//! Ends: clean, by error, by a drop, by a panic.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::thread;

use std::sync::mpsc::channel;
use std::time::Duration;

use super::super::{
    Closed, Closer, CopyError, DequeueError, End, EnqueueError, Enqueuer, EnqueuerPanicked,
};
use super::{in_use, message, tiny_pool, tiny_queue, waiting_pool};

fn reset() -> Error {
    Error::from(ErrorKind::ConnectionReset)
}

#[test]
fn the_clean_end_comes_behind_what_is_queued_and_stays() {
    let pool = tiny_pool(4);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 4, 1000);
    enqueuer.enqueue(message(&pool, 1, 1)).unwrap();
    enqueuer.finish();
    assert_eq!(dequeuer.dequeue().unwrap().expect("a message")[..], [1]);
    for _ in 0..2 {
        assert!(dequeuer.dequeue().unwrap().is_none());
        assert!(dequeuer.try_dequeue().unwrap().is_none());
    }
    assert!(!dequeuer.close(reset()), "it had ended");
    assert!(matches!(dequeuer.closer().end(), Some(End::Finished)));
    assert!(dequeuer.dequeue().unwrap().is_none());
}

#[test]
fn an_error_comes_behind_what_is_queued_and_stays() {
    let pool = tiny_pool(4);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 4, 1000);
    enqueuer.enqueue(message(&pool, 1, 1)).unwrap();
    assert!(enqueuer.closer().close(reset()));
    assert!(!enqueuer.close("too late"), "the first end wins");
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
    assert!(matches!(closed, EnqueueError::Closed { end: End::Closed(_), .. }), "{closed}");
    assert_eq!(closed.into_buf()[..], [2, 2]);
    assert!(matches!(enqueuer.enqueue_copy(b"a"), Err(CopyError::Closed(End::Closed(_)))));
    assert_eq!((in_use(&pool), enqueuer.stats().queued_messages), (0, 0));
}

#[test]
fn a_dropped_dequeuer_closes_and_sends_what_is_queued_home() {
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
fn a_consumer_that_panics_gives_back_what_it_held() {
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

/// A stream cut short by a panic must not look like one that ended.
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

/// A destructor that a panic elsewhere runs may finish: it was asked for by name.
#[test]
fn a_finish_in_an_unwind_is_the_clean_end() {
    struct Farewell(Option<Enqueuer>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            let mut enqueuer = self.0.take().unwrap();
            enqueuer.try_enqueue_copy(b"bye").unwrap();
            enqueuer.finish();
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

/// An error of the caller's own whose drop looks at the queue: it is dropped with no lock held.
#[derive(Debug)]
struct Looks(Closer);

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error that looks")
    }
}

impl std::error::Error for Looks {}

impl Drop for Looks {
    fn drop(&mut self) {
        assert!(matches!(self.0.end(), Some(End::Closed(_))));
    }
}

#[test]
fn the_error_of_a_close_that_came_too_late_is_dropped_outside_of_locks() {
    let pool = tiny_pool(1);
    let (enqueuer, _dequeuer) = tiny_queue(&pool, 1, 1000);
    assert!(enqueuer.close("first"));
    assert!(!enqueuer.close(Looks(enqueuer.closer())));
}

/// The other side keeps what it got, and the pool has no more.
#[test]
fn the_end_reaches_a_thread_that_waits_for_the_pool() {
    const LONG: Duration = slipring_test_support::patience(20);
    for timeout in [None, Some(2 * LONG)] {
        let pool = waiting_pool();
        let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 8, 1000);
        enqueuer.enqueue_copy(b"kept").unwrap();
        let kept = dequeuer.dequeue().unwrap().expect("a message");
        let (closer, (said, heard)) = (enqueuer.closer(), channel());
        let waiting = thread::spawn(move || {
            let copied = match timeout {
                Some(timeout) => enqueuer.enqueue_copy_timeout(b"more", timeout),
                None => enqueuer.enqueue_copy(b"more"),
            };
            said.send(copied).expect("it is heard");
        });
        while pool.stats().classes[0].waiting == 0 {
            thread::yield_now();
        }
        assert!(closer.close(reset()));
        drop(dequeuer);
        let copied = heard.recv_timeout(LONG);
        drop(kept);
        waiting.join().unwrap();
        assert!(
            matches!(copied, Ok(Err(CopyError::Closed(End::Closed(_))))),
            "{copied:?} while its buffer was kept"
        );
        assert_eq!((in_use(&pool), pool.stats().classes[0].waiting), (0, 0));
    }
}
