//! Sleeping and waking without a lost wake-up and without a fence on the publishing side.
//!
//! ```text
//! waker                                   sleeper
//! store cursor (Release)                  set the sleep word
//! light barrier                           heavy barrier
//! load sleep word (Relaxed)               look again: is there work?
//! set? clear it and unpark                no: sleep until the word is cleared
//! ```
//! One of the two sees the other's store: see [`crate::barrier`].
#![forbid(unsafe_code)]

use std::os::fd::BorrowedFd;

use super::error::LaneError;
use super::event::Event;
use crate::barrier::Barrier;
use crate::sync::{AtomicU32, Mutex, Ordering, Padded, Thread, current_thread, park};

const AWAKE: u32 = 0;
/// Asleep: wake for events to process.
pub(crate) const ASLEEP: u32 = 1;
/// Asleep with a full ring or pool: wake for anything to reclaim as well.
pub(crate) const ASLEEP_FULL: u32 = 2;

/// How a party sleeps.
#[derive(Debug)]
enum Bed {
    /// A stage's own thread parks; it registers itself whenever it goes to sleep.
    Thread(Mutex<Option<Thread>>),
    /// The IO thread sleeps in its own poll call, with this event's descriptor among what it waits for.
    Event(Event),
}

/// One that may sleep: the thread of a stage, or the IO thread with all its inline stages.
#[derive(Debug)]
pub(crate) struct Party {
    word: Padded<AtomicU32>,
    bed: Bed,
}

impl Party {
    pub(crate) fn thread() -> Self {
        Self { word: Padded(AtomicU32::new(AWAKE)), bed: Bed::Thread(Mutex::new(None)) }
    }

    pub(crate) fn event() -> Result<Self, LaneError> {
        Ok(Self { word: Padded(AtomicU32::new(AWAKE)), bed: Bed::Event(Event::new()?) })
    }

    /// The waker's half. The light barrier comes before it, once for all parties.
    #[inline]
    pub(crate) fn wake_if(&self, least: u32) {
        if self.word.0.load(Ordering::Relaxed) >= least {
            self.wake();
        }
    }

    /// Wakes, whatever it sleeps for.
    #[cold]
    pub(crate) fn wake(&self) {
        // SYNC S6: the sleeper sees what the waker did before.
        if self.word.0.swap(AWAKE, Ordering::AcqRel) == AWAKE {
            return;
        }
        match &self.bed {
            Bed::Thread(sleeper) => {
                // Not under the lock: on one CPU the woken thread may run at once, and would wait for it.
                let thread = lock(sleeper).clone();
                if let Some(thread) = thread {
                    thread.unpark();
                }
            }
            Bed::Event(event) => event.set(),
        }
    }

    /// The sleeper's half: true if it may sleep now. `ready` looks again, after the barrier.
    pub(crate) fn prepare(&self, barrier: Barrier, level: u32, ready: impl Fn() -> bool) -> bool {
        debug_assert!(level == ASLEEP || level == ASLEEP_FULL);
        if let Bed::Thread(sleeper) = &self.bed {
            // Each time: a stage's handle may have moved to another thread since.
            *lock(sleeper) = Some(current_thread());
        }
        // Swaps, because loom keeps no single order of plain stores and swaps: beside the barrier they cost nothing.
        self.word.0.swap(level, Ordering::AcqRel);
        barrier.heavy();
        if ready() {
            self.word.0.swap(AWAKE, Ordering::AcqRel);
            return false;
        }
        true
    }

    /// Sleeps until somebody wakes it. Once a second it asks `ready`, in case a wake-up was lost: false says that one was,
    /// which is a defect and counted. Work seen once may be so new that its wake-up is still on the way; seen twice, it isn't.
    pub(crate) fn sleep(&self, barrier: Barrier, level: u32, ready: impl Fn() -> bool) -> bool {
        if !self.prepare(barrier, level, &ready) {
            return true;
        }
        let mut seen = false;
        // SYNC S6: pairs with the waker's swap.
        while self.word.0.load(Ordering::Acquire) != AWAKE {
            let timed_out = park();
            if timed_out && ready() {
                if seen && self.word.0.swap(AWAKE, Ordering::AcqRel) != AWAKE {
                    return false;
                }
                seen = true;
            }
        }
        true
    }

    /// The IO thread is awake again: the word is cleared, and the event as well. A waker may still be about to set it
    /// after having cleared the word, so it is cleared every time: left set, it would end every later sleep at once.
    pub(crate) fn awake(&self) {
        self.word.0.swap(AWAKE, Ordering::AcqRel);
        if let Bed::Event(event) = &self.bed {
            event.clear();
        }
    }

    #[cfg(test)]
    pub(crate) fn is_asleep(&self) -> bool {
        self.word.0.load(Ordering::Acquire) != AWAKE
    }

    /// The eventfd of the IO thread.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.bed {
            Bed::Event(event) => event.fd(),
            Bed::Thread(_) => None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> crate::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(all(test, loom))]
mod loom_tests;

#[cfg(all(test, not(loom)))]
mod tests;
