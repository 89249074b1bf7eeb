//! [`ClassPool`]: the handle that buffers are got from.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::buffer::PooledBuf;
use super::direct;
use super::error::{ClassError, GetError};
use super::idle;
use super::line::{GivesUp, Place};
use super::number::Number;
use super::options::ClassOptions;
use super::shared::{Answer, Class, Shared};
use super::stats::{ClassPoolStats, WarmUp};
use super::table::ClassTable;
use super::wait::Waiter;
use super::warm_up;
use crate::sync::Ordering;

/// A thread-safe pool of buffers in size classes. It is a handle: clones share the pool.
///
/// In a forked child a pool that the parent made gives what the thread's bin holds and then
/// [`GetError::Forked`]; make another, or use the plain functions, which have a pool in each
/// process.
///
/// Dropping the last handle closes the pool: threads stop keeping buffers, buffers in use stay
/// valid, and the memory goes with the last of them.
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
    shared: Arc<Shared>,
    _handle: Arc<Handle>,
}

/// Shared by all clones of a handle.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl ClassPool {
    /// Makes a pool, which holds no memory yet.
    ///
    /// # Errors
    /// [`ClassError`] names the field that doesn't fit.
    pub fn new(options: &ClassOptions) -> Result<Self, ClassError> {
        options.check()?;
        Ok(Self::of(options.clone(), Number::new()))
    }

    /// As `new`, with options that have been checked.
    pub(super) fn of(options: ClassOptions, number: Number) -> Self {
        let shared = Shared::new(options, number);
        Self { _handle: Arc::new(Handle(Arc::clone(&shared))), shared }
    }

    /// Gets a buffer of `len` bytes from the smallest class that fits, or a direct buffer if no
    /// class does. A `len` of 0 gives an empty buffer of the smallest class. At the class's limit
    /// it waits, is refused, or gives a fresh direct buffer, as [`ClassOptions::at_limit`] says.
    ///
    /// It costs a few nanoseconds from the thread's own bin, a short lock per half a bin from the
    /// class's store, and page faults for memory that hasn't been used before (see
    /// [`ClassPool::warm_up`]).
    ///
    /// # Errors
    /// [`GetError`] says what is missing and what to do.
    #[inline]
    pub fn get(&self, len: usize) -> Result<PooledBuf, GetError> {
        self.get_with(len, Patience::Forever)
    }

    /// As [`ClassPool::get`], but it never waits.
    ///
    /// # Errors
    /// As `get`, and [`GetError::Exhausted`] where `get` would wait.
    #[inline]
    pub fn try_get(&self, len: usize) -> Result<PooledBuf, GetError> {
        self.get_with(len, Patience::None)
    }

    /// As [`ClassPool::get`], with a limit on the wait.
    ///
    /// # Errors
    /// As `get`, and [`GetError::TimedOut`].
    #[inline]
    pub fn get_timeout(&self, len: usize, timeout: Duration) -> Result<PooledBuf, GetError> {
        self.get_with(len, Patience::For(timeout))
    }

    /// As [`ClassPool::get`], but a task waits, on any executor. A dropped future leaves the line,
    /// and a buffer that it was granted goes to the next.
    ///
    /// A future that is forgotten ([`std::mem::forget`]) while it waits can't be distinguished from
    /// a slow one: it keeps its place, and once it is served, the class has one buffer less. The
    /// buffers of such futures come back when the last handle of the pool is dropped.
    pub fn get_async(&self, len: usize) -> Get<'_> {
        Get { pool: self, len, place: None }
    }

    /// Makes `buffers` distinct buffers resident in each class, including those in use, as far as
    /// the limit allows. The report says what was reached. Buffers that are being made resident
    /// count towards the limit, and can't be got before the class is done.
    ///
    /// # Errors
    /// [`ClassError::Region`] names the limit that forbids it. What was reached before that stays.
    pub fn warm_up(&self, buffers: usize) -> Result<WarmUp, ClassError> {
        warm_up::warm_up(&self.shared, buffers)
    }

    /// The state of each class, and its counters since the pool was made or
    /// [`ClassPool::reset_stats`] was called.
    #[must_use]
    pub fn stats(&self) -> ClassPoolStats {
        ClassPoolStats::since_reset(&self.shared)
    }

    /// Resets the counters to zero. Gauges aren't affected.
    pub fn reset_stats(&self) {
        ClassPoolStats::reset(&self.shared);
    }

    /// Gives back pages that weren't needed for [`ClassOptions::shrink_after`], and returns the
    /// number of bytes. Call it now and then with the present time, or start a
    /// [`Ticker`](super::Ticker). Getters don't wait for it, except at the class's limit: while it
    /// gives a buffer's pages back, that buffer can't be got, and if no other is free, a `get`
    /// waits or is refused as if it were in use.
    pub fn tick(&self, now: Instant) -> usize {
        idle::tick(&self.shared, now)
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

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The smallest class that fits. The class after the last is that of direct buffers, which no
    /// bin holds.
    #[inline]
    fn class(&self, len: usize) -> &Class {
        &self.shared.classes[self.shared.options.table.fit(len)]
    }

    #[inline]
    fn get_with(&self, len: usize, patience: Patience) -> Result<PooledBuf, GetError> {
        let class = self.class(len);
        match class.near() {
            Some(block) => Ok(PooledBuf::new(block, class, len)),
            None => self.get_far(class, len, patience, None),
        }
    }

    /// As [`ClassPool::get`], or [`ClassPool::get_timeout`]. A waiting thread asks now and then
    /// whether to give up, which is then reported as `TimedOut`.
    pub(crate) fn get_unless(
        &self,
        len: usize,
        timeout: Option<Duration>,
        gives_up: &dyn Fn() -> bool,
    ) -> Result<PooledBuf, GetError> {
        let (class, patience) = (self.class(len), timeout.map_or(Patience::Forever, Patience::For));
        match class.near() {
            Some(block) => Ok(PooledBuf::new(block, class, len)),
            None => self.get_far(class, len, patience, Some(gives_up)),
        }
    }

    #[cold]
    fn get_far(
        &self,
        class: &Class,
        len: usize,
        patience: Patience,
        gives_up: GivesUp<'_>,
    ) -> Result<PooledBuf, GetError> {
        if class.is_direct {
            return self.direct(len);
        }
        match class.ask(&self.shared, patience != Patience::None)? {
            Answer::Block(block) => Ok(PooledBuf::new(block, class, len)),
            Answer::Fresh => self.fresh(class, len),
            Answer::Wait => self.wait(class, len, patience, gives_up),
        }
    }

    /// In line, as long as its patience lasts.
    fn wait(
        &self,
        class: &Class,
        len: usize,
        patience: Patience,
        gives_up: GivesUp<'_>,
    ) -> Result<PooledBuf, GetError> {
        let until = match patience {
            // A deadline that no clock reaches means forever.
            Patience::For(timeout) => Instant::now().checked_add(timeout),
            Patience::None | Patience::Forever => None,
        };
        let block = match Place::join(&self.shared, class, Waiter::thread()) {
            Ok(block) => Some(block),
            Err(place) => place.sleep(until, gives_up),
        };
        let timed_out = || {
            let (class_bytes, buffers_max) = (class.class_bytes, class.buffers_max(&self.shared));
            let timeout =
                if let Patience::For(timeout) = patience { timeout } else { Duration::MAX };
            GetError::TimedOut { class_bytes, buffers_max, timeout }
        };
        block.map(|block| PooledBuf::new(block, class, len)).ok_or_else(timed_out)
    }

    /// At the limit, if the policy allows it.
    fn fresh(&self, class: &Class, len: usize) -> Result<PooledBuf, GetError> {
        let fresh = self.direct(len)?;
        class.counts.direct.fetch_add(1, Ordering::Relaxed);
        Ok(fresh)
    }

    /// Allocates a direct buffer, whatever the length.
    pub(super) fn direct(&self, len: usize) -> Result<PooledBuf, GetError> {
        let block = direct::allocate(&self.shared, len)?;
        Ok(PooledBuf::new(block, self.shared.direct(), len))
    }
}

