//! [`Shared`]: the state shared by all handles, buffers and threads of one pool; and [`Class`], its
//! part for one size.
//!
//! A buffer comes from the thread's bin, else from the class's store, else from a new slab, else,
//! at the limit, from the bins of other threads; and a getter that still has none waits, is
//! refused, or gets a direct buffer. A dropped buffer goes to the bin of the dropping thread, and
//! half of a full bin goes to the store.
//!
//! Locks, outermost first: the base of the counters or a class's growth; then the registry, a
//! class's slabs or a class's store, none of which is taken while another is held. Waiters are
//! woken with no lock held, because a waker may use the pool.
#![forbid(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;

use super::bin::{Bin, BinCounts};
use super::block::{Batch, Block};
use super::error::GetError;
use super::idle::Period;
use super::local::{self, BinAt, Local};
use super::memory::Memory;
use super::number::Number;
use super::options::{AtLimit, ClassOptions};
use super::stats::ClassPoolStats;
use super::store::{After, Store, Taken};
use super::wait::Waiter;
use crate::barrier::Barrier;
use crate::process::Process;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock, pause};

/// One size of a pool. The first line is what every get and drop reads.
#[repr(align(64))]
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) pool: u64,
    /// Its place in the table; the number of classes for the class of direct buffers.
    pub(crate) index: u32,
    /// The offset of its bins in the threads' lists.
    pub(crate) bin: BinAt,
    pub(crate) zero_on_return: bool,
    pub(crate) is_direct: bool,
    /// 0 for the class of direct buffers.
    pub(crate) class_bytes: usize,
    pub(crate) kept_max: u32,
    pub(crate) store: Store<Shared>,
    pub(crate) memory: Memory,
    pub(crate) counts: ClassCounts,
    period: Mutex<Period>,
}

/// Counted on slow paths.
#[derive(Debug, Default)]
pub(crate) struct ClassCounts {
    /// Direct buffers: too large for any class, or fresh ones at a limit.
    pub(crate) direct: AtomicU64,
    pub(crate) direct_puts: AtomicU64,
    pub(crate) direct_bytes: AtomicU64,
    pub(crate) refusals: AtomicU64,
}

/// The state shared by all handles, buffers and threads of one pool.
#[derive(Debug)]
pub(crate) struct Shared {
    number: Number,
    process: Process,
    pub(crate) options: ClassOptions,
    /// One per size, and one for direct buffers at the end.
    pub(crate) classes: Box<[Class]>,
    barrier: Barrier,
    registry: Mutex<Registry>,
    /// The counters at the last reset.
    pub(crate) base: Mutex<Option<ClassPoolStats>>,
}

/// The threads that have bins.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) locals: Vec<Arc<Local>>,
    /// The counts of ended threads, by class. They are here, under the lock that also removes bins,
    /// so a reader finds each count in exactly one place.
    ended: Box<[BinCounts]>,
    /// No handle is left.
    is_closed: bool,
}

/// The result of emptying bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stolen {
    pub(crate) count: usize,
    /// An owner stayed inside its bin, which may hold something, or soon will.
    pub(crate) has_missed: bool,
}

/// What a class gives to a getter whose bin was empty.
#[derive(Debug)]
pub(crate) enum Answer {
    Block(Block),
    /// At the limit: a direct buffer.
    Fresh,
    /// At the limit: a place in line.
    Wait,
}

/// How often a thief returns to a bin whose owner was inside. An owner is inside for a few
/// instructions only, unless it loses its CPU there.
const ROUNDS: u32 = 6;

