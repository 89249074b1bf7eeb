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

/// The shared part of one class. `K` is what must live while blocks are away.
#[derive(Debug)]
pub(crate) struct Store<K> {
    state: Mutex<State<K>>,
    /// 1 while somebody waits: threads keep nothing of the class then.
    hungry: AtomicU32,
    owner: Weak<K>,
}

#[derive(Debug)]
struct State<K> {
    /// With pages; the one put in last comes out first, so the first ones are those that nobody has
    /// needed for longest.
    free: Vec<Block>,
    /// Without pages.
    cold: Vec<Block>,
    resident: usize,
    resident_max: usize,
    away: usize,
    moving: usize,
    /// The fewest free ones since the last look of the shrinking policy.
    free_min: usize,
    waiting: VecDeque<Arc<Waiter>>,
    /// Those who were granted a block and may not have looked yet. Weak: with the last count of a
    /// waiter its waker goes, which isn't for under a lock.
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
    /// Given back by an owner; what threads hand on isn't counted again.
    pub(crate) puts: u64,
    /// Began to wait.
    pub(crate) waits: u64,
    /// Gave their pages back.
    pub(crate) shrunk: u64,
}

/// How things stand at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreView {
    pub(crate) counts: StoreCounts,
    pub(crate) resident: usize,
    pub(crate) resident_max: usize,
    pub(crate) waiting: usize,
}

/// What a `take` got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Block(Block),
    /// There is no block, but there may be more: add some cold ones.
    NoMemory,
    AtLimit,
}

/// What is to be done after the store's lock is free.
#[must_use]
#[derive(Debug)]
pub(crate) struct After<K> {
    pub(crate) woken: Vec<Arc<Waiter>>,
    /// Nobody waits any more: threads may keep blocks again.
    pub(crate) is_sated: bool,
    /// The last block came home: the pool goes with this, if nobody has a handle.
    pub(crate) keep: Option<Arc<K>>,
}

impl<K> Store<K> {
    /// What lives while blocks are away; none once it has gone.
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

    /// Takes one block, and up to `more` warm ones beside it.
    pub(crate) fn take(&self, more: usize, batch: &mut Batch) -> Taken {
        let mut state = self.lock();
        // Where somebody waits there is nothing to take: what comes back is served first.
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

    /// Takes blocks back. `puts` of them come from owners, the others from threads that kept them.
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

    /// New blocks, without pages yet.
    pub(crate) fn add_cold(&self, blocks: Vec<Block>) -> After<K> {
        let mut state = self.lock();
        state.cold.extend(blocks);
        // Room for all there are: taking back never allocates.
        let all = state.cold.len() + state.resident;
        assert!(all >= state.free.len(), "more are free than there are");
        let room = all - state.free.len().min(all);
        state.free.reserve(room);
        self.serve(state)
    }

    /// Stands in line, unless there is a block by now.
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

    /// Stands in line, whatever there is.
    #[cfg(test)]
    pub(crate) fn enqueue_always(&self, waiter: &Arc<Waiter>) {
        self.lock().waiting.push_back(Arc::clone(waiter));
        self.hungry.store(1, Ordering::Release);
    }

    /// Leaves the line; what was granted meanwhile is handed out.
    pub(crate) fn cancel(&self, waiter: &Arc<Waiter>) -> (Option<Block>, After<K>) {
        let mut state = self.lock();
        let before = state.waiting.len();
        // The caller has a count of it, so no waker goes under the lock.
        state.waiting.retain(|other| !Arc::ptr_eq(other, waiter));
        assert!(state.waiting.len() + 1 >= before, "a waiter stood in line twice");
        (waiter.take(), self.serve(state))
    }

    /// The last handle has gone. Who waits borrows one, so whoever is left here are futures that
    /// were forgotten: what they were granted comes back, and they are handed out, to be dropped
    /// without the lock.
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

    /// So many gave their pages back.
    pub(crate) fn count_shrunk(&self, shrunk: usize) {
        self.lock().counts.shrunk += shrunk as u64;
    }

    /// Whether anybody waits.
    pub(crate) fn is_hungry(&self) -> bool {
        self.hungry.load(Ordering::Acquire) == 1
    }

    /// The free blocks of which nobody has needed one since the last call.
    pub(crate) fn idle(&self) -> usize {
        let mut state = self.lock();
        let idle = state.free_min;
        state.free_min = state.free.len();
        idle
    }

    /// Takes up to `count` blocks out that nobody has needed for longest, to take their pages away,
    /// and the cold ones that are less than `unit_bytes` from one of them: they may share its
    /// pages.
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

    /// Takes cold blocks out, to give them pages, until `resident` are resident, as far as the
    /// limit and the blocks go.
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

    /// Takes back what was moved out: those without pages, those with, and those that had been cold
    /// before.
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

    /// How many more blocks the class may have than there are.
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

    /// Hands out what there is to those who wait.
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
    /// A block with pages, else one without, if the limit allows it.
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
