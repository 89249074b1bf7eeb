//! The bins of threads: how a thread finds its own, how they begin and end with it, and how other
//! threads empty them.
//!
//! Promises that
//! - a thread finds its bins with a load and a comparison;
//! - bins are emptied when their thread ends;
//! - a thread that is ending, or that never could have bins, still gets and drops buffers;
//! - a thread that loses its CPU inside its bin holds up no other thread.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ptr;
use std::sync::Arc;

use super::bin::Bin;
use super::shared::{BinAt, Class, ClassShared, NEAR_POOLS, ThreadBins, near_place};
use crate::sync::pause;

/// Where the bins of a pool are.
#[derive(Clone, Copy)]
struct Near {
    /// 0 for no pool.
    pool_id: u64,
    bins: *const Bin,
}

const NOWHERE: Near = Near { pool_id: 0, bins: ptr::null() };

/// The bins of a thread in all pools that it has used.
struct AllBins(RefCell<Vec<Arc<ThreadBins>>>);

thread_local! {
    /// Neither has a destructor, so reading it is one load.
    static NEAR: [Cell<Near>; NEAR_POOLS] = const { [const { Cell::new(NOWHERE) }; NEAR_POOLS] };
    static HAS_ENDED: Cell<bool> = const { Cell::new(false) };
    static ALL_BINS: AllBins = const { AllBins(RefCell::new(Vec::new())) };
}

/// How often a thread looks again into a bin whose owner was inside. An owner is inside for a few
/// instructions only, unless it loses its CPU there.
const ROUNDS: u32 = 6;

/// Calls `use_bin` with the thread's bin of a class, if the pool's bins are near. `at` is the
/// offset of one of the pool's classes.
#[inline]
pub(crate) fn with_bin<T>(pool_id: u64, at: BinAt, use_bin: impl FnOnce(&Bin) -> T) -> Option<T> {
    NEAR.with(|near| {
        let Near { pool_id: there, bins } = near[near_place(pool_id)].get();
        if there != pool_id {
            return None;
        }
        // SAFETY: I103. There is one bin for each class, that of direct buffers included.
        let bin = unsafe { bins.byte_add(at.0 as usize) };
        // SAFETY: I103. The entry is this thread's own, and the thread holds its `ThreadBins` until
        // it has cleared the entry.
        Some(use_bin(unsafe { &*bin }))
    })
}

/// Makes the pool's bins near, and creates them if the thread has none. Returns false if the thread
/// can't have any.
pub(crate) fn make_near(shared: &Arc<ClassShared>) -> bool {
    if with_bin(shared.id(), BinAt::of(0), |_| ()).is_some() {
        return true;
    }
    if HAS_ENDED.get() {
        return false;
    }
    ALL_BINS
        .try_with(|AllBins(list)| {
            // Bins of pools that are gone aren't looked for again.
            if list.borrow().iter().any(|bins| bins.is_over()) {
                remove_if(list, ThreadBins::is_over);
            }
            let mut list = list.borrow_mut();
            let there = list.iter().position(|bins| bins.pool_id == shared.id());
            let index = there.unwrap_or_else(|| {
                list.push(register(shared));
                list.len() - 1
            });
            let bins = &list[index];
            assert!(
                bins.pool_id == shared.id() && bins.bins.len() == shared.classes.len(),
                "bins of another pool"
            );
            let near = Near { pool_id: bins.pool_id, bins: bins.bins.as_ptr() };
            NEAR.with(|all| all[near_place(bins.pool_id)].set(near));
        })
        .is_ok()
}

