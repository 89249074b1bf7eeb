//! The dequeuing end of a queue: [`Dequeuer`] for pooled messages, over [`Outlet`], which is
//! generic over the item so that loom can run it.
//!
//! ```text
//! dequeue ─▶ Outlet::pop ─▶ try_pop ── pop_ready ─▶ notify: light barrier, is the enqueuer asleep?
//!                │             └─ nothing is ready ─▶ at_empty: empty, or the end
//!                └─ empty ─▶ pop_later: waits and tries again
//! ```
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::error::{Closed, DequeueError};
use super::ring::{Consumer, QueueStats, Weigh};
use super::shared::{Closer, End, QueueShared};
use crate::class::PooledBuf;
use crate::sync::Arc;
use crate::wake::ASLEEP;

/// The end that moves messages out. It may move to another thread, but two threads can't use it at
/// the same time. Dropping it ends the queue ([`End::Abandoned`]): later messages are handed back
/// to the enqueuer, queued ones return to the pool, and dequeued ones stay valid.
pub struct Dequeuer {
    outlet: Outlet<PooledBuf>,
    not_sync: PhantomData<Cell<()>>,
}

impl Dequeuer {
    pub(crate) fn new(outlet: Outlet<PooledBuf>) -> Self {
        Self { outlet, not_sync: PhantomData }
    }

    /// The oldest message, or `None` if the queue was closed cleanly and is empty.
    ///
    /// # Errors
    /// [`DequeueError::Empty`], or the error that the queue was closed with.
    #[inline(always)]
    pub fn try_dequeue(&mut self) -> Result<Option<Message>, DequeueError> {
        match self.outlet.try_pop() {
            Popped::Item(buf) => Ok(Some(Message::new(buf))),
            Popped::Empty => Err(DequeueError::Empty),
            Popped::Ended => self.ended().map_err(DequeueError::Closed),
        }
    }

    /// As [`Dequeuer::try_dequeue`], waiting for a message or the end: it spins for 30 us, then the
    /// thread sleeps.
    ///
    /// # Errors
    /// The error that the queue was closed with.
    #[inline]
    pub fn dequeue(&mut self) -> Result<Option<Message>, Closed> {
        match self.outlet.pop(None) {
            Popped::Item(buf) => Ok(Some(Message::new(buf))),
            Popped::Empty => unreachable!("without a time limit it waits"),
            Popped::Ended => self.ended(),
        }
    }

    /// As [`Dequeuer::dequeue`], with a limit on the wait.
    ///
    /// # Errors
    /// As [`Dequeuer::try_dequeue`].
    pub fn dequeue_timeout(&mut self, timeout: Duration) -> Result<Option<Message>, DequeueError> {
        match self.outlet.pop(Instant::now().checked_add(timeout)) {
            Popped::Item(buf) => Ok(Some(Message::new(buf))),
            Popped::Empty => Err(DequeueError::Empty),
            Popped::Ended => self.ended().map_err(DequeueError::Closed),
        }
    }

    /// As [`Dequeuer::dequeue`], for a task of any runtime. A future that is dropped before it is
    /// ready has dequeued nothing.
    pub fn dequeue_async(&mut self) -> Dequeue<'_> {
        Dequeue { dequeuer: self }
    }

    /// Closes the queue with an error: see [`Closer::close_with`]. What is queued may still be
    /// dequeued.
    pub fn close_with(&self, error: impl Into<Box<dyn Error + Send + Sync>>) -> bool {
        self.closer().close_with(error)
    }

    /// A handle that closes the queue from anywhere.
    #[must_use]
    pub fn closer(&self) -> Closer {
        Closer::new(self.outlet.shared())
    }

    /// Figures of the queue.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        QueueStats::of(&self.outlet.shared().ring)
    }

    #[cold]
    fn ended(&self) -> Result<Option<Message>, Closed> {
        match self.outlet.end() {
            Some(End::Error(error)) => Err(Closed(error)),
            end => {
                assert!(
                    matches!(end, Some(End::Clean)),
                    "only the drop of this end abandons a queue: {end:?}"
                );
                Ok(None)
            }
        }
    }
}

impl fmt::Debug for Dequeuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dequeuer").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// The future of [`Dequeuer::dequeue_async`].
#[must_use = "a future does nothing until it is polled"]
#[derive(Debug)]
pub struct Dequeue<'a> {
    dequeuer: &'a mut Dequeuer,
}

impl Future for Dequeue<'_> {
    type Output = Result<Option<Message>, Closed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let dequeuer = &mut *self.get_mut().dequeuer;
        let popped = dequeuer.outlet.poll_pop(context);
        popped.map(|popped| match popped {
            Popped::Item(buf) => Ok(Some(Message::new(buf))),
            Popped::Empty => unreachable!("a task waits until there is a message or an end"),
            Popped::Ended => dequeuer.ended(),
        })
    }
}

impl Drop for Dequeue<'_> {
    fn drop(&mut self) {
        self.dequeuer.outlet.cancel_wait();
    }
}

/// A message that was dequeued. Its slot is already free. Dropping it returns the buffer to its
/// pool, on any thread, also after the queue was dropped. Any number of messages may be held; the
/// pool counts them as in use ([`crate::class::ClassPoolStats`]).
pub struct Message(PooledBuf);

