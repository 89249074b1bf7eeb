//! Getting a buffer: near, from the thread's own bin; far, from the class's store, a new slab or
//! the bins of other threads; and at a class's limit by waiting, or as a direct buffer. It faces
//! [`put`](mod@super::put).
//!
//! ```text
//!   get ──▶ own bin ──▶ store ──▶ new slab ──▶ other threads' bins ──▶ wait, be refused,
//!           near        far, half a bin        at the limit            or get a direct buffer
//! ```
//! Promises that a wait that ends early leaves no trace, also during a panic: a block that it was
//! granted at the last moment goes to the next waiter.
#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::bin::{Bin, Blocks};
use super::buffer::PooledBuf;
use super::memory::{Block, DIRECT_BYTES_MAX, allocate_direct};
use super::options::{AtLimit, FORKED};
use super::shared::{Class, ClassShared, ThreadBins};
use super::store::{FromStore, Waiter};
use super::threads::{empty_bins_again, make_near, with_bin};
use crate::machine::format::ByteSize;
use crate::region::RegionError;
use crate::sync::Ordering;

/// How long a get waits at the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitLimit {
    Never,
    For(Duration),
    Forever,
}

/// Asks whether the waiter should give up. None: only the time limit ends the wait.
pub(super) type GivesUp<'a> = Option<&'a dyn Fn() -> bool>;

/// How long a thread sleeps before it looks again into bins whose owners were inside.
const AGAIN: Duration = Duration::from_millis(1);
/// How long a thread sleeps before it asks again whether to give up.
const ASK: Duration = Duration::from_millis(10);

/// Gets a buffer from the thread's bin, or the far way.
#[inline]
pub(super) fn get(
    shared: &Arc<ClassShared>,
    len: usize,
    limit: WaitLimit,
) -> Result<PooledBuf, GetError> {
    let class = shared.class_for(len);
    match get_near(class) {
        Some(block) => Ok(PooledBuf::new(block, class, len)),
        None => get_far(shared, class, len, limit, None),
    }
}

/// As [`get`]. A waiting thread asks now and then whether to give up, which is then reported as
/// [`GetError::TimedOut`].
pub(super) fn get_unless(
    shared: &Arc<ClassShared>,
    len: usize,
    limit: WaitLimit,
    gives_up: &dyn Fn() -> bool,
) -> Result<PooledBuf, GetError> {
    let class = shared.class_for(len);
    match get_near(class) {
        Some(block) => Ok(PooledBuf::new(block, class, len)),
        None => get_far(shared, class, len, limit, Some(gives_up)),
    }
}

/// Gets a block from the thread's bin.
#[inline]
pub(super) fn get_near(class: &Class) -> Option<Block> {
    with_bin(class.pool_id, class.bin, Bin::pop).flatten()
}

/// The bin is empty or isn't near, there are waiters, or no class fits.
#[cold]
fn get_far(
    shared: &Arc<ClassShared>,
    class: &Class,
    len: usize,
    limit: WaitLimit,
    gives_up: GivesUp<'_>,
) -> Result<PooledBuf, GetError> {
    if class.is_direct {
        return get_direct(shared, len);
    }
    match get_block(shared, class, limit != WaitLimit::Never)? {
        FarGet::Block(block) => Ok(PooledBuf::new(block, class, len)),
        FarGet::Fresh => get_fresh(shared, class, len),
        FarGet::Wait => wait(shared, class, len, limit, gives_up),
    }
}

/// What a class gives to a getter whose bin is empty.
#[derive(Debug)]
enum FarGet {
    Block(Block),
    /// At the limit: a direct buffer.
    Fresh,
    /// At the limit: the getter must wait.
    Wait,
}

/// Gets a block without waiting, or says what [`ClassOptions::at_limit`](super::ClassOptions) asks
/// for.
#[cold]
fn get_block(shared: &Arc<ClassShared>, class: &Class, may_wait: bool) -> Result<FarGet, GetError> {
    if shared.is_foreign() {
        return Err(GetError::Forked);
    }
    if let Some(block) = get_now(shared, class)? {
        return Ok(FarGet::Block(block));
    }
    match shared.options.at_limit {
        AtLimit::Fresh => Ok(FarGet::Fresh),
        AtLimit::Wait if may_wait => Ok(FarGet::Wait),
        AtLimit::Wait | AtLimit::Refuse => {
            class.counts.refusals.fetch_add(1, Ordering::Relaxed);
            let (class_bytes, buffers_max) = (class.class_bytes, class.buffers_max(shared));
            Err(GetError::Exhausted { class_bytes, buffers_max })
        }
    }
}

