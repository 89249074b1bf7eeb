//! The enqueuing end of a queue: [`Enqueuer`] for pooled messages, over [`Inlet`], which is generic
//! over the item so that loom can run it.
//!
//! ```text
//! enqueue ─▶ Inlet::push ─▶ try_push ── put ─▶ notify: light barrier, is the dequeuer asleep?
//!                │             └─ no room is known, or an end ─▶ try_push_slow
//!                └─ full ─▶ push_later: waits and tries again
//! ```
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::dequeue::Outlet;
use super::error::{CopyError, EnqueueError};
use super::options::Bound;
use super::ring::{Count, Producer, QueueRing, QueueStats, Weigh};
use super::shared::{Closer, End, EnqueuerPanicked, QueueShared};
use crate::class::{ClassPool, PooledBuf};
use crate::sync::Arc;
use crate::wake::ASLEEP;

/// The end that moves messages in. It may move to another thread, but two threads can't use it at
/// the same time. Dropping it closes the queue as [`Enqueuer::close`] does. If a panic drops it, it
/// closes the queue with [`EnqueuerPanicked`], because the messages may be only a part of what was
/// meant.
pub struct Enqueuer {
    inlet: Inlet<PooledBuf>,
    pool: ClassPool,
    /// The message of an [`Enqueue`]. It is here because a future that was forgotten can't drop
    /// it.
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
    /// [`EnqueueError`] with the buffer: a bound is reached, or the queue has ended.
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
    /// ready has enqueued nothing, and its buffer returns to the pool ([`Enqueue::into_buf`] gets
    /// it back instead). The buffer of a forgotten future returns to the pool when the enqueuer is
    /// dropped, or at its next call of this function.
    pub fn enqueue_async(&mut self, buf: PooledBuf) -> Enqueue<'_> {
        self.waiting = Some(buf);
        Enqueue { enqueuer: self }
    }

    /// Copies a message in, if there is room: into a buffer of the smallest class that holds it,
    /// outside of any lock. It checks for room first, so nothing is copied in vain.
    ///
    /// # Errors
    /// [`CopyError`]: a bound is reached, the queue has ended, or the pool has no buffer now.
    pub fn try_enqueue_copy(&mut self, bytes: &[u8]) -> Result<(), CopyError> {
        self.inlet.room(bytes.len()).map_err(|bound| self.no_room(bound))?;
        let buf = self.pool.try_get(bytes.len())?;
        self.put_copy(buf, bytes)
    }

    /// As [`Enqueuer::try_enqueue_copy`], waiting for room, and for a buffer if the pool's policy
    /// is to wait. The end of the queue ends both waits; a wait for a buffer checks for it a
    /// hundred times per second.
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

    /// As [`Enqueuer::enqueue_copy`], for a task of any runtime. The end of the queue wakes it from
    /// both waits.
    ///
    /// # Errors
    /// As [`Enqueuer::enqueue_copy`].
    pub async fn enqueue_copy_async(&mut self, bytes: &[u8]) -> Result<(), CopyError> {
        let inlet = PolledInlet(&mut self.inlet);
        let room = poll_fn(|context| inlet.0.poll_until_room(context, bytes.len())).await;
        drop(inlet);
        room.map_err(|bound| self.no_room(bound))?;
        let inlet = PolledInlet(&mut self.inlet);
        let mut get = self.pool.get_async(bytes.len());
        let got = poll_fn(|context| match Pin::new(&mut get).poll(context) {
            Poll::Pending => inlet.0.poll_end(context).map(|()| None),
            got => got.map(Some),
        });
        let got = got.await;
        // The get leaves the pool's waiting line before anything else is done.
        drop((get, inlet));
        match got {
            Some(buf) => self.put_copy(buf?, bytes),
            None => Err(CopyError::Closed(self.end())),
        }
    }

    /// Closes the queue cleanly: the dequeuer gets everything that is queued, and then `None`.
    pub fn close(self) {
        self.inlet.close();
    }

    /// Closes the queue with an error: see [`Closer::close_with`].
    pub fn close_with(&self, error: impl Into<Box<dyn Error + Send + Sync>>) -> bool {
        self.closer().close_with(error)
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
            "there was room, and only this end uses it up"
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

    fn no_room(&self, bound: Option<Bound>) -> CopyError {
        bound.map_or_else(|| CopyError::Closed(self.end()), CopyError::Full)
    }

    #[cold]
    fn refused(&self, refused: QueueRefusal<PooledBuf>) -> EnqueueError {
        match refused {
            QueueRefusal::Full(buf, bound) => EnqueueError::Full { buf, bound },
            QueueRefusal::Ended(buf) => EnqueueError::Closed { buf, end: self.end() },
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

/// An inlet that a task polls. When it is dropped with its future, the task no longer waits.
struct PolledInlet<'a>(&'a mut Inlet<PooledBuf>);

impl Drop for PolledInlet<'_> {
    fn drop(&mut self) {
        self.0.cancel_wait();
    }
}

/// The future of [`Enqueuer::enqueue_async`].
#[must_use = "a future does nothing until it is polled"]
#[derive(Debug)]
pub struct Enqueue<'a> {
    enqueuer: &'a mut Enqueuer,
}

