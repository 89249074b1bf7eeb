//! The enqueuing end of a queue of pooled messages.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::closer::Closer;
use super::end::End;
use super::error::{CopyError, EnqueueError};
use super::inlet::{Inlet, Refused};
use super::ring::Weigh;
use super::stats::QueueStats;
use crate::class::{ClassPool, PooledBuf};

impl Weigh for PooledBuf {
    #[inline]
    fn weight_bytes(&self) -> usize {
        self.len()
    }
}

/// The end that moves messages in. It may go to another thread, but two can't use it at once.
/// Dropping it is the clean end, as [`Enqueuer::finish`]; dropped by a panic it closes with
/// [`super::EnqueuerPanicked`], because what was queued may be half of what was meant.
pub struct Enqueuer {
    inlet: Inlet<PooledBuf>,
    pool: ClassPool,
    /// The message of an [`Enqueue`]. It stands here, because a future that was forgotten can't let
    /// go of it.
    waiting: Option<PooledBuf>,
    not_sync: PhantomData<Cell<()>>,
}

impl Enqueuer {
    pub(crate) fn new(inlet: Inlet<PooledBuf>, pool: ClassPool) -> Self {
        Self { inlet, pool, waiting: None, not_sync: PhantomData }
    }

    /// Moves a buffer in, if there is room.
    ///
    /// # Errors
    /// [`EnqueueError`] with the buffer: a bound is met, or the queue has ended.
    #[inline(always)]
    pub fn try_enqueue(&mut self, buf: PooledBuf) -> Result<(), EnqueueError> {
        self.inlet.try_push(buf).map_err(|refused| self.refused(refused))
    }

    /// As [`Enqueuer::try_enqueue`], waiting for room: it spins for 30 us, then the thread sleeps.
    ///
    /// # Errors
    /// [`EnqueueError::Closed`] with the buffer.
    #[inline]
    pub fn enqueue(&mut self, buf: PooledBuf) -> Result<(), EnqueueError> {
        self.inlet.push(buf, None).map_err(|refused| self.refused(refused))
    }

    /// As [`Enqueuer::enqueue`], with a limit on the wait.
    ///
    /// # Errors
    /// As [`Enqueuer::try_enqueue`].
    pub fn enqueue_timeout(
        &mut self,
        buf: PooledBuf,
        timeout: Duration,
    ) -> Result<(), EnqueueError> {
        self.inlet
            .push(buf, Instant::now().checked_add(timeout))
            .map_err(|refused| self.refused(refused))
    }

