//! A lane's statistics on another thread: what the stages share is read at once, and what only the
//! owner knows is asked of it.
//!
//! The owner looks at a flag once per round and pays for the figures only when somebody asked. It
//! waits for no reader before it goes: figures that a reader is just copying are told again in the
//! next round.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::lane::Lane;
use super::shared::LaneShared;
use super::slot::Meta;
use super::stats::{LaneStats, OwnerStats};
use super::timing::StageTiming;
use super::wake::ASLEEP;
use crate::process::ForkLock;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// How long a reader sleeps between two looks.
const LOOK: Duration = Duration::from_micros(200);

/// The owner's figures, as last published.
pub(crate) struct Figures {
    asked: AtomicBool,
    /// How often they were published.
    told: AtomicU64,
    latest: ForkLock<OwnerStats>,
    slots: usize,
}

impl Figures {
    pub(super) fn new(slots: usize) -> Self {
        let latest = OwnerStats { slots, ..OwnerStats::default() };
        Self {
            asked: AtomicBool::new(false),
            told: AtomicU64::new(0),
            latest: ForkLock::new(latest),
            slots,
        }
    }

    #[inline]
    pub(super) fn are_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    fn tell(&self, stats: OwnerStats) {
        self.asked.store(false, Ordering::Relaxed);
        match self.latest.try_lock() {
            Some(mut latest) => *latest = stats,
            // A reader copies the last ones: again in the next round.
            None => return self.asked.store(true, Ordering::Relaxed),
        }
        self.told.fetch_add(1, Ordering::Release);
    }

    /// There is no next round.
    fn tell_last(&self, stats: OwnerStats) {
        if let Some(mut latest) = self.latest.lock() {
            *latest = stats;
        }
        self.told.fetch_add(1, Ordering::Release);
    }

    /// In a forked child, where somebody may have held the lock at the fork, perhaps nothing but
    /// the number of slots.
    fn latest(&self) -> OwnerStats {
        let latest = self.latest.lock().map(|latest| *latest);
        latest.unwrap_or_else(|| OwnerStats { slots: self.slots, ..OwnerStats::default() })
    }
}

impl<M: Meta> Lane<M> {
    /// A handle through which any thread can read this lane's statistics.
    #[must_use]
    pub fn watch(&self) -> LaneWatch {
        self.tell_figures();
        let shared: Arc<dyn Watched> = self.shared.clone();
        LaneWatch(Arc::downgrade(&shared))
    }

    #[cold]
    pub(super) fn tell_figures(&self) {
        self.shared.figures.tell(self.owner_stats());
    }

    pub(super) fn tell_last_figures(&self) {
        self.shared.figures.tell_last(self.owner_stats());
    }
}

/// A lane whatever its metadata is.
trait Watched: Send + Sync {
    fn stats(&self, patience: Duration) -> LaneStats;

    fn timings(&self) -> Vec<StageTiming>;
}

impl<M: Meta> Watched for LaneShared<M> {
    fn stats(&self, patience: Duration) -> LaneStats {
        let (figures, until) = (&self.figures, super::sleep::after(patience));
        let told = figures.told.load(Ordering::Acquire);
        if !self.is_gone() {
            figures.asked.store(true, Ordering::Relaxed);
            self.barrier.light();
            self.io.wake_if(ASLEEP);
        }
        while figures.told.load(Ordering::Acquire) == told
            && !self.is_gone()
            && Instant::now() < until
        {
            std::thread::sleep(LOOK);
        }
        LaneStats::of(figures.latest(), self)
    }

    fn timings(&self) -> Vec<StageTiming> {
        let timed = self.timing.as_ref().map_or(&[][..], |timing| timing.stages());
        let stages = self.stages.iter().map(|stage| stage.name.clone()).zip(timed.iter().cloned());
        stages
            .map(|(stage, (latencies, thread))| StageTiming { stage, latencies, thread })
            .collect()
    }
}

/// A lane's statistics for any thread: Send, Sync and Clone. It doesn't keep the lane or its
/// memory.
///
/// ```
/// use std::time::Duration;
/// use slipring::pipeline::{LaneSpec, StageSpec};
/// use slipring::ring::RingOptions;
///
/// let pool = RingOptions { bytes: 1 << 20, ..RingOptions::default() };
/// let started = LaneSpec::new(pool, 64).layer([StageSpec::inline("sum")]).start::<()>()?;
/// let watch = started.lane.watch();
/// let reader = std::thread::spawn(move || watch.stats(Duration::ZERO).map(|stats| stats.slots));
/// assert_eq!(reader.join().expect("it reads"), Some(64));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LaneWatch(Weak<dyn Watched>);

impl LaneWatch {
    /// A snapshot, or `None` once the lane and all its stages are gone.
    ///
    /// What stages do is read at once. The pool, the slots and what was published are the owner's:
    /// it is asked, is woken if it sleeps, and answers in its next [`Lane::poll`]. If that takes
    /// longer than `patience`, these figures are those of the answer before.
    #[must_use]
    pub fn stats(&self, patience: Duration) -> Option<LaneStats> {
        self.0.upgrade().map(|lane| lane.stats(patience))
    }

    /// How long events took from their flush to their release by each stage, and what its thread
    /// does, in the order of the specification: nothing of a lane that isn't
    /// [timed](super::LaneSpec::timed). `None` once the lane and all its stages are gone. Nobody is
    /// asked or woken, so it tells also of a lane that hangs.
    #[must_use]
    pub fn timings(&self) -> Option<Vec<StageTiming>> {
        self.0.upgrade().map(|lane| lane.timings())
    }
}

impl fmt::Debug for LaneWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneWatch").field("is_gone", &(self.0.strong_count() == 0)).finish()
    }
}
