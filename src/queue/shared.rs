//! What the two ends of a queue and its closers share apart from the ring: how the queue ended, and
//! who sleeps.
//!
//! After storing its count, each end passes the light barrier and reads the other's sleep word.
//! Before it sleeps, it sets its own word, passes the heavy barrier and checks again (see
//! [`crate::wake`]).
//!
//! When the dequeuing end has seen the end, or is dropped, it stops in three steps: it marks its
//! sleep word as gone, passes the heavy barrier, and hands the consumer over to the enqueuer
//! (`handed_over`). An enqueuer that publishes too late sees the mark (it checks after its store,
//! as always) and pops its message from the consumer. So a message is either dequeued or handed
//! back, and none stays in a ring that nothing empties, at no cost on the common path.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::hint::spin_loop;
use std::sync::OnceLock;
use std::thread::available_parallelism;
use std::time::Instant;

use super::ring::{Consumer, Producer, QueueRing, QueueStats, Side, Weigh};
use crate::barrier::Barrier;
use crate::class::PooledBuf;
use crate::process::{ForkLock, Process};
use crate::sync::{Arc, AtomicU32, AtomicU64, Ordering, pause};
use crate::wake::{
    ASLEEP, LOOKS_PER_CLOCK, PATIENT_LOOKS, PATIENT_PAUSES, SPIN_TIME, Sleeper, Slept,
};

/// The error that a queue was closed with. Both ends get the same one.
pub type CloseError = std::sync::Arc<dyn Error + Send + Sync>;

/// How a queue ended. It ends once: the first end wins.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum End {
    /// The enqueuer closed it: every message was enqueued.
    Clean,
    /// It was closed with an error.
    Error(CloseError),
    /// The dequeuer was dropped: messages are no longer dequeued.
    Abandoned,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("the queue was closed: no more messages come"),
            Self::Error(error) => write!(f, "the queue was closed: {error}"),
            Self::Abandoned => {
                f.write_str("the queue's dequeuer was dropped: messages are no longer dequeued")
            }
        }
    }
}

/// The enqueuer was dropped by a panic. The messages in the queue may be only a part of what it
/// meant to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnqueuerPanicked;

impl fmt::Display for EnqueuerPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue's enqueuer was dropped by a panic: later messages are missing")
    }
}

impl Error for EnqueuerPanicked {}

/// This process was forked while the queue was open, and a call of one of its ends would have
/// waited for a thread of the parent. Make a new queue after the fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forked;

impl fmt::Display for Forked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this process was forked from the one that made the queue: make a queue after the fork",
        )
    }
}

impl Error for Forked {}

/// Closes a queue from any thread: for the teardown of a connection with all of its streams. It
/// holds no message and no pool.
#[derive(Clone)]
pub struct Closer(Arc<QueueShared<PooledBuf>>);

impl Closer {
    pub(crate) fn new(shared: &Arc<QueueShared<PooledBuf>>) -> Self {
        Self(Arc::clone(shared))
    }

    /// Closes the queue with an error. Messages that are queued are dequeued first; then every
    /// dequeue returns this error. Enqueues return it with their buffers. This call waits for no
    /// lock; if another thread is ending the queue at the same moment, it waits until that end is
    /// stored. It returns false if the queue had already ended: the first end wins.
    pub fn close_with(&self, error: impl Into<Box<dyn Error + Send + Sync>>) -> bool {
        self.0.close_as(End::Error(error.into().into()))
    }

    /// How the queue ended, once it has.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.0.end.get()
    }

    /// Figures of the queue, from any thread.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        QueueStats::of(&self.0.ring)
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closer").field("end", &self.end()).finish_non_exhaustive()
    }
}

/// The state that the two ends of one queue and its closers share.
pub(crate) struct QueueShared<T: Weigh> {
    pub(crate) barrier: Barrier,
    pub(crate) end: EndState,
    pub(crate) enqueuer: Sleeper,
    pub(crate) dequeuer: Sleeper,
    pub(crate) ring: Arc<QueueRing<T>>,
    /// The consumer, after the dequeuing end has stopped.
    handed_over: ForkLock<Option<Consumer<T>>>,
}

impl<T: Weigh> QueueShared<T> {
    pub(crate) fn new(producer: &Producer<T>) -> Self {
        let (end, enqueuer, dequeuer) = (EndState::new(), Sleeper::new(), Sleeper::new());
        let ring = Arc::clone(producer.ring());
        Self {
            barrier: Barrier::choose(),
            end,
            enqueuer,
            dequeuer,
            ring,
            handed_over: ForkLock::new(None),
        }
    }

    /// Ends the queue and wakes both ends. Returns false if it had already ended.
    pub(crate) fn close_as(&self, end: End) -> bool {
        let is_first = self.end.set(end);
        if is_first {
            // `wake_if` only reads the word, so it would need the barrier. `wake` swaps it, which
            // is ordered with the sleeper's own swap.
            self.enqueuer.wake();
            self.dequeuer.wake();
        }
        is_first
    }

    /// Waits until `ready`, a condition for which the other end wakes this one. Returns false if
    /// the time is over.
    pub(crate) fn wait(
        &self,
        (sleeper, side): (&Sleeper, &Side),
        until: Option<Instant>,
        ready: impl Fn() -> bool,
    ) -> bool {
        self.end.end_if_forked();
        if spins() && spin(until, &ready) {
            return true;
        }
        let slept = sleeper.sleep(self.barrier, ASLEEP, until, ready);
        side.count_wait(slept == Slept::Lost);
        slept != Slept::TimedOut
    }

