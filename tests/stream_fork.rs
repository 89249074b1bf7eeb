//! A forked child has a copy of a queue, and one thread of it: its calls and its drops answer, wherever the other threads were, and the parent's queue goes on.

#[allow(unsafe_code)]
mod forks;

use std::thread;
use std::time::Duration;

use slipring::class::{ClassOptions, ClassPool};
use slipring::stream::{DequeueError, QueueOptions, queue};

use forks::in_child;

#[test]
fn a_forked_child_drops_its_ends_and_the_parent_goes_on() {
    let pool = ClassPool::new(&ClassOptions::default()).unwrap();
    let (enqueuer, mut dequeuer) = queue(&pool, QueueOptions { messages: 2, bytes: 1 << 20 }).unwrap();
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
    // The child takes them out of its own copies.
    let (mut enqueuer, mut own) = (Some(enqueuer), Some((own_in, own_out)));
    let forks = 30;
    for _ in 0..forks {
        let status = in_child(|| {
            let (mut own_in, mut own_out) = own.take().expect("a queue");
            own_in.try_enqueue(pool.get(1 << 20).expect("direct ones need no pool")).expect("there is room");
            assert!(own_out.try_dequeue().expect("it is open").is_some());
            drop(own_in);
            assert!(own_out.dequeue().expect("a clean end").is_none());
            closer.close("the child closes its copy");
            drop(enqueuer.take());
        });
        assert_eq!(status, 0, "the child's checks failed");
        enqueuer.as_mut().expect("it is the parent's").enqueue_copy(b"a").expect("the parent's queue is open");
    }
    drop((enqueuer, own));
    assert_eq!(reader.join().expect("the reader ends"), forks);
}
