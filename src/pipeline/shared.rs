//! What the threads of a lane share: the flow of its events, its memory, the rejected events, its
//! timing, and the figures that only its owner knows.
//!
//! A reader on another thread requests these figures. The owner looks at a flag once per round, and
//! publishes them only if they were requested. It never waits for a reader before the lane ends: if
//! a reader is copying the figures at that moment, the owner publishes them in the next round.
#![forbid(unsafe_code)]

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event_ring::StagePoller;
use super::flow::Flow;
use super::timing::Timing;
use super::wait::{ASLEEP, after};
use crate::process::ForkLock;
use crate::ring::{RingMemory, RingStats, Sequence};
use crate::sync::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// How long a reader sleeps between two looks.
const READER_SLEEP: Duration = Duration::from_micros(200);

/// Shared by a lane, its stages and everything that they hold. The region stays mapped as long.
pub(crate) struct LaneShared<M> {
    pub(crate) id: u32,
    pub(crate) memory: Arc<RingMemory>,
    pub(super) figures: LaneFigures,
    /// Only for a timed lane.
    pub(super) timing: Option<Timing>,
    flow: Flow<StagePoller<M>>,
    /// By slot: one more than the last sequence that was rejected there.
    rejected: Box<[AtomicI64]>,
}

impl<M> LaneShared<M> {
    pub(crate) fn new(
        id: u32,
        memory: Arc<RingMemory>,
        slots: usize,
        flow: Flow<StagePoller<M>>,
        timing: Option<Timing>,
    ) -> Self {
        assert!(slots.is_power_of_two());
        let rejected = (0..slots).map(|_| AtomicI64::new(0)).collect();
        Self { id, memory, figures: LaneFigures::new(slots), timing, flow, rejected }
    }

    /// A stage rejects the event. What lets the event through to later layers also makes this
    /// visible to them.
    #[cold]
    pub(super) fn reject(&self, stage: u32, sequence: Sequence, reason: String) {
        self.rejected[sequence as usize & (self.rejected.len() - 1)]
            .store(sequence + 1, Ordering::Relaxed);
        self.flow.stages[stage as usize].reject(sequence, reason);
    }

    pub(super) fn is_rejected(&self, sequence: Sequence) -> bool {
        self.rejected[sequence as usize & (self.rejected.len() - 1)].load(Ordering::Relaxed)
            == sequence + 1
    }

    /// Requests the owner's figures, and waits for them for at most `patience`. Returns the latest.
    pub(super) fn request_figures(&self, patience: Duration) -> OwnerStats {
        let (figures, until) = (&self.figures, after(patience));
        let published = figures.published.load(Ordering::Acquire);
        if !self.is_gone() {
            figures.requested.store(true, Ordering::Relaxed);
            self.barrier.light();
            self.io.wake_if(ASLEEP);
        }
        while figures.published.load(Ordering::Acquire) == published
            && !self.is_gone()
            && Instant::now() < until
        {
            std::thread::sleep(READER_SLEEP);
        }
        figures.latest()
    }
}

impl<M> Deref for LaneShared<M> {
    type Target = Flow<StagePoller<M>>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.flow
    }
}

/// What only the owner of a lane knows: the part of [`LaneStats`](super::LaneStats) that isn't
/// shared with the stages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnerStats {
    pub(super) pool: RingStats,
    pub(super) slots: usize,
    pub(super) slots_in_use: usize,
    pub(super) published: u64,
    pub(super) reclaimed: u64,
    pub(super) refused_ring: u64,
}

/// The owner's figures, as last published.
pub(super) struct LaneFigures {
    requested: AtomicBool,
    /// The number of times that they were published.
    published: AtomicU64,
    latest: ForkLock<OwnerStats>,
    slots: usize,
}

impl LaneFigures {
    fn new(slots: usize) -> Self {
        let latest = OwnerStats { slots, ..OwnerStats::default() };
        Self {
            requested: AtomicBool::new(false),
            published: AtomicU64::new(0),
            latest: ForkLock::new(latest),
            slots,
        }
    }

    #[inline]
    pub(super) fn are_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    pub(super) fn publish(&self, stats: OwnerStats) {
        self.requested.store(false, Ordering::Relaxed);
        match self.latest.try_lock() {
            Some(mut latest) => *latest = stats,
            // A reader is copying the last figures. They are published in the next round.
            None => return self.requested.store(true, Ordering::Relaxed),
        }
        self.published.fetch_add(1, Ordering::Release);
    }

    /// Publishes at the end of the lane, when there is no next round.
    pub(super) fn publish_last(&self, stats: OwnerStats) {
        if let Some(mut latest) = self.latest.lock() {
            *latest = stats;
        }
        self.published.fetch_add(1, Ordering::Release);
    }

    /// In a forked child, if the parent held the lock at the fork, this is only the number of
    /// slots.
    fn latest(&self) -> OwnerStats {
        let latest = self.latest.lock().map(|latest| *latest);
        latest.unwrap_or_else(|| OwnerStats { slots: self.slots, ..OwnerStats::default() })
    }
}