    /// The dequeuing end's last step. Returns the oldest message if there still is one; otherwise
    /// the consumer is handed over to the enqueuer.
    pub(crate) fn pop_or_hand_over(&self, consumer: &mut Option<Consumer<T>>) -> Option<T> {
        debug_assert!(self.end.is_set(), "the dequeuing end stops only after the end of the queue");
        let mut handed_over = self.handed_over.lock();
        let late = consumer.as_mut().and_then(Consumer::pop);
        if late.is_none() {
            let consumer = consumer.take();
            if let Some(handed_over) = &mut handed_over {
                assert!(handed_over.is_none(), "a queue has one dequeuer, which stops once");
                **handed_over = consumer;
            }
        }
        late
    }

    /// The enqueuer's message, if it was too late for the dequeuing end.
    pub(crate) fn pop_late(&self) -> Option<T> {
        debug_assert!(self.end.is_set(), "the dequeuing end stops only after the end of the queue");
        let mut handed_over = self.handed_over.lock()?;
        let consumer = handed_over.as_mut()?;
        let late = consumer.pop();
        debug_assert!(!consumer.has_more(), "the next push is refused before it publishes");
        late
    }
}

const OPEN: u32 = 0;
/// A thread is ending it, and is about to set `end`.
const ENDING: u32 = 1;
const CLEAN: u32 = 2;
const UNCLEAN: u32 = 3;
/// In a forked child, where no other thread can end it. `end` isn't used then, because a thread of
/// the parent may have been about to set it at the fork.
const FORKED: u32 = 4;

/// How a queue ended: a word to check, and the value that belongs to it. There is no lock, because
/// a forked child or a waker might find it locked.
#[derive(Debug)]
pub(crate) struct EndState {
    word: AtomicU32,
    /// Set by the thread that changed the word from `OPEN`, so no thread waits in the cell.
    end: OnceLock<End>,
    made_by: Process,
}

impl EndState {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(OPEN), end: OnceLock::new(), made_by: Process::current() }
    }

    /// Ends it. Returns false if another thread has already ended it.
    pub(crate) fn set(&self, end: End) -> bool {
        if self.word.compare_exchange(OPEN, ENDING, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            // In a forked child, the thread that was ending it doesn't exist, so `end` would never
            // be set.
            self.end_if_forked();
            // It is set in a moment. This thread doesn't spin: with a higher priority it would keep
            // the CPU from the thread that sets it.
            let mut checks = 0;
            while !self.is_set() {
                pause(checks);
                checks += 1;
            }
            return false;
        }
        let word = if matches!(end, End::Clean) { CLEAN } else { UNCLEAN };
        let is_first = self.end.set(end).is_ok();
        assert!(is_first, "only the thread that changed the word sets the end");
        // SYNC S13: a thread that sees the word also sees the error, and what was enqueued before a
        // clean end.
        self.word.store(word, Ordering::Release);
        true
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        // SYNC S13
        self.word.load(Ordering::Acquire) > ENDING
    }

    /// Whether the enqueuer closed it: no message can come any more.
    pub(crate) fn is_clean(&self) -> bool {
        // SYNC S13
        self.word.load(Ordering::Acquire) == CLEAN
    }

    /// Called before a wait. In a forked child an open queue ends here, because the threads that
    /// would wake the caller don't exist.
    pub(crate) fn end_if_forked(&self) {
        if !self.made_by.is_current() && !self.is_set() {
            // SYNC S13
            self.word.store(FORKED, Ordering::Release);
        }
    }

    pub(crate) fn get(&self) -> Option<End> {
        // SYNC S13
        match self.word.load(Ordering::Acquire) {
            OPEN | ENDING => None,
            FORKED => Some(End::Error(std::sync::Arc::new(Forked))),
            _ => self.end.get().cloned(),
        }
    }
}

/// Whether spinning may help: on a single CPU no other thread runs meanwhile. Under loom no time
/// passes.
fn spins() -> bool {
    /// The number of CPUs; 0 before it is read. It is no lock and no `OnceLock`, because a forked
    /// child might find that locked.
    static CPUS: AtomicU64 = AtomicU64::new(0);
    if cfg!(loom) {
        return false;
    }
    let mut cpus = CPUS.load(Ordering::Relaxed);
    if cpus == 0 {
        cpus = available_parallelism().map_or(2, |cpus| cpus.get() as u64);
        CPUS.store(cpus, Ordering::Relaxed);
    }
    cpus > 1
}

fn spin(until: Option<Instant>, ready: impl Fn() -> bool) -> bool {
    let over = Instant::now() + SPIN_TIME;
    let over = until.map_or(over, |until| over.min(until));
    for check in 0.. {
        if ready() {
            return true;
        }
        (0..if check < PATIENT_LOOKS { PATIENT_PAUSES } else { 1 }).for_each(|_| spin_loop());
        if check % LOOKS_PER_CLOCK == LOOKS_PER_CLOCK - 1 && Instant::now() >= over {
            break;
        }
    }
    false
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The child was forked while a thread of the parent was about to set the end.
    #[test]
    fn a_forked_child_does_not_wait_for_the_thread_that_was_ending_it() {
        let (word, end, made_by) = (AtomicU32::new(ENDING), OnceLock::new(), Process::other());
        let state = EndState { word, end, made_by };
        assert!(!state.set(End::Clean));
        assert!(
            state.is_set()
                && matches!(state.get(), Some(End::Error(error)) if error.is::<Forked>())
        );
    }
}
