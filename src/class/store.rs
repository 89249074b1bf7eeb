//! [`Store`]: all blocks of a class that no thread keeps, and the [`Waiter`]s for one. Its lock is
//! held for a few moves only.
//!
//! ```text
//!            get                             away: in use, or kept by a thread
//!   free ──────────────────▶ away
//!    ▲  ◀──────────────────   ▲                resident = free + away + moving <= resident_max
//!    │          put           │ get
//!    │                       cold              cold: without pages (never used, or given back)
//!    │ move_in  ┌────────┐ ◀── move_out_idle (of free), move_out_cold (of cold)
//!    └───────── │ moving │
//!               └────────┘ ──▶ cold
//! ```
//! Promises that
//! - a block is in exactly one of these places;
//! - a class never has more resident blocks than its limit;
//! - the waiter that has waited longest is served first;
//! - no wake-up is lost: a waiter is granted its block before it is woken, and looks again after it
//!   has registered.
//!
//! A waker is foreign code: it is called, cloned and dropped while no lock is held, and its panics
//! affect no other thread.
//!
//! It doesn't touch memory: the caller populates a block or gives its pages back, without the lock.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ptr;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Instant;

use super::bin::Blocks;
use super::memory::Block;
use crate::sync::{
    AtomicPtr, AtomicU32, Mutex, MutexGuard, Ordering, current_thread, lock, park, park_for,
};
use crate::wake::{Registration, WakeHandle, shielded};

/// The blocks of one class that no thread keeps. `K` is the pool, which must outlive the blocks
/// that are away.
#[derive(Debug)]
pub(crate) struct Store<K> {
    state: Mutex<State<K>>,
    /// 1 while there are waiters; then threads keep nothing of the class.
    has_waiters: AtomicU32,
    pool: Weak<K>,
}

#[derive(Debug)]
struct State<K> {
    /// Blocks with pages. The last one in is the first one out, so those at the front have been
    /// free longest.
    free: Vec<Block>,
    /// Blocks without pages.
    cold: Vec<Block>,
    resident: usize,
    resident_max: usize,
    away: usize,
    moving: usize,
    /// The lowest number of free blocks since the last call of `idle`.
    free_min: usize,
    waiting: VecDeque<Arc<Waiter>>,
    /// Waiters that were granted a block and may not have seen it yet. Weak, because dropping the
    /// last reference to a waiter drops its waker, which must not happen under a lock.
    granted: Vec<Weak<Waiter>>,
    counts: StoreCounts,
    /// Keeps the pool alive while blocks are away.
    pool: Option<Arc<K>>,
}

/// The store's counters. What goes through a bin is counted there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreCounts {
    /// Blocks that were got with pages.
    pub(crate) warm: u64,
    /// Blocks that were got without.
    pub(crate) cold: u64,
    /// Blocks that came from dropped buffers. Those that threads pass on aren't counted again.
    pub(crate) puts: u64,
    /// Waits that began.
    pub(crate) waits: u64,
    /// Blocks that gave their pages back.
    pub(crate) shrunk: u64,
}

/// The store at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreView {
    pub(crate) counts: StoreCounts,
    pub(crate) resident: usize,
    pub(crate) resident_max: usize,
    pub(crate) waiting: usize,
}

/// What [`Store::get`] finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FromStore {
    Block(Block),
    /// There is no block, but the limit allows more: add cold ones.
    NoMemory,
    AtLimit,
}

/// What is left to do once the store is unlocked.
#[must_use]
#[derive(Debug)]
pub(crate) struct Unlocked<K> {
    /// Waiters to wake: each was granted a block.
    pub(crate) to_wake: Vec<Arc<Waiter>>,
    /// The last waiter is gone, so threads may keep blocks again.
    pub(crate) no_waiter_left: bool,
    /// The last block came back. Dropping this frees the pool if no handle is left.
    pub(crate) pool: Option<Arc<K>>,
}