    /// As [`Enqueuer::enqueue`], for a task of any runtime. A future that is dropped before it is
    /// done has enqueued nothing, and its buffer goes home with it ([`Enqueue::into_buf`] takes it
    /// back). The buffer of one that is forgotten goes home with the enqueuer, or at its next call
    /// of this kind.
    pub fn enqueue_async(&mut self, buf: PooledBuf) -> Enqueue<'_> {
        self.waiting = Some(buf);
        Enqueue { enqueuer: self }
    }

    /// Copies a message in, if there is room: into a buffer of the smallest class that holds it,
    /// outside of any lock. It checks for room first, so nothing is copied in vain.
    ///
    /// # Errors
    /// [`CopyError`]: a bound is met, the queue has ended, or the pool has no buffer now.
    pub fn try_enqueue_copy(&mut self, bytes: &[u8]) -> Result<(), CopyError> {
        self.inlet.room(bytes.len()).map_err(|bound| self.no_room(bound))?;
        let buf = self.pool.try_get(bytes.len())?;
        self.put_copy(buf, bytes)
    }

    /// As [`Enqueuer::try_enqueue_copy`], waiting for room, and for a buffer if the pool's policy
    /// is to wait. The queue's end ends both waits; a wait for a buffer checks for it a hundred
    /// times per second.
    ///
    /// # Errors
    /// [`CopyError::Closed`], or [`CopyError::Pool`] by the pool's policy.
    pub fn enqueue_copy(&mut self, bytes: &[u8]) -> Result<(), CopyError> {
        self.wait_room(bytes.len(), None)?;
        let buf = self.wait_buf(bytes.len(), None)?;
        self.put_copy(buf, bytes)
    }

    /// As [`Enqueuer::enqueue_copy`], with a limit on both waits together.
    ///
    /// # Errors
    /// [`CopyError`].
    pub fn enqueue_copy_timeout(
        &mut self,
        bytes: &[u8],
        timeout: Duration,
    ) -> Result<(), CopyError> {
        let until = Instant::now().checked_add(timeout);
        self.wait_room(bytes.len(), until)?;
        let left = until.map_or(timeout, |until| until.saturating_duration_since(Instant::now()));
        let buf = self.wait_buf(bytes.len(), Some(left))?;
        self.put_copy(buf, bytes)
    }

    /// As [`Enqueuer::enqueue_copy`], for a task of any runtime. The queue's end wakes it out of
    /// both waits.
    ///
    /// # Errors
    /// As [`Enqueuer::enqueue_copy`].
    pub async fn enqueue_copy_async(&mut self, bytes: &[u8]) -> Result<(), CopyError> {
        let inlet = Polled(&mut self.inlet);
        let room = poll_fn(|context| inlet.0.poll_until_room(context, bytes.len())).await;
        drop(inlet);
        room.map_err(|bound| self.no_room(bound))?;
        let inlet = Polled(&mut self.inlet);
        let mut get = self.pool.get_async(bytes.len());
        let got = poll_fn(|context| match Pin::new(&mut get).poll(context) {
            Poll::Pending => inlet.0.poll_end(context).map(|()| None),
            got => got.map(Some),
        });
        let got = got.await;
        // Leaves the line before anything else is done.
        drop((get, inlet));
        match got {
            Some(buf) => self.put_copy(buf?, bytes),
            None => Err(CopyError::Closed(self.end())),
        }
    }

    /// The clean end: the dequeuer gets everything queued, and then learns that there is no more.
    pub fn finish(self) {
        self.inlet.finish();
    }

    /// Ends the queue with an error: see [`Closer::close`].
    pub fn close(&self, error: impl Into<Box<dyn Error + Send + Sync>>) -> bool {
        self.closer().close(error)
    }

    /// A handle that closes the queue from anywhere.
    #[must_use]
    pub fn closer(&self) -> Closer {
        Closer::new(self.inlet.shared())
    }

    /// Figures of the queue.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        QueueStats::of(&self.inlet.shared().ring)
    }

    /// A handle of the connection's pool, from which copies get their buffers.
    #[must_use]
    pub fn pool(&self) -> &ClassPool {
        &self.pool
    }

    fn put_copy(&mut self, mut buf: PooledBuf, bytes: &[u8]) -> Result<(), CopyError> {
        buf.copy_from_slice(bytes);
        let enqueued = self.try_enqueue(buf);
        debug_assert!(
            !matches!(enqueued, Err(EnqueueError::Full { .. })),
            "there was room, and nobody else takes it"
        );
        match enqueued {
            Ok(()) => Ok(()),
            Err(EnqueueError::Full { bound, .. }) => Err(CopyError::Full(bound)),
            Err(EnqueueError::Closed { end, .. }) => Err(CopyError::Closed(end)),
        }
    }

    fn wait_room(&mut self, bytes: usize, until: Option<Instant>) -> Result<(), CopyError> {
        loop {
            match self.inlet.room(bytes) {
                Err(Some(_)) if self.inlet.wait(bytes, until) => (),
                Err(bound) => return Err(self.no_room(bound)),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// A buffer of the pool, unless the queue ends before there is one.
    fn wait_buf(&self, bytes: usize, timeout: Option<Duration>) -> Result<PooledBuf, CopyError> {
        let has_ended = || self.inlet.shared().end.is_set();
        let got = self.pool.get_unless(bytes, timeout, &has_ended);
        got.map_err(|error| {
            if has_ended() { CopyError::Closed(self.end()) } else { CopyError::Pool(error) }
        })
    }

    fn no_room(&self, bound: Option<super::ring::Bound>) -> CopyError {
        bound.map_or_else(|| CopyError::Closed(self.end()), CopyError::Full)
    }

    #[cold]
    fn refused(&self, refused: Refused<PooledBuf>) -> EnqueueError {
        match refused {
            Refused::Full(buf, bound) => EnqueueError::Full { buf, bound },
            Refused::Ended(buf) => EnqueueError::Closed { buf, end: self.end() },
        }
    }

    fn end(&self) -> End {
        self.inlet.shared().end.get().expect("a queue that refuses has ended")
    }
}

impl fmt::Debug for Enqueuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enqueuer").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// An inlet that a task polls. When it is dropped with its future, it stops waiting.
struct Polled<'a>(&'a mut Inlet<PooledBuf>);

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        self.0.forget();
    }
}

/// The future of [`Enqueuer::enqueue_async`].
#[must_use = "a future does nothing until it is polled"]
#[derive(Debug)]
pub struct Enqueue<'a> {
    enqueuer: &'a mut Enqueuer,
}

impl Enqueue<'_> {
    /// Takes the message back, if it isn't enqueued yet; then nothing will be.
    #[must_use]
    pub fn into_buf(self) -> Option<PooledBuf> {
        self.enqueuer.waiting.take()
    }
}

impl Future for Enqueue<'_> {
    type Output = Result<(), EnqueueError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let enqueuer = &mut *self.get_mut().enqueuer;
        let Enqueuer { inlet, waiting, .. } = &mut *enqueuer;
        let enqueued = inlet.poll_push(context, waiting);
        enqueued.map_err(|refused| enqueuer.refused(refused))
    }
}

impl Drop for Enqueue<'_> {
    fn drop(&mut self) {
        self.enqueuer.waiting = None;
        self.enqueuer.inlet.forget();
    }
}
