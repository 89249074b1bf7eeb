//! [`Store`]: all blocks of a class that no thread keeps, and the waiters for one. Its lock is held
//! for a few moves only.
//!
//! ```text
//!            take (warm)                     ┌── in use, or kept by a thread
//!   free ──────────────────▶ away ───────────┘
//!    ▲  ◀──────────────────                        resident = free + away + moving <= resident_max
//!    │          put
//!    │ move_in  ┌────────┐ move_out_idle / move_out_cold
//!    └───────── │ moving │ ◀──────────────── free / cold
//!               └────────┘ ──▶ cold   (no pages: never used, or given back)
//! ```
//! Promises that a block is in exactly one of these places, that a class never has more resident
//! blocks than its limit, and that the longest waiter is served first. It doesn't touch memory: the
//! caller populates a block or gives its pages back, without the lock.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::block::{Batch, Block};
use super::wait::Waiter;
use crate::sync::{AtomicU32, Mutex, MutexGuard, Ordering, lock};

/// The shared part of one class. `K` keeps alive what must outlive blocks that are away.
#[derive(Debug)]
pub(crate) struct Store<K> {
    state: Mutex<State<K>>,
    /// 1 while somebody waits; then threads keep nothing of the class.
    hungry: AtomicU32,
    owner: Weak<K>,
}

#[derive(Debug)]
struct State<K> {
    /// Blocks with pages. The last one in is the first one out, so those at the front have been
    /// idle longest.
    free: Vec<Block>,
    /// Blocks without pages.
    cold: Vec<Block>,
    resident: usize,
    resident_max: usize,
    away: usize,
    moving: usize,
    /// The lowest number of free blocks since the shrinking policy's last look.
    free_min: usize,
    waiting: VecDeque<Arc<Waiter>>,
    /// Waiters that were granted a block and may not have seen it yet. Weak, because dropping the
    /// last reference of a waiter drops its waker, which must not happen under a lock.
    granted: Vec<Weak<Waiter>>,
    counts: StoreCounts,
    /// Keeps the pool alive while blocks are away.
    keep: Option<Arc<K>>,
}

/// The store's own counters; threads count in their bins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreCounts {
    /// Taken with pages.
    pub(crate) warm: u64,
    /// Taken without.
    pub(crate) cold: u64,
    /// Given back by an owner. Blocks that threads pass on aren't counted again.
    pub(crate) puts: u64,
    /// Waits that began.
    pub(crate) waits: u64,
    /// Blocks that gave their pages back.
    pub(crate) shrunk: u64,
}

/// The state at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreView {
    pub(crate) counts: StoreCounts,
    pub(crate) resident: usize,
    pub(crate) resident_max: usize,
    pub(crate) waiting: usize,
}

/// The result of a `take`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Block(Block),
    /// There is no block, but the limit allows more: add some cold ones.
    NoMemory,
    AtLimit,
}

/// What to do after the store's lock is released.
#[must_use]
#[derive(Debug)]
pub(crate) struct After<K> {
    pub(crate) woken: Vec<Arc<Waiter>>,
    /// Nobody waits any more, so threads may keep blocks again.
    pub(crate) is_sated: bool,
    /// The last block came back: dropping this frees the pool, if no handle is left.
    pub(crate) keep: Option<Arc<K>>,
}

impl<K> Store<K> {
    /// Kept alive while blocks are away; None once it was released.
    pub(crate) fn owner(&self) -> Option<Arc<K>> {
        self.owner.upgrade()
    }

