//! How threads of a lane wait: they idle for a while, then sleep until they are woken.
//!
//! [`Idle`] says how long a thread spins and yields before it sleeps. A [`LaneSleeper`] is what it
//! then sleeps under: the thread of a stage parks, and the IO thread waits in its own poll call.
//! [`crate::wake`] explains why no wake-up is lost.
#![forbid(unsafe_code)]

use std::hint::spin_loop;
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::{Duration, Instant};

use super::error::LaneError;
use super::policy::Wait;
use super::syscalls::EventFd;
use crate::barrier::Barrier;
pub(crate) use crate::wake::ASLEEP;
use crate::wake::{
    Announced, LOOKS_PER_CLOCK, PATIENT_LOOKS, PATIENT_PAUSES, SPIN_TIME, SleepWord, Sleeper, Slept,
};

/// Asleep with a full ring or pool: wake also when there is something to reclaim.
pub(crate) const ASLEEP_FULL: u32 = 2;

/// How long `Backoff` spins and yields before it sleeps.
const YIELD: Duration = Duration::from_millis(1);
/// Rounds of `Backoff` that spin before it yields.
const SPIN_ROUNDS: u32 = 64;

/// How one thread idles: call [`Idle::pass`] when there is nothing to do, and [`Idle::reset`] when
/// there was work.
#[derive(Debug)]
pub struct Idle {
    wait: Wait,
    shares_cpu: bool,
    rounds: u32,
    since: Option<Instant>,
}

impl Idle {
    /// For a thread with this waiting strategy.
    #[must_use]
    pub fn new(wait: Wait) -> Self {
        Self { wait, shares_cpu: false, rounds: 0, since: None }
    }

    /// For a thread that shares its CPU with the thread that it waits for. It never spins, because
    /// the other thread can't run meanwhile. `Park` sleeps immediately, and `Backoff` yields
    /// immediately.
    #[must_use]
    pub fn on_shared_cpu(wait: Wait) -> Self {
        Self { shares_cpu: true, ..Self::new(wait) }
    }

    /// There was work.
    #[inline]
    pub fn reset(&mut self) {
        (self.rounds, self.since) = (0, None);
    }

    /// Spins or yields for a moment. Returns true once the thread has idled long enough to sleep.
    pub fn pass(&mut self) -> bool {
        self.rounds = self.rounds.saturating_add(1);
        let patience = match self.wait {
            Wait::Spin => {
                self.spin();
                return false;
            }
            Wait::Park if self.shares_cpu => return true,
            Wait::Park => SPIN_TIME,
            Wait::Backoff => YIELD,
        };
        if self.wait == Wait::Backoff && (self.shares_cpu || self.rounds > SPIN_ROUNDS) {
            thread::yield_now();
        } else {
            self.spin();
        }
        if !self.rounds.is_multiple_of(LOOKS_PER_CLOCK) {
            return false;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() >= patience
    }

    #[inline]
    fn spin(&self) {
        if cfg!(miri) {
            // Without preemption, a thread that only spins would stop all others from running.
            return thread::yield_now();
        }
        let pauses = if self.rounds <= PATIENT_LOOKS { PATIENT_PAUSES } else { 1 };
        (0..pauses).for_each(|_| spin_loop());
    }
}

/// What one thread of a lane sleeps under.
#[derive(Debug)]
pub(crate) enum LaneSleeper {
    /// A stage's own thread.
    Thread(Sleeper),
    /// The IO thread with all its inline stages. The descriptor of `event_fd` is among those that
    /// the thread polls.
    Io { word: SleepWord, event_fd: EventFd },
}

impl LaneSleeper {
    pub(crate) fn thread() -> Self {
        Self::Thread(Sleeper::new())
    }

    pub(crate) fn io() -> Result<Self, LaneError> {
        Ok(Self::Io { word: SleepWord::new(), event_fd: EventFd::new()? })
    }

    #[inline]
    fn word(&self) -> &SleepWord {
        match self {
            Self::Thread(sleeper) => &sleeper.word,
            Self::Io { word, .. } => word,
        }
    }

    /// The waker's half. The caller has issued one light barrier for all sleepers before.
    #[inline]
    pub(crate) fn wake_if(&self, least: u32) {
        if self.word().is_at_least(least) {
            self.wake();
        }
    }

    /// Wakes the thread, whatever it sleeps for.
    #[cold]
    pub(crate) fn wake(&self) {
        match self {
            Self::Thread(sleeper) => sleeper.wake(),
            Self::Io { word, event_fd } => {
                if word.clear() {
                    event_fd.set();
                }
            }
        }
    }

    /// The IO thread's half. `ready` looks for work again, after the barrier.
    pub(crate) fn prepare(
        &self,
        barrier: Barrier,
        level: u32,
        ready: impl Fn() -> bool,
    ) -> Announced {
        debug_assert!(matches!(self, Self::Io { .. }), "a stage's thread calls `sleep`");
        debug_assert!(level == ASLEEP || level == ASLEEP_FULL);
        self.word().announce(barrier, level, ready)
    }

    /// The half of a stage's thread: sleeps until it is woken. Returns false if a wake-up was lost,
    /// which is a defect and is counted.
    pub(crate) fn sleep(&self, barrier: Barrier, level: u32, ready: impl Fn() -> bool) -> bool {
        match self {
            Self::Thread(sleeper) => sleeper.sleep(barrier, level, None, ready) != Slept::Lost,
            Self::Io { .. } => unreachable!("the IO thread sleeps in its own poll call"),
        }
    }

    /// The IO thread is awake again: clears the word, and the eventfd. A waker that has cleared the
    /// word may still be about to set the eventfd, so the eventfd is cleared every time. If it
    /// stayed set, every later sleep would end immediately.
    pub(crate) fn awake(&self) {
        self.word().clear();
        if let Self::Io { event_fd, .. } = self {
            event_fd.clear();
        }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_asleep(&self) -> bool {
        self.word().is_asleep()
    }

    /// The eventfd of the IO thread.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Io { event_fd, .. } => event_fd.fd(),
            Self::Thread(_) => None,
        }
    }
}

/// The end of a duration that starts now; a century from now if it doesn't fit.
pub(super) fn after(timeout: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    Instant::now() + timeout.min(CENTURY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(mut idle: Idle, rounds: u32) -> bool {
        (0..rounds).any(|_| idle.pass())
    }

    #[test]
    fn a_thread_on_a_shared_cpu_sleeps_without_spinning() {
        assert!(passes(Idle::on_shared_cpu(Wait::Park), 1));
        assert!(!passes(Idle::new(Wait::Park), LOOKS_PER_CLOCK - 1));
        // `Backoff` yields before it sleeps, because the other thread may need no more than that.
        assert!(!passes(Idle::on_shared_cpu(Wait::Backoff), LOOKS_PER_CLOCK - 1));
        assert!(!passes(Idle::on_shared_cpu(Wait::Spin), 10 * LOOKS_PER_CLOCK));
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
