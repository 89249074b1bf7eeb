//! [`ClassPool`]: the handle through which buffers are got.
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
use super::options::{AtLimit, ClassOptions};
use super::shared::{Class, Patience, Shared};
use super::stats::{PoolStats, WarmUp};
use super::table::ClassTable;
use super::wait::Waiter;
use super::warm_up;
use crate::sync::Ordering;

/// A thread-safe pool of buffers in size classes. It is a handle: clones share the pool.
///
/// Dropping the last handle closes the pool: threads stop keeping buffers, buffers in use stay valid, and the memory goes with the last of them.
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

/// One for all clones of a handle.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl ClassPool {
    /// A pool that holds no memory yet.
    ///
    /// # Errors
    /// [`ClassError`] names the field that doesn't fit.
    pub fn new(options: &ClassOptions) -> Result<Self, ClassError> {
        options.check()?;
        let shared = Shared::new(options.clone());
        Ok(Self { _handle: Arc::new(Handle(Arc::clone(&shared))), shared })
    }

    /// A buffer of `len` bytes, of the smallest class that fits; of a length that fits into none, a direct one. 0 gives an empty buffer
    /// of the smallest class. At the class's limit it waits, is refused, or gives a fresh direct buffer, as [`ClassOptions::at_limit`] says.
    ///
    /// It costs a few nanoseconds from the thread's own bin, a short lock for every half a bin from the class's store, and page faults for memory
    /// that nobody has used before (see [`ClassPool::warm_up`]).
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
    /// As `get`, and [`GetError::Exhausted`] where that would wait.
    #[inline]
    pub fn try_get(&self, len: usize) -> Result<PooledBuf, GetError> {
        self.get_with(len, Patience::None)
    }

    /// As [`ClassPool::get`], but it waits for so long at most.
    ///
    /// # Errors
    /// As `get`, and [`GetError::TimedOut`].
    #[inline]
    pub fn get_timeout(&self, len: usize, timeout: Duration) -> Result<PooledBuf, GetError> {
        self.get_with(len, Patience::For(timeout))
    }

    /// As [`ClassPool::get`], but a task waits, on any executor. A dropped future leaves the line, and what it was granted goes to the next.
    pub fn get_async(&self, len: usize) -> Get<'_> {
        Get { pool: self, len, waiter: None }
    }

    /// Makes `buffers` distinct buffers resident in each class, those in use included, as far as the limit allows; the report says what was reached.
    ///
    /// # Errors
    /// [`ClassError::Region`] names the limit that forbids it; what was reached before stays.
    pub fn warm_up(&self, buffers: usize) -> Result<WarmUp, ClassError> {
        warm_up::warm_up(&self.shared, buffers)
    }

    /// How each class stands, and what it has done since the pool was made or [`ClassPool::reset_stats`] was called.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        PoolStats::since_reset(&self.shared)
    }

    /// Counts from zero on. Gauges stay: they say what is.
    pub fn reset_stats(&self) {
        PoolStats::reset(&self.shared);
    }

    /// Gives pages back that nobody has needed for [`ClassOptions::shrink_after`]; returns how many bytes. To be called now and then with a clock's
    /// time, or leave it to a [`Ticker`](super::Ticker). Getters don't wait for it.
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

    #[inline]
    fn get_with(&self, len: usize, patience: Patience) -> Result<PooledBuf, GetError> {
        // One behind the last is the class of direct buffers, of which no bin ever holds one.
        let class = &self.shared.classes[self.shared.options.table.fit(len)];
        match class.near() {
            Some(block) => Ok(PooledBuf::new(block, class, len)),
            None => self.get_far(class, len, patience),
        }
    }

    #[cold]
    fn get_far(&self, class: &Class, len: usize, patience: Patience) -> Result<PooledBuf, GetError> {
        if class.is_direct {
            return self.direct(len);
        }
        match class.get_far(&self.shared, patience)? {
            Some(block) => Ok(PooledBuf::new(block, class, len)),
            None => self.fresh(class, len),
        }
    }

    /// At the limit, where that allows it.
    fn fresh(&self, class: &Class, len: usize) -> Result<PooledBuf, GetError> {
        class.counts.direct.fetch_add(1, Ordering::Relaxed);
        self.direct(len)
    }

    fn direct(&self, len: usize) -> Result<PooledBuf, GetError> {
        let block = direct::allocate(&self.shared, len)?;
        Ok(PooledBuf::new(block, self.shared.direct(), len))
    }
}

/// A buffer to come: see [`ClassPool::get_async`].
#[must_use = "a future does nothing unless it is awaited"]
#[derive(Debug)]
pub struct Get<'a> {
    pool: &'a ClassPool,
    len: usize,
    /// Standing in line.
    waiter: Option<Arc<Waiter>>,
}

impl Get<'_> {
    fn class(&self) -> &Class {
        &self.pool.shared.classes[self.pool.shared.options.table.fit(self.len)]
    }
}

impl Future for Get<'_> {
    type Output = Result<PooledBuf, GetError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (pool, len) = (self.pool, self.len);
        if let Some(waiter) = &self.waiter {
            let Some(block) = waiter.poll(cx.waker()) else { return Poll::Pending };
            let buf = PooledBuf::new(block, self.class(), len);
            self.waiter = None;
            return Poll::Ready(Ok(buf));
        }
        match pool.get_with(len, Patience::None) {
            Err(GetError::Exhausted { .. }) if pool.shared.options.at_limit == AtLimit::Wait => {}
            ended => return Poll::Ready(ended),
        }
        let waiter = Arc::new(Waiter::task(cx.waker()));
        if let Some(block) = self.class().line_up(&pool.shared, &waiter) {
            return Poll::Ready(Ok(PooledBuf::new(block, self.class(), len)));
        }
        // Granted since, perhaps: its wake-up then makes this task look again.
        self.waiter = Some(waiter);
        Poll::Pending
    }
}

impl Drop for Get<'_> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        let class = self.class();
        if let Some(block) = class.leave_line(&self.pool.shared, &waiter) {
            drop(PooledBuf::new(block, class, 0));
        }
    }
}
