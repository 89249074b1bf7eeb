//! The bins of a thread: one per class of each pool that the thread has used.
//!
//! Promises that a thread finds its bins with a load and a comparison, that bins are emptied when
//! their thread ends, and that a thread that is ending, or that never could have bins, still gets
//! and drops buffers.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ptr;
use std::sync::{Arc, Weak};

use super::bin::Bin;
use super::number::{NEAR_POOLS, place};
use super::shared::Shared;
use super::table::CLASSES_MAX;
use crate::sync::{AtomicBool, Ordering};

/// What one thread keeps of one pool: one bin per class, and an unused one for direct buffers at
/// the end.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) bins: Box<[Bin]>,
    pool: u64,
    shared: Weak<Shared>,
    /// The pool is gone, and the bins stay empty.
    is_over: AtomicBool,
}

impl Local {
    pub(crate) fn new(pool: u64, bins: Box<[Bin]>, shared: Weak<Shared>) -> Self {
        Self { bins, pool, shared, is_over: AtomicBool::new(false) }
    }

    /// Its pool is being freed.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || self.shared.strong_count() == 0
    }
}

/// Where the bins of a pool are.
#[derive(Clone, Copy)]
struct Near {
    /// 0 for no pool.
    pool: u64,
    bins: *const Bin,
}

const NOWHERE: Near = Near { pool: 0, bins: ptr::null() };

/// All bins of a thread.
struct Locals(RefCell<Vec<Arc<Local>>>);

thread_local! {
    /// Neither has a destructor, so reading it is one load.
    static NEAR: [Cell<Near>; NEAR_POOLS] = const { [const { Cell::new(NOWHERE) }; NEAR_POOLS] };
    static HAS_ENDED: Cell<bool> = const { Cell::new(false) };
    static LOCALS: Locals = const { Locals(RefCell::new(Vec::new())) };
}

/// The offset in bytes of a class's bin from its pool's first bin. An index would have to be
/// multiplied at every operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BinAt(u32);

impl BinAt {
    /// Of the class with this index.
    pub(crate) const fn of(class: usize) -> Self {
        assert!(class <= CLASSES_MAX, "a pool has no more classes, and one for direct buffers");
        Self((class * size_of::<Bin>()) as u32)
    }
}

/// The bin of a class, if the thread has found the pool's bins before. `at` is the offset of one of
/// the pool's classes, or of the one after them.
#[inline]
pub(crate) fn with_bin<T>(pool: u64, at: BinAt, use_bin: impl FnOnce(&Bin) -> T) -> Option<T> {
    NEAR.with(|near| {
        let Near { pool: there, bins } = near[place(pool)].get();
        if there != pool {
            return None;
        }
        // SAFETY: I103. A pool has one bin more than it has classes.
        let bin = unsafe { bins.byte_add(at.0 as usize) };
        // SAFETY: I103. The entry is this thread's own, and the thread keeps its `Local` until it
        // has cleared the entry.
        Some(use_bin(unsafe { &*bin }))
    })
}

/// Makes the bins of a pool near, creating them if necessary. Returns false if the thread can't
/// have any.
pub(crate) fn approach(shared: &Arc<Shared>) -> bool {
    if with_bin(shared.id(), BinAt::of(0), |_| ()).is_some() {
        return true;
    }
    if HAS_ENDED.get() {
        return false;
    }
    LOCALS
        .try_with(|Locals(list)| {
            // Bins of pools that are gone: nobody looks for them again.
            if list.borrow().iter().any(|local| local.is_over()) {
                forget_if(list, Local::is_over);
            }
            let mut list = list.borrow_mut();
            let there = list.iter().position(|local| local.pool == shared.id());
            let index = there.unwrap_or_else(|| {
                list.push(shared.register());
                list.len() - 1
            });
            let local = &list[index];
            assert!(
                local.pool == shared.id() && local.bins.len() == shared.classes.len(),
                "bins of another pool"
            );
            let near = Near { pool: local.pool, bins: local.bins.as_ptr() };
            NEAR.with(|all| all[place(local.pool)].set(near));
        })
        .is_ok()
}

/// Drops entries that nothing points at any more. This comes last, because it may wake tasks, and a
/// waker may use any pool.
fn forget_if(list: &RefCell<Vec<Arc<Local>>>, is_to_go: impl Fn(&Local) -> bool) {
    let (gone, kept) = list.take().into_iter().partition(|local| is_to_go(local));
    let gone: Vec<Arc<Local>> = gone;
    *list.borrow_mut() = kept;
    for local in &gone {
        NEAR.with(|all| {
            let entry = &all[place(local.pool)];
            if entry.get().pool == local.pool {
                entry.set(NOWHERE);
            }
        });
    }
    for local in gone {
        // In a forked child the pool's locks may be held forever, and the bins hold only copies.
        if let Some(shared) = local.shared.upgrade()
            && !shared.is_foreign()
        {
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