/// A block, if one is available without waiting. None: the class is at its limit, and all of its
/// blocks are in use or in transit.
pub(super) fn get_now(shared: &Arc<ClassShared>, class: &Class) -> Result<Option<Block>, GetError> {
    // In a thread with many pools, the bins of another may have been near.
    if class.kept_max > 0
        && make_near(shared)
        && let Some(block) = get_near(class)
    {
        return Ok(Some(block));
    }
    if let Some(block) = get_from_store(shared, class)? {
        return Ok(Some(block));
    }
    let has_blocks = |thread: &ThreadBins| thread.bin(class).held() > 0;
    if !shared.registry().threads.iter().any(|thread| has_blocks(thread)) {
        return Ok(None);
    }
    empty_bins_again(shared, class, has_blocks);
    get_from_store(shared, class)
}

/// A block of the store, which gets a new slab if it is empty and below its limit; and up to half a
/// bin of further ones for the thread's bin.
fn get_from_store(shared: &Arc<ClassShared>, class: &Class) -> Result<Option<Block>, GetError> {
    let has_bin = class.kept_max > 0 && make_near(shared);
    let more = if has_bin { class.kept_max as usize / 2 } else { 0 };
    let mut blocks = Blocks::new();
    let found = loop {
        match class.store.get(more, &mut blocks) {
            FromStore::NoMemory => {}
            found => break found,
        }
        let added = {
            let mut growing = class.slabs.growing();
            // Another thread may have mapped a slab in the meantime.
            match class.store.get(more, &mut blocks) {
                FromStore::NoMemory => {}
                found => break found,
            }
            let slab = growing
                .slab(class.store.room().max(1))
                .map_err(|cause| GetError::Region(Box::new(cause)))?;
            class.store.add_cold(slab)
        };
        // Not while the right to grow is held: this wakes waiters.
        shared.after_unlock(class, added);
    };
    if blocks.len() > 0 {
        with_bin(class.pool_id, class.bin, |bin| bin.fill(&mut blocks));
        if blocks.len() > 0 {
            // By now the class has waiters.
            shared.after_unlock(class, class.store.put(blocks, 0));
        }
    }
    Ok(match found {
        FromStore::Block(block) => Some(block),
        FromStore::NoMemory | FromStore::AtLimit => None,
    })
}

/// Waits until the class has a block, as long as the limit allows.
fn wait(
    shared: &Arc<ClassShared>,
    class: &Class,
    len: usize,
    limit: WaitLimit,
    gives_up: GivesUp<'_>,
) -> Result<PooledBuf, GetError> {
    let until = match limit {
        // A deadline that no clock reaches means forever.
        WaitLimit::For(timeout) => Instant::now().checked_add(timeout),
        WaitLimit::Never | WaitLimit::Forever => None,
    };
    let block = match ClassWait::begin(shared, class, Waiter::thread()) {
        Ok(block) => Some(block),
        Err(wait) => wait.sleep(until, gives_up),
    };
    let timed_out = || {
        let (class_bytes, buffers_max) = (class.class_bytes, class.buffers_max(shared));
        let timeout = if let WaitLimit::For(timeout) = limit { timeout } else { Duration::MAX };
        GetError::TimedOut { class_bytes, buffers_max, timeout }
    };
    block.map(|block| PooledBuf::new(block, class, len)).ok_or_else(timed_out)
}

/// A direct buffer at the limit of a class.
fn get_fresh(shared: &Arc<ClassShared>, class: &Class, len: usize) -> Result<PooledBuf, GetError> {
    let fresh = get_direct(shared, len)?;
    class.counts.direct.fetch_add(1, Ordering::Relaxed);
    Ok(fresh)
}

