//! Sleeping and waking without a lost wake-up and without a fence on the waking side.
//!
//! ```text
//! waker                                   sleeper
//! store cursor (Release)                  set the sleep word
//! light barrier                           heavy barrier
//! load sleep word (Relaxed)               look again: is there work?
//! set? clear it and wake                  no: sleep until the word is cleared
//! ```
//! One of the two sees the other's store: see [`crate::barrier`]. A [`SleepWord`] is that word alone; a [`Sleeper`] is the word with who
//! sleeps under it: a thread, which parks, or an async task, which is woken by its waker. Wakers are called, cloned and dropped outside of locks:
//! on one CPU a woken thread may run at once, and a task's waker may run anything.
//!
//! One thread or task sleeps under a word at a time: its owner takes care of that.
#![forbid(unsafe_code)]

use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use crate::barrier::Barrier;
use crate::sync::{AtomicU32, Mutex, Ordering, Padded, Thread, current_thread, lock, park, park_for};

const AWAKE: u32 = 0;
/// Asleep: wake for what there is to do.
pub(crate) const ASLEEP: u32 = 1;
/// A bit beside the level: nobody sleeps under this word any more, and whoever would wake learns it.
const GONE: u32 = 1 << 31;
/// A park without an end is looked after once in this time.
const NET: Duration = Duration::from_secs(1);

/// The word alone.
#[derive(Debug)]
pub(crate) struct SleepWord(Padded<AtomicU32>);

impl SleepWord {
    pub(crate) fn new() -> Self {
        Self(Padded(AtomicU32::new(AWAKE)))
    }

    /// The waker's look, behind the light barrier: asleep at this level or deeper, or gone.
    #[inline]
    pub(crate) fn is_at_least(&self, least: u32) -> bool {
        self.0.0.load(Ordering::Relaxed) >= least
    }

    pub(crate) fn is_asleep(&self) -> bool {
        // SYNC S6: pairs with the clearing.
        self.0.0.load(Ordering::Acquire) & !GONE != AWAKE
    }

    /// Clears the word; true if it was set. Read-modify-writes here and below, because loom keeps no single order of plain stores and swaps:
    /// beside the barrier they cost nothing.
    pub(crate) fn clear(&self) -> bool {
        // SYNC S6: the sleeper sees what the waker did before.
        self.0.0.fetch_and(GONE, Ordering::AcqRel) & !GONE != AWAKE
    }

    /// The sleeper's half: true if it may sleep now. `ready` looks again, after the barrier.
    pub(crate) fn announce(&self, barrier: Barrier, level: u32, ready: impl Fn() -> bool) -> bool {
        debug_assert!(level > AWAKE && level < GONE);
        let before = self.0.0.swap(level, Ordering::AcqRel);
        assert!(before & GONE == 0, "nobody sleeps under a word that was left");
        barrier.heavy();
        if ready() {
            self.clear();
            return false;
        }
        true
    }

    /// Nobody sleeps here any more. Whoever publishes after this returned sees it at its next look; what was published before is seen by the caller.
    pub(crate) fn leave(&self, barrier: Barrier) {
        self.0.0.fetch_or(GONE, Ordering::AcqRel);
        barrier.heavy();
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.0.0.load(Ordering::Acquire) & GONE != 0
    }
}

/// Who sleeps.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    Thread(Thread),
    Task(Waker),
}

impl Who {
    pub(crate) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => waker.wake(),
        }
    }
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slept {
    /// Somebody woke it, or there was work before it slept.
    Woken,
    /// The time is over.
    TimedOut,
    /// Work was there, seen by the clock twice, and nobody had woken it: a defect, which is counted.
    Lost,
}

/// A word with who sleeps under it.
#[derive(Debug)]
pub(crate) struct Sleeper {
    pub(crate) word: SleepWord,
    who: Mutex<Option<Who>>,
}

impl Sleeper {
    pub(crate) fn new() -> Self {
        Self { word: SleepWord::new(), who: Mutex::new(None) }
    }

    /// The waker's half. The light barrier comes before it, once for all whom it wakes.
    #[inline]
    pub(crate) fn wake_if(&self, least: u32) {
        if self.word.is_at_least(least) {
            self.wake();
        }
    }

    /// Wakes, whatever it sleeps for.
    #[cold]
    pub(crate) fn wake(&self) {
        if !self.word.clear() {
            return;
        }
        self.woken().into_iter().for_each(Who::wake);
    }

    /// Whom to wake. A task registers at each poll and is let go of; a thread registers once a sleep, and may be woken early in it.
    fn woken(&self) -> Option<Who> {
        let mut who = lock(&self.who);
        match &*who {
            Some(Who::Thread(thread)) => Some(Who::Thread(thread.clone())),
            _ => who.take(),
        }
    }

    /// Sleeps until somebody wakes it, or until the time is over. Once a second it asks `ready`, in case a wake-up was lost. Work seen once may
    /// be so new that its wake-up is still on the way; seen twice, it isn't.
    pub(crate) fn sleep(
        &self,
        barrier: Barrier,
        level: u32,
        until: Option<Instant>,
        ready: impl Fn() -> bool,
    ) -> Slept {
        // Each time: the handle may have moved to another thread since.
        self.register(Some(Who::Thread(current_thread())));
        if !self.word.announce(barrier, level, &ready) {
            return Slept::Woken;
        }
        let mut seen = false;
        while self.word.is_asleep() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match left {
                Some(Duration::ZERO) => {
                    self.word.clear();
                    return Slept::TimedOut;
                }
                Some(left) if left < NET => park_for(left),
                _ if park() && ready() => {
                    if seen && self.word.clear() {
                        return Slept::Lost;
                    }
                    seen = true;
                }
                _ => (),
            }
        }
        Slept::Woken
    }

    /// As [`Sleeper::sleep`] for a task: true if it has to wait, and its waker will be woken.
    pub(crate) fn poll(&self, barrier: Barrier, level: u32, context: &Context<'_>, ready: impl Fn() -> bool) -> bool {
        self.register(Some(Who::Task(context.waker().clone())));
        let waits = self.word.announce(barrier, level, ready);
        if !waits {
            self.register(None);
        }
        waits
    }

    /// A task that polled doesn't wait any more: nothing of it is kept, and nothing will wake it.
    pub(crate) fn forget(&self) {
        self.word.clear();
        self.register(None);
    }

    fn register(&self, who: Option<Who>) {
        let before = std::mem::replace(&mut *lock(&self.who), who);
        // Outside of the lock: with its last waker a task goes, and with it perhaps the future that sleeps here.
        drop(before);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