impl Enqueue<'_> {
    /// The message, if it isn't enqueued yet. It won't be enqueued then.
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
        self.enqueuer.inlet.cancel_wait();
    }
}

/// Why an item wasn't pushed. The item is handed back.
pub(crate) enum QueueRefusal<T> {
    Full(T, Bound),
    Ended(T),
}

/// The enqueuing end, generic over the item: the producer, and waiting for room.
pub(crate) struct Inlet<T: Weigh> {
    producer: Producer<T>,
    shared: Arc<QueueShared<T>>,
    /// Whether the waker of a task may be registered.
    waits: bool,
}

impl<T: Weigh> Inlet<T> {
    pub(crate) fn shared(&self) -> &Arc<QueueShared<T>> {
        &self.shared
    }

    /// Moves an item in, if there is room. The uncommon part is out of line and gets the item by
    /// value, so that here the item stays in registers.
    #[inline(always)]
    pub(crate) fn try_push(&mut self, item: T) -> Result<(), QueueRefusal<T>> {
        if self.shared.end.is_set() || !self.producer.is_free(item.weight_bytes()) {
            return self.try_push_slow(item);
        }
        self.producer.put(item);
        self.notify()
    }

    /// As [`Inlet::try_push`], if the queue has ended, or if the consumer's count has to be read
    /// for room.
    #[cold]
    #[inline(never)]
    fn try_push_slow(&mut self, item: T) -> Result<(), QueueRefusal<T>> {
        if self.shared.end.is_set() {
            return Err(QueueRefusal::Ended(item));
        }
        if let Err(bound) = self.producer.room(item.weight_bytes()) {
            return Err(QueueRefusal::Full(item, bound));
        }
        self.producer.put(item);
        self.notify()
    }

    /// Wakes the dequeuing end after a push, if it sleeps.
    #[inline(always)]
    fn notify(&mut self) -> Result<(), QueueRefusal<T>> {
        self.shared.barrier.light();
        if self.shared.dequeuer.word.is_at_least(ASLEEP) {
            return self.notify_slow();
        }
        Ok(())
    }

    /// The dequeuing end sleeps, or has stopped and may not have seen what was pushed.
    #[cold]
    fn notify_slow(&mut self) -> Result<(), QueueRefusal<T>> {
        if self.shared.dequeuer.word.is_gone() {
            debug_assert!(
                self.shared.end.is_set(),
                "the dequeuing end stops only after the end of the queue"
            );
            return self.shared.pop_late().map_or(Ok(()), |late| Err(QueueRefusal::Ended(late)));
        }
        self.shared.dequeuer.wake();
        Ok(())
    }

    /// As [`Inlet::try_push`], waiting for room.
    #[inline(always)]
    pub(crate) fn push(&mut self, item: T, until: Option<Instant>) -> Result<(), QueueRefusal<T>> {
        match self.try_push(item) {
            Err(QueueRefusal::Full(item, _)) => self.push_later(item, until),
            done => done,
        }
    }

    #[cold]
    fn push_later(&mut self, mut item: T, until: Option<Instant>) -> Result<(), QueueRefusal<T>> {
        loop {
            match self.try_push(item) {
                Err(QueueRefusal::Full(back, bound)) => {
                    if !self.wait(back.weight_bytes(), until) {
                        return Err(QueueRefusal::Full(back, bound));
                    }
                    item = back;
                }
                done => return done,
            }
        }
    }

    /// As [`Inlet::push`] for a task. `item` is `None` once it is pushed or refused.
    pub(crate) fn poll_push(
        &mut self,
        context: &Context<'_>,
        item: &mut Option<T>,
    ) -> Poll<Result<(), QueueRefusal<T>>> {
        loop {
            let next = item.take().expect("a future isn't polled after it was ready");
            match self.try_push(next) {
                Err(QueueRefusal::Full(back, _)) => {
                    let weight_bytes = back.weight_bytes();
                    *item = Some(back);
                    if self.poll_room(context, weight_bytes).is_pending() {
                        return Poll::Pending;
                    }
                }
                done => return Poll::Ready(done),
            }
        }
    }