/// Allocates a direct buffer, whatever the length. The pool stays alive until it is dropped.
pub(super) fn get_direct(shared: &Arc<ClassShared>, len: usize) -> Result<PooledBuf, GetError> {
    let asked_bytes = len;
    if asked_bytes > DIRECT_BYTES_MAX {
        return Err(GetError::TooLarge { asked_bytes });
    }
    let block = allocate_direct(len).ok_or(GetError::OutOfMemory { asked_bytes })?;
    let counts = &shared.direct().counts;
    counts.direct.fetch_add(1, Ordering::Relaxed);
    counts.direct_bytes.fetch_add(len as u64, Ordering::Relaxed);
    // One reference count of the pool per direct buffer, given back by `put_direct`.
    let _ = Arc::into_raw(Arc::clone(shared));
    Ok(PooledBuf::new(block, shared.direct(), len))
}

/// The wait of a thread or a task for a block of a class.
#[derive(Debug)]
struct ClassWait<'a> {
    shared: &'a Arc<ClassShared>,
    class: &'a Class,
    waiter: Arc<Waiter>,
    /// An owner stayed inside its bin, which still has to be emptied.
    has_missed: bool,
    /// It was served, or has left.
    is_over: bool,
}

impl<'a> ClassWait<'a> {
    /// Begins to wait, unless a block is available by now. Then it empties the threads' bins. From
    /// now on every block that is put back goes to the store.
    fn begin(
        shared: &'a Arc<ClassShared>,
        class: &'a Class,
        waiter: Waiter,
    ) -> Result<Block, Self> {
        let waiter = Arc::new(waiter);
        match class.store.enqueue(&waiter) {
            Some(block) => Ok(block),
            None => {
                let mut wait = Self { shared, class, waiter, has_missed: false, is_over: false };
                wait.empty_bins();
                Err(wait)
            }
        }
    }

    /// The calling thread sleeps until it is served, the deadline has passed, or it gives up.
    fn sleep(mut self, until: Option<Instant>, gives_up: GivesUp<'_>) -> Option<Block> {
        loop {
            let step = if self.has_missed { Some(AGAIN) } else { gives_up.map(|_| ASK) };
            let first = step.map(|step| Instant::now() + step).into_iter().chain(until).min();
            if let Some(block) = self.waiter.sleep(first) {
                self.is_over = true;
                return Some(block);
            }
            if until.is_some_and(|until| until <= Instant::now())
                || gives_up.is_some_and(|gives_up| gives_up())
            {
                return self.leave();
            }
            if self.has_missed {
                self.empty_bins();
            }
        }
    }

    /// A task looks for its block. If it must wait, this waker will wake it.
    fn poll(&mut self, waker: &Waker) -> Option<Block> {
        let mut served = self.waiter.poll(waker);
        if served.is_none() && self.has_missed {
            self.empty_bins();
            served = self.waiter.take_granted();
            if served.is_none() && self.has_missed {
                // A task doesn't sleep: it wakes itself to look into the bins again.
                waker.wake_by_ref();
            }
        }
        self.is_over = served.is_some();
        served
    }

    fn empty_bins(&mut self) {
        self.has_missed = empty_bins_again(self.shared, self.class, |_| true);
    }

    /// Stops waiting. Returns a block that was granted at the last moment, if any.
    fn leave(&mut self) -> Option<Block> {
        self.is_over = true;
        if self.shared.is_foreign() {
            // The store is the parent's, where another thread may have locked it.
            return self.waiter.take_granted();
        }
        let (block, unlocked) = self.class.store.cancel(&self.waiter);
        self.shared.after_unlock(self.class, unlocked);
        block
    }
}

impl Drop for ClassWait<'_> {
    fn drop(&mut self) {
        if !self.is_over
            && let Some(block) = self.leave()
        {
            drop(PooledBuf::new(block, self.class, 0));
        }
    }
}

/// The future of a buffer: see [`ClassPool::get_async`](super::ClassPool::get_async).
#[must_use = "a future does nothing unless it is awaited"]
#[derive(Debug)]
pub struct Get<'a> {
    shared: &'a Arc<ClassShared>,
    len: usize,
    /// None until it begins to wait.
    wait: Option<ClassWait<'a>>,
}

