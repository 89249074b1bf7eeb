//! The bins of a thread: one for each class of each pool that the thread has used.
//!
//! Promises that a thread's bins of the pools it uses are found with a load and a comparison, that bins are emptied when their thread ends,
//! and that a thread that is ending, or never could have bins, still gets and drops buffers.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ptr;
use std::sync::{Arc, Weak};

use super::bin::Bin;
use super::shared::Shared;
use crate::sync::{AtomicBool, Ordering};

/// Pools whose bins a thread finds at once; those of further pools are looked up in a list.
const NEAR_POOLS: usize = 4;

/// What one thread keeps of one pool: a bin a class, and an unused one for direct buffers at the end.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) bins: Box<[Bin]>,
    pool: u32,
    shared: Weak<Shared>,
    /// The pool has gone, and the bins are empty for good.
    is_over: AtomicBool,
}

impl Local {
    pub(crate) fn new(pool: u32, bins: Box<[Bin]>, shared: Weak<Shared>) -> Self {
        assert!(!bins.is_empty() && pool != 0, "bins of no pool");
        Self { bins, pool, shared, is_over: AtomicBool::new(false) }
    }

    /// Its pool goes.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Where the bins of a pool are.
#[derive(Clone, Copy)]
struct Near {
    /// 0 for no pool.
    pool: u32,
    bins: *const Bin,
}

const NOWHERE: Near = Near { pool: 0, bins: ptr::null() };

/// All bins of a thread.
struct Locals(RefCell<Vec<Arc<Local>>>);

thread_local! {
    /// Neither has a destructor, so reading one is a load.
    static NEAR: [Cell<Near>; NEAR_POOLS] = const { [const { Cell::new(NOWHERE) }; NEAR_POOLS] };
    static HAS_ENDED: Cell<bool> = const { Cell::new(false) };
    static LOCALS: Locals = const { Locals(RefCell::new(Vec::new())) };
}

/// The bin of a class, if the thread has found the pool's bins before. `class` is one of the pool's, or the one behind them.
#[inline]
pub(crate) fn with_bin<T>(pool: u32, class: u32, use_bin: impl FnOnce(&Bin) -> T) -> Option<T> {
    NEAR.with(|near| {
        let Near { pool: there, bins } = near[pool as usize % NEAR_POOLS].get();
        debug_assert!(pool != 0, "no pool has the number 0");
        if there != pool {
            return None;
        }
        debug_assert!(!bins.is_null(), "a near pool has bins");
        // SAFETY: I103. The pool's bins are one more than its classes.
        let bin = unsafe { bins.add(class as usize) };
        // SAFETY: I103. The thread holds the `Local` of an entry of NEAR, which is its own, until it has cleared the entry.
        Some(use_bin(unsafe { &*bin }))
    })
}

/// Makes the bins of a pool near, and makes them if there are none; false if the thread can't have any.
pub(crate) fn approach(shared: &Arc<Shared>) -> bool {
    if with_bin(shared.id(), 0, |_| ()).is_some() {
        return true;
    }
    if HAS_ENDED.get() {
        return false;
    }
    LOCALS
        .try_with(|Locals(list)| {
            // Bins of pools that have gone: nobody looks for them again.
            forget_if(list, |local| local.is_over.load(Ordering::Relaxed));
            let mut list = list.borrow_mut();
            let there = list.iter().position(|local| local.pool == shared.id());
            let index = there.unwrap_or_else(|| {
                list.push(shared.register());
                list.len() - 1
            });
            let local = &list[index];
            assert!(local.pool == shared.id() && local.bins.len() == shared.classes.len(), "bins of another pool");
            let near = Near { pool: local.pool, bins: local.bins.as_ptr() };
            NEAR.with(|all| all[local.pool as usize % NEAR_POOLS].set(near));
        })
        .is_ok()
}

/// Drops entries, after nothing points at them any more.
fn forget_if(list: &RefCell<Vec<Arc<Local>>>, is_to_go: impl Fn(&Local) -> bool) {
    debug_assert!(list.try_borrow_mut().is_ok(), "the list is looked at while it changes");
    let (gone, kept) = list.take().into_iter().partition(|local| is_to_go(local));
    let gone: Vec<Arc<Local>> = gone;
    debug_assert!(kept.iter().all(|local: &Arc<Local>| !is_to_go(local)), "bins that are to go were kept");
    *list.borrow_mut() = kept;
    for local in gone {
        NEAR.with(|all| {
            let entry = &all[local.pool as usize % NEAR_POOLS];
            if entry.get().pool == local.pool {
                entry.set(NOWHERE);
            }
        });
        if let Some(shared) = local.shared.upgrade() {
            shared.unregister(&local);
        }
    }
}

impl Drop for Locals {
    fn drop(&mut self) {
        HAS_ENDED.set(true);
        forget_if(&self.0, |_| true);
    }
}