impl<K> Store<K> {
    /// The pool, which stays alive while blocks are away; None once it is freed.
    pub(crate) fn pool(&self) -> Option<Arc<K>> {
        self.pool.upgrade()
    }

    pub(crate) fn new(resident_max: usize, pool: Weak<K>) -> Self {
        assert!(resident_max > 0, "a class without a buffer");
        let state = State {
            free: Vec::new(),
            cold: Vec::new(),
            resident: 0,
            resident_max,
            away: 0,
            moving: 0,
            free_min: 0,
            waiting: VecDeque::new(),
            granted: Vec::new(),
            counts: StoreCounts::default(),
            pool: None,
        };
        Self { state: Mutex::new(state), has_waiters: AtomicU32::new(0), pool }
    }

    /// Gets one block, and moves up to `more` further ones with pages into `blocks`.
    pub(crate) fn get(&self, more: usize, blocks: &mut Blocks) -> FromStore {
        let mut state = self.lock();
        // While there are waiters no block is available, because they are served first.
        if let Some(block) = state.available(&self.pool) {
            for _ in 0..more.min(state.free.len()) {
                state.free.pop().into_iter().for_each(|block| blocks.push(block));
                state.away += 1;
            }
            state.free_min = state.free_min.min(state.free.len());
            state.check();
            return FromStore::Block(block);
        }
        if state.resident < state.resident_max { FromStore::NoMemory } else { FromStore::AtLimit }
    }

    /// Puts blocks back: `puts` of them from dropped buffers, the others from threads that kept
    /// them.
    pub(crate) fn put(&self, blocks: impl Iterator<Item = Block>, puts: u64) -> Unlocked<K> {
        let mut state = self.lock();
        for block in blocks {
            assert!(state.away > 0, "a block came back that wasn't away");
            state.away -= 1;
            state.free.push(block);
        }
        state.counts.puts += puts;
        self.serve(state)
    }

    /// Adds new blocks, which have no pages yet.
    pub(crate) fn add_cold(&self, blocks: Vec<Block>) -> Unlocked<K> {
        let mut state = self.lock();
        state.cold.extend(blocks);
        // Reserves room for all blocks, so that `put` never allocates.
        let all = state.cold.len() + state.resident;
        assert!(all >= state.free.len(), "more are free than there are");
        let room = all - state.free.len().min(all);
        state.free.reserve(room);
        self.serve(state)
    }

    /// Adds a waiter, unless a block is available by now.
    pub(crate) fn enqueue(&self, waiter: &Arc<Waiter>) -> Option<Block> {
        let mut state = self.lock();
        if let Some(block) = state.available(&self.pool) {
            state.check();
            return Some(block);
        }
        state.counts.waits += 1;
        state.waiting.push_back(Arc::clone(waiter));
        self.has_waiters.store(1, Ordering::Release);
        None
    }

