//! The enqueuing end, generic over the item: the producer, and waiting for room.
#![forbid(unsafe_code)]

use std::task::{Context, Poll};
use std::time::Instant;

use super::end::{End, EnqueuerPanicked};
use super::outlet::Outlet;
use super::ring::{Bound, Count, Producer, Ring, Weigh};
use super::shared::Shared;
use crate::sync::Arc;
use crate::wake::ASLEEP;

/// Why an item wasn't taken. The item is returned.
pub(crate) enum Refused<T> {
    Full(T, Bound),
    Ended(T),
}

pub(crate) struct Inlet<T: Weigh> {
    producer: Producer<T>,
    shared: Arc<Shared<T>>,
    /// The waker of a task may be registered.
    waits: bool,
}

/// Both ends of a new queue. The options were checked.
pub(crate) fn ends<T: Weigh>(messages_max: usize, bytes_max: usize) -> (Inlet<T>, Outlet<T>) {
    ends_from(messages_max, bytes_max, Count::default())
}

/// As [`ends`]; counts begin at `none`.
pub(crate) fn ends_from<T: Weigh>(
    messages_max: usize,
    bytes_max: usize,
    none: Count,
) -> (Inlet<T>, Outlet<T>) {
    let (producer, consumer) = Ring::ends(messages_max, bytes_max, none);
    let shared = Arc::new(Shared::new(&producer));
    (Inlet { producer, shared: Arc::clone(&shared), waits: false }, Outlet::new(consumer, shared))
}

impl<T: Weigh> Inlet<T> {
    pub(crate) fn shared(&self) -> &Arc<Shared<T>> {
        &self.shared
    }

    /// Moves an item in, if there is room. The uncommon part is out of line and takes the item with
    /// it, so that here the item stays in registers.
    #[inline(always)]
    pub(crate) fn try_push(&mut self, item: T) -> Result<(), Refused<T>> {
        if self.shared.end.is_set() || !self.producer.is_free(item.weight_bytes()) {
            return self.try_push_far(item);
        }
        self.producer.put(item);
        self.tell()
    }

    /// As [`Inlet::try_push`], where the queue has ended, or the dequeuing end is to be looked at
    /// for room.
    #[cold]
    #[inline(never)]
    fn try_push_far(&mut self, item: T) -> Result<(), Refused<T>> {
        if self.shared.end.is_set() {
            return Err(Refused::Ended(item));
        }
        if let Err(bound) = self.producer.room(item.weight_bytes()) {
            return Err(Refused::Full(item, bound));
        }
        self.producer.put(item);
        self.tell()
    }

    /// Something was pushed.
    #[inline(always)]
    fn tell(&mut self) -> Result<(), Refused<T>> {
        self.shared.barrier.light();
        if self.shared.dequeuer.word.is_at_least(ASLEEP) {
            return self.rouse();
        }
        Ok(())
    }

    /// The dequeuing end sleeps, or has left before it saw what was pushed.
    #[cold]
    fn rouse(&mut self) -> Result<(), Refused<T>> {
        if self.shared.dequeuer.word.is_gone() {
            debug_assert!(self.shared.end.is_set(), "nobody leaves an open queue");
            return self.shared.take_back().map_or(Ok(()), |late| Err(Refused::Ended(late)));
        }
        self.shared.dequeuer.wake();
        Ok(())
    }

    /// As [`Inlet::try_push`], waiting for room.
    #[inline(always)]
    pub(crate) fn push(&mut self, item: T, until: Option<Instant>) -> Result<(), Refused<T>> {
        match self.try_push(item) {
            Err(Refused::Full(item, _)) => self.push_later(item, until),
            done => done,
        }
    }

    #[cold]
    fn push_later(&mut self, mut item: T, until: Option<Instant>) -> Result<(), Refused<T>> {
        loop {
            match self.try_push(item) {
                Err(Refused::Full(back, bound)) => {
                    if !self.wait(back.weight_bytes(), until) {
                        return Err(Refused::Full(back, bound));
                    }
                    item = back;
                }
                done => return done,
            }
        }
    }

    /// As [`Inlet::push`] for a task. `item` is taken when it is done.
    pub(crate) fn poll_push(
        &mut self,
        context: &Context<'_>,
        item: &mut Option<T>,
    ) -> Poll<Result<(), Refused<T>>> {
        loop {
            let next = item.take().expect("a future isn't polled after its end");
            match self.try_push(next) {
                Err(Refused::Full(back, _)) => {
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

    /// Waits until there may be room, or the end; false if the time is over.
    pub(crate) fn wait(&self, weight_bytes: usize, until: Option<Instant>) -> bool {
        let (shared, producer) = (&self.shared, &self.producer);
        let end = (&shared.enqueuer, &shared.ring.enqueued.0);
        shared.wait(end, until, || producer.has_room(weight_bytes) || shared.end.is_set())
    }

    /// As [`Inlet::room`] for a task, waiting until there is.
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
            shared.ring.enqueued.0.waited(false);
            return Poll::Pending;
        }
        self.waits = false;
        Poll::Ready(())
    }

    /// Waits for the end and for nothing else; ready at it. Room wakes the task as well: it polls
    /// again.
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

    /// The clean end, also in a destructor that a panic elsewhere runs: somebody asked for it.
    pub(crate) fn finish(self) {
        self.shared.finish(End::Finished);
    }

    /// A future that was polled is dropped, or done.
    pub(crate) fn forget(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.shared.enqueuer.forget();
        }
    }
}

impl<T: Weigh> Drop for Inlet<T> {
    /// The clean end; in a panic it isn't one.
    fn drop(&mut self) {
        // For a future that was forgotten.
        self.forget();
        let is_panic = std::thread::panicking();
        let end = if is_panic {
            End::Closed(std::sync::Arc::new(EnqueuerPanicked))
        } else {
            End::Finished
        };
        self.shared.finish(end);
    }
}
