//! The state of one pool: [`ClassShared`], which all handles, buffers and threads of the pool
//! share; [`Class`], its part for one size; and [`ThreadBins`], what one thread keeps.
//!
//! The steps that use it are in [`get`](mod@super::get), [`put`](super::put),
//! [`threads`](super::threads) and [`shrink`](super::shrink).
//!
//! Locks, outermost first: the base of the counters or a class's growth; then the registry, a
//! class's slabs or a class's store, none of which is locked while another of them is. Waiters are
//! woken while no lock is held, because a waker may use the pool.
#![forbid(unsafe_code)]

use std::ptr::NonNull;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::bin::{Bin, BinCounts};
use super::memory::Slabs;
use super::options::{CLASSES_MAX, ClassOptions};
use super::stats::ClassPoolStats;
use super::store::{Store, Unlocked, Waiter};
use crate::barrier::Barrier;
use crate::process::Process;
use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, lock};

/// One size of a pool. The first cache line is what every get and drop reads.
#[repr(align(64))]
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) pool_id: u64,
    /// Its index in the table; the number of classes for the class of direct buffers.
    pub(crate) index: u32,
    /// The offset of its bins in the threads' lists.
    pub(crate) bin: BinAt,
    pub(crate) zero_on_return: bool,
    pub(crate) is_direct: bool,
    /// 0 for the class of direct buffers.
    pub(crate) class_bytes: usize,
    pub(crate) kept_max: u32,
    pub(crate) store: Store<ClassShared>,
    pub(crate) slabs: Slabs,
    pub(crate) counts: ClassCounts,
    /// When the shrinking policy's period began; None before its first look.
    pub(crate) period: Mutex<Option<Instant>>,
}

/// What slow paths count.
#[derive(Debug, Default)]
pub(crate) struct ClassCounts {
    /// Direct buffers: all of the pool's for the class of direct buffers, else the fresh ones at
    /// the class's limit.
    pub(crate) direct: AtomicU64,
    pub(crate) direct_puts: AtomicU64,
    pub(crate) direct_bytes: AtomicU64,
    pub(crate) refusals: AtomicU64,
}

/// The state that all handles, buffers and threads of one pool share.
#[derive(Debug)]
pub(crate) struct ClassShared {
    number: PoolNumber,
    process: Process,
    pub(crate) options: ClassOptions,
    /// One per size, and one for direct buffers at the end.
    pub(crate) classes: Box<[Class]>,
    pub(crate) barrier: Barrier,
    registry: Mutex<Registry>,
    /// The counters at the last reset.
    pub(crate) base: Mutex<Option<ClassPoolStats>>,
}

/// The threads that have bins.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) threads: Vec<Arc<ThreadBins>>,
    /// The counts of ended threads, by class. They are here, under the lock that also removes bins,
    /// so a reader finds each count in exactly one place.
    pub(crate) ended: Box<[BinCounts]>,
    /// No handle is left.
    pub(crate) without_handles: bool,
}

/// What one thread keeps of one pool: one bin per class, and at the end an unused one for direct
/// buffers.
#[derive(Debug)]
pub(crate) struct ThreadBins {
    pub(crate) bins: Box<[Bin]>,
    pub(crate) pool_id: u64,
    pub(crate) shared: Weak<ClassShared>,
    /// The pool is gone, and the bins stay empty.
    is_over: AtomicBool,
}

/// The offset in bytes of a class's bin from its pool's first bin. An index would have to be
/// multiplied in every operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BinAt(pub(super) u32);

impl ClassShared {
    pub(crate) fn new(options: ClassOptions, number: PoolNumber) -> Arc<Self> {
        let process = Process::current();
        Arc::new_cyclic(|me| {
            let id = number.id();
            let sizes = options.table.sizes().iter().copied().chain([0]);
            let class = |(index, class_bytes): (usize, usize)| {
                let is_direct = class_bytes == 0;
                Class {
                    pool_id: id,
                    index: index as u32,
                    bin: BinAt::of(index),
                    zero_on_return: options.zero_on_return,
                    is_direct,
                    class_bytes,
                    kept_max: if is_direct { 0 } else { options.kept(class_bytes) },
                    store: Store::new(
                        if is_direct { usize::MAX } else { options.limit.of(class_bytes) },
                        me.clone(),
                    ),
                    slabs: Slabs::new(class_bytes, &options),
                    counts: ClassCounts::default(),
                    period: Mutex::default(),
                }
            };
            let classes: Box<[Class]> = sizes.enumerate().map(class).collect();
            let ended = vec![BinCounts::default(); classes.len()].into();
            Self {
                number,
                process,
                classes,
                barrier: Barrier::choose(),
                registry: Mutex::new(Registry {
                    threads: Vec::new(),
                    ended,
                    without_handles: false,
                }),
                base: Mutex::default(),
                options,
            }
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.number.id()
    }

    /// Whether no other live pool shares its near place.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn has_place(&self) -> bool {
        self.number.has_place()
    }

    /// Whether this process is a child of the one that made the pool. Threads that don't exist here
    /// may hold its locks.
    pub(crate) fn is_foreign(&self) -> bool {
        !self.process.is_current()
    }

    /// The smallest class that fits. The class after the last is that of direct buffers, which no
    /// bin holds.
    #[inline]
    pub(crate) fn class_for(&self, len: usize) -> &Class {
        &self.classes[self.options.table.fit(len)]
    }

    /// The class of direct buffers.
    pub(crate) fn direct(&self) -> &Class {
        &self.classes[self.classes.len() - 1]
    }

    /// The classes of the table.
    pub(crate) fn sized(&self) -> &[Class] {
        &self.classes[..self.classes.len() - 1]
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }

    /// Does what is left once the store of a class is unlocked. The order matters, because the last
    /// step may free the pool.
    pub(crate) fn after_unlock(&self, class: &Class, unlocked: Unlocked<ClassShared>) {
        let Unlocked { to_wake, no_waiter_left, pool } = unlocked;
        to_wake.into_iter().for_each(Waiter::wake);
        if no_waiter_left {
            let registry = self.registry();
            for thread in &registry.threads {
                thread
                    .bin(class)
                    .set_locked_out(registry.without_handles || class.store.has_waiters());
            }
        }
        drop(pool);
    }
}

impl Class {
    /// The most buffers that it may have.
    pub(crate) fn buffers_max(&self, shared: &ClassShared) -> usize {
        shared.options.limit.of(self.class_bytes)
    }

