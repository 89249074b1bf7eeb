//! What the two ends of a queue share apart from the ring: how it ended, and who sleeps.
//!
//! After storing its cursor, each end passes the light barrier and reads the other's sleep word.
//! Before it sleeps, it sets its own word, passes the heavy barrier and looks again (see
//! [`crate::wake`]).
//!
//! The dequeuing end leaves, when it has seen the end or is dropped, in three steps: it marks its
//! sleep word as left, passes the heavy barrier, and puts the consumer into `left`. An enqueuer
//! that publishes too late sees the mark (it looks after its store, as always) and takes its
//! message back out of `left`. So a message is either dequeued or handed back, and none stays in a
//! ring that nobody empties, at no cost on the common path.
#![forbid(unsafe_code)]

use std::hint::spin_loop;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use super::end::{End, EndState};
use super::ring::{Consumer, Producer, Ring, Side, Weigh};
use crate::barrier::Barrier;
use crate::process::ForkLock;
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::wake::{ASLEEP, Sleeper, Slept};

/// How long an end spins before it sleeps.
const SPIN: Duration = Duration::from_micros(30);
/// Right after work, the next item is about to be written, and every look takes the cache line away
/// from its writer. So the first looks are further apart.
const PATIENT_LOOKS: u32 = 4;
const PATIENT_PAUSES: u32 = 16;
/// Looks at the clock are this many looks apart.
const CLOCK_LOOKS: u32 = 16;

pub(crate) struct Shared<T: Weigh> {
    pub(crate) barrier: Barrier,
    pub(crate) end: EndState,
    pub(crate) enqueuer: Sleeper,
    pub(crate) dequeuer: Sleeper,
    pub(crate) ring: Arc<Ring<T>>,
    left: ForkLock<Option<Consumer<T>>>,
}

impl<T: Weigh> Shared<T> {
    pub(crate) fn new(producer: &Producer<T>) -> Self {
        let (end, enqueuer, dequeuer) = (EndState::new(), Sleeper::new(), Sleeper::new());
        let ring = Arc::clone(producer.ring());
        Self {
            barrier: Barrier::choose(),
            end,
            enqueuer,
            dequeuer,
            ring,
            left: ForkLock::new(None),
        }
    }

    /// Ends the queue and wakes the waiters; false if it had already ended.
    pub(crate) fn finish(&self, end: End) -> bool {
        let is_first = self.end.set(end);
        if is_first {
            // Not by `wake_if`: a swap of the word and the sleeper's own are ordered without a
            // barrier.
            self.enqueuer.wake();
            self.dequeuer.wake();
        }
        is_first
    }

    /// Waits until `ready`, a condition that the other end wakes for. Returns false if the time is
    /// over.
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
        side.waited(slept == Slept::Lost);
        slept != Slept::TimedOut
    }

    /// The dequeuing end's last step: the oldest message if there still is one, else the consumer
    /// is left to the enqueuer.
    pub(crate) fn leave(&self, consumer: &mut Option<Consumer<T>>) -> Option<T> {
        debug_assert!(self.end.is_set(), "nobody leaves an open queue");
        let mut left = self.left.lock();
        let late = consumer.as_mut().and_then(Consumer::pop);
        if late.is_none() {
            let consumer = consumer.take();
            if let Some(left) = &mut left {
                assert!(left.is_none(), "a queue has one dequeuer, which leaves once");
                **left = consumer;
            }
        }
        late
    }

    /// The enqueuer's message that came too late for the dequeuing end.
    pub(crate) fn take_back(&self) -> Option<T> {
        debug_assert!(self.end.is_set(), "nobody leaves an open queue");
        let mut left = self.left.lock()?;
        let consumer = left.as_mut()?;
        let late = consumer.pop();
        debug_assert!(!consumer.has_more(), "the next push is refused before it publishes");
        late
    }
}

/// Whether spinning may help: on a single CPU nobody else runs meanwhile. Under loom there is no
/// time to pass.
fn spins() -> bool {
    /// The system's answer; 0 before the first question. There is no lock and no `OnceLock`,
    /// because a forked child might find it taken.
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
    let over = Instant::now() + SPIN;
    let over = until.map_or(over, |until| over.min(until));
    for look in 0.. {
        if ready() {
            return true;
        }
        (0..if look < PATIENT_LOOKS { PATIENT_PAUSES } else { 1 }).for_each(|_| spin_loop());
        if look % CLOCK_LOOKS == CLOCK_LOOKS - 1 && Instant::now() >= over {
            break;
        }
    }
    false
}
