//! The runtime pool under both Go designs (sync.Pool), written anew as far as a thread can stand
//! for a processor of that runtime.
//!
//! A processor has a private slot, which it takes and fills without an atomic instruction, and a
//! list whose head is its own and whose tail others steal from. Here a thread's [`Shard`] is the
//! processor. What differs:
//! - The private slot lies in the thread's view; the runtime pins its thread to find it. That
//!   favours this emulation.
//! - The list stands under a mutex that nobody else holds as a rule, and that is waited for by
//!   spinning: two locked instructions an access, where the runtime's own deque needs one.
//! - The garbage collector's clearing of idle objects isn't here. That favours this emulation too.

use std::collections::VecDeque;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread;

/// Threads that have a list of their own; further ones share.
const SHARDS: usize = 8;

pub struct SyncPool<T> {
    lists: [List<T>; SHARDS],
    threads: AtomicUsize,
}

/// On lines of its own, as the runtime pads it.
#[repr(align(128))]
struct List<T>(Mutex<VecDeque<T>>);

/// One thread's part of the pool.
pub struct Shard<'a, T> {
    pool: &'a SyncPool<T>,
    list: usize,
    private: Option<T>,
}

impl<T> SyncPool<T> {
    pub fn new() -> Self {
        Self {
            lists: std::array::from_fn(|_| List(Mutex::default())),
            threads: AtomicUsize::new(0),
        }
    }

    /// The calling thread's part; made once for each thread.
    pub fn shard(&self) -> Shard<'_, T> {
        let list = self.threads.fetch_add(1, Ordering::Relaxed) % SHARDS;
        Shard { pool: self, list, private: None }
    }
}

impl<T> Shard<'_, T> {
    /// An object, if any thread has left one.
    #[inline(always)]
    pub fn get(&mut self) -> Option<T> {
        match self.private.take() {
            Some(object) => Some(object),
            None => self.get_shared(),
        }
    }

    #[inline(always)]
    pub fn put(&mut self, object: T) {
        match self.private {
            None => self.private = Some(object),
            Some(_) => self.own().push_front(object),
        }
    }

    fn get_shared(&mut self) -> Option<T> {
        let own = self.own().pop_front();
        own.or_else(|| {
            let others = (1..SHARDS).map(|step| (self.list + step) % SHARDS);
            others.into_iter().find_map(|list| self.lock(list).pop_back())
        })
    }

    fn own(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.lock(self.list)
    }

    fn lock(&self, list: usize) -> MutexGuard<'_, VecDeque<T>> {
        lock_spinning(&self.pool.lists[list].0)
    }
}

/// Takes a lock that is held for some nanoseconds only, without ever sleeping for it: with two
/// threads at it all the time, the system calls of a sleep and a wake-up would be most of the
/// figure. What it guards is whole whenever the lock is free, so a panic elsewhere spoils nothing.
#[inline]
pub fn lock_spinning<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    let mut rounds = 0u64;
    loop {
        match lock.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(guard)) => return guard.into_inner(),
            Err(TryLockError::WouldBlock) => {
                // Twice as long each time, up to 64 hints: an attempt takes the line away from the
                // holder.
                (0..1 << rounds.min(6)).for_each(|_| spin_loop());
                rounds += 1;
                if rounds.is_multiple_of(1 << 12) {
                    // For a machine where both share a core.
                    thread::yield_now();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_comes_first_and_others_steal_the_oldest() {
        let pool = SyncPool::new();
        let (mut one, mut two) = (pool.shard(), pool.shard());
        assert_eq!(one.get(), None);
        (1..=4).for_each(|object| one.put(object));
        assert_eq!(
            (two.get(), one.get(), one.get()),
            (Some(2), Some(1), Some(4)),
            "the slot is the thread's alone"
        );
        assert_eq!((two.get(), two.get(), one.get()), (Some(3), None, None));
    }
}
