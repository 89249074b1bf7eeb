//! [`ClassPool`]: the handle of a pool. Getting is [`get`](mod@super::get)'s, and shrinking
//! [`shrink`](super::shrink)'s; warm-up and statistics are here.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bin::BinCounts;
use super::buffer::PooledBuf;
use super::get::{self, Get, GetError, WaitLimit};
use super::options::{ClassError, ClassOptions, ClassTable};
use super::shared::{Class, ClassShared, PoolNumber};
use super::shrink::{Ticker, tick};
use super::stats::{ClassPoolStats, ClassStats, ClassWarmUp, DirectStats, WarmUp};
use super::threads::empty_bins_again;
use crate::sync::{Ordering, lock};

/// A thread-safe pool of buffers in size classes. It is a handle: clones share the pool.
///
/// In a forked child, a pool of the parent's gives what the thread's bin holds and then
/// [`GetError::Forked`]. The child makes a pool of its own, or uses the plain functions, which have
/// a pool in each process.
///
/// Dropping the last handle ends the pool: threads stop keeping buffers, buffers in use stay valid,
/// and the memory is freed with the last of them.
///
/// ```
/// use slipring::class::{ClassOptions, ClassPool};
///
/// let pool = ClassPool::new(&ClassOptions::default())?;
/// let mut buf = pool.get(5)?;
/// buf.copy_from_slice(b"bytes");
/// assert_eq!((buf.len(), buf.capacity()), (5, 2 << 10));
/// std::thread::spawn(move || drop(buf)).join().unwrap();
/// assert_eq!(pool.stats().classes[0].in_use, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClassPool {
    shared: Arc<ClassShared>,
    _handle: Arc<Handle>,
}

/// Shared by all clones of a handle.
#[derive(Debug)]
struct Handle(Arc<ClassShared>);

impl ClassPool {
    /// Makes a pool, which holds no memory yet.
    ///
    /// # Errors
    /// [`ClassError`] names the field that doesn't fit.
    pub fn new(options: &ClassOptions) -> Result<Self, ClassError> {
        options.check()?;
        Ok(Self::of(options.clone(), PoolNumber::new()))
    }

    /// As `new`, with options that have been checked.
    pub(super) fn of(options: ClassOptions, number: PoolNumber) -> Self {
        let shared = ClassShared::new(options, number);
        Self { _handle: Arc::new(Handle(Arc::clone(&shared))), shared }
    }

    /// Gets a buffer of `len` bytes from the smallest class that fits, or a direct buffer if no
    /// class does. A `len` of 0 gives an empty buffer of the smallest class. At the class's limit
    /// it waits, is refused, or gets a fresh direct buffer, as [`ClassOptions::at_limit`] says.
    ///
    /// It costs a few nanoseconds from the thread's own bin, a short lock per half a bin from the
    /// class's store, and page faults for memory that hasn't been used before (see
    /// [`ClassPool::warm_up`]).
    ///
    /// # Errors
    /// [`GetError`] says what is missing and what to do.
    #[inline]
    pub fn get(&self, len: usize) -> Result<PooledBuf, GetError> {
        get::get(&self.shared, len, WaitLimit::Forever)
    }

    /// As [`ClassPool::get`], but it never waits.
    ///
    /// # Errors
    /// As `get`, and [`GetError::Exhausted`] where `get` would wait.
    #[inline]
    pub fn try_get(&self, len: usize) -> Result<PooledBuf, GetError> {
        get::get(&self.shared, len, WaitLimit::Never)
    }

    /// As [`ClassPool::get`], with a limit on the wait.
    ///
    /// # Errors
    /// As `get`, and [`GetError::TimedOut`].
    #[inline]
    pub fn get_timeout(&self, len: usize, timeout: Duration) -> Result<PooledBuf, GetError> {
        get::get(&self.shared, len, WaitLimit::For(timeout))
    }

