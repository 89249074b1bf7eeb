//! What is refused and handed back, and what the figures say.

use std::cell::Cell;
use std::thread;

use super::super::{Bound, CopyError, DequeueError, EnqueueError, QueueError, QueueOptions, queue};
use super::{in_use, message, tiny_pool, tiny_queue};
use crate::class::GetError;
use crate::queue::options::{BYTES_MAX, MESSAGES_MAX};
use crate::queue::ring::{Count, consistent_counts};
use crate::sync::{AtomicBool, Ordering};

#[test]
fn bounds_out_of_range_are_refused_by_name() {
    let pool = tiny_pool(1);
    let refused =
        |messages, bytes| queue(&pool, QueueOptions { messages, bytes }).map(drop).unwrap_err();
    for given in [0, MESSAGES_MAX + 1, usize::MAX] {
        assert_eq!(refused(given, 1), QueueError { field: "messages", given, limit: MESSAGES_MAX });
    }
    for given in [0, BYTES_MAX + 1, usize::MAX] {
        assert_eq!(refused(1, given), QueueError { field: "bytes", given, limit: BYTES_MAX });
    }
    assert_eq!(refused(0, 1).to_string(), "`messages` of the queue is 0: give 1 to 1048576");
}

#[test]
fn a_full_queue_hands_the_buffer_back_and_names_the_bound() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 3, 100);
    enqueuer.try_enqueue(message(&pool, 60, 1)).unwrap();
    match enqueuer.try_enqueue(message(&pool, 41, 2)).unwrap_err() {
        EnqueueError::Full { buf, bound } => {
            assert_eq!(bound, Bound::Bytes { asked_bytes: 41, limit_bytes: 100 });
            assert_eq!(buf[..], [2; 41]);
        }
        other => panic!("{other:?}"),
    }
    enqueuer.try_enqueue(message(&pool, 40, 3)).unwrap();
    enqueuer.try_enqueue(message(&pool, 0, 4)).unwrap();
    let full = enqueuer.try_enqueue(message(&pool, 0, 5)).unwrap_err();
    assert!(
        matches!(full, EnqueueError::Full { bound: Bound::Messages { limit: 3 }, .. }),
        "{full}"
    );
    assert!(matches!(
        enqueuer.try_enqueue_copy(b"a"),
        Err(CopyError::Full(Bound::Messages { limit: 3 }))
    ));
    assert_eq!(full.into_buf().len(), 0);
    for (bytes, value) in [(60, 1), (40, 3), (0, 4)] {
        let message = dequeuer.try_dequeue().unwrap().expect("a message");
        assert_eq!((message.len(), message.iter().all(|&byte| byte == value)), (bytes, true));
    }
    assert!(matches!(dequeuer.try_dequeue(), Err(DequeueError::Empty)));
    assert_eq!(in_use(&pool), 0);
}

#[test]
fn a_message_above_the_byte_bound_goes_in_alone() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 4, 10);
    enqueuer.try_enqueue_copy(b"one").unwrap();
    assert!(matches!(
        enqueuer.try_enqueue_copy(&[9; 500]),
        Err(CopyError::Full(Bound::Bytes { asked_bytes: 500, .. }))
    ));
    drop(dequeuer.try_dequeue().unwrap());
    enqueuer.try_enqueue_copy(&[9; 500]).unwrap();
    assert!(matches!(
        enqueuer.try_enqueue_copy(b"a"),
        Err(CopyError::Full(Bound::Bytes { asked_bytes: 1, .. }))
    ));
    assert_eq!(dequeuer.try_dequeue().unwrap().expect("a message")[..], [9; 500]);
    enqueuer.try_enqueue_copy(b"a").unwrap();
}

