//! Every interleaving of a bin's owner and a thief, alone and around a store in which the thief
//! waits.
//!
//! Stand-ins: addresses for blocks, and a cell of loom, which reports accesses that nothing orders,
//! for the bytes of one. The barrier is the fence; that `membarrier(2)` is as strong is the
//! kernel's promise.

use std::sync::{Arc, Weak};

use super::{Batch, Bin};
use crate::barrier::Barrier;
use crate::class::block::{Block, fake};
use crate::class::store::{After, Store, Taken};
use crate::class::wait::Waiter;
use crate::sync::model::{UnsafeCell, model, thread};

const BARRIER: Barrier = Barrier::Fence;

struct Pool {
    bin: Bin,
    store: Store<()>,
    /// The bytes of the only block.
    bytes: UnsafeCell<u32>,
}

impl Pool {
    /// One block, which the caller has.
    fn new() -> (Arc<Self>, Block) {
        let store = Store::new(1, Weak::new());
        finish(store.add_cold(vec![fake(1)]));
        let Taken::Block(block) = store.take(0, &mut Batch::new()) else {
            unreachable!("there is one")
        };
        (
            Arc::new(Self { bin: Bin::new(2, BARRIER, false), store, bytes: UnsafeCell::new(0) }),
            block,
        )
    }

    /// Who has the block owns its bytes.
    fn write(&self, _block: &Block) {
        self.bytes.with_mut(|_| ());
    }

    /// As `Class::give`.
    fn give(&self, block: Block) {
        if let Some(block) = self.bin.push(block) {
            finish(self.store.put([block].into_iter(), 1));
        }
    }

    /// As `Shared::steal`; whether the owner was inside.
    fn steal(&self) -> bool {
        let mut stolen = Vec::new();
        self.bin.announce();
        assert!(BARRIER.try_heavy());
        let has_missed = !self.bin.steal(&mut stolen);
        self.bin.settle(self.store.is_hungry());
        finish(self.store.put(stolen.into_iter(), 0));
        has_missed
    }

    /// As `Shared::take_back`, as often as it takes.
    fn take_back(&self) {
        while self.steal() {
            thread::yield_now();
        }
    }

    fn settle(&self) {
        self.bin.settle(self.store.is_hungry());
    }
}

fn finish(after: After<()>) {
    after.woken.into_iter().for_each(Waiter::wake);
}

#[test]
fn loom_a_thief_and_the_owner_never_have_one_block() {
    model(|| {
        let (pool, block) = Pool::new();
        pool.give(block);
        let owner = Arc::clone(&pool);
        let owner = thread::spawn(move || {
            if let Some(block) = owner.bin.pop() {
                owner.write(&block);
                owner.give(block);
            }
        });
        let mut stolen = Vec::new();
        pool.bin.announce();
        assert!(BARRIER.try_heavy());
        while !pool.bin.steal(&mut stolen) {
            thread::yield_now();
        }
        stolen.iter().for_each(|block| pool.write(block));
        pool.bin.settle(false);
        owner.join().unwrap();
        let mut batch = Batch::new();
        let in_store = usize::from(matches!(pool.store.take(0, &mut batch), Taken::Block(_)));
        let in_bin = usize::from(pool.bin.pop().is_some());
        assert_eq!(stolen.len() + in_store + in_bin, 1, "a block was lost, or is there twice");
    });
}

/// The owner drops its buffer while another thread begins to wait: it is served, whether the buffer
/// went to the bin or not.
#[test]
fn loom_who_waits_gets_what_an_owner_drops() {
    model(|| {
        let (pool, block) = Pool::new();
        let owner = Arc::clone(&pool);
        let owner = thread::spawn(move || {
            owner.write(&block);
            owner.give(block);
        });
        let waiter = Arc::new(Waiter::thread());
        let granted = pool.store.enqueue(&waiter).or_else(|| {
            pool.take_back();
            waiter.sleep(None)
        });
        pool.write(&granted.expect("a thread that sleeps for ever gets a block"));
        owner.join().unwrap();
    });
}

/// Two that wait, one block: it goes round.
#[test]
fn loom_a_block_goes_round_those_who_wait() {
    model(|| {
        let (pool, block) = Pool::new();
        let wait = |pool: &Arc<Pool>| {
            let pool = Arc::clone(pool);
            move || {
                let waiter = Arc::new(Waiter::thread());
                let block = pool
                    .store
                    .enqueue(&waiter)
                    .or_else(|| waiter.sleep(None))
                    .expect("without an end");
                pool.write(&block);
                finish(pool.store.put([block].into_iter(), 1));
            }
        };
        let second = thread::spawn(wait(&pool));
        finish(pool.store.put([block].into_iter(), 1));
        wait(&pool)();
        second.join().unwrap();
        pool.settle();
        assert!(!pool.store.is_hungry());
    });
}

/// A wait is given up at the moment at which it is served: the block isn't lost.
#[test]
fn loom_a_cancelled_wait_loses_no_block() {
    model(|| {
        let (pool, block) = Pool::new();
        let waiter = Arc::new(Waiter::thread());
        assert!(pool.store.enqueue(&waiter).is_none());
        let owner = Arc::clone(&pool);
        let owner = thread::spawn(move || finish(owner.store.put([block].into_iter(), 1)));
        let (granted, after) = pool.store.cancel(&waiter);
        finish(after);
        owner.join().unwrap();
        let in_store = matches!(pool.store.take(0, &mut Batch::new()), Taken::Block(_));
        assert!(granted.is_some() != in_store, "granted and free, or neither");
    });
}
