//! What a lane knows of itself.
#![forbid(unsafe_code)]

use super::lane::Lane;
use super::shared::LaneShared;
use super::slot::Meta;
use super::spec::{Reclaim, overwrite_bytes};
use super::state::{Rejection, StageState};
use crate::ring::{NONE, RightSize, RingStats, Sequence};

/// One stage in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageStats {
    /// Its name.
    pub name: String,
    /// The sequence up to which it has released.
    pub released: Sequence,
    /// Events that it could process now.
    pub behind: u64,
    /// The oldest sequence that was read ahead and not given back, while `Held`s of it are alive. A
    /// leaked `Held` stays here; of one that was dropped elsewhere the stage learns at its next
    /// call.
    pub held_from: Option<Sequence>,
    /// Whether it has processed the whole stream.
    pub ended: bool,
    /// The first sequence that it didn't process, if it is dead or was left by its lane.
    pub died_at: Option<Sequence>,
    /// Events that it rejected, those of the batch that it is at included.
    pub rejected: u64,
    /// The first of these.
    pub first_rejection: Option<Rejection>,
    /// Sleeps that ended without a wake-up though there was work: a defect of ours if it isn't
    /// zero.
    pub wakes_lost: u64,
}

/// A snapshot of a lane. Its owner takes one by [`Lane::stats`], any other thread by a
/// [`LaneWatch`](super::LaneWatch).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneStats {
    /// Its pool.
    pub pool: RingStats,
    /// Slots of the ring.
    pub slots: usize,
    /// Slots in use, pushed ones included.
    pub slots_in_use: usize,
    /// Events published.
    pub published: u64,
    /// Events that every stage is done with.
    pub reclaimed: u64,
    /// Pushing refused because the ring was full.
    pub refused_ring: u64,
    /// Its stages, in the order of the specification.
    pub stages: Vec<StageStats>,
}

/// What only the owner of a lane knows: the part of [`LaneStats`] that isn't shared with the
/// stages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnerStats {
    pub(crate) pool: RingStats,
    pub(crate) slots: usize,
    pub(crate) slots_in_use: usize,
    pub(crate) published: u64,
    pub(crate) reclaimed: u64,
    pub(crate) refused_ring: u64,
}

impl LaneStats {
    pub(crate) fn of<M>(owner: OwnerStats, shared: &LaneShared<M>) -> Self {
        let OwnerStats { pool, slots, slots_in_use, published, reclaimed, refused_ring } = owner;
        let stages = shared.stages.iter().map(|stage| stage_stats(shared, stage)).collect();
        Self { pool, slots, slots_in_use, published, reclaimed, refused_ring, stages }
    }

    /// Who holds the lane: the stage that is furthest behind, if one is.
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

impl<M: Meta> Lane<M> {
    /// A snapshot. Cost: a look at every chunk in use and every stage, and one allocation per
    /// stage.
    #[must_use]
    pub fn stats(&self) -> LaneStats {
        LaneStats::of(self.owner_stats(), &self.shared)
    }

    pub(super) fn owner_stats(&self) -> OwnerStats {
        self.check();
        OwnerStats {
            pool: self.pool.stats(),
            slots: self.free_slots() + self.slots_in_use(),
            slots_in_use: self.slots_in_use(),
            published: (self.published + 1) as u64,
            reclaimed: (self.reclaimed + 1) as u64,
            refused_ring: self.refused_ring,
        }
    }

    /// What pool and window would have served so far. On overwrite it is at least what `start` asks
    /// for, which counts with a ring of the largest slices. Cost: as
    /// [`RingPool::stats`](crate::ring::RingPool::stats).
    #[must_use]
    pub fn right_size(&self) -> RightSize {
        let (stats, layout) = (self.pool.stats(), self.pool.layout());
        let least_bytes = match self.reclaim {
            Reclaim::OnConsume => 0,
            Reclaim::OnOverwrite => {
                overwrite_bytes(layout, self.free_slots() + self.slots_in_use())
            }
        };
        debug_assert!(
            least_bytes <= layout.pool_bytes(),
            "the lane started with a smaller pool than it needs"
        );
        RightSize::of(&stats, layout, least_bytes)
    }

    /// Slots in use, pushed ones included, as far as is known without polling.
    #[must_use]
    pub fn slots_in_use(&self) -> usize {
        (self.pushed() - self.reclaimed) as usize
    }
}

fn stage_stats<M>(shared: &LaneShared<M>, stage: &StageState) -> StageStats {
    let released = stage.progress();
    StageStats {
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