    /// Whether an item of that weight would be accepted now. `Err(None)`: the queue has ended.
    pub(crate) fn room(&mut self, weight_bytes: usize) -> Result<(), Option<Bound>> {
        if self.shared.end.is_set() {
            return Err(None);
        }
        self.producer.room(weight_bytes).map_err(Some)
    }

    /// Waits until there may be room or the queue has ended. Returns false if the time is over.
    pub(crate) fn wait(&self, weight_bytes: usize, until: Option<Instant>) -> bool {
        let (shared, producer) = (&self.shared, &self.producer);
        let end = (&shared.enqueuer, &shared.ring.enqueued.0);
        shared.wait(end, until, || producer.has_room(weight_bytes) || shared.end.is_set())
    }

    /// As [`Inlet::room`] for a task, which waits until there is room.
    pub(crate) fn poll_until_room(
        &mut self,
        context: &Context<'_>,
        weight_bytes: usize,
    ) -> Poll<Result<(), Option<Bound>>> {
        loop {
            match self.room(weight_bytes) {
                Err(Some(_)) if self.poll_room(context, weight_bytes).is_pending() => {
                    return Poll::Pending;
                }
                Err(Some(_)) => (),
                done => return Poll::Ready(done),
            }
        }
    }

    /// As [`Inlet::wait`] for a task.
    fn poll_room(&mut self, context: &Context<'_>, weight_bytes: usize) -> Poll<()> {
        // Before the poll: a waker that panics when it is cloned unwinds through here.
        self.waits = true;
        let (shared, producer) = (&self.shared, &self.producer);
        shared.end.end_if_forked();
        let ready = || producer.has_room(weight_bytes) || shared.end.is_set();
        debug_assert!(!shared.dequeuer.word.is_gone() || shared.end.is_set());
        if shared.enqueuer.poll(shared.barrier, ASLEEP, context, ready) {
            shared.ring.enqueued.0.count_wait(false);
            return Poll::Pending;
        }
        self.waits = false;
        Poll::Ready(())
    }

    /// Waits for the end of the queue alone. Room wakes the task too, which then polls again.
    pub(crate) fn poll_end(&mut self, context: &Context<'_>) -> Poll<()> {
        // Before the poll, as for room.
        self.waits = true;
        let shared = &self.shared;
        shared.end.end_if_forked();
        if shared.enqueuer.poll(shared.barrier, ASLEEP, context, || shared.end.is_set()) {
            return Poll::Pending;
        }
        self.waits = false;
        Poll::Ready(())
    }

    /// Closes the queue cleanly, also in a destructor that a panic elsewhere runs: the call is
    /// explicit.
    pub(crate) fn close(self) {
        self.shared.close_as(End::Clean);
    }

    /// Ends the wait of a task. Its future is dropped, or ready.
    pub(crate) fn cancel_wait(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.shared.enqueuer.forget();
        }
    }
}

impl<T: Weigh> Drop for Inlet<T> {
    /// Closes the queue: cleanly, unless a panic drops this end.
    fn drop(&mut self) {
        // A future may have been forgotten.
        self.cancel_wait();
        let is_panic = std::thread::panicking();
        let end =
            if is_panic { End::Error(std::sync::Arc::new(EnqueuerPanicked)) } else { End::Clean };
        self.shared.close_as(end);
    }
}

/// Both ends of a new queue. The options were checked.
pub(crate) fn ends<T: Weigh>(messages_max: usize, bytes_max: usize) -> (Inlet<T>, Outlet<T>) {
    ends_from(messages_max, bytes_max, Count::default())
}

/// As [`ends`]. Counts begin at `none`.
pub(crate) fn ends_from<T: Weigh>(
    messages_max: usize,
    bytes_max: usize,
    none: Count,
) -> (Inlet<T>, Outlet<T>) {
    let (producer, consumer) = QueueRing::ends(messages_max, bytes_max, none);
    let shared = Arc::new(QueueShared::new(&producer));
    (Inlet { producer, shared: Arc::clone(&shared), waits: false }, Outlet::new(consumer, shared))
}

impl Weigh for PooledBuf {
    #[inline]
    fn weight_bytes(&self) -> usize {
        self.len()
    }
}
