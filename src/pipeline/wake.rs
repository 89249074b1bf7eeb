//! Who sleeps in a lane: the threads of stages, which park, and the IO thread, which waits in its
//! own poll call. How no wake-up is lost stands at [`crate::wake`].
#![forbid(unsafe_code)]

use std::os::fd::BorrowedFd;

use super::error::LaneError;
use super::event::EventFd;
use crate::barrier::Barrier;
pub(crate) use crate::wake::ASLEEP;
use crate::wake::{Announced, SleepWord, Sleeper, Slept};

/// Asleep with a full ring or pool: wake for anything to reclaim as well.
pub(crate) const ASLEEP_FULL: u32 = 2;

/// One that may sleep.
#[derive(Debug)]
pub(crate) enum LaneSleeper {
    /// A stage's own thread.
    Thread(Sleeper),
    /// The IO thread with all its inline stages: this event's descriptor is among what it waits
    /// for.
    Io { word: SleepWord, event: EventFd },
}

impl LaneSleeper {
    pub(crate) fn thread() -> Self {
        Self::Thread(Sleeper::new())
    }

    pub(crate) fn io() -> Result<Self, LaneError> {
        Ok(Self::Io { word: SleepWord::new(), event: EventFd::new()? })
    }

    #[inline]
    fn word(&self) -> &SleepWord {
        match self {
            Self::Thread(sleeper) => &sleeper.word,
            Self::Io { word, .. } => word,
        }
    }

    /// The waker's half. The light barrier comes before it, once for all parties.
    #[inline]
    pub(crate) fn wake_if(&self, least: u32) {
        if self.word().is_at_least(least) {
            self.wake();
        }
    }

    /// Wakes, whatever it sleeps for.
    #[cold]
    pub(crate) fn wake(&self) {
        match self {
            Self::Thread(sleeper) => sleeper.wake(),
            Self::Io { word, event } => {
                if word.clear() {
                    event.set();
                }
            }
        }
    }

    /// The sleeper's half. `ready` looks again, after the barrier.
    pub(crate) fn prepare(
        &self,
        barrier: Barrier,
        level: u32,
        ready: impl Fn() -> bool,
    ) -> Announced {
        debug_assert!(matches!(self, Self::Io { .. }), "a thread sleeps by `sleep`");
        debug_assert!(level == ASLEEP || level == ASLEEP_FULL);
        self.word().announce(barrier, level, ready)
    }

    /// A stage's thread sleeps until somebody wakes it: false says that a wake-up was lost, which
    /// is a defect and counted.
    pub(crate) fn sleep(&self, barrier: Barrier, level: u32, ready: impl Fn() -> bool) -> bool {
        match self {
            Self::Thread(sleeper) => sleeper.sleep(barrier, level, None, ready) != Slept::Lost,
            Self::Io { .. } => unreachable!("the IO thread sleeps in its own poll call"),
        }
    }

    /// The IO thread is awake again: the word is cleared, and the event as well. A waker may still
    /// be about to set it after having cleared the word, so it is cleared every time: left set, it
    /// would end every later sleep at once.
    pub(crate) fn awake(&self) {
        self.word().clear();
        if let Self::Io { event, .. } = self {
            event.clear();
        }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_asleep(&self) -> bool {
        self.word().is_asleep()
    }

    /// The eventfd of the IO thread.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Io { event, .. } => event.fd(),
            Self::Thread(_) => None,
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
