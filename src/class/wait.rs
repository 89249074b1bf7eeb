//! [`Waiter`]: a thread or a task that waits for a buffer, and the place where it is put.
//!
//! Promises that a granted block is found by whoever looks next, and that a wake-up isn't lost: the grant comes before the wake-up, and
//! the waiter looks again after it has said whom to wake. It doesn't know the line it stands in. A waker is somebody else's code: it is called, cloned and
//! dropped under no lock, and when it panics nobody else is the worse for it.
#![forbid(unsafe_code)]

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::block::Block;
use crate::sync::{AtomicPtr, Mutex, Ordering, current_thread, lock, park, park_for};
use crate::wake::Who;

/// One wait for one buffer: it is granted one at most.
#[derive(Debug)]
pub(crate) struct Waiter {
    granted: AtomicPtr<u8>,
    who: Mutex<Option<Who>>,
}

impl Waiter {
    /// The calling thread waits.
    pub(crate) fn thread() -> Self {
        Self::of(Some(Who::Thread(current_thread())))
    }

    /// A task waits; its polls say whom to wake.
    pub(crate) fn task() -> Self {
        Self::of(None)
    }

    fn of(who: Option<Who>) -> Self {
        Self { granted: AtomicPtr::new(ptr::null_mut()), who: Mutex::new(who) }
    }

    /// Gives it a block; [`Waiter::wake`] comes after it, with no lock held.
    pub(crate) fn grant(&self, block: Block) {
        // SYNC S10: the waiter sees the block and its bytes.
        let before = self.granted.swap(block.into_raw(), Ordering::Release);
        assert!(before.is_null(), "two blocks were granted to one waiter");
    }

    /// Wakes whoever waits. A task's waker that panics has said so by the panic hook; who gave the buffer back has others to wake, and may be in a destructor.
    pub(crate) fn wake(self: Arc<Self>) {
        // Not under the lock: on one CPU the woken thread may run at once, and would wait for it.
        let who = lock(&self.who).take();
        match who {
            None => {}
            Some(Who::Thread(thread)) => thread.unpark(),
            Some(Who::Task(waker)) => {
                // With the last count of the waiter a waker goes too, if the task has polled since.
                let wake = move || {
                    waker.wake();
                    drop(self);
                };
                if let Err(payload) = catch_unwind(AssertUnwindSafe(wake)) {
                    // It is somebody else's too, and may panic when it is dropped.
                    catch_unwind(AssertUnwindSafe(|| drop(payload))).unwrap_or_else(mem::forget);
                }
            }
        }
    }

    /// What was granted.
    pub(crate) fn take(&self) -> Option<Block> {
        // SYNC S10: pairs with the grant.
        Block::from_raw(self.granted.swap(ptr::null_mut(), Ordering::Acquire))
    }

    /// A thread sleeps until it is granted a block, or until then.
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

    /// A task looks, and is woken by this waker if there is nothing yet.
    pub(crate) fn poll(&self, waker: &Waker) -> Option<Block> {
        if let Some(block) = self.take() {
            return Some(block);
        }
        let who = Who::Task(waker.clone());
        let before = lock(&self.who).replace(who);
        // Before the second look: should it panic, what was granted stays here.
        drop(before);
        self.take()
    }
}
