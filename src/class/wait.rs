//! [`Waiter`]: a thread or a task that waits for a buffer, and the place where the buffer is left
//! for it.
//!
//! Promises that the waiter's next look finds a granted block, and that no wake-up is lost: the
//! grant comes before the wake-up, and the waiter looks again after it has registered. It doesn't
//! know the line that it is in. A waker is foreign code: it is called, cloned and dropped with no
//! lock held, and its panics affect nobody else.
#![forbid(unsafe_code)]

use std::ptr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::block::Block;
use crate::sync::{AtomicPtr, Ordering, current_thread, park, park_for};
use crate::wake::{Registration, WakeHandle, shielded};

/// One wait for one buffer: at most one is granted.
#[derive(Debug)]
pub(crate) struct Waiter {
    granted: AtomicPtr<u8>,
    who: Registration,
}

impl Waiter {
    /// The calling thread waits.
    pub(crate) fn thread() -> Self {
        Self::of(Some(WakeHandle::Thread(current_thread())))
    }

    /// A task waits; its polls register whom to wake.
    pub(crate) fn task() -> Self {
        Self::of(None)
    }

    fn of(who: Option<WakeHandle>) -> Self {
        Self { granted: AtomicPtr::new(ptr::null_mut()), who: Registration::new(who) }
    }

    /// Grants it a block. [`Waiter::wake`] follows, with no lock held.
    pub(crate) fn grant(&self, block: Block) {
        // SYNC S10: the waiter sees the block and its bytes.
        let before = self.granted.swap(block.into_raw(), Ordering::Release);
        assert!(before.is_null(), "two blocks were granted to one waiter");
    }

    /// Wakes the waiter, with no lock held. Dropping the last reference of the waiter may drop a
    /// waker too. The caller has others to wake, and may be in a destructor, so the waker's panics
    /// are caught here.
    pub(crate) fn wake(self: Arc<Self>) {
        self.who.wake();
        shielded(|| drop(self));
    }

    /// What was granted.
    pub(crate) fn take(&self) -> Option<Block> {
        // SYNC S10: pairs with the grant.
        Block::from_raw(self.granted.swap(ptr::null_mut(), Ordering::Acquire))
    }

    /// A thread sleeps until it is granted a block or the deadline passes.
    pub(crate) fn sleep(&self, until: Option<Instant>) -> Option<Block> {
        loop {
            if let Some(block) = self.take() {
                return Some(block);
            }
            let Some(until) = until else {
                park();
                continue;
            };
            let now = Instant::now();
            if now >= until {
                return None;
            }
            park_for(until - now);
        }
    }

    /// A task checks, and is woken by this waker if there is nothing yet.
    pub(crate) fn poll(&self, waker: &Waker) -> Option<Block> {
        if let Some(block) = self.take() {
            return Some(block);
        }
        self.who.set(Some(WakeHandle::Task(waker.clone())));
        self.take()
    }
}
