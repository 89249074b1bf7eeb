//! What a lane knows of itself.
#![forbid(unsafe_code)]

use super::lane::Lane;
use super::shared::{LaneShared, StageState};
use super::slot::Meta;
use super::spec::{Reclaim, overwrite_bytes};
use crate::ring::{NONE, PoolStats, RightSize, Sequence};

/// One stage in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageStats {
    /// Its name.
    pub name: String,
    /// The sequence up to which it has released.
    pub released: Sequence,
    /// Events that it could process now.
    pub behind: u64,
    /// The oldest sequence that a `Held` of its keeps, if any. A leaked `Held` stays here.
    pub held_from: Option<Sequence>,
    /// Whether it has processed the whole stream.
    pub ended: bool,
    /// The first sequence that it didn't process, if it is dead.
    pub died_at: Option<Sequence>,
    /// Sleeps that ended without a wake-up though there was work: a defect of ours if it isn't zero.
    pub wakes_lost: u64,
}

/// A snapshot of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStats {
    /// Its pool.
    pub pool: PoolStats,
    /// Slots of the ring.
    pub slots: usize,
    /// Slots in use, staged ones included.
    pub slots_in_use: usize,
    /// Events published.
    pub published: u64,
    /// Events that every stage is done with.
    pub reclaimed: u64,
    /// Staging refused because the ring was full.
    pub refused_ring: u64,
    /// Staged events discarded because the lane was poisoned.
    pub discarded: u64,
    /// Its stages, in the order of the specification.
    pub stages: Vec<StageStats>,
}

impl LaneStats {
    /// Who holds the lane: the stage that is furthest behind, if one is.
    #[must_use]
    pub fn blocked_by(&self) -> Option<&str> {
        let last = i64::try_from(self.published).unwrap_or(i64::MAX) - 1;
        let slowest = self.stages.iter().filter(|stage| stage.released < last).min_by_key(|stage| stage.released);
        slowest.map(|stage| stage.name.as_str())
    }
}

impl<M: Meta> Lane<M> {
    /// A snapshot. Cost: a look at every chunk in use and every stage, and an allocation a stage.
    #[must_use]
    pub fn stats(&self) -> LaneStats {
        self.check();
        let slots = self.free_slots() + self.slots_in_use();
        assert!(slots.is_power_of_two(), "{slots} slots are free or in use");
        LaneStats {
            pool: self.pool.stats(),
            slots,
            slots_in_use: self.slots_in_use(),
            published: (self.published + 1) as u64,
            reclaimed: (self.reclaimed + 1) as u64,
            refused_ring: self.refused_ring,
            discarded: self.discarded,
            stages: self.shared.stages.iter().map(|stage| stage_stats(&self.shared, stage)).collect(),
        }
    }

    /// What pool and window would have served so far. On overwrite it is at least what `start` asks for, which counts with a ring of the largest
    /// slices. Cost: as [`RingPool::stats`](crate::ring::RingPool::stats).
    #[must_use]
    pub fn right_size(&self) -> RightSize {
        let (stats, layout) = (self.pool.stats(), self.pool.layout());
        let least_bytes = match self.reclaim {
            Reclaim::OnConsume => 0,
            Reclaim::OnOverwrite => overwrite_bytes(layout, self.free_slots() + self.slots_in_use()),
        };
        debug_assert!(least_bytes <= layout.pool_bytes(), "the lane started with a smaller pool than it needs");
        RightSize::of(&stats, layout, least_bytes)
    }

    /// Slots in use, staged ones included, as far as is known without polling.
    #[must_use]
    pub fn slots_in_use(&self) -> usize {
        (self.staged - self.reclaimed) as usize
    }
}

fn stage_stats<M>(shared: &LaneShared<M>, stage: &StageState) -> StageStats {
    let released = stage.progress();
    debug_assert!(released >= NONE && (stage.helds() == 0 || stage.held_from() >= NONE));
    StageStats {
        name: stage.name.clone(),
        released,
        behind: (shared.available(stage.layer) - released).max(0) as u64,
        held_from: Some(stage.held_from()).filter(|&sequence| sequence != NONE),
        ended: stage.has_ended(),
        died_at: Some(stage.died_at()).filter(|&sequence| sequence != i64::MAX),
        wakes_lost: stage.wakes_lost() as u64,
    }
}
