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

/// How long a thread sleeps before it looks again into bins that it couldn't look into.
const AGAIN: Duration = Duration::from_millis(1);
/// How long it sleeps before it asks again whether it is still to wait.
const ASK: Duration = Duration::from_millis(10);

/// Whether who waits is to give up. None: nothing but time ends the wait.
pub(crate) type GivesUp<'a> = Option<&'a dyn Fn() -> bool>;

/// A place in line.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    shared: &'a Arc<Shared>,
    class: &'a Class,
    waiter: Arc<Waiter>,
    /// An owner stayed inside its bin: what that holds has yet to be taken back.
    has_missed: bool,
    /// Served, or left.
    is_over: bool,
}

impl<'a> Place<'a> {
    /// Stands in line, unless there is a block by now; then takes back what threads keep: whatever
    /// comes home from now on comes to the store.
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

    /// The calling thread sleeps until it is served, until then, or until it gives up.
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

    /// A task looks, and is woken by this waker if it has to wait.
    pub(crate) fn poll(&mut self, waker: &Waker) -> Option<Block> {
        let mut served = self.waiter.poll(waker);
        if served.is_none() && self.has_missed {
            self.take_back();
            served = self.waiter.take();
            if served.is_none() && self.has_missed {
                // A task doesn't sleep: it looks again when its turn comes.
                waker.wake_by_ref();
            }
        }
        self.is_over = served.is_some();
        served
    }

    fn take_back(&mut self) {
        self.has_missed = self.shared.take_back(self.class, |_| true);
    }

    /// Leaves the line, with what was granted at the last moment.
    fn leave(&mut self) -> Option<Block> {
        self.is_over = true;
        if self.shared.is_foreign() {
            // The line is the parent's, and somebody may have held its lock.
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
