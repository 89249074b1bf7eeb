//! Every interleaving of a bin's owner and an emptying thread, alone and around a store in which
//! the emptying thread waits.
//!
//! Stand-ins: addresses for blocks, and a cell of loom, which reports accesses that nothing orders,
//! for the bytes of one. The barrier is the fence; that `membarrier(2)` is as strong is the
//! kernel's promise.

use std::sync::{Arc, Weak};

use super::{Bin, Blocks};
use crate::barrier::Barrier;
use crate::class::memory::{Block, fake};
use crate::class::store::{FromStore, Store, Unlocked, Waiter};
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
        wake(store.add_cold(vec![fake(1)]));
        let FromStore::Block(block) = store.get(0, &mut Blocks::new()) else {
            unreachable!("there is one")
        };
        (
            Arc::new(Self { bin: Bin::new(2, BARRIER, false), store, bytes: UnsafeCell::new(0) }),
            block,
        )
    }

    /// The holder of the block owns its bytes.
    fn write(&self, _block: &Block) {
        self.bytes.with_mut(|_| ());
    }

    /// As `put::put`.
    fn put(&self, block: Block) {
        if let Some(block) = self.bin.push(block) {
            wake(self.store.put([block].into_iter(), 1));
        }
    }

    /// As `threads::empty_bins`; whether the owner was inside.
    fn empty_once(&self) -> bool {
        let mut emptied = Vec::new();
        self.bin.lock_out();
        assert!(BARRIER.try_heavy());
        let has_missed = !self.bin.empty(&mut emptied);
        self.bin.set_locked_out(self.store.has_waiters());
        wake(self.store.put(emptied.into_iter(), 0));
        has_missed
    }

    /// As `threads::empty_bins_again`, until the owner has left.
    fn empty(&self) {
        while self.empty_once() {
            thread::yield_now();
        }
    }
}

fn wake(unlocked: Unlocked<()>) {
    unlocked.to_wake.into_iter().for_each(Waiter::wake);
}

#[test]
fn loom_an_owner_and_an_emptying_thread_never_have_one_block() {
    model(|| {
        let (pool, block) = Pool::new();
        pool.put(block);
        let owner = Arc::clone(&pool);
        let owner = thread::spawn(move || {
            if let Some(block) = owner.bin.pop() {
                owner.write(&block);
                owner.put(block);
            }
        });
        let mut emptied = Vec::new();
        pool.bin.lock_out();
        assert!(BARRIER.try_heavy());
        while !pool.bin.empty(&mut emptied) {
            thread::yield_now();
        }
        emptied.iter().for_each(|block| pool.write(block));
        pool.bin.set_locked_out(false);
        owner.join().unwrap();
        let mut blocks = Blocks::new();
        let in_store = usize::from(matches!(pool.store.get(0, &mut blocks), FromStore::Block(_)));
        let in_bin = usize::from(pool.bin.pop().is_some());
        assert_eq!(emptied.len() + in_store + in_bin, 1, "a block was lost, or is there twice");
    });
}

/// The owner drops its buffer while another thread begins to wait: it is served, whether the buffer
/// went to the bin or not.
#[test]
fn loom_a_waiter_gets_what_an_owner_drops() {
    model(|| {
        let (pool, block) = Pool::new();
        let owner = Arc::clone(&pool);
        let owner = thread::spawn(move || {
            owner.write(&block);
            owner.put(block);
        });
        let waiter = Arc::new(Waiter::thread());
        let granted = pool.store.enqueue(&waiter).or_else(|| {
            pool.empty();
            waiter.sleep(None)
        });
        pool.write(&granted.expect("a thread without a time limit gets a block"));
        owner.join().unwrap();
    });
}

/// Two threads and one block: each is served.
#[test]
fn loom_one_block_serves_two_waiters() {
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
                    .expect("there is no time limit");
                pool.write(&block);
                wake(pool.store.put([block].into_iter(), 1));
            }
        };
        let second = thread::spawn(wait(&pool));
        wake(pool.store.put([block].into_iter(), 1));
        wait(&pool)();
        second.join().unwrap();
        assert!(!pool.store.has_waiters());
    });
}

/// A waiter gives up at the moment at which it is served: the block isn't lost.
#[test]
fn loom_a_cancelled_wait_loses_no_block() {
    model(|| {
        let (pool, block) = Pool::new();
        let waiter = Arc::new(Waiter::thread());
        assert!(pool.store.enqueue(&waiter).is_none());
        let owner = Arc::clone(&pool);
        let owner = thread::spawn(move || wake(owner.store.put([block].into_iter(), 1)));
        let (granted, unlocked) = pool.store.cancel(&waiter);
        wake(unlocked);
        owner.join().unwrap();
        let in_store = matches!(pool.store.get(0, &mut Blocks::new()), FromStore::Block(_));
        assert!(granted.is_some() != in_store, "granted and free, or neither");
    });
}