    pub(crate) fn new(resident_max: usize, owner: Weak<K>) -> Self {
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
            keep: None,
        };
        Self { state: Mutex::new(state), hungry: AtomicU32::new(0), owner }
    }

    /// Takes one block, and up to `more` warm ones in addition.
    pub(crate) fn take(&self, more: usize, batch: &mut Batch) -> Taken {
        let mut state = self.lock();
        // While somebody waits there is nothing to take: waiters are served first.
        if let Some(block) = state.available(&self.owner) {
            for _ in 0..more.min(state.free.len()) {
                state.free.pop().into_iter().for_each(|block| batch.push(block));
                state.away += 1;
            }
            state.free_min = state.free_min.min(state.free.len());
            state.check();
            return Taken::Block(block);
        }
        if state.resident < state.resident_max { Taken::NoMemory } else { Taken::AtLimit }
    }

    /// Takes blocks back: `puts` of them from owners, the others from threads that kept them.
    pub(crate) fn put(&self, blocks: impl Iterator<Item = Block>, puts: u64) -> After<K> {
        let mut state = self.lock();
        for block in blocks {
            assert!(state.away > 0, "a block came home that wasn't away");
            state.away -= 1;
            state.free.push(block);
        }
        state.counts.puts += puts;
        self.serve(state)
    }

    /// Adds new blocks, which have no pages yet.
    pub(crate) fn add_cold(&self, blocks: Vec<Block>) -> After<K> {
        let mut state = self.lock();
        state.cold.extend(blocks);
        // Reserves room for all blocks, so that taking back never allocates.
        let all = state.cold.len() + state.resident;
        assert!(all >= state.free.len(), "more are free than there are");
        let room = all - state.free.len().min(all);
        state.free.reserve(room);
        self.serve(state)
    }

    /// Joins the line, unless a block is available by now.
    pub(crate) fn enqueue(&self, waiter: &Arc<Waiter>) -> Option<Block> {
        let mut state = self.lock();
        if let Some(block) = state.available(&self.owner) {
            state.check();
            return Some(block);
        }
        state.counts.waits += 1;
        state.waiting.push_back(Arc::clone(waiter));
        self.hungry.store(1, Ordering::Release);
        None
    }

    /// Joins the line in any case.
    #[cfg(test)]
    pub(crate) fn enqueue_always(&self, waiter: &Arc<Waiter>) {
        self.lock().waiting.push_back(Arc::clone(waiter));
        self.hungry.store(1, Ordering::Release);
    }

    /// Leaves the line. A block that was granted meanwhile is handed out.
    pub(crate) fn cancel(&self, waiter: &Arc<Waiter>) -> (Option<Block>, After<K>) {
        let mut state = self.lock();
        let before = state.waiting.len();
        // The caller holds a reference, so no waker is dropped under the lock.
        state.waiting.retain(|other| !Arc::ptr_eq(other, waiter));
        assert!(state.waiting.len() + 1 >= before, "a waiter stood in line twice");
        (waiter.take(), self.serve(state))
    }

    /// The last handle is gone. Waiters borrow a handle, so those left here are futures that were
    /// forgotten. Blocks that they were granted come back, and the waiters are returned, to be
    /// dropped without the lock.
    pub(crate) fn forsake(&self) -> (Vec<Arc<Waiter>>, After<K>) {
        let mut state = self.lock();
        let mut forgotten: Vec<Arc<Waiter>> =
            state.granted.drain(..).filter_map(|waiter| waiter.upgrade()).collect();
        for block in forgotten.iter().filter_map(|waiter| waiter.take()) {
            state.away -= 1;
            state.free.push(block);
            state.counts.puts += 1;
        }
        forgotten.extend(state.waiting.drain(..));
        (forgotten, self.serve(state))
    }

    /// Records that this many gave their pages back.
    pub(crate) fn count_shrunk(&self, shrunk: usize) {
        self.lock().counts.shrunk += shrunk as u64;
    }

    /// Whether anybody waits.
    pub(crate) fn is_hungry(&self) -> bool {
        self.hungry.load(Ordering::Acquire) == 1
    }

    /// The number of free blocks that nobody has needed since the last call.
    pub(crate) fn idle(&self) -> usize {
        let mut state = self.lock();
        let idle = state.free_min;
        state.free_min = state.free.len();
        idle
    }

    /// Takes out up to `count` blocks, those idle longest, so that their pages can be taken away,
    /// and the cold ones less than `unit_bytes` from one of them, which may share its pages.
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

    /// Takes cold blocks out to give them pages, until `resident` are resident, as far as the limit
    /// and the blocks allow.
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

    /// Takes back the blocks that were moved out: those without pages, those with pages, and those
    /// that had been cold before.
    pub(crate) fn move_in(
        &self,
        cold: Vec<Block>,
        warm: Vec<Block>,
        neighbours: Vec<Block>,
    ) -> After<K> {
        let mut state = self.lock();
        assert!(state.moving >= cold.len() + warm.len(), "blocks came back that weren't moving");
        state.moving -= cold.len() + warm.len();
        state.resident -= cold.len();
        state.cold.extend(cold);
        state.cold.extend(neighbours);
        state.free.splice(..0, warm);
        self.serve(state)
    }

    /// The number of blocks that the class may still add.
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

    /// Hands out available blocks to the waiters.
    fn serve(&self, mut guard: MutexGuard<'_, State<K>>) -> After<K> {
        let state = &mut *guard;
        let mut woken = Vec::new();
        while !state.waiting.is_empty() {
            let Some(block) = state.available(&self.owner) else { break };
            let Some(waiter) = state.waiting.pop_front() else { break };
            waiter.grant(block);
            state.granted.retain(|granted| granted.strong_count() > 0);
            state.granted.push(Arc::downgrade(&waiter));
            woken.push(waiter);
        }
        let is_sated = state.waiting.is_empty() && self.hungry.load(Ordering::Relaxed) == 1;
        if is_sated {
            self.hungry.store(0, Ordering::Release);
        }
        state.check();
        let keep = if state.away == 0 { state.keep.take() } else { None };
        After { woken, is_sated, keep }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        lock(&self.state)
    }
}

impl<K> State<K> {
    /// A block with pages, or one without if the limit allows it.
    fn available(&mut self, owner: &Weak<K>) -> Option<Block> {
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
        if self.keep.is_none() {
            self.keep = owner.upgrade();
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
            "somebody waits beside a free block"
        );
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
