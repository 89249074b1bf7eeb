//! The end of a lane: drain with a deadline, or go at once.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::lane::Lane;
use super::shared::Failure;
use super::slot::Meta;
use crate::ring::Sequence;

/// How long the closing thread sleeps at most before it looks again: inline stages of others make no wake-up.
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
        self.discard();
        self.closing = true;
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
        let until = Instant::now() + deadline;
        loop {
            let progress = self.poll();
            let late = self.late();
            if late.is_empty() || Instant::now() >= until {
                self.reclaim();
                let published = (self.published + 1) as u64;
                let consumed = (self.consumed() + 1) as u64;
                return CloseReport { published, consumed, discarded: self.discarded, late, failure: self.failure() };
            }
            if progress.is_idle() {
                self.wait(true, LOOK.min(until.saturating_duration_since(Instant::now())));
            }
        }
    }

    fn consumed(&self) -> Sequence {
        self.shared.consumed()
    }

    /// Stages that have neither ended nor died, nor wait for one that is dead.
    fn late(&self) -> Vec<String> {
        let shared = &self.shared;
        let over = |stage: &super::shared::StageState| {
            stage.has_ended() || stage.died_at() != i64::MAX || shared.is_orphaned(stage.layer)
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
    }
}
