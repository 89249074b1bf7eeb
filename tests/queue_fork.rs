//! A forked child has a copy of a queue, and only the thread that forked. Its calls and its drops
//! return, wherever the other threads were, and the parent's queue goes on.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use slipring::class::{self, ClassOptions, ClassPool, PooledBuf};
use slipring::queue::{
    CopyError, DequeueError, Dequeuer, End, EnqueueError, Enqueuer, Forked, QueueOptions, queue,
};

use slipring_test_support::in_child;

#[test]
fn a_forked_child_drops_its_ends_and_the_parent_goes_on() {
    let pool = ClassPool::new(&ClassOptions::default()).unwrap();
    let (enqueuer, mut dequeuer) =
        queue(&pool, QueueOptions { messages: 2, bytes: 1 << 20 }).unwrap();
    let (own_in, own_out) = queue(&pool, QueueOptions::default()).unwrap();
    let closer = enqueuer.closer();
    let reader = thread::spawn(move || {
        let mut messages = 0;
        loop {
            match dequeuer.dequeue_timeout(Duration::from_micros(50)) {
                Ok(Some(_)) => messages += 1,
                Ok(None) => return messages,
                Err(DequeueError::Empty) => (),
                Err(other) => panic!("{other}"),
            }
        }
    });
    // Each child drops its own copies.
    let (mut enqueuer, mut own) = (Some(enqueuer), Some((own_in, own_out)));
    let forks = 30;
    for _ in 0..forks {
        let status = in_child(|| {
            let (mut own_in, mut own_out) = own.take().expect("a queue");
            own_in
                .try_enqueue(pool.get(1 << 20).expect("direct ones need no pool"))
                .expect("there is room");
            assert!(own_out.try_dequeue().expect("it is open").is_some());
            drop(own_in);
            assert!(own_out.dequeue().expect("a clean end").is_none());
            closer.close_with("the child closes its copy");
            drop(enqueuer.take());
        });
        assert_eq!(status, 0, "the child's checks failed");
        enqueuer
            .as_mut()
            .expect("it is the parent's")
            .enqueue_copy(b"a")
            .expect("the parent's queue is open");
    }
    drop((enqueuer, own));
    assert_eq!(reader.join().expect("the reader ends"), forks);
}

type Wait = fn(&mut Enqueuer, &mut Dequeuer);

fn direct() -> PooledBuf {
    class::get(1 << 22).expect("a buffer above all classes needs no pool")
}

fn is_forked(end: &End) -> bool {
    matches!(end, End::Error(error) if error.is::<Forked>())
}

/// Only a thread of the parent could end the wait. (Each call runs in a child of its own, on its
/// own copy of the ends.)
#[test]
fn a_call_that_would_wait_reports_that_the_process_was_forked() {
    let pool = ClassPool::new(&ClassOptions::default()).unwrap();
    let ends = || queue(&pool, QueueOptions { messages: 1, bytes: 1 << 20 }).unwrap();
    let (_open, mut empty) = ends();
    let (mut full, _held) = ends();
    full.enqueue_copy(b"a").unwrap();
    let waits: [(&str, Wait); 6] = [
        ("dequeue", |_, empty| assert!(empty.dequeue().unwrap_err().0.is::<Forked>())),
        ("dequeue_timeout", |_, empty| {
            let refused = empty.dequeue_timeout(Duration::MAX).unwrap_err();
            assert!(matches!(refused, DequeueError::Closed(closed) if closed.0.is::<Forked>()));
        }),
        ("dequeue_async", |_, empty| {
            let polled = pin!(empty.dequeue_async()).poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Ready(Err(closed)) if closed.0.is::<Forked>()));
        }),
        ("enqueue", |full, _| {
            let refused = full.enqueue(direct()).unwrap_err();
            assert!(
                matches!(&refused, EnqueueError::Closed { end, .. } if is_forked(end)),
                "{refused}"
            );
        }),
        ("enqueue_async", |full, _| {
            let polled =
                pin!(full.enqueue_async(direct())).poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Err(EnqueueError::Closed { end, .. })) = polled else {
                panic!("{polled:?}")
            };
            assert!(is_forked(&end));
        }),
        ("enqueue_copy", |full, _| {
            let refused = full.enqueue_copy(b"b").unwrap_err();
            assert!(matches!(&refused, CopyError::Closed(end) if is_forked(end)), "{refused}");
        }),
    ];
    for (name, wait) in waits {
        assert_eq!(in_child(|| wait(&mut full, &mut empty)), 0, "{name}");
    }
}