#[test]
fn a_pool_without_a_buffer_is_an_error_and_nothing_is_enqueued() {
    let pool = tiny_pool(1);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 4, 1000);
    enqueuer.try_enqueue_copy(b"only").unwrap();
    let exhausted = |result| {
        matches!(result, Err(CopyError::Pool(GetError::Exhausted { class_bytes: 64, .. })))
    };
    assert!(exhausted(enqueuer.try_enqueue_copy(b"more")));
    assert!(exhausted(enqueuer.enqueue_copy(b"more")));
    assert_eq!(enqueuer.stats().queued_messages, 1);
    drop(dequeuer.try_dequeue().unwrap());
    enqueuer.enqueue_copy(b"more").unwrap();
}

#[test]
fn figures_follow_what_happens() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 2, 1000);
    enqueuer.try_enqueue_copy(&[1; 30]).unwrap();
    enqueuer.try_enqueue_copy(&[2; 12]).unwrap();
    // It is refused, so the enqueuer has read how much is queued.
    assert!(enqueuer.try_enqueue_copy(&[3; 5]).is_err());
    let held = dequeuer.try_dequeue().unwrap();
    let stats = dequeuer.stats();
    assert_eq!((stats.queued_messages, stats.queued_bytes), (1, 12));
    assert_eq!((stats.enqueued_messages, stats.enqueued_bytes), (2, 42));
    assert_eq!((stats.dequeued_messages, stats.dequeued_bytes), (1, 30));
    assert_eq!((stats.most_messages, stats.most_bytes), (2, 42));
    assert_eq!((stats.enqueue_waits, stats.dequeue_waits, stats.wakes_lost), (0, 0, 0));
    assert_eq!(enqueuer.closer().stats(), stats);
    // The pool counts the held message.
    assert_eq!(in_use(&pool) - stats.queued_messages, 1);
    drop(held);
}

/// A snapshot from another thread may come between two steps of the ends. It must not add up
/// messages of two moments.
#[test]
fn a_snapshot_never_shows_more_than_the_bound() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    let (closer, is_over) = (enqueuer.closer(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buf = message(&pool, 10, 1);
            while !is_over.load(Ordering::Relaxed) {
                enqueuer.try_enqueue(buf).expect("there is room");
                buf = dequeuer.try_dequeue().expect("it is open").expect("a message").into_buf();
            }
        });
        let snapshots = if cfg!(miri) { 50 } else { 100_000 };
        let most = (0..snapshots).map(|_| closer.stats()).fold(
            (0, 0, 0),
            |(messages, bytes, over), stats| {
                let back = stats.dequeued_messages.saturating_sub(stats.enqueued_messages);
                (messages.max(stats.queued_messages), bytes.max(stats.queued_bytes), over.max(back))
            },
        );
        is_over.store(true, Ordering::Relaxed);
        assert!(most.0 <= 1 && most.1 <= 10 && most.2 == 0, "{most:?}");
    });
}

/// The same with the ends stopped between two steps of the snapshot: after the first, one message
/// comes out and one goes in.
#[test]
fn the_counts_of_a_snapshot_are_of_one_moment() {
    let count = |messages| Count { messages, bytes: 10 * messages };
    let readings = Cell::new(0);
    let dequeued = || count(usize::from(readings.replace(readings.get() + 1) > 0));
    assert_eq!(consistent_counts(1, || count(2), dequeued), (count(2), count(1)));
    // A dequeuer that moves between any two readings.
    let readings = Cell::new(0);
    let dequeued = || count(readings.replace(readings.get() + 1));
    let (more, less) = consistent_counts(1, || count(readings.get() + 1), dequeued);
    assert!(more.since(less).messages <= 1, "{more:?} and {less:?}");
    // The last reading comes between the two steps of a count: the bytes are one message ahead.
    let readings = Cell::new(0);
    let ahead = |messages| Count { messages, bytes: 10 * (messages + 1) };
    let (more, less) = consistent_counts(
        1,
        || count(readings.get()),
        || ahead(readings.replace(readings.get() + 1)),
    );
    assert!(more.since(less).bytes <= 10, "{more:?} and {less:?}");
}