    /// Adds a waiter in any case.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn enqueue_always(&self, waiter: &Arc<Waiter>) {
        self.lock().waiting.push_back(Arc::clone(waiter));
        self.has_waiters.store(1, Ordering::Release);
    }

    /// Removes a waiter. Returns the block that it was granted meanwhile, if any.
    pub(crate) fn cancel(&self, waiter: &Arc<Waiter>) -> (Option<Block>, Unlocked<K>) {
        let mut state = self.lock();
        let before = state.waiting.len();
        // The caller holds a reference, so no waker is dropped under the lock.
        state.waiting.retain(|other| !Arc::ptr_eq(other, waiter));
        assert!(state.waiting.len() + 1 >= before, "a waiter was added twice");
        (waiter.take_granted(), self.serve(state))
    }

    /// Removes all waiters after the last handle was dropped. Waiters borrow a handle, so those
    /// left here are futures that were forgotten. The blocks that they were granted come back. The
    /// waiters are returned, to be dropped without the lock.
    pub(crate) fn remove_forgotten(&self) -> (Vec<Arc<Waiter>>, Unlocked<K>) {
        let mut state = self.lock();
        let mut forgotten: Vec<Arc<Waiter>> =
            state.granted.drain(..).filter_map(|waiter| waiter.upgrade()).collect();
        for block in forgotten.iter().filter_map(|waiter| waiter.take_granted()) {
            state.away -= 1;
            state.free.push(block);
            state.counts.puts += 1;
        }
        forgotten.extend(state.waiting.drain(..));
        (forgotten, self.serve(state))
    }

    /// Counts blocks that gave their pages back.
    pub(crate) fn count_shrunk(&self, shrunk: usize) {
        self.lock().counts.shrunk += shrunk as u64;
    }

    pub(crate) fn has_waiters(&self) -> bool {
        self.has_waiters.load(Ordering::Acquire) == 1
    }

    /// The number of free blocks that weren't needed since the last call.
    pub(crate) fn idle(&self) -> usize {
        let mut state = self.lock();
        let idle = state.free_min;
        state.free_min = state.free.len();
        idle
    }

    /// Takes out up to `count` blocks, those free longest, so that their pages can be given back,
    /// and the cold ones less than `unit_bytes` away from one of them, which may share its pages.
    pub(crate) fn move_out_idle(
        &self,
        count: usize,
        unit_bytes: usize,
    ) -> (Vec<Block>, Vec<Block>) {
        let mut state = self.lock();
        let count = count.min(state.free.len());
        let mut idle: Vec<Block> = state.free.drain(..count).collect();
        state.moving += idle.len();
        state.free_min = state.free_min.min(state.free.len());
        idle.sort_unstable_by_key(Block::addr);
        let is_near = |cold: &mut Block| {
            let next = idle.partition_point(|block| block.addr() < cold.addr());
            let near = |block: &Block| block.addr().abs_diff(cold.addr()) < unit_bytes;
            idle.get(next).is_some_and(near)
                || next.checked_sub(1).is_some_and(|before| near(&idle[before]))
        };
        let neighbours = state.cold.extract_if(.., is_near).collect();
        state.check();
        (idle, neighbours)
    }

    /// Takes cold blocks out, so that they can be populated: as many as are missing from `resident`
    /// resident ones, as far as there are blocks and the limit allows.
    pub(crate) fn move_out_cold(&self, resident: usize) -> Vec<Block> {
        let mut state = self.lock();
        let more =
            resident.min(state.resident_max).saturating_sub(state.resident).min(state.cold.len());
        let kept = state.cold.len() - more;
        let moved = state.cold.split_off(kept);
        state.moving += moved.len();
        state.resident += moved.len();
        state.check();
        moved
    }

    /// Puts back the blocks that were moved out: those without pages, those with pages, and those
    /// that had been cold before.
    pub(crate) fn move_in(
        &self,
        cold: Vec<Block>,
        warm: Vec<Block>,
        neighbours: Vec<Block>,
    ) -> Unlocked<K> {
        let mut state = self.lock();
        assert!(state.moving >= cold.len() + warm.len(), "blocks came back that weren't moving");
        state.moving -= cold.len() + warm.len();
        state.resident -= cold.len();
        state.cold.extend(cold);
        state.cold.extend(neighbours);
        state.free.splice(..0, warm);
        self.serve(state)
    }

    /// The number of further blocks that may become resident.
    pub(crate) fn room(&self) -> usize {
        let state = self.lock();
        state.resident_max - state.resident
    }

    pub(crate) fn resident(&self) -> usize {
        self.lock().resident
    }

    pub(crate) fn view(&self) -> StoreView {
        let state = self.lock();
        let State { counts, resident, resident_max, ref waiting, .. } = *state;
        StoreView { counts, resident, resident_max, waiting: waiting.len() }
    }

    /// Grants available blocks to the waiters, and unlocks the store.
    fn serve(&self, mut guard: MutexGuard<'_, State<K>>) -> Unlocked<K> {
        let state = &mut *guard;
        let mut to_wake = Vec::new();
        while !state.waiting.is_empty() {
            let Some(block) = state.available(&self.pool) else { break };
            let Some(waiter) = state.waiting.pop_front() else { break };
            waiter.grant(block);
            state.granted.retain(|granted| granted.strong_count() > 0);
            state.granted.push(Arc::downgrade(&waiter));
            to_wake.push(waiter);
        }
        let no_waiter_left =
            state.waiting.is_empty() && self.has_waiters.load(Ordering::Relaxed) == 1;
        if no_waiter_left {
            self.has_waiters.store(0, Ordering::Release);
        }
        state.check();
        let pool = if state.away == 0 { state.pool.take() } else { None };
        Unlocked { to_wake, no_waiter_left, pool }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        lock(&self.state)
    }
}

