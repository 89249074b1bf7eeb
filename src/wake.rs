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
//! because on one CPU a woken thread may run immediately, and a task's waker may run anything. If a
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
use crate::process::ForkLock;
use crate::sync::{AtomicU32, Ordering, PARK_MAX, Padded, Thread, current_thread, park, park_for};

const AWAKE: u32 = 0;
/// Asleep: wake for what there is to do.
pub(crate) const ASLEEP: u32 = 1;
/// A bit beside the level: no thread or task sleeps under this word any more. Wakers see it.
const GONE: u32 = 1 << 31;
/// How long a thread without a barrier sleeps before it looks again.
pub(crate) const NAP: Duration = Duration::from_millis(1);
/// As [`NAP`], for a task: other tasks of its thread wait during the nap.
const TASK_NAP: Duration = Duration::from_micros(100);

/// How long a thread spins before it sleeps: an end of a queue, and a lane's thread that waits by
/// `Wait::Park`.
pub(crate) const SPIN_TIME: Duration = Duration::from_micros(30);
/// Right after work, the next event or message is about to be written, and every look takes the
/// cache line away from its writer. So a spinning thread makes this many first looks with
/// [`PATIENT_PAUSES`] pauses in between. Later looks have one pause in between. (The contenders
/// `arc-ring` and `arc-ring-patient` in compare/ differ only in this; see "Two threads" in
/// benches/record/REPORT.md.)
pub(crate) const PATIENT_LOOKS: u32 = 4;
pub(crate) const PATIENT_PAUSES: u32 = 16;
/// A spinning thread reads the clock once per this many looks, because a reading costs more than a
/// look.
pub(crate) const LOOKS_PER_CLOCK: u32 = 16;

/// The level at which one thread or task sleeps (see `pipeline::wait`: for work, or for room too),
/// or that it is awake, or gone.
#[derive(Debug)]
pub(crate) struct SleepWord(Padded<AtomicU32>);

impl SleepWord {
    pub(crate) fn new() -> Self {
        Self(Padded(AtomicU32::new(AWAKE)))
    }

    /// The waker's look, after the light barrier: asleep at this level or deeper, or gone.
    #[inline]
    pub(crate) fn is_at_least(&self, least: u32) -> bool {
        self.0.0.load(Ordering::Relaxed) >= least
    }

    pub(crate) fn is_asleep(&self) -> bool {
        // SYNC S6: pairs with the clearing.
        self.0.0.load(Ordering::Acquire) & !GONE != AWAKE
    }

    /// Clears the word; true if it was set. This and the writes below are read-modify-writes,
    /// because loom keeps no single order of plain stores and swaps. Compared with the barrier they
    /// cost nothing.
    pub(crate) fn clear(&self) -> bool {
        // SYNC S6: the sleeper sees what the waker did before.
        self.0.0.fetch_and(GONE, Ordering::AcqRel) & !GONE != AWAKE
    }

    /// The sleeper's half: sets the word and passes the heavy barrier. Then `ready` looks again.
    pub(crate) fn announce(
        &self,
        barrier: Barrier,
        level: u32,
        ready: impl Fn() -> bool,
    ) -> Announced {
        debug_assert!(level > AWAKE && level < GONE);
        let before = self.0.0.swap(level, Ordering::AcqRel);
        assert!(before & GONE == 0, "a sleep under a word that was left");
        let is_heard = barrier.try_heavy();
        if ready() {
            self.clear();
            return Announced::Ready;
        }
        if is_heard { Announced::Asleep } else { Announced::Unheard }
    }

    /// Marks that nothing sleeps here any more. What is published after this has returned finds the
    /// mark at its next look; what was published before is visible to the caller.
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

/// How to wake a sleeper.
#[derive(Debug)]
pub(crate) enum WakeHandle {
    Thread(Thread),
    Task(Waker),
}

/// The sleeper to wake. No waker is called, cloned or dropped under its lock, and a task's panics
/// are caught here.
#[derive(Debug)]
pub(crate) struct Registration(ForkLock<Option<WakeHandle>>);

impl Registration {
    pub(crate) fn new(handle: Option<WakeHandle>) -> Self {
        Self(ForkLock::new(handle))
    }

