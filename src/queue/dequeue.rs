//! The dequeuing end of a queue of pooled messages.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::closer::Closer;
use super::end::End;
use super::error::{Closed, DequeueError};
use super::message::Message;
use super::outlet::{Outlet, Taken};
use super::stats::QueueStats;
use crate::class::PooledBuf;

/// The end that takes messages out. It may go to another thread, but two can't use it at once.
/// Dropping it closes the queue: enqueuers get their buffers back ([`End::Abandoned`]), what is
/// queued goes home to the pool, and messages that were dequeued stay as they are.
pub struct Dequeuer {
    outlet: Outlet<PooledBuf>,
    not_sync: PhantomData<Cell<()>>,
}

impl Dequeuer {
    pub(crate) fn new(outlet: Outlet<PooledBuf>) -> Self {
        Self { outlet, not_sync: PhantomData }
    }

    /// The oldest message, or none at the clean end.
    ///
    /// # Errors
    /// [`DequeueError::Empty`], or the error that the queue was closed with.
    #[inline(always)]
    pub fn try_dequeue(&mut self) -> Result<Option<Message>, DequeueError> {
        match self.outlet.try_pop() {
            Taken::Item(buf) => Ok(Some(Message::new(buf))),
            Taken::Empty => Err(DequeueError::Empty),
            Taken::Ended => self.ended().map_err(DequeueError::Closed),
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
            Taken::Item(buf) => Ok(Some(Message::new(buf))),
            Taken::Empty => unreachable!("without a time it waits"),
            Taken::Ended => self.ended(),
        }
    }

    /// As [`Dequeuer::dequeue`], with a limit on the wait.
    ///
    /// # Errors
    /// As [`Dequeuer::try_dequeue`].
    pub fn dequeue_timeout(&mut self, timeout: Duration) -> Result<Option<Message>, DequeueError> {
        match self.outlet.pop(Instant::now().checked_add(timeout)) {
            Taken::Item(buf) => Ok(Some(Message::new(buf))),
            Taken::Empty => Err(DequeueError::Empty),
            Taken::Ended => self.ended().map_err(DequeueError::Closed),
        }
    }

    /// As [`Dequeuer::dequeue`], for a task of any runtime. A future that is dropped before it is
    /// done has taken nothing.
    pub fn dequeue_async(&mut self) -> Dequeue<'_> {
        Dequeue { dequeuer: self }
    }

    /// Ends the queue with an error: see [`Closer::close`]. What is queued may still be dequeued.
    pub fn close(&self, error: impl Into<Box<dyn Error + Send + Sync>>) -> bool {
        self.closer().close(error)
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
            Some(End::Closed(error)) => Err(Closed(error)),
            end => {
                assert!(
                    matches!(end, Some(End::Finished)),
                    "only its drop abandons a queue: {end:?}"
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
        let taken = dequeuer.outlet.poll_pop(context);
        taken.map(|taken| match taken {
            Taken::Item(buf) => Ok(Some(Message::new(buf))),
            Taken::Empty => unreachable!("a task waits"),
            Taken::Ended => dequeuer.ended(),
        })
    }
}

impl Drop for Dequeue<'_> {
    fn drop(&mut self) {
        self.dequeuer.outlet.forget();
    }
}
