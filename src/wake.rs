//! Sleeping and waking without a lost wake-up and without a fence on the waking side.
//!
//! ```text
//! waker                                   sleeper
//! store cursor (Release)                  set the sleep word
//! light barrier                           heavy barrier
//! load sleep word (Relaxed)               look again: is there work?
//! set? clear it and wake                  no: sleep until the word is cleared
//! ```
//! One of the two sees the other's store: see [`crate::barrier`]. A [`SleepWord`] is that word
//! alone. A [`Sleeper`] is the word together with its sleeper: a thread, which parks, or an async
//! task, which is woken by its waker. Wakers are called, cloned and dropped outside of locks,
//! because on one CPU a woken thread may run at once, and a task's waker may run anything. If a
//! waker panics when it is called or dropped, the panic is caught after the process's panic hook
//! has reported it, and the remaining sleepers are still woken.
//!
//! Where the kernel refuses the heavy barrier, a waker may miss the word, so nothing relies on it.
//! A thread naps for at most a millisecond ([`NAP`]) and looks again, repeatedly. A task naps for
//! less ([`TASK_NAP`]) in its poll and wakes itself. That costs latency, and little CPU.
//!
//! Only one thread or task at a time sleeps under a word; the word's owner ensures that.
#![forbid(unsafe_code)]

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::barrier::Barrier;
use crate::sync::{AtomicU32, ForkLock, Ordering, Padded, Thread, current_thread, park, park_for};

const AWAKE: u32 = 0;
/// Asleep: wake for what there is to do.
pub(crate) const ASLEEP: u32 = 1;
/// A bit next to the level: nobody sleeps under this word any more, which tells the wakers.
const GONE: u32 = 1 << 31;
/// A park without a time limit checks again after this time.
const NET: Duration = Duration::from_secs(1);
/// How long a thread without a barrier sleeps before it looks again.
pub(crate) const NAP: Duration = Duration::from_millis(1);
/// As [`NAP`] for a task: other tasks of its thread wait meanwhile.
const TASK_NAP: Duration = Duration::from_micros(100);

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

    /// Clears the word; true if it was set. Read-modify-writes here and below, because loom keeps
    /// no single order of plain stores and swaps: beside the barrier they cost nothing.
    pub(crate) fn clear(&self) -> bool {
        // SYNC S6: the sleeper sees what the waker did before.
        self.0.0.fetch_and(GONE, Ordering::AcqRel) & !GONE != AWAKE
    }

    /// The sleeper's half. `ready` looks again, after the barrier.
    pub(crate) fn announce(
        &self,
        barrier: Barrier,
        level: u32,
        ready: impl Fn() -> bool,
    ) -> Announced {
        debug_assert!(level > AWAKE && level < GONE);
        let before = self.0.0.swap(level, Ordering::AcqRel);
        assert!(before & GONE == 0, "nobody sleeps under a word that was left");
        let is_heard = barrier.try_heavy();
        if ready() {
            self.clear();
            return Announced::Ready;
        }
        if is_heard { Announced::Asleep } else { Announced::Unheard }
    }

    /// Nobody sleeps here any more. Whoever publishes after this returned sees it at its next look;
    /// what was published before is seen by the caller.
    pub(crate) fn leave(&self, barrier: Barrier) {
        self.0.0.fetch_or(GONE, Ordering::AcqRel);
        barrier.heavy_or_nap();
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.0.0.load(Ordering::Acquire) & GONE != 0
    }
}

/// The result of announcing a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// The word is set, and every waker will see it: sleep until it is cleared.
    Asleep,
    /// There is work, and the word is clear.
    Ready,
    /// The word is set, and a waker may miss it: nap, and look again.
    Unheard,
}

/// The sleeper.
#[derive(Debug)]
pub(crate) enum Who {
    Thread(Thread),
    Task(Waker),
}

/// The sleeper to wake. No waker is called, cloned or dropped under its lock, and a task's panics
/// are caught here.
#[derive(Debug)]
pub(crate) struct Registration(ForkLock<Option<Who>>);

impl Registration {
    pub(crate) fn new(who: Option<Who>) -> Self {
        Self(ForkLock::new(who))
    }