impl<'a> Get<'a> {
    pub(super) fn new(shared: &'a Arc<ClassShared>, len: usize) -> Self {
        Self { shared, len, wait: None }
    }

    fn class(&self) -> &'a Class {
        self.shared.class_for(self.len)
    }

    /// A buffer or an error. None: it has begun to wait.
    fn get(&mut self) -> Result<Option<PooledBuf>, GetError> {
        let (shared, class, len) = (self.shared, self.class(), self.len);
        if let Some(block) = get_near(class) {
            return Ok(Some(PooledBuf::new(block, class, len)));
        }
        if class.is_direct {
            return get_direct(shared, len).map(Some);
        }
        let block = match get_block(shared, class, true)? {
            FarGet::Block(block) => block,
            FarGet::Fresh => return get_fresh(shared, class, len).map(Some),
            FarGet::Wait => match ClassWait::begin(shared, class, Waiter::task()) {
                Ok(block) => block,
                Err(wait) => {
                    self.wait = Some(wait);
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
        if self.wait.is_none()
            && let Some(ended) = self.get().transpose()
        {
            return Poll::Ready(ended);
        }
        let (class, len, is_foreign) = (self.class(), self.len, self.shared.is_foreign());
        let Some(wait) = &mut self.wait else { return Poll::Pending };
        if is_foreign {
            return Poll::Ready(Err(GetError::Forked));
        }
        let Some(block) = wait.poll(cx.waker()) else { return Poll::Pending };
        let buf = PooledBuf::new(block, class, len);
        self.wait = None;
        Poll::Ready(Ok(buf))
    }
}

/// Errors of getting a buffer.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError {
    /// The class is at its limit, no buffer is free, and this `get` doesn't wait. All buffers are
    /// in use, or briefly in transit: a thread may have lost its CPU while it moved some to or from
    /// the class's store, and a [`tick`](super::ClassPool::tick) or
    /// [`warm_up`](super::ClassPool::warm_up) holds the buffers whose pages it changes, for tens of
    /// milliseconds per hundreds of MiB. So this error is possible for a moment while no buffer is
    /// in use. A `get` that waits gets the next buffer that comes back.
    Exhausted {
        /// The class.
        class_bytes: usize,
        /// The number of buffers that it may have.
        buffers_max: usize,
    },
    /// As `Exhausted`, and no buffer came back before the timeout.
    TimedOut {
        /// The class.
        class_bytes: usize,
        /// The number of buffers that it may have.
        buffers_max: usize,
        /// The limit on this wait.
        timeout: Duration,
    },
    /// No allocation can be that large.
    TooLarge {
        /// Bytes asked for.
        asked_bytes: usize,
    },
    /// The system allocator has no memory for a direct buffer.
    OutOfMemory {
        /// Bytes asked for.
        asked_bytes: usize,
    },
    /// The kernel has no memory for the class, or a limit forbids it.
    Region(Box<RegionError>),
    /// The calling process was forked from the pool's own.
    Forked,
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted { class_bytes, buffers_max } => {
                write!(
                    f,
                    "all {buffers_max} buffers of the class of {} are in use, or on their way for a moment: drop some, wait, or raise `limit`",
                    ByteSize(*class_bytes)
                )
            }
            Self::TimedOut { class_bytes, buffers_max, timeout } => write!(
                f,
                "all {buffers_max} buffers of the class of {} stayed in use for {timeout:?}: drop some, or raise `limit`",
                ByteSize(*class_bytes)
            ),
            Self::TooLarge { asked_bytes } => {
                let (asked, most) = (ByteSize(*asked_bytes), ByteSize(DIRECT_BYTES_MAX));
                write!(f, "{asked} asked, a buffer holds at most {most}")
            }
            Self::OutOfMemory { asked_bytes } => {
                write!(
                    f,
                    "the allocator has no {} for a direct buffer: ask for less, or free memory",
                    ByteSize(*asked_bytes)
                )
            }
            Self::Region(cause) => write!(f, "no memory for the class: {cause}"),
            Self::Forked => write!(f, "{FORKED}"),
        }
    }
}

impl std::error::Error for GetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Region(cause) => Some(cause.as_ref()),
            _ => None,
        }
    }
}