    /// Replaces the registered sleeper.
    pub(crate) fn set(&self, handle: Option<WakeHandle>) {
        let Some(mut registered) = self.0.lock() else { return };
        let before = mem::replace(&mut *registered, handle);
        drop(registered);
        // Dropping a task's last waker may drop the task, and with it the future that sleeps here.
        shielded(|| drop(before));
    }

    /// Wakes the registered sleeper. A task registers at each poll and is removed; a thread
    /// registers once per sleep, and may be woken early.
    pub(crate) fn wake(&self) {
        let Some(mut registered) = self.0.lock() else { return };
        let handle = match &*registered {
            Some(WakeHandle::Thread(thread)) => Some(WakeHandle::Thread(thread.clone())),
            _ => registered.take(),
        };
        drop(registered);
        match handle {
            Some(WakeHandle::Thread(thread)) => thread.unpark(),
            Some(WakeHandle::Task(waker)) => shielded(|| waker.wake()),
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
    /// It was woken, or there was work before it slept.
    Woken,
    /// The time was over.
    TimedOut,
    /// There was work, seen at two looks of the clock, and no wake-up: a defect, which is counted.
    Lost,
}

/// A sleep word and its sleeper.
#[derive(Debug)]
pub(crate) struct Sleeper {
    pub(crate) word: SleepWord,
    registration: Registration,
}

impl Sleeper {
    pub(crate) fn new() -> Self {
        Self { word: SleepWord::new(), registration: Registration::new(None) }
    }

    /// The waker's half. The light barrier comes before it, once for all sleepers.
    #[inline]
    pub(crate) fn wake_if(&self, least: u32) {
        if self.word.is_at_least(least) {
            self.wake();
        }
    }

    /// Wakes it, whatever it sleeps for.
    #[cold]
    pub(crate) fn wake(&self) {
        if self.word.clear() {
            self.registration.wake();
        }
    }

    /// Sleeps until it is woken, or until the time is over.
    pub(crate) fn sleep(
        &self,
        barrier: Barrier,
        level: u32,
        until: Option<Instant>,
        ready: impl Fn() -> bool,
    ) -> Slept {
        // At each sleep, because the sleeper may have moved to another thread since the last.
        self.registration.set(Some(WakeHandle::Thread(current_thread())));
        match self.word.announce(barrier, level, &ready) {
            Announced::Ready => Slept::Woken,
            Announced::Asleep => self.park_until_woken(until, ready),
            Announced::Unheard => self.nap_until_ready(until, ready),
        }
    }

    /// Asks `ready` once per second, in case a wake-up was lost. Work that is seen once may be so
    /// new that its wake-up is still coming. Work that is seen twice isn't.
    fn park_until_woken(&self, until: Option<Instant>, ready: impl Fn() -> bool) -> Slept {
        let mut seen = false;
        while self.word.is_asleep() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match left {
                Some(Duration::ZERO) => {
                    self.word.clear();
                    return Slept::TimedOut;
                }
                Some(left) if left < PARK_MAX => park_for(left),
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
    fn nap_until_ready(&self, until: Option<Instant>, ready: impl Fn() -> bool) -> Slept {
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

    /// As [`Sleeper::sleep`], for a task. Returns true if it has to wait; then its waker is called.
    pub(crate) fn poll(
        &self,
        barrier: Barrier,
        level: u32,
        context: &Context<'_>,
        ready: impl Fn() -> bool,
    ) -> bool {
        self.registration.set(Some(WakeHandle::Task(context.waker().clone())));
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

    /// A polled task stops waiting: its waker is dropped, and nothing will wake it.
    pub(crate) fn forget(&self) {
        self.word.clear();
        self.registration.set(None);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
