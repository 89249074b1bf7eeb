//! Inline stages: a stage and its handler, polled by the IO thread.
#![forbid(unsafe_code)]

use super::slot::Meta;
use super::spec::Placement;
use super::stage::{Outcome, Polled, Stage};
use super::view::View;

/// A stage whose handler's type is forgotten: one indirect call a batch, not an event.
pub(super) trait Inline {
    /// One batch; says how many events were processed.
    fn poll(&mut self) -> usize;

    /// Whether it said in its last round that an event is to be shown again.
    fn retries(&self) -> bool;
}

pub(super) struct InlineStage<M: Meta, F> {
    /// Gone once the stage has ended or is dead.
    stage: Option<Stage<M>>,
    handler: F,
    retries: bool,
}

impl<M: Meta, F: FnMut(View<'_, M>) -> Outcome> InlineStage<M, F> {
    pub(super) fn new(mut stage: Stage<M>, handler: F) -> Self {
        // What it did by hand isn't the lane's round.
        let _by_hand = stage.take_processed_before_it_died();
        assert_eq!(stage.state().placement, Placement::Inline, "the lane polls inline stages only");
        Self { stage: Some(stage), handler, retries: false }
    }
}

impl<M: Meta, F: FnMut(View<'_, M>) -> Outcome> Inline for InlineStage<M, F> {
    fn poll(&mut self) -> usize {
        let Some(stage) = self.stage.as_mut() else { return 0 };
        let batch_max = stage.state().batch_max;
        match stage.poll(batch_max, &mut self.handler) {
            Ok(Polled::Idle) => 0,
            Ok(Polled::Advanced(done)) => {
                self.retries = false;
                done
            }
            Ok(Polled::Retry(done)) => {
                self.retries = true;
                done
            }
            Ok(Polled::Ended) | Err(_) => {
                // A dead stage has told the lane by itself; what it processed before counts.
                let done = stage.take_processed_before_it_died();
                (self.stage, self.retries) = (None, false);
                done
            }
        }
    }

    fn retries(&self) -> bool {
        self.retries
    }
}