impl<K> State<K> {
    /// A block with pages, or one without if the limit allows it.
    fn available(&mut self, pool: &Weak<K>) -> Option<Block> {
        let block = if let Some(block) = self.free.pop() {
            self.free_min = self.free_min.min(self.free.len());
            self.counts.warm += 1;
            block
        } else if self.resident < self.resident_max {
            let block = self.cold.pop()?;
            self.resident += 1;
            self.counts.cold += 1;
            block
        } else {
            return None;
        };
        self.away += 1;
        if self.pool.is_none() {
            self.pool = pool.upgrade();
        }
        Some(block)
    }

    fn check(&self) {
        debug_assert_eq!(
            self.resident,
            self.free.len() + self.away + self.moving,
            "a block is in two places or in none"
        );
        debug_assert!(self.resident <= self.resident_max, "a class is above its limit");
        debug_assert!(
            self.waiting.is_empty() || self.free.is_empty(),
            "there is a waiter, and a free block"
        );
    }
}

/// A thread or a task that waits for one block, and the place where the block is left for it. It
/// doesn't know which store it waits in.
#[derive(Debug)]
pub(crate) struct Waiter {
    granted: AtomicPtr<u8>,
    registration: Registration,
}

impl Waiter {
    /// The calling thread waits.
    pub(crate) fn thread() -> Self {
        Self::of(Some(WakeHandle::Thread(current_thread())))
    }

    /// A task waits. Its polls register the waker.
    pub(crate) fn task() -> Self {
        Self::of(None)
    }

    fn of(handle: Option<WakeHandle>) -> Self {
        Self { granted: AtomicPtr::new(ptr::null_mut()), registration: Registration::new(handle) }
    }

    /// Leaves a block for it. [`Waiter::wake`] follows, with no lock held.
    pub(crate) fn grant(&self, block: Block) {
        // SYNC S10: the waiter sees the block and its bytes.
        let before = self.granted.swap(block.into_raw(), Ordering::Release);
        assert!(before.is_null(), "two blocks were granted to one waiter");
    }

    /// Wakes the waiter, with no lock held. Dropping the last reference to the waiter may drop a
    /// waker too. The caller has others to wake, and may be in a destructor, so a waker's panics
    /// are caught here.
    pub(crate) fn wake(self: Arc<Self>) {
        self.registration.wake();
        shielded(|| drop(self));
    }

    /// The block that it was granted, if any.
    pub(crate) fn take_granted(&self) -> Option<Block> {
        // SYNC S10: pairs with `grant`.
        Block::from_raw(self.granted.swap(ptr::null_mut(), Ordering::Acquire))
    }

    /// A thread sleeps until it is granted a block or the deadline has passed.
    pub(crate) fn sleep(&self, until: Option<Instant>) -> Option<Block> {
        loop {
            if let Some(block) = self.take_granted() {
                return Some(block);
            }
            let Some(until) = until else {
                park();
                continue;
            };
            let now = Instant::now();
            if now >= until {
                return None;
            }
            park_for(until - now);
        }
    }

    /// A task looks for its block. If there is none yet, this waker will wake it.
    pub(crate) fn poll(&self, waker: &Waker) -> Option<Block> {
        if let Some(block) = self.take_granted() {
            return Some(block);
        }
        self.registration.set(Some(WakeHandle::Task(waker.clone())));
        self.take_granted()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
