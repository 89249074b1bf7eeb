//! [`PartBuffers`]: the buffers that parts of streamed objects arrive in. Their number is bounded,
//! so the memory of streams is: buffers times bytes of a part, whatever the objects' sizes.
//!
//! A stream takes a [`PartSlot`] before it asks for anything, and keeps it until its sink is done
//! with the part. So who waits for a slot holds no turn, and who holds a slot waits only for turns,
//! which end, and for its sink. Slots are given in the order in which they were asked for: a sink
//! that takes an object's parts in order never waits for a part without a slot.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use slipring::class::{AtLimit, ClassOptions, ClassPool, ClassTable, GetError, Limit, PooledBuf};
use slipring::region::Pages;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::options::{CONCURRENCY_MAX, OptionsError, PART_BYTES_MIN};

/// The largest buffer of a part.
pub const PART_BUFFER_BYTES_MAX: u64 = 1 << 30;

/// A class has a multiple of this.
const CLASS_STEP_BYTES: usize = 64;

/// The buffers that [`RangeEngine::download_into`](crate::RangeEngine::download_into) uses. They
/// bound its memory: `buffers` times `part_bytes`, over all downloads of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartBufferOptions {
    /// Bytes of a buffer, and the most of a part, from [`PART_BYTES_MIN`] to
    /// [`PART_BUFFER_BYTES_MAX`]. Default 8 MiB.
    pub part_bytes: u64,
    /// The most buffers at the same time, 1 to [`CONCURRENCY_MAX`]. A download that finds none
    /// waits. It also bounds the requests in flight. Default 16.
    pub buffers: usize,
    /// Whether buffers are kept and used again. Default true; otherwise each is allocated and
    /// freed, and it is up to the process's allocator how much of that it keeps: glibc keeps about
    /// as much again, unless its `M_MMAP_THRESHOLD` is set.
    pub reuse: bool,
    /// Seconds after which unneeded buffers give their pages back; 0 for never. Default 10. It
    /// needs calls of [`ClassPool::tick`](slipring::class::ClassPool::tick) on
    /// [`RangeEngine::part_pool`](crate::RangeEngine::part_pool), or a
    /// [`Ticker`](slipring::class::Ticker).
    pub shrink_after_secs: u64,
}

impl Default for PartBufferOptions {
    fn default() -> Self {
        Self { part_bytes: 8 << 20, buffers: 16, reuse: true, shrink_after_secs: 10 }
    }
}

/// How an engine's part buffers were used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartBufferStats {
    /// Buffers that were taken: one per part.
    pub gets: u64,
    /// Of those, buffers that had been used before and still had their pages.
    pub hits: u64,
    /// The most buffers in use at the same time.
    pub high_water: u64,
    /// Bytes of a buffer.
    pub buffer_bytes: u64,
}

/// The buffers of an engine.
pub(crate) struct PartBuffers {
    options: PartBufferOptions,
    pool: Option<ClassPool>,
    free: Semaphore,
    gets: AtomicU64,
    in_use: AtomicU64,
    high_water: AtomicU64,
}

/// The right to one buffer at a time.
pub(crate) struct PartSlot<'a> {
    buffers: &'a PartBuffers,
    _permit: SemaphorePermit<'a>,
}

impl PartBufferOptions {
    fn check(&self) -> Result<(), OptionsError> {
        let refused = |field, value: String, limit| Err(OptionsError { field, value, limit });
        let Self { part_bytes, buffers, .. } = *self;
        if !(PART_BYTES_MIN..=PART_BUFFER_BYTES_MAX).contains(&part_bytes) {
            let limit = format!("{PART_BYTES_MIN} to {PART_BUFFER_BYTES_MAX} bytes");
            return refused("part_bytes", part_bytes.to_string(), limit);
        }
        if !(1..=CONCURRENCY_MAX).contains(&buffers) {
            return refused("buffers", buffers.to_string(), format!("1 to {CONCURRENCY_MAX}"));
        }
        Ok(())
    }

    fn pool(&self) -> Result<ClassPool, OptionsError> {
        let shrink_after = Duration::from_secs(self.shrink_after_secs);
        let refused = |error: slipring::class::ClassError| OptionsError {
            field: "part_bytes",
            value: self.part_bytes.to_string(),
            limit: error.to_string(),
        };
        let class_bytes = (self.part_bytes as usize).next_multiple_of(CLASS_STEP_BYTES);
        let table = ClassTable::new(&[class_bytes]).map_err(refused)?;
        ClassPool::new(&ClassOptions {
            table,
            limit: Limit::buffers(self.buffers),
            // Slots bound the buffers, unless a sink keeps some.
            at_limit: AtLimit::Fresh,
            shrink_after: (!shrink_after.is_zero()).then_some(shrink_after),
            // A part is received on one thread and written on another.
            cache_bytes: 0,
            pages: Pages::PreferThp,
            ..ClassOptions::default()
        })
        .map_err(refused)
    }
}