    /// As [`ClassPool::get`], but a task waits, on any executor. Dropping the future ends its wait,
    /// and a buffer that it was granted goes to the next.
    ///
    /// A future that is forgotten ([`std::mem::forget`]) while it waits can't be distinguished from
    /// a slow one. It keeps its place among those that wait, and once it is served, the class has
    /// one buffer less. The buffers of such futures come back when the last handle of the pool is
    /// dropped.
    pub fn get_async(&self, len: usize) -> Get<'_> {
        Get::new(&self.shared, len)
    }

    /// As [`ClassPool::get`], or as [`ClassPool::get_timeout`]. A waiting thread asks now and then
    /// whether to give up, which is then reported as [`GetError::TimedOut`].
    pub(crate) fn get_unless(
        &self,
        len: usize,
        timeout: Option<Duration>,
        gives_up: &dyn Fn() -> bool,
    ) -> Result<PooledBuf, GetError> {
        let limit = timeout.map_or(WaitLimit::Forever, WaitLimit::For);
        get::get_unless(&self.shared, len, limit, gives_up)
    }

    /// Makes `buffers` distinct buffers resident in each class, including those in use, as far as
    /// the limit allows. The report says how many are resident now. Buffers that are being made
    /// resident count towards the limit, and can't be got before their class is done.
    ///
    /// # Errors
    /// [`ClassError::Region`] names the limit that forbids it. Buffers that were made resident
    /// before stay resident.
    pub fn warm_up(&self, buffers: usize) -> Result<WarmUp, ClassError> {
        if self.shared.is_foreign() {
            return Err(ClassError::Forked);
        }
        let start = Instant::now();
        let warmed = self.shared.sized().iter().map(|class| warm_up(&self.shared, class, buffers));
        let classes = warmed.collect::<Result<Vec<_>, _>>()?;
        Ok(WarmUp { classes, elapsed: start.elapsed() })
    }

    /// Gives back pages that weren't needed for [`ClassOptions::shrink_after`], and returns the
    /// number of bytes. Call it now and then with the present time, or start a [`Ticker`]. Getters
    /// don't wait for it, except at a class's limit: while it gives a buffer's pages back, that
    /// buffer can't be got, and if no other is free, a `get` waits or is refused as if the buffer
    /// were in use.
    pub fn tick(&self, now: Instant) -> usize {
        tick(&self.shared, now)
    }

    /// Starts a thread that calls [`ClassPool::tick`] at this interval. It doesn't keep the pool
    /// alive.
    ///
    /// # Errors
    /// The system's error, if it can't start a thread.
    pub fn ticker(&self, every: Duration) -> io::Result<Ticker> {
        Ticker::start(&self.shared, every)
    }

    /// The state of each class, and its counters since the pool was made or
    /// [`ClassPool::reset_stats`] was called.
    #[must_use]
    pub fn stats(&self) -> ClassPoolStats {
        if self.shared.is_foreign() {
            return ClassPoolStats::unknown(&self.shared);
        }
        // Under the lock of the base, because a reset in between would be subtracted twice.
        let base = lock(&self.shared.base);
        let now = self.all_stats();
        if let Some(base) = &*base { now.since(base) } else { now }
    }

    /// Resets the counters to zero. Gauges aren't affected.
    pub fn reset_stats(&self) {
        if !self.shared.is_foreign() {
            let mut base = lock(&self.shared.base);
            *base = Some(self.all_stats());
        }
    }

    /// As [`ClassPool::stats`], ignoring resets. Not for a forked child, which might wait for a
    /// lock of its parent.
    pub(super) fn all_stats(&self) -> ClassPoolStats {
        let classes = self.shared.sized().iter().map(|class| ClassStats::of(&self.shared, class));
        ClassPoolStats { classes: classes.collect(), direct: DirectStats::of(&self.shared) }
    }

    /// The pool's sizes.
    #[must_use]
    pub fn table(&self) -> &ClassTable {
        &self.shared.options.table
    }

    /// The options that it was made with.
    #[must_use]
    pub fn options(&self) -> &ClassOptions {
        &self.shared.options
    }

    pub(super) fn shared(&self) -> &Arc<ClassShared> {
        &self.shared
    }
}

