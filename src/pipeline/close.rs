//! The end of a lane: drain with a deadline, or end at once.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::flow::Failure;
use super::lane::Lane;
use super::sleep::after;
use super::slot::Meta;
use super::state::{Rejection, StageState};
use crate::ring::NONE;
use crate::wake::shielded;

/// How long the closing thread sleeps at most before it looks again: at inline stages, and at those
/// that others poll.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// How a lane ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Events that were published: every one that was given a sequence.
    pub published: u64,
    /// Events that every stage has processed or rejected. What a detached lane released for a dead
    /// stage isn't among them.
    pub consumed: u64,
    /// What each stage has done, in the order of the specification.
    pub stages: Vec<StageEnd>,
    /// Stages that hadn't ended by the deadline. Their threads go on by themselves; the region
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

/// What one stage has done by the end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageEnd {
    /// Its name.
    pub stage: String,
    /// Events that it has processed, rejected ones included.
    pub processed: u64,
    /// Events that it rejected, those of the batch that it is at included.
    pub rejected: u64,
    /// The first of these.
    pub first_rejection: Option<Rejection>,
}

impl StageEnd {
    fn of(state: &StageState) -> Self {
        Self {
            stage: state.name.clone(),
            processed: state.processed(),
            rejected: state.rejected(),
            first_rejection: state.rejection().cloned(),
        }
    }
}

impl<M: Meta> Lane<M> {
    /// DisruptorEnds the stream behind what is pushed: it is published, nothing more is taken, and stages
    /// see their end when they get there. Whoever polls inline stages by hand goes on polling, and
    /// then calls [`Lane::close`].
    pub fn begin_close(&mut self) {
        if self.closing {
            return;
        }
        self.flush();
        assert_eq!(self.pushed(), self.published, "a flush leaves nothing");
        self.closing = true;
        self.room_until = NONE;
        // Stages end from now on, each with its cursor where it is.
        self.end_lazy();
        self.check();
        self.shared.close(self.published + 1);
    }

    /// Drains until every stage has ended, or until the deadline: late stages are named and left to
    /// themselves. Attached inline stages are polled from here; a poisoned lane ends once its
    /// threads do.
    #[must_use]
    pub fn close(mut self, deadline: Duration) -> CloseReport {
        self.begin_close();
        let until = after(deadline);
        loop {
            let progress = self.poll();
            debug_assert!(self.closing);
            let late = self.late();
            if late.is_empty() || Instant::now() >= until {
                self.reclaim();
                let published = (self.published + 1) as u64;
                let stages: Vec<_> = self.shared.stages.iter().map(StageEnd::of).collect();
                let consumed =
                    stages.iter().map(|stage| stage.processed).min().unwrap_or(published);
                return CloseReport { published, consumed, stages, late, failure: self.failure() };
            }
            if progress.is_idle() {
                // Not for inline stages nor for poison: the round found nothing that it could do
                // about them.
                self.wait_until(true, until.min(after(LOOK)), |lane| lane.can_free(true));
            }
        }
    }

    /// Stages that have neither ended nor died behind what they released, nor seen all that a dead
    /// one before them had finished.
    fn late(&self) -> Vec<String> {
        let shared = &self.shared;
        // A dead stage may still be about to release what it had finished: then its death is a
        // moment ahead of its progress.
        let over = |stage: &StageState| {
            stage.has_ended()
                || stage.progress() + 1 >= stage.died_at().min(shared.cut_off_at(stage.layer))
        };
        let detached_behind = |stage: &StageState| {
            shared.poisoned().is_none() && stage.is_dead() && stage.progress() < self.published
        };
        let late = shared.stages.iter().filter(|stage| !over(stage) || detached_behind(stage));
        late.map(|stage| stage.name.clone()).collect()
    }
}

impl<M: Meta> Drop for Lane<M> {
    /// Without a drain: what is pushed is published, stages go on to the end, and the region stays
    /// mapped for them. Attached stages that aren't done are late, not dead: no panic policy
    /// applies.
    fn drop(&mut self) {
        self.begin_close();
        self.reclaim();
        self.publish_last_figures();
        // First, so that attached stages which aren't done are late by their own drop.
        self.shared.set_gone();
        // A handler that panics when it is dropped has said so; the lane's report stands.
        self.inline.drain(..).for_each(|stage| shielded(|| drop(stage)));
    }
}
