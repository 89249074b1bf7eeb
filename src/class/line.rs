//! [`Place`]: a place in the line of a class, of a thread or of a task.
//!
//! Promises that dropping a place leaves the line, also during a panic, and that a block granted to
//! it at the last moment goes to the next in line.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::block::Block;
use super::buffer::PooledBuf;
use super::shared::{Class, Shared};
use super::wait::Waiter;

/// How long a thread sleeps before it tries again to empty bins whose owners were inside.
const AGAIN: Duration = Duration::from_millis(1);
/// How long it sleeps before it asks again whether to keep waiting.
const ASK: Duration = Duration::from_millis(10);

/// Asks whether the waiter should give up. None: only the time limit ends the wait.
pub(crate) type GivesUp<'a> = Option<&'a dyn Fn() -> bool>;

/// A place in line.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    shared: &'a Arc<Shared>,
    class: &'a Class,
    waiter: Arc<Waiter>,
    /// An owner stayed inside its bin, which still has to be emptied.
    has_missed: bool,
    /// Whether it was served or has left.
    is_over: bool,
}

impl<'a> Place<'a> {
    /// Joins the line, unless a block is available by now. Then empties the threads' bins; from now
    /// on every block that is given back goes to the store.
    pub(crate) fn join(
        shared: &'a Arc<Shared>,
        class: &'a Class,
        waiter: Waiter,
    ) -> Result<Block, Self> {
        let waiter = Arc::new(waiter);
        match class.store.enqueue(&waiter) {
            Some(block) => Ok(block),
            None => {
                let mut place = Self { shared, class, waiter, has_missed: false, is_over: false };
                place.take_back();
                Err(place)
            }
        }
    }

    /// The calling thread sleeps until it is served, the deadline passes, or it gives up.
    pub(crate) fn sleep(mut self, until: Option<Instant>, gives_up: GivesUp<'_>) -> Option<Block> {
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
                self.take_back();
            }
        }
    }

    /// A task checks, and is woken by this waker if it must wait.
    pub(crate) fn poll(&mut self, waker: &Waker) -> Option<Block> {
        let mut served = self.waiter.poll(waker);
        if served.is_none() && self.has_missed {
            self.take_back();
            served = self.waiter.take();
            if served.is_none() && self.has_missed {
                // A task doesn't sleep; it checks again when it is woken.
                waker.wake_by_ref();
            }
        }
        self.is_over = served.is_some();
        served
    }

    fn take_back(&mut self) {
        self.has_missed = self.shared.take_back(self.class, |_| true);
    }

    /// Leaves the line, with a block that was granted at the last moment, if any.
    fn leave(&mut self) -> Option<Block> {
        self.is_over = true;
        if self.shared.is_foreign() {
            // The line belongs to the parent, where somebody may have held its lock.
            return self.waiter.take();
        }
        let (block, after) = self.class.store.cancel(&self.waiter);
        self.shared.finish(self.class, after);
        block
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.is_over
            && let Some(block) = self.leave()
        {
            drop(PooledBuf::new(block, self.class, 0));
        }
    }
}