/// How long a get waits at the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    None,
    For(Duration),
    Forever,
}

/// The future of a buffer: see [`ClassPool::get_async`].
#[must_use = "a future does nothing unless it is awaited"]
#[derive(Debug)]
pub struct Get<'a> {
    pool: &'a ClassPool,
    len: usize,
    /// Its place in line.
    place: Option<Place<'a>>,
}

impl<'a> Get<'a> {
    fn class(&self) -> &'a Class {
        self.pool.class(self.len)
    }

    /// A buffer, an error, or none: then it is in line.
    fn ask(&mut self) -> Result<Option<PooledBuf>, GetError> {
        let (pool, class, len) = (self.pool, self.class(), self.len);
        if let Some(block) = class.near() {
            return Ok(Some(PooledBuf::new(block, class, len)));
        }
        if class.is_direct {
            return pool.direct(len).map(Some);
        }
        let block = match class.ask(&pool.shared, true)? {
            Answer::Block(block) => block,
            Answer::Fresh => return pool.fresh(class, len).map(Some),
            Answer::Wait => match Place::join(&pool.shared, class, Waiter::task()) {
                Ok(block) => block,
                Err(place) => {
                    self.place = Some(place);
                    return Ok(None);
                }
            },
        };
        Ok(Some(PooledBuf::new(block, class, len)))
    }
}

impl Future for Get<'_> {
    type Output = Result<PooledBuf, GetError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.place.is_none()
            && let Some(ended) = self.ask().transpose()
        {
            return Poll::Ready(ended);
        }
        let (class, len, is_foreign) = (self.class(), self.len, self.pool.shared.is_foreign());
        let Some(place) = &mut self.place else { return Poll::Pending };
        if is_foreign {
            return Poll::Ready(Err(GetError::Forked));
        }
        let Some(block) = place.poll(cx.waker()) else { return Poll::Pending };
        let buf = PooledBuf::new(block, class, len);
        self.place = None;
        Poll::Ready(Ok(buf))
    }
}