/// No handle is left: threads stop keeping blocks, and the pool is freed with its last buffer. A
/// bin whose owner stays inside is emptied when that thread ends or uses another pool.
impl Drop for Handle {
    fn drop(&mut self) {
        let shared = &self.0;
        if shared.is_foreign() {
            return;
        }
        let mut registry = shared.registry();
        registry.without_handles = true;
        registry.threads.iter().for_each(|bins| bins.end());
        drop(registry);
        for class in &shared.classes {
            empty_bins_again(shared, class, |_| true);
            let (forgotten, unlocked) = class.store.remove_forgotten();
            shared.after_unlock(class, unlocked);
            drop(forgotten);
        }
    }
}

fn warm_up(shared: &ClassShared, class: &Class, buffers: usize) -> Result<ClassWarmUp, ClassError> {
    let wanted = buffers.min(class.store.view().resident_max);
    // All limits are checked before the first page, because populating pages beyond a limit ends
    // the process instead of giving an error.
    class
        .slabs
        .check_room(wanted.saturating_sub(class.store.resident()))
        .map_err(ClassError::Region)?;
    let mut touched = 0;
    loop {
        let cold = class.store.move_out_cold(wanted);
        if cold.is_empty() {
            let missing = wanted.saturating_sub(class.store.resident());
            if missing == 0 {
                break;
            }
            let added = {
                let mut growing = class.slabs.growing();
                class.store.add_cold(growing.slab(missing).map_err(ClassError::Region)?)
            };
            // Not while the right to grow is held: this wakes waiters.
            shared.after_unlock(class, added);
            continue;
        }
        let (warm, cold, refusal) = class.slabs.populate(cold);
        touched += warm.len();
        shared.after_unlock(class, class.store.move_in(cold, warm, Vec::new()));
        if let Some(cause) = refusal {
            return Err(ClassError::Region(cause));
        }
    }
    let resident = class.store.resident();
    Ok(ClassWarmUp { class_bytes: class.class_bytes, asked: buffers, resident, touched })
}

impl ClassPoolStats {
    /// In a forked child: what the parent's locks protect isn't known.
    fn unknown(shared: &ClassShared) -> Self {
        let unknown = |class: &Class| ClassStats {
            class_bytes: class.class_bytes,
            buffers_max: class.buffers_max(shared) as u64,
            ..ClassStats::default()
        };
        let classes = shared.sized().iter().map(unknown).collect();
        Self { classes, direct: DirectStats::of(shared) }
    }
}

impl DirectStats {
    fn of(shared: &ClassShared) -> Self {
        let counts = &shared.direct().counts;
        // Puts are read first, so that few puts are counted without their get.
        let puts = counts.direct_puts.load(Ordering::Relaxed);
        let (gets, bytes) =
            (counts.direct.load(Ordering::Relaxed), counts.direct_bytes.load(Ordering::Relaxed));
        Self { gets, puts, bytes, in_use: gets.saturating_sub(puts) }
    }
}

impl ClassStats {
    fn of(shared: &ClassShared, class: &Class) -> Self {
        let BinCounts { gets, puts } = shared.registry().counts(class);
        let view = class.store.view();
        let fresh = class.counts.direct.load(Ordering::Relaxed);
        let (hits, puts) = (gets + view.counts.warm, puts + view.counts.puts);
        let (misses, bytes) = (view.counts.cold + fresh, class.class_bytes as u64);
        Self {
            class_bytes: class.class_bytes,
            gets: hits + misses,
            puts,
            hits,
            misses,
            fresh,
            waits: view.counts.waits,
            refusals: class.counts.refusals.load(Ordering::Relaxed),
            shrunk: view.counts.shrunk,
            reused_bytes: hits * bytes,
            allocated_bytes: misses * bytes,
            in_use: (hits + view.counts.cold).saturating_sub(puts),
            resident: view.resident as u64,
            resident_bytes: view.resident as u64 * bytes,
            waiting: view.waiting as u64,
            buffers_max: view.resident_max as u64,
        }
    }
}
