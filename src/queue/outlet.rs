//! The dequeuing end, generic over the item: the consumer, and waiting for messages.
#![forbid(unsafe_code)]

use std::task::{Context, Poll};
use std::time::Instant;

use super::end::End;
use super::ring::{Consumer, Weigh};
use super::shared::Shared;
use crate::sync::Arc;
use crate::wake::ASLEEP;

/// What the dequeuing end finds.
pub(crate) enum Taken<T> {
    Item(T),
    /// Nothing yet.
    Empty,
    /// Nothing more will come.
    Ended,
}

pub(crate) struct Outlet<T: Weigh> {
    /// None once it has seen the end.
    consumer: Option<Consumer<T>>,
    shared: Arc<Shared<T>>,
    /// The waker of a task may be registered.
    waits: bool,
}

impl<T: Weigh> Outlet<T> {
    pub(crate) fn new(consumer: Consumer<T>, shared: Arc<Shared<T>>) -> Self {
        Self { consumer: Some(consumer), shared, waits: false }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<T>> {
        &self.shared
    }

    /// Moves the oldest item out, if there is one.
    #[inline(always)]
    pub(crate) fn try_pop(&mut self) -> Taken<T> {
        if let Some(consumer) = &mut self.consumer
            && consumer.is_ready()
        {
            let item = consumer.take();
            self.made_room();
            return Taken::Item(item);
        }
        self.at_empty()
    }

    #[inline(always)]
    fn made_room(&self) {
        self.shared.barrier.light();
        self.shared.enqueuer.wake_if(ASLEEP);
    }

    /// Nothing is there: nothing yet, or nothing any more.
    #[inline(never)]
    fn at_empty(&mut self) -> Taken<T> {
        if self.consumer.is_none() {
            return Taken::Ended;
        }
        if !self.shared.end.is_set() {
            return Taken::Empty;
        }
        // After a clean end nobody publishes; at any other end the enqueuer may be about to.
        if !self.shared.end.is_finished() && !self.shared.dequeuer.word.is_gone() {
            self.shared.dequeuer.word.leave(self.shared.barrier);
        }
        // Looked at again: what was published before the end is seen now.
        let late = self.shared.leave(&mut self.consumer);
        match late {
            Some(item) => {
                self.made_room();
                Taken::Item(item)
            }
            None => Taken::Ended,
        }
    }

    /// As [`Outlet::try_pop`], waiting for a message or the end. Empty means that the time is over.
    #[inline(always)]
    pub(crate) fn pop(&mut self, until: Option<Instant>) -> Taken<T> {
        match self.try_pop() {
            Taken::Empty => self.pop_later(until),
            taken => taken,
        }
    }

    #[cold]
    fn pop_later(&mut self, until: Option<Instant>) -> Taken<T> {
        loop {
            match self.try_pop() {
                Taken::Empty if self.wait(until) => (),
                taken => return taken,
            }
        }
    }

    /// As [`Outlet::pop`] for a task; it is never empty.
    pub(crate) fn poll_pop(&mut self, context: &Context<'_>) -> Poll<Taken<T>> {
        loop {
            match self.try_pop() {
                Taken::Empty => (),
                taken => return Poll::Ready(taken),
            }
            // Before the poll: a waker that panics when it is cloned unwinds through here.
            self.waits = true;
            let shared = &self.shared;
            shared.end.end_if_forked();
            if shared.dequeuer.poll(shared.barrier, ASLEEP, context, || self.is_ready()) {
                shared.ring.dequeued.0.waited(false);
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

    /// A future that was polled is dropped, or done.
    pub(crate) fn forget(&mut self) {
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
    /// No more messages are taken: the enqueuer learns it, and what is queued is dropped.
    fn drop(&mut self) {
        // For a future that was forgotten.
        self.forget();
        if self.consumer.is_none() {
            return;
        }
        self.shared.finish(End::Abandoned);
        self.shared.dequeuer.word.leave(self.shared.barrier);
        while let Some(late) = self.shared.leave(&mut self.consumer) {
            drop(late);
        }
        debug_assert!(self.consumer.is_none() && self.shared.end.is_set());
    }
}
