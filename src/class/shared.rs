//! [`Shared`]: what all handles, buffers and threads of one pool share, and [`Class`], its part for one size.
//!
//! A buffer comes from the thread's bin, else from the class's store, else from a new slab, else, at the limit, from the bins of other threads; and
//! whoever still has none waits, is refused, or gets a direct buffer. It goes back to the bin of the thread that drops it, and half a full bin to the store.
//!
//! Locks, outermost first: a class's growth; then the registry, a class's slabs or a class's store, none of which is taken under another. Whoever is woken is
//! woken under none but growth.
#![forbid(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bin::Bin;
use super::block::{Batch, Block};
use super::error::GetError;
use super::fork;
use super::idle::Period;
use super::local::{self, Local};
use super::memory::Memory;
use super::options::{AtLimit, ClassOptions};
use super::stats::PoolStats;
use super::store::{After, Store, Taken};
use super::wait::Waiter;
use crate::barrier::Barrier;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock, pool_id};

/// One size of a pool. The first line is what every get and drop reads.
#[repr(align(64))]
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) pool: u32,
    /// Its place in the table; the number of classes for the class of direct buffers.
    pub(crate) index: u32,
    zero_on_return: bool,
    pub(crate) is_direct: bool,
    /// 0 for the class of direct buffers.
    pub(crate) class_bytes: usize,
    pub(crate) kept_max: u32,
    pub(crate) store: Store<Shared>,
    pub(crate) memory: Memory,
    pub(crate) counts: ClassCounts,
    period: Mutex<Period>,
}

/// Counted on slow paths, and what ended threads had counted in their bins.
#[derive(Debug, Default)]
pub(crate) struct ClassCounts {
    pub(crate) ended_gets: AtomicU64,
    pub(crate) ended_puts: AtomicU64,
    /// Direct buffers: too large for any class, or fresh ones at a limit.
    pub(crate) direct: AtomicU64,
    pub(crate) direct_puts: AtomicU64,
    pub(crate) direct_bytes: AtomicU64,
    pub(crate) refusals: AtomicU64,
}

/// What a pool is.
#[derive(Debug)]
pub(crate) struct Shared {
    id: u32,
    pub(crate) options: ClassOptions,
    /// One a size, and one for direct buffers at the end.
    pub(crate) classes: Box<[Class]>,
    barrier: Barrier,
    registry: Mutex<Registry>,
    /// What the counters were at the last reset.
    pub(crate) base: Mutex<Option<PoolStats>>,
}

#[derive(Debug, Default)]
pub(crate) struct Registry {
    pub(crate) locals: Vec<Arc<Local>>,
    /// No handle is left.
    is_closed: bool,
}

/// How long a get waits at the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    None,
    For(Duration),
    Forever,
}