    pub(crate) fn at(&self) -> NonNull<Class> {
        NonNull::from(self)
    }
}

impl Registry {
    /// The counts of all threads for a class, including threads that have ended.
    pub(crate) fn counts(&self, class: &Class) -> BinCounts {
        let mut sum = self.ended[class.index as usize];
        self.threads.iter().for_each(|thread| sum += thread.bin(class).counts());
        sum
    }
}

impl ThreadBins {
    pub(crate) fn new(pool_id: u64, bins: Box<[Bin]>, shared: Weak<ClassShared>) -> Self {
        Self { bins, pool_id, shared, is_over: AtomicBool::new(false) }
    }

    pub(crate) fn bin(&self, class: &Class) -> &Bin {
        &self.bins[class.index as usize]
    }

    /// Its pool is being freed.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || self.shared.strong_count() == 0
    }
}

impl BinAt {
    /// Of the class with this index.
    pub(crate) const fn of(class: usize) -> Self {
        assert!(class <= CLASSES_MAX, "a pool has no more classes, and one for direct buffers");
        Self((class * size_of::<Bin>()) as u32)
    }
}

/// The number of pools whose bins a thread finds without a search. Each thread has as many entries.
pub(crate) const NEAR_POOLS: usize = 32;

/// Distinguishes a pool from all others in the process, and says in which of its near entries a
/// thread looks for the pool's bins: the pool's *place*.
///
/// No number is used twice. Up to [`NEAR_POOLS`] pools alive at a time have a place each. A further
/// pool shares a place: a thread that alternates between two pools of one place searches a list
/// each time it switches.
#[derive(Debug)]
pub(crate) struct PoolNumber {
    id: u64,
    /// Whether the place is this pool's alone, until this is dropped.
    has_place: bool,
}

/// The places that pools have, one bit each. There is no lock, because a fork could leave it locked
/// in the child forever.
#[derive(Debug)]
struct NearPlaces(AtomicU64);

static PLACES: NearPlaces = NearPlaces(AtomicU64::new(0));
static LAST: AtomicU64 = AtomicU64::new(0);

impl PoolNumber {
    pub(crate) fn new() -> Self {
        // Numbers begin at 1, so none is 0. Making 2^59 pools would take longer than the machine
        // lasts.
        let serial = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let place = PLACES.occupy();
        let at = place.unwrap_or(serial % NEAR_POOLS as u64);
        Self { id: serial * NEAR_POOLS as u64 + at, has_place: place.is_some() }
    }

    /// For a pool whose bins no thread looks for. All places stay free for other pools.
    pub(crate) fn without_place() -> Self {
        let serial = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        Self { id: serial * NEAR_POOLS as u64 + serial % NEAR_POOLS as u64, has_place: false }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn has_place(&self) -> bool {
        self.has_place
    }

    /// Never 0.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

/// The place of the pool with this number.
#[inline]
pub(crate) fn near_place(id: u64) -> usize {
    id as usize % NEAR_POOLS
}

impl NearPlaces {
    fn occupy(&self) -> Option<u64> {
        let with_lowest = |occupied: u64| {
            let free = occupied.trailing_ones();
            (free < NEAR_POOLS as u32).then(|| occupied | 1 << free)
        };
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_lowest).ok()?;
        Some(before.trailing_ones().into())
    }

    fn vacate(&self, at: usize) {
        self.0.fetch_and(!(1 << at), Ordering::Relaxed);
    }
}

impl Drop for PoolNumber {
    fn drop(&mut self) {
        if self.has_place {
            PLACES.vacate(near_place(self.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_occupied_once_and_again_when_they_are_free() {
        let places = NearPlaces(AtomicU64::new(0));
        let all: Vec<Option<u64>> = (0..=NEAR_POOLS).map(|_| places.occupy()).collect();
        assert!((0..NEAR_POOLS).all(|at| all[at] == Some(at as u64)) && all[NEAR_POOLS].is_none());
        places.vacate(7);
        assert_eq!([places.occupy(), places.occupy()], [Some(7), None]);
    }

    #[test]
    fn a_number_leads_to_its_place() {
        let numbers: Vec<PoolNumber> = (0..2 * NEAR_POOLS).map(|_| PoolNumber::new()).collect();
        let mut ids: Vec<u64> = numbers.iter().map(PoolNumber::id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert!(ids.len() == numbers.len() && ids[0] > 0, "a number was used twice, or is 0");
        let mut places: Vec<usize> =
            numbers.iter().filter(|at| at.has_place).map(|at| near_place(at.id())).collect();
        let count = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), count, "two pools have one place");
    }

    #[test]
    fn a_number_without_a_place_leaves_the_places_to_others() {
        let (without, next) = (PoolNumber::without_place(), PoolNumber::new());
        assert!(!without.has_place && without.id() > 0 && without.id() != next.id());
    }
}