    /// Replaces the registered sleeper.
    pub(crate) fn set(&self, who: Option<Who>) {
        let Some(mut registered) = self.0.lock() else { return };
        let before = mem::replace(&mut *registered, who);
        drop(registered);
        // Dropping a task's last waker may drop the task, and with it the future that sleeps here.
        shielded(|| drop(before));
    }

    /// Wakes the registered sleeper. A task registers at each poll and is removed; a thread
    /// registers once per sleep, and may be woken early.
    pub(crate) fn wake(&self) {
        let Some(mut registered) = self.0.lock() else { return };
        let who = match &*registered {
            Some(Who::Thread(thread)) => Some(Who::Thread(thread.clone())),
            _ => registered.take(),
        };
        drop(registered);
        match who {
            Some(Who::Thread(thread)) => thread.unpark(),
            Some(Who::Task(waker)) => shielded(|| waker.wake()),
            None => (),
        }
    }
}

/// Runs code that belongs to a task. The panic hook has reported its panic, which doesn't concern
/// the caller: the other end of a queue, or a drop.
pub(crate) fn shielded(run: impl FnOnce()) {
    if cfg!(loom) {
        // A model's own reports are panics.
        return run();
    }
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run))
        && let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
    {
        // A value that panics in its drop may do so again, so it is leaked.
        mem::forget(again);
    }
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slept {
    /// Somebody woke it, or there was work before it slept.
    Woken,
    /// The time is over.
    TimedOut,
    /// There was work, seen at two looks of the clock, and no wake-up: a defect, which is counted.
    Lost,
}

/// A sleep word and its sleeper.
#[derive(Debug)]
pub(crate) struct Sleeper {
    pub(crate) word: SleepWord,
    who: Registration,
}

impl Sleeper {
    pub(crate) fn new() -> Self {
        Self { word: SleepWord::new(), who: Registration::new(None) }
    }

    /// The waker's half. The light barrier comes before it, once for all sleepers.
    #[inline]
    pub(crate) fn wake_if(&self, least: u32) {
        if self.word.is_at_least(least) {
            self.wake();
        }
    }

    /// Wakes, whatever it sleeps for.
    #[cold]
    pub(crate) fn wake(&self) {
        if self.word.clear() {
            self.who.wake();
        }
    }

    /// Sleeps until somebody wakes it, or until the time is over.
    pub(crate) fn sleep(
        &self,
        barrier: Barrier,
        level: u32,
        until: Option<Instant>,
        ready: impl Fn() -> bool,
    ) -> Slept {
        // Each time: the handle may have moved to another thread since.
        self.who.set(Some(Who::Thread(current_thread())));
        match self.word.announce(barrier, level, &ready) {
            Announced::Ready => Slept::Woken,
            Announced::Asleep => self.until_woken(until, ready),
            Announced::Unheard => self.by_naps(until, ready),
        }
    }

    /// Once per second it asks `ready`, in case a wake-up was lost. Work that is seen once may be
    /// so new that its wake-up is still coming; work seen twice isn't.
    fn until_woken(&self, until: Option<Instant>, ready: impl Fn() -> bool) -> Slept {
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

    /// Without the barrier a wake-up isn't promised, so none counts as lost.
    fn by_naps(&self, until: Option<Instant>, ready: impl Fn() -> bool) -> Slept {
        while self.word.is_asleep() && !ready() {
            let left = until.map_or(NAP, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                self.word.clear();
                return Slept::TimedOut;
            }
            park_for(left.min(NAP));
        }
        self.word.clear();
        Slept::Woken
    }

    /// As [`Sleeper::sleep`] for a task: true if it has to wait, and its waker will be woken.
    pub(crate) fn poll(
        &self,
        barrier: Barrier,
        level: u32,
        context: &Context<'_>,
        ready: impl Fn() -> bool,
    ) -> bool {
        self.who.set(Some(Who::Task(context.waker().clone())));
        match self.word.announce(barrier, level, &ready) {
            Announced::Asleep => return true,
            Announced::Ready => (),
            Announced::Unheard => {
                thread::sleep(TASK_NAP);
                if !ready() {
                    context.waker().wake_by_ref();
                    return true;
                }
            }
        }
        self.forget();
        false
    }

    /// A polled task stops waiting: nothing of it is kept, and nothing will wake it.
    pub(crate) fn forget(&self) {
        self.word.clear();
        self.who.set(None);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
