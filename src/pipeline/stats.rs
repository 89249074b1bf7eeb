//! What a lane reports of itself: a snapshot for its owner or for any other thread, and the report
//! of its end.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::error::{Failure, Rejection};
use super::policy::Meta;
use super::shared::{LaneShared, OwnerStats};
use super::state::StageState;
use super::timing::StageTiming;
use crate::ring::{NONE, RingStats, Sequence};

/// One stage in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageStats {
    /// The stage's name.
    pub name: String,
    /// The sequence up to which it has released.
    pub released: Sequence,
    /// Events that it could process now.
    pub behind: u64,
    /// The oldest sequence that was read ahead and not given back, while `Held`s are alive. A
    /// leaked `Held` stays here. If a `Held` was dropped elsewhere, the stage learns it at its next
    /// call.
    pub held_from: Option<Sequence>,
    /// Whether it has processed every event up to the end of the stream.
    pub ended: bool,
    /// The first sequence that it didn't process, if it is dead or its lane ended before it.
    pub died_at: Option<Sequence>,
    /// Events that it rejected, including those of its current batch.
    pub rejected: u64,
    /// The first of these.
    pub first_rejection: Option<Rejection>,
    /// Sleeps that ended without a wake-up although there was work. A value other than zero is a
    /// defect of this library.
    pub wakes_lost: u64,
}

impl StageStats {
    fn of<M>(shared: &LaneShared<M>, stage: &StageState) -> Self {
        let released = stage.progress();
        Self {
            name: stage.name.clone(),
            released,
            behind: (shared.available(stage.layer) - released).max(0) as u64,
            held_from: Some(stage.held_from())
                .filter(|&sequence| sequence != NONE && stage.helds() > 0),
            ended: stage.has_ended(),
            died_at: Some(stage.died_at()).filter(|&sequence| sequence != i64::MAX),
            rejected: stage.rejected(),
            first_rejection: stage.rejection().cloned(),
            wakes_lost: stage.wakes_lost() as u64,
        }
    }
}

/// A snapshot of a lane. The owner gets it from [`Lane::stats`](super::Lane::stats), any other
/// thread from a [`LaneWatch`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneStats {
    /// The lane's pool.
    pub pool: RingStats,
    /// Slots of the ring.
    pub slots: usize,
    /// Slots in use, including those of events that are pushed and not yet published.
    pub slots_in_use: usize,
    /// Events published.
    pub published: u64,
    /// Events that every stage has released, as far as the owner has looked.
    pub reclaimed: u64,
    /// Pushes refused because the ring was full.
    pub refused_ring: u64,
    /// The lane's stages, in the order of the specification.
    pub stages: Vec<StageStats>,
}

impl LaneStats {
    pub(super) fn of<M>(owner: OwnerStats, shared: &LaneShared<M>) -> Self {
        let OwnerStats { pool, slots, slots_in_use, published, reclaimed, refused_ring } = owner;
        let stages = shared.stages.iter().map(|stage| StageStats::of(shared, stage)).collect();
        Self { pool, slots, slots_in_use, published, reclaimed, refused_ring, stages }
    }

    /// The name of the slowest stage, unless every stage has released everything.
    #[must_use]
    pub fn blocked_by(&self) -> Option<&str> {
        let last = i64::try_from(self.published).unwrap_or(i64::MAX) - 1;
        let slowest = self
            .stages
            .iter()
            .filter(|stage| stage.released < last)
            .min_by_key(|stage| stage.released);
        slowest.map(|stage| stage.name.as_str())
    }
}

/// A lane's statistics for any thread: Send, Sync and Clone. It keeps neither the lane nor its
/// memory alive.
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
pub struct LaneWatch(Weak<dyn WatchedLane>);

impl LaneWatch {
    pub(super) fn new<M: Meta>(shared: &Arc<LaneShared<M>>) -> Self {
        let shared: Arc<dyn WatchedLane> = shared.clone();
        Self(Arc::downgrade(&shared))
    }

    /// A snapshot, or `None` once the lane and all its stages are gone.
    ///
    /// The figures of stages are read immediately. Those of the pool, of the slots and of what was
    /// published are the owner's: the owner is woken if it sleeps, and publishes them in its next
    /// [`Lane::poll`](super::Lane::poll). If that takes longer than `patience`, they are those of
    /// the previous request.
    #[must_use]
    pub fn stats(&self, patience: Duration) -> Option<LaneStats> {
        self.0.upgrade().map(|lane| lane.stats(patience))
    }

    /// For each stage, in the order of the specification: how long events took from their flush to
    /// their release, and what its thread does. Empty if the lane isn't
    /// [timed](super::LaneSpec::timed). `None` once the lane and all its stages are gone. No thread
    /// is woken or waited for, so this also works for a lane that hangs.
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

/// A lane with any type of metadata.
trait WatchedLane: Send + Sync {
    fn stats(&self, patience: Duration) -> LaneStats;

    fn timings(&self) -> Vec<StageTiming>;
}

impl<M: Meta> WatchedLane for LaneShared<M> {
    fn stats(&self, patience: Duration) -> LaneStats {
        LaneStats::of(self.request_figures(patience), self)
    }

    fn timings(&self) -> Vec<StageTiming> {
        let timed = self.timing.as_ref().map_or(&[][..], |timing| timing.stages());
        let stages = self.stages.iter().map(|stage| stage.name.clone()).zip(timed.iter().cloned());
        stages
            .map(|(stage, (latencies, thread))| StageTiming { stage, latencies, thread })
            .collect()
    }
}

/// How a lane ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Events that were published: every one that was given a sequence.
    pub published: u64,
    /// Events that every stage has processed or rejected. Events that a detached lane released for
    /// a dead stage aren't included.
    pub consumed: u64,
    /// What each stage has done, in the order of the specification.
    pub stages: Vec<StageEnd>,
    /// Stages that hadn't ended by the deadline. Their threads continue on their own; the region
    /// stays mapped for them.
    pub late: Vec<String>,
    /// The first stage that failed.
    pub failure: Option<Failure>,
}

impl CloseReport {
    /// Whether every published event was processed (or rejected) by every stage, and every stage
    /// has ended: none is late, and none has failed.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.late.is_empty() && self.failure.is_none() && self.consumed == self.published
    }

    /// Events that stages rejected, summed over the stages.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.stages.iter().map(|stage| stage.rejected).sum()
    }
}

/// What one stage has done by the end of its lane.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageEnd {
    /// The stage's name.
    pub stage: String,
    /// Events that it has processed, including rejected ones.
    pub processed: u64,
    /// Events that it rejected, including those of its current batch.
    pub rejected: u64,
    /// The first of these.
    pub first_rejection: Option<Rejection>,
}

impl StageEnd {
    pub(super) fn of(state: &StageState) -> Self {
        Self {
            stage: state.name.clone(),
            processed: state.processed(),
            rejected: state.rejected(),
            first_rejection: state.rejection().cloned(),
        }
    }
}
