//! What the threads of a lane share: the flow of its events, its memory, the rejected events, and
//! its statistics.
#![forbid(unsafe_code)]

use std::ops::Deref;
use std::sync::Arc;

use super::flow::Flow;
use super::poller::StagePoller;
use super::timing::Timing;
use super::watch::LaneFigures;
use crate::ring::{Memory, Sequence};
use crate::sync::{AtomicI64, Ordering};

/// Shared by the lane, its stages and everything held by them; the region stays mapped as long.
pub(crate) struct LaneShared<M> {
    pub(crate) id: u32,
    pub(crate) memory: Arc<Memory>,
    pub(crate) figures: LaneFigures,
    /// Of a timed lane.
    pub(super) timing: Option<Timing>,
    flow: Flow<StagePoller<M>>,
    /// By slot: one more than the sequence that was rejected there last.
    rejected: Box<[AtomicI64]>,
}

impl<M> LaneShared<M> {
    pub(crate) fn new(
        id: u32,
        memory: Arc<Memory>,
        slots: usize,
        flow: Flow<StagePoller<M>>,
        timing: Option<Timing>,
    ) -> Self {
        assert!(slots.is_power_of_two());
        let rejected = (0..slots).map(|_| AtomicI64::new(0)).collect();
        Self { id, memory, figures: LaneFigures::new(slots), timing, flow, rejected }
    }

    /// A stage rejects the event: later layers see it by what lets the event through.
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
}

impl<M> Deref for LaneShared<M> {
    type Target = Flow<StagePoller<M>>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.flow
    }
}
