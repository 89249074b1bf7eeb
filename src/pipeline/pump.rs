//! What the IO thread does for dead stages, and how it knows that there is something to do.
#![forbid(unsafe_code)]

use super::lane::Lane;
use super::poller::StagePoller;
use super::slot::Meta;
use super::spec::{PanicPolicy, StagePlacement};
use super::state::StageState;

impl<M: Meta> Lane<M> {
    /// Releases the events of dead stages on their behalf, once no `Held` of theirs is left.
    pub(super) fn pump(&mut self) {
        if self.shared.policy == PanicPolicy::Detach {
            self.shared.pump(&mut self.detached);
        }
    }

    /// Whether there is something for this thread to do. `full`: it waits for room as well.
    pub(super) fn is_ready(&self, full: bool) -> bool {
        let shared = &self.shared;
        let waits = |stage: &StageState| {
            stage.placement == StagePlacement::Inline
                && !stage.is_dead()
                && shared.available(stage.layer) > stage.progress()
        };
        shared.stages.iter().any(waits)
            || shared.poisoned().is_some()
            || shared.figures.are_requested()
            || self.can_free(full)
    }

    /// Whether there is something to reclaim (asked only if `full`) or to pump.
    pub(super) fn can_free(&self, full: bool) -> bool {
        let shared = &self.shared;
        (full && shared.consumed() > self.reclaimed) || (shared.has_failed() && self.can_pump())
    }

    /// Whether a dead stage blocks others and can be pumped.
    fn can_pump(&self) -> bool {
        let shared = &self.shared;
        let behind = |(stage, _): &(u32, StagePoller<M>)| {
            let stage = &shared.stages[*stage as usize];
            stage.helds() == 0 && shared.available(stage.layer) > stage.progress()
        };
        shared.policy == PanicPolicy::Detach
            && (shared.has_pollers_to_pump() || self.detached.iter().any(behind))
    }
}
