//! The end of a lane: drain with a deadline, or go at once.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::lane::Lane;
use super::shared::Failure;
use super::sleep::after;
use super::slot::Meta;
use crate::ring::Sequence;

/// How long the closing thread sleeps at most before it looks again: at inline stages, and at those that others poll.
const LOOK: Duration = Duration::from_millis(5);

/// How a lane ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReport {
    /// Events that were published.
    pub published: u64,
    /// Events that every stage has processed.
    pub consumed: u64,
    /// Events that were staged and never published, because the lane was poisoned.
    pub discarded: u64,
    /// Stages that hadn't ended by the deadline. Their threads go on by themselves; the region stays mapped for them.
    pub late: Vec<String>,
    /// The first stage that failed.
    pub failure: Option<Failure>,
}

impl CloseReport {
    /// Whether every published event was processed and every stage has ended.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.late.is_empty() && self.consumed == self.published && self.discarded == 0
    }
}

impl<M: Meta> Lane<M> {
    /// Ends the stream behind what is staged: it is published, nothing more is taken, and stages see their end when they
    /// get there. Whoever polls inline stages by hand goes on polling, and then calls [`Lane::close`].
    pub fn begin_close(&mut self) {
        if self.closing {
            return;
        }
        self.flush();
        assert_eq!(self.staged, self.published, "a flush leaves nothing");
        self.closing = true;
        self.check();
        self.shared.close(self.published + 1);
    }

    /// Whether every stage is done with every event.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.closing && self.shared.consumed() >= self.published
    }

    /// Drains until every stage has ended, or until the deadline: late stages are named and left to themselves. Attached
    /// inline stages are polled from here; a poisoned lane ends once its threads do.
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
                let consumed = (self.consumed() + 1) as u64;
                assert!(consumed <= published, "{consumed} events consumed of {published}");
                return CloseReport { published, consumed, discarded: self.discarded, late, failure: self.failure() };
            }
            if progress.is_idle() {
                // Not for inline stages nor for poison: the round found nothing that it could do about them.
                self.wait_until(true, until.min(after(LOOK)), |lane| lane.can_free(true));
            }
        }
    }

    fn consumed(&self) -> Sequence {
        self.shared.consumed()
    }

    /// Stages that have neither ended nor died, nor seen all that a dead one before them had finished.
    fn late(&self) -> Vec<String> {
        let shared = &self.shared;
        let over = |stage: &super::shared::StageState| {
            stage.has_ended() || stage.died_at() != i64::MAX || stage.progress() + 1 >= shared.cut_off_at(stage.layer)
        };
        let detached_behind = |stage: &super::shared::StageState| {
            shared.poisoned().is_none() && stage.died_at() != i64::MAX && stage.progress() < self.published
        };
        let late = shared.stages.iter().filter(|stage| !over(stage) || detached_behind(stage));
        late.map(|stage| stage.name.clone()).collect()
    }
}

impl<M: Meta> Drop for Lane<M> {
    /// Without a drain: what is staged is published, stages go on to the end, and the region stays mapped for them.
    fn drop(&mut self) {
        self.begin_close();
        self.shared.leave();
    }
}
