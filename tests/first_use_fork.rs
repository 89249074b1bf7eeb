//! What the library finds out once per process. A child that is forked while another thread finds
//! it out does so again, and never waits for that thread.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use slipring::class::{ClassOptions, ClassPool};
use slipring::machine::CpuMask;
use slipring::queue::{QueueOptions, queue};
use slipring_test_support::in_child;

/// In a process in which `first` hasn't been called yet, a thread calls it, and meanwhile a child
/// is forked that calls it as well.
fn forked_while(first: impl Fn() + Sync, round: usize) -> i32 {
    in_child(|| {
        let began = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                began.store(true, Ordering::Relaxed);
                // The process is copied somewhere in the fork, each time at another moment of the
                // call.
                (0..round % 50 * 200).for_each(|_| spin_loop());
                first();
            });
            while !began.load(Ordering::Relaxed) {
                spin_loop();
            }
            assert_eq!(in_child(&first), 0, "a child waits for a thread that it doesn't have");
        });
    })
}

const ROUNDS: usize = 200;

#[test]
fn a_queue_waits_in_a_child_that_was_forked_while_another_did() {
    let pool = ClassPool::new(&ClassOptions::default()).unwrap();
    let wait = || {
        let (_enqueuer, mut dequeuer) = queue(&pool, QueueOptions::default()).unwrap();
        assert!(dequeuer.dequeue_timeout(Duration::from_nanos(1)).is_err());
    };
    assert!(
        (0..ROUNDS).all(|round| forked_while(wait, round) == 0),
        "the child's message is above; if there is none, its alarm ended it"
    );
}

#[test]
fn the_mask_is_read_in_a_child_that_was_forked_while_it_was() {
    let read = || assert!(!CpuMask::read().cpus().is_empty());
    assert!(
        (0..ROUNDS).all(|round| forked_while(read, round) == 0),
        "the child's message is above; if there is none, its alarm ended it"
    );
}