/// Removes bins from the thread's list, clears the near entries that point at them, and then
/// unregisters them. That comes last, because it may wake tasks, and a waker may use any pool.
fn remove_if(list: &RefCell<Vec<Arc<ThreadBins>>>, is_to_go: impl Fn(&ThreadBins) -> bool) {
    let (gone, left) = list.take().into_iter().partition(|bins| is_to_go(bins));
    let gone: Vec<Arc<ThreadBins>> = gone;
    *list.borrow_mut() = left;
    for bins in &gone {
        NEAR.with(|all| {
            let entry = &all[near_place(bins.pool_id)];
            if entry.get().pool_id == bins.pool_id {
                entry.set(NOWHERE);
            }
        });
    }
    for bins in gone {
        // In a forked child the pool's locks may be locked forever, and the bins hold only copies.
        if let Some(shared) = bins.shared.upgrade()
            && !shared.is_foreign()
        {
            unregister(&shared, &bins);
        }
    }
}

impl Drop for AllBins {
    fn drop(&mut self) {
        HAS_ENDED.set(true);
        remove_if(&self.0, |_| true);
    }
}

/// Makes the bins of a thread that has none of this pool yet.
fn register(shared: &Arc<ClassShared>) -> Arc<ThreadBins> {
    let mut registry = shared.registry();
    let without_handles = registry.without_handles;
    let bins = shared.classes.iter().map(|class| {
        Bin::new(class.kept_max, shared.barrier, without_handles || class.store.has_waiters())
    });
    let bins = Arc::new(ThreadBins::new(shared.id(), bins.collect(), Arc::downgrade(shared)));
    if without_handles {
        bins.end();
    }
    registry.threads.push(Arc::clone(&bins));
    bins
}

/// Called by the owner of the bins when it ends or the pool is gone, so it isn't inside of them.
fn unregister(shared: &ClassShared, bins: &Arc<ThreadBins>) {
    let mut registry = shared.registry();
    let before = registry.threads.len();
    registry.threads.retain(|other| !Arc::ptr_eq(other, bins));
    assert!(registry.threads.len() + 1 == before, "bins that weren't registered, or were twice");
    bins.bins.iter().for_each(Bin::lock_out);
    let mut left = Vec::new();
    for ((class, bin), ended) in shared.classes.iter().zip(&bins.bins).zip(&mut registry.ended) {
        let mut blocks = Vec::new();
        let is_empty = bin.empty(&mut blocks);
        assert!(is_empty, "a thread ended inside of its bin");
        *ended += bin.counts();
        left.push((class, blocks));
    }
    drop(registry);
    left.into_iter().for_each(|(class, blocks)| {
        shared.after_unlock(class, class.store.put(blocks.into_iter(), 0));
    });
}

/// The result of emptying bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Emptied {
    pub(crate) count: usize,
    /// An owner stayed inside its bin, which may hold something, or soon will.
    pub(crate) has_missed: bool,
}

/// Moves a class's blocks from the bins of those threads that `which` picks to the store.
pub(crate) fn empty_bins(
    shared: &ClassShared,
    class: &Class,
    which: impl Fn(&ThreadBins) -> bool,
) -> Emptied {
    let (mut blocks, mut has_missed) = (Vec::new(), false);
    let registry = shared.registry();
    let picked = registry.threads.iter().filter(|thread| which(thread));
    let bins: Vec<&Bin> = picked.map(|thread| thread.bin(class)).collect();
    bins.iter().for_each(|bin| bin.lock_out());
    if !bins.is_empty() {
        shared.barrier.heavy_or_nap();
    }
    for bin in bins {
        has_missed |= !bin.empty(&mut blocks);
        bin.set_locked_out(registry.without_handles || class.store.has_waiters());
    }
    drop(registry);
    let count = blocks.len();
    if count > 0 {
        shared.after_unlock(class, class.store.put(blocks.into_iter(), 0));
    }
    Emptied { count, has_missed }
}

/// As [`empty_bins`], again while owners stay inside, with pauses and without the lock in between.
/// Returns true if one still does.
pub(crate) fn empty_bins_again(
    shared: &ClassShared,
    class: &Class,
    which: impl Fn(&ThreadBins) -> bool,
) -> bool {
    for round in 0..ROUNDS {
        if !empty_bins(shared, class, &which).has_missed {
            return false;
        }
        pause(round);
    }
    true
}