impl Shared {
    pub(crate) fn new(options: ClassOptions) -> Arc<Self> {
        fork::watch();
        Arc::new_cyclic(|me| {
            let id = pool_id().get();
            let sizes = options.table.sizes().iter().copied().chain([0]);
            let class = |(index, class_bytes): (usize, usize)| {
                let is_direct = class_bytes == 0;
                Class {
                    pool: id,
                    index: index as u32,
                    zero_on_return: options.zero_on_return,
                    is_direct,
                    class_bytes,
                    kept_max: if is_direct { 0 } else { options.kept(class_bytes) },
                    store: Store::new(if is_direct { usize::MAX } else { options.limit.of(class_bytes) }, me.clone()),
                    memory: Memory::new(class_bytes, &options),
                    counts: ClassCounts::default(),
                    period: Mutex::default(),
                }
            };
            let classes: Box<[Class]> = sizes.enumerate().map(class).collect();
            assert!(classes.len() == options.table.sizes().len() + 1, "a class is missing");
            Self {
                id,
                classes,
                barrier: Barrier::choose(),
                registry: Mutex::default(),
                base: Mutex::default(),
                options,
            }
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The class of direct buffers.
    pub(crate) fn direct(&self) -> &Class {
        &self.classes[self.classes.len() - 1]
    }

    /// The bins of a thread that has none of this pool yet.
    pub(crate) fn register(self: &Arc<Self>) -> Arc<Local> {
        let mut registry = self.registry();
        let is_closed = registry.is_closed;
        let bins =
            self.classes.iter().map(|class| Bin::new(class.kept_max, self.barrier, is_closed || class.is_hungry()));
        let local = Arc::new(Local::new(self.id, bins.collect(), Arc::downgrade(self)));
        assert!(local.bins.len() == self.classes.len(), "a class has no bin");
        if is_closed {
            local.end();
        }
        registry.locals.push(Arc::clone(&local));
        local
    }

    /// The thread of these bins ends, and calls this: nobody is inside them.
    pub(crate) fn unregister(&self, local: &Arc<Local>) {
        let mut registry = self.registry();
        let before = registry.locals.len();
        registry.locals.retain(|other| !Arc::ptr_eq(other, local));
        assert!(registry.locals.len() + 1 == before, "bins that weren't registered, or were twice");
        local.bins.iter().for_each(Bin::announce);
        let mut left = Vec::new();
        for (class, bin) in self.classes.iter().zip(&local.bins) {
            let mut blocks = Vec::new();
            bin.steal(&mut blocks);
            let (gets, puts) = bin.counts();
            class.counts.ended_gets.fetch_add(gets, Ordering::Relaxed);
            class.counts.ended_puts.fetch_add(puts, Ordering::Relaxed);
            left.push((class, blocks));
        }
        drop(registry);
        left.into_iter().for_each(|(class, blocks)| self.finish(class, class.store.put(blocks.into_iter(), 0)));
    }

    /// Takes a class's blocks out of the threads' bins, of those that `which` picks; how many there were.
    pub(crate) fn steal(&self, class: &Class, which: impl Fn(&Local) -> bool) -> usize {
        debug_assert!(std::ptr::eq(class, &self.classes[class.index as usize]), "a class of another pool");
        let mut stolen = Vec::new();
        let registry = self.registry();
        let bins: Vec<&Bin> = registry
            .locals
            .iter()
            .filter(|local| which(local))
            .map(|local| &local.bins[class.index as usize])
            .collect();
        bins.iter().for_each(|bin| bin.announce());
        // A thread that may not pass the barrier takes nothing.
        let may_enter = !bins.is_empty() && self.barrier.try_heavy();
        for bin in bins {
            if may_enter {
                bin.steal(&mut stolen);
            }
            bin.settle(registry.is_closed || class.is_hungry());
        }
        drop(registry);
        let count = stolen.len();
        if count > 0 {
            self.finish(class, class.store.put(stolen.into_iter(), 0));
        }
        count
    }

    /// No handle is left: threads keep nothing any more, and the pool goes with its last buffer.
    pub(crate) fn close(&self) {
        let mut registry = self.registry();
        assert!(!registry.is_closed, "a pool is closed by its last handle, once");
        registry.is_closed = true;
        registry.locals.iter().for_each(|local| local.end());
        drop(registry);
        for class in &self.classes {
            self.steal(class, |_| true);
        }
    }

    /// What is left to do after a store's lock: in this order, because the last may free the pool.
    pub(crate) fn finish(&self, class: &Class, after: After<Shared>) {
        let After { woken, is_sated, keep } = after;
        debug_assert!(keep.as_ref().is_none_or(|keep| std::ptr::eq(&**keep, self)), "another pool was kept");
        woken.iter().for_each(|waiter| waiter.wake());
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

impl Class {
    /// A buffer's memory from the thread's bin.
    #[inline]
    pub(crate) fn near(&self) -> Option<Block> {
        local::with_bin(self.pool, self.index, Bin::pop).flatten()
    }

    /// The bin has none: from the store, a new slab, other threads, by waiting, or directly.
    #[cold]
    pub(crate) fn get_far(&self, shared: &Arc<Shared>, patience: Patience) -> Result<Option<Block>, GetError> {
        if fork::is_child() {
            return Err(GetError::Forked);
        }
        if let Some(block) = self.get_now(shared)? {
            return Ok(Some(block));
        }
        let (class_bytes, buffers_max) = (self.class_bytes, shared.options.limit.of(self.class_bytes));
        match shared.options.at_limit {
            AtLimit::Fresh => return Ok(None),
            AtLimit::Wait if patience != Patience::None => {}
            AtLimit::Wait | AtLimit::Refuse => {
                self.counts.refusals.fetch_add(1, Ordering::Relaxed);
                return Err(GetError::Exhausted { class_bytes, buffers_max });
            }
        }
        let until = match patience {
            Patience::For(timeout) => Instant::now().checked_add(timeout),
            Patience::None | Patience::Forever => None,
        };
        assert!(buffers_max > 0, "a class that may have no buffer");
        let waiter = Arc::new(Waiter::thread());
        if let Some(block) = self.line_up(shared, &waiter) {
            return Ok(Some(block));
        }
        debug_assert!(self.store.resident() <= buffers_max, "a class is above its limit");
        if let Some(block) = waiter.sleep(until) {
            return Ok(Some(block));
        }
        match (self.leave_line(shared, &waiter), patience) {
            (None, Patience::For(timeout)) => Err(GetError::TimedOut { class_bytes, buffers_max, timeout }),
            (block, _) => Ok(block),
        }
    }

    /// A block if there is one without waiting. None: the class is at its limit, and everything is in use.
    pub(crate) fn get_now(&self, shared: &Arc<Shared>) -> Result<Option<Block>, GetError> {
        // A thread with many pools has the bins of others near.
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
        shared.steal(self, kept);
        self.take(shared)
    }

    /// From the store, which gets a new slab if it has nothing and may have more.
    fn take(&self, shared: &Arc<Shared>) -> Result<Option<Block>, GetError> {
        assert!(!self.is_direct && shared.id == self.pool, "not a class of this pool");
        let is_kept = self.kept_max > 0 && local::approach(shared);
        let more = if is_kept { self.kept_max as usize / 2 } else { 0 };
        let mut batch = Batch::new();
        let mut taken = self.store.take(more, &mut batch);
        if taken == Taken::NoMemory {
            let mut growing = self.memory.growing();
            taken = self.store.take(more, &mut batch);
            while taken == Taken::NoMemory {
                let slab = growing.slab(self.store.room().max(1)).map_err(|cause| GetError::Region(Box::new(cause)))?;
                shared.finish(self, self.store.add_cold(slab));
                taken = self.store.take(more, &mut batch);
            }
        }
        assert!(batch.len() <= more, "more was taken than was asked for");
        if batch.len() > 0 {
            local::with_bin(self.pool, self.index, |bin| bin.fill(&mut batch));
            if batch.len() > 0 {
                // Somebody waits for the class by now.
                shared.finish(self, self.store.put(batch, 0));
            }
        }
        Ok(match taken {
            Taken::Block(block) => Some(block),
            Taken::NoMemory | Taken::AtLimit => None,
        })
    }

    /// Stands in line, then takes back what threads keep: whatever comes home from now on comes to the store.
    pub(crate) fn line_up(&self, shared: &Arc<Shared>, waiter: &Arc<Waiter>) -> Option<Block> {
        let block = self.store.enqueue(waiter);
        if block.is_none() {
            let stolen = shared.steal(self, |_| true);
            debug_assert!(stolen <= self.store.resident(), "more was stolen than there is");
        }
        block
    }

    /// Leaves the line, with what was granted at the last moment.
    pub(crate) fn leave_line(&self, shared: &Arc<Shared>, waiter: &Arc<Waiter>) -> Option<Block> {
        let (block, after) = self.store.cancel(waiter);
        shared.finish(self, after);
        block
    }

    /// Bytes to zero when a block comes home; a direct buffer sees to its own. (A field of its own instead costs the queue seven instructions.)
    #[inline]
    pub(crate) fn zero_bytes(&self) -> usize {
        if self.zero_on_return { self.class_bytes } else { 0 }
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