impl Shared {
    pub(crate) fn new(options: ClassOptions, number: Number) -> Arc<Self> {
        let process = Process::current();
        Arc::new_cyclic(|me| {
            let id = number.id();
            let sizes = options.table.sizes().iter().copied().chain([0]);
            let class = |(index, class_bytes): (usize, usize)| {
                let is_direct = class_bytes == 0;
                Class {
                    pool: id,
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
                    memory: Memory::new(class_bytes, &options),
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
                registry: Mutex::new(Registry { locals: Vec::new(), ended, is_closed: false }),
                base: Mutex::default(),
                options,
            }
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.number.id()
    }

    /// Whether no other live pool shares it.
    #[cfg(test)]
    pub(crate) fn has_place(&self) -> bool {
        self.number.has_place()
    }

    /// Whether this process is a child of the one that made the pool. Threads that don't exist here
    /// may hold its locks.
    pub(crate) fn is_foreign(&self) -> bool {
        !self.process.is_current()
    }

    /// The class of direct buffers.
    pub(crate) fn direct(&self) -> &Class {
        &self.classes[self.classes.len() - 1]
    }

    /// Makes the bins of a thread that has none of this pool yet.
    pub(crate) fn register(self: &Arc<Self>) -> Arc<Local> {
        let mut registry = self.registry();
        let is_closed = registry.is_closed;
        let bins = self
            .classes
            .iter()
            .map(|class| Bin::new(class.kept_max, self.barrier, is_closed || class.is_hungry()));
        let local = Arc::new(Local::new(self.id(), bins.collect(), Arc::downgrade(self)));
        if is_closed {
            local.end();
        }
        registry.locals.push(Arc::clone(&local));
        local
    }

    /// Called by the thread of these bins when it ends, so nobody is inside them.
    pub(crate) fn unregister(&self, local: &Arc<Local>) {
        let mut registry = self.registry();
        let before = registry.locals.len();
        registry.locals.retain(|other| !Arc::ptr_eq(other, local));
        assert!(registry.locals.len() + 1 == before, "bins that weren't registered, or were twice");
        local.bins.iter().for_each(Bin::announce);
        let mut left = Vec::new();
        for ((class, bin), ended) in self.classes.iter().zip(&local.bins).zip(&mut registry.ended) {
            let mut blocks = Vec::new();
            let is_empty = bin.steal(&mut blocks);
            assert!(is_empty, "a thread ended inside of its bin");
            *ended += bin.counts();
            left.push((class, blocks));
        }
        drop(registry);
        left.into_iter()
            .for_each(|(class, blocks)| self.finish(class, class.store.put(blocks.into_iter(), 0)));
    }

    /// Takes a class's blocks out of those threads' bins that `which` picks.
    pub(crate) fn steal(&self, class: &Class, which: impl Fn(&Local) -> bool) -> Stolen {
        let (mut blocks, mut has_missed) = (Vec::new(), false);
        let registry = self.registry();
        let picked = registry.locals.iter().filter(|local| which(local));
        let bins: Vec<&Bin> = picked.map(|local| &local.bins[class.index as usize]).collect();
        bins.iter().for_each(|bin| bin.announce());
        if !bins.is_empty() {
            self.barrier.heavy_or_nap();
        }
        for bin in bins {
            has_missed |= !bin.steal(&mut blocks);
            bin.settle(registry.is_closed || class.is_hungry());
        }
        drop(registry);
        let count = blocks.len();
        if count > 0 {
            self.finish(class, class.store.put(blocks.into_iter(), 0));
        }
        Stolen { count, has_missed }
    }

    /// As [`Shared::steal`], repeated with pauses and without the lock while owners stay inside.
    /// Returns true if one still does.
    pub(crate) fn take_back(&self, class: &Class, which: impl Fn(&Local) -> bool) -> bool {
        for round in 0..ROUNDS {
            if !self.steal(class, &which).has_missed {
                return false;
            }
            pause(round);
        }
        true
    }

    /// No handle is left: threads keep nothing any more, and the pool is freed with its last
    /// buffer. A bin whose owner stays inside is emptied when that thread ends or uses another
    /// pool.
    pub(crate) fn close(&self) {
        if self.is_foreign() {
            return;
        }
        let mut registry = self.registry();
        registry.is_closed = true;
        registry.locals.iter().for_each(|local| local.end());
        drop(registry);
        for class in &self.classes {
            self.take_back(class, |_| true);
            let (forgotten, after) = class.store.forsake();
            self.finish(class, after);
            drop(forgotten);
        }
    }

    /// What remains to be done after a store's lock is released. The order matters, because the
    /// last step may free the pool.
    pub(crate) fn finish(&self, class: &Class, after: After<Shared>) {
        let After { woken, is_sated, keep } = after;
        woken.into_iter().for_each(Waiter::wake);
        if is_sated {
            let registry = self.registry();
            for local in &registry.locals {
                local.bins[class.index as usize].settle(registry.is_closed || class.is_hungry());
            }
        }
        drop(keep);
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }
}

impl Registry {
    /// The counts of all threads for a class, including threads that have ended.
    pub(crate) fn counts(&self, class: &Class) -> BinCounts {
        let index = class.index as usize;
        let mut sum = self.ended[index];
        self.locals.iter().for_each(|local| sum += local.bins[index].counts());
        sum
    }
}

impl Class {
    /// Gets a block from the thread's bin.
    #[inline]
    pub(crate) fn near(&self) -> Option<Block> {
        local::with_bin(self.pool, self.bin, Bin::pop).flatten()
    }

    /// The bin is empty: gets a block from the store, a new slab or other threads; otherwise the
    /// policy decides.
    #[cold]
    pub(crate) fn ask(&self, shared: &Arc<Shared>, may_wait: bool) -> Result<Answer, GetError> {
        if shared.is_foreign() {
            return Err(GetError::Forked);
        }
        if let Some(block) = self.get_now(shared)? {
            return Ok(Answer::Block(block));
        }
        match shared.options.at_limit {
            AtLimit::Fresh => Ok(Answer::Fresh),
            AtLimit::Wait if may_wait => Ok(Answer::Wait),
            AtLimit::Wait | AtLimit::Refuse => {
                self.counts.refusals.fetch_add(1, Ordering::Relaxed);
                let (class_bytes, buffers_max) = (self.class_bytes, self.buffers_max(shared));
                Err(GetError::Exhausted { class_bytes, buffers_max })
            }
        }
    }

    /// The most buffers that it may have.
    pub(crate) fn buffers_max(&self, shared: &Shared) -> usize {
        shared.options.limit.of(self.class_bytes)
    }

    /// A block, if one is available without waiting. None: the class is at its limit, and
    /// everything is in use or in transit.
    pub(crate) fn get_now(&self, shared: &Arc<Shared>) -> Result<Option<Block>, GetError> {
        // In a thread with many pools, the bins of others may be near.
        if self.kept_max > 0
            && local::approach(shared)
            && let Some(block) = self.near()
        {
            return Ok(Some(block));
        }
        if let Some(block) = self.take(shared)? {
            return Ok(Some(block));
        }
        let kept = |local: &Local| local.bins[self.index as usize].held() > 0;
        if !shared.registry().locals.iter().any(|local| kept(local)) {
            return Ok(None);
        }
        shared.take_back(self, kept);
        self.take(shared)
    }

    /// From the store, which gets a new slab if it is empty and below its limit.
    fn take(&self, shared: &Arc<Shared>) -> Result<Option<Block>, GetError> {
        let is_kept = self.kept_max > 0 && local::approach(shared);
        let more = if is_kept { self.kept_max as usize / 2 } else { 0 };
        let mut batch = Batch::new();
        let taken = loop {
            match self.store.take(more, &mut batch) {
                Taken::NoMemory => {}
                taken => break taken,
            }
            let added = {
                let mut growing = self.memory.growing();
                // Another thread may have mapped a slab in the meantime.
                match self.store.take(more, &mut batch) {
                    Taken::NoMemory => {}
                    taken => break taken,
                }
                let slab = growing
                    .slab(self.store.room().max(1))
                    .map_err(|cause| GetError::Region(Box::new(cause)))?;
                self.store.add_cold(slab)
            };
            // Without the lock: waiters are woken.
            shared.finish(self, added);
        };
        if batch.len() > 0 {
            local::with_bin(self.pool, self.bin, |bin| bin.fill(&mut batch));
            if batch.len() > 0 {
                // By now somebody waits for the class.
                shared.finish(self, self.store.put(batch, 0));
            }
        }
        Ok(match taken {
            Taken::Block(block) => Some(block),
            Taken::NoMemory | Taken::AtLimit => None,
        })
    }

    pub(crate) fn is_hungry(&self) -> bool {
        self.store.is_hungry()
    }

    pub(crate) fn period(&self) -> MutexGuard<'_, Period> {
        lock(&self.period)
    }

    pub(crate) fn at(&self) -> NonNull<Class> {
        NonNull::from(self)
    }
}