impl PartBuffers {
    pub(crate) fn new(options: &PartBufferOptions) -> Result<Self, OptionsError> {
        options.check()?;
        Ok(Self {
            options: *options,
            pool: options.reuse.then(|| options.pool()).transpose()?,
            free: Semaphore::new(options.buffers),
            gets: AtomicU64::new(0),
            in_use: AtomicU64::new(0),
            high_water: AtomicU64::new(0),
        })
    }

    pub(crate) fn options(&self) -> &PartBufferOptions {
        &self.options
    }

    pub(crate) fn pool(&self) -> Option<&ClassPool> {
        self.pool.as_ref()
    }

    pub(crate) async fn slot(&self) -> PartSlot<'_> {
        let permit = self.free.acquire().await.expect("it is never closed");
        let in_use = self.in_use.fetch_add(1, Ordering::Relaxed) + 1;
        self.high_water.fetch_max(in_use, Ordering::Relaxed);
        PartSlot { buffers: self, _permit: permit }
    }

    pub(crate) fn stats(&self) -> PartBufferStats {
        let of_pool = self.pool.as_ref().map(ClassPool::stats);
        PartBufferStats {
            gets: self.gets.load(Ordering::Relaxed),
            hits: of_pool.map_or(0, |stats| stats.classes.iter().map(|class| class.hits).sum()),
            high_water: self.high_water.load(Ordering::Relaxed),
            buffer_bytes: self.options.part_bytes,
        }
    }
}

impl PartSlot<'_> {
    /// A buffer of `len` bytes, which are at most a part's. Never waits.
    pub(crate) fn buffer(&self, len: u64) -> Result<PooledBuf, GetError> {
        let PartBuffers { options, pool, gets, .. } = self.buffers;
        debug_assert!(len <= options.part_bytes, "{len} bytes of {}", options.part_bytes);
        gets.fetch_add(1, Ordering::Relaxed);
        match pool {
            Some(pool) => pool.try_get(len as usize),
            None => PooledBuf::direct(len as usize),
        }
    }
}

impl Drop for PartSlot<'_> {
    fn drop(&mut self) {
        self.buffers.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for PartBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartBuffers").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn slots_bound_the_buffers_and_buffers_are_used_again() {
        let options = PartBufferOptions { part_bytes: 4096, buffers: 2, ..Default::default() };
        let buffers = PartBuffers::new(&options).unwrap();
        let [first, second] = [0; 2].map(|_| buffers.slot().now_or_never().unwrap());
        assert!(buffers.slot().now_or_never().is_none(), "both are taken");
        let taken = [first.buffer(4096).unwrap(), second.buffer(10).unwrap()];
        assert_eq!((taken[1].len(), taken[1].is_direct()), (10, false));
        drop((taken, first));
        let third = buffers.slot().now_or_never().unwrap();
        drop(third.buffer(4096).unwrap());
        drop((second, third));
        let stats = buffers.stats();
        assert_eq!((stats.gets, stats.hits, stats.high_water), (3, 1, 2));
    }

    #[test]
    fn without_reuse_every_buffer_is_new() {
        let options = PartBufferOptions { reuse: false, buffers: 1, ..Default::default() };
        let buffers = PartBuffers::new(&options).unwrap();
        let slot = buffers.slot().now_or_never().unwrap();
        (0..3).for_each(|_| assert!(slot.buffer(100).unwrap().is_direct()));
        assert_eq!((buffers.stats().gets, buffers.stats().hits), (3, 0));
        assert!(buffers.pool().is_none());
    }

    #[test]
    fn a_part_has_any_size() {
        for part_bytes in [1025, 2_097_151, 10_000_001] {
            let options = PartBufferOptions { part_bytes, buffers: 1, ..Default::default() };
            let buffers = PartBuffers::new(&options).unwrap();
            let slot = buffers.slot().now_or_never().unwrap();
            let buffer = slot.buffer(part_bytes).unwrap();
            assert_eq!((buffer.len() as u64, buffer.is_direct()), (part_bytes, false));
        }
    }

    #[test]
    fn sizes_that_make_no_sense_are_named() {
        let refused = |options: PartBufferOptions| {
            PartBuffers::new(&options).map(|_| ()).unwrap_err().to_string()
        };
        let parts = |part_bytes| PartBufferOptions { part_bytes, ..Default::default() };
        assert!(refused(parts(10)).starts_with("`part_bytes` is 10: give 1024 to "));
        assert!(refused(parts(u64::MAX)).starts_with("`part_bytes`"));
        for buffers in [0, CONCURRENCY_MAX + 1] {
            let error = refused(PartBufferOptions { buffers, ..Default::default() });
            assert!(error.starts_with(&format!("`buffers` is {buffers}: give 1 to")), "{error}");
        }
    }
}