impl Message {
    pub(crate) fn new(buf: PooledBuf) -> Self {
        Self(buf)
    }

    /// Turns it into the buffer, to change it, store it, cut it into shared parts, or enqueue it
    /// elsewhere.
    #[must_use]
    pub fn into_buf(self) -> PooledBuf {
        self.0
    }
}

impl Deref for Message {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("bytes", &self.0.len()).finish()
    }
}

/// The result of a pop.
pub(crate) enum Popped<T> {
    Item(T),
    /// There is no item yet.
    Empty,
    /// No more items will come.
    Ended,
}

/// The dequeuing end, generic over the item: the consumer, and waiting for items.
pub(crate) struct Outlet<T: Weigh> {
    /// `None` once this end has stopped.
    consumer: Option<Consumer<T>>,
    shared: Arc<QueueShared<T>>,
    /// Whether the waker of a task may be registered.
    waits: bool,
}

impl<T: Weigh> Outlet<T> {
    pub(crate) fn new(consumer: Consumer<T>, shared: Arc<QueueShared<T>>) -> Self {
        Self { consumer: Some(consumer), shared, waits: false }
    }

    pub(crate) fn shared(&self) -> &Arc<QueueShared<T>> {
        &self.shared
    }

    /// Moves the oldest item out, if there is one.
    #[inline(always)]
    pub(crate) fn try_pop(&mut self) -> Popped<T> {
        if let Some(consumer) = &mut self.consumer
            && consumer.is_ready()
        {
            let item = consumer.pop_ready();
            self.notify();
            return Popped::Item(item);
        }
        self.at_empty()
    }

    /// Wakes the enqueuing end after a pop, if it sleeps.
    #[inline(always)]
    fn notify(&self) {
        self.shared.barrier.light();
        self.shared.enqueuer.wake_if(ASLEEP);
    }

    /// No item is ready: the ring is empty, or the queue has ended.
    #[inline(never)]
    fn at_empty(&mut self) -> Popped<T> {
        if self.consumer.is_none() {
            return Popped::Ended;
        }
        if !self.shared.end.is_set() {
            return Popped::Empty;
        }
        // After a clean end no item is published. After any other end, the enqueuer may be about to
        // publish one.
        if !self.shared.end.is_clean() && !self.shared.dequeuer.word.is_gone() {
            self.shared.dequeuer.word.leave(self.shared.barrier);
        }
        // The ring is checked again: an item that was published before the end is seen now.
        let late = self.shared.pop_or_hand_over(&mut self.consumer);
        match late {
            Some(item) => {
                self.notify();
                Popped::Item(item)
            }
            None => Popped::Ended,
        }
    }

    /// As [`Outlet::try_pop`], waiting for an item or the end. Empty means that the time is over.
    #[inline(always)]
    pub(crate) fn pop(&mut self, until: Option<Instant>) -> Popped<T> {
        match self.try_pop() {
            Popped::Empty => self.pop_later(until),
            popped => popped,
        }
    }

    #[cold]
    fn pop_later(&mut self, until: Option<Instant>) -> Popped<T> {
        loop {
            match self.try_pop() {
                Popped::Empty if self.wait(until) => (),
                popped => return popped,
            }
        }
    }

    /// As [`Outlet::pop`] for a task; it is never empty.
    pub(crate) fn poll_pop(&mut self, context: &Context<'_>) -> Poll<Popped<T>> {
        loop {
            match self.try_pop() {
                Popped::Empty => (),
                popped => return Poll::Ready(popped),
            }
            // Before the poll: a waker that panics when it is cloned unwinds through here.
            self.waits = true;
            let shared = &self.shared;
            shared.end.end_if_forked();
            if shared.dequeuer.poll(shared.barrier, ASLEEP, context, || self.is_ready()) {
                shared.ring.dequeued.0.count_wait(false);
                return Poll::Pending;
            }
            self.waits = false;
        }
    }

    fn wait(&self, until: Option<Instant>) -> bool {
        self.shared
            .wait((&self.shared.dequeuer, &self.shared.ring.dequeued.0), until, || self.is_ready())
    }

    fn is_ready(&self) -> bool {
        self.consumer.as_ref().is_none_or(Consumer::has_more) || self.shared.end.is_set()
    }

    /// Ends the wait of a task. Its future is dropped, or ready.
    pub(crate) fn cancel_wait(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.shared.dequeuer.forget();
        }
    }

    /// How the queue ended, once it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.shared.end.get()
    }
}

impl<T: Weigh> Drop for Outlet<T> {
    /// Ends the queue and drops what is queued.
    fn drop(&mut self) {
        // A future may have been forgotten.
        self.cancel_wait();
        if self.consumer.is_none() {
            return;
        }
        self.shared.close_as(End::Abandoned);
        self.shared.dequeuer.word.leave(self.shared.barrier);
        while let Some(late) = self.shared.pop_or_hand_over(&mut self.consumer) {
            drop(late);
        }
        debug_assert!(self.consumer.is_none() && self.shared.end.is_set());
    }
}
