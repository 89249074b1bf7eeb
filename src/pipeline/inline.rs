//! Inline stages: a stage and its handler, polled by the IO thread.
//!
//! They run on the publishing thread, so they use the lane's own count of published events, and
//! read the events that the lane has pushed, in the lane's own slots. Their cursors in the
//! disruptor, which let threads and the producer continue, are moved later: after each batch or, if
//! only this thread looks at them, when the producer needs room.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::event_ring::{LaneEvent, panic_reason};
use super::policy::{Meta, StagePlacement};
use super::stage::{Outcome, Polled, Stage};
use super::view::View;
use crate::ring::Sequence;

/// One round over a lane's inline stages: their input, and what they did.
pub(super) struct Round<'l, M> {
    /// The lane's own copies of the events, by slot.
    pub(super) events: &'l [LaneEvent<M>],
    /// The last sequence that is published.
    pub(super) published: Sequence,
    /// No other thread looks at the stages' cursors, which [`Inline::sync`] moves later.
    pub(super) is_lazy: bool,
    /// Events that were processed.
    pub(super) processed: usize,
    /// The sequence up to which all inline stages of the last layer have released.
    pub(super) through: Sequence,
    /// A handler can't continue. [`Inline::fail_if_stopped`] must follow, once all cursors have
    /// caught up with their stages.
    pub(super) is_stopped: bool,
}

/// A stage with a type-erased handler: one indirect call per batch, not per event.
pub(super) trait Inline<M> {
    /// Processes one batch of published events.
    fn poll(&mut self, round: &mut Round<'_, M>);

    /// Moves the stage's cursor in the disruptor up to its progress. The cursors of all earlier
    /// layers must have been moved before.
    fn sync(&mut self);

    /// The number of the stage's layer.
    fn layer(&self) -> usize;

    /// If the handler has stopped, records the stage's failure.
    fn fail_if_stopped(&mut self);

    /// Whether the handler returned `Retry` in the last round.
    fn retries(&self) -> bool;
}

pub(super) struct InlineStage<M: Meta, F> {
    /// None once the stage has ended or is dead.
    stage: Option<Stage<M>>,
    handler: F,
    layer: usize,
    is_last: bool,
    /// The next layer has threads.
    wakes: bool,
    batch_max: i64,
    /// The stage hadn't ended when it was attached. From then on only its handler can end it.
    is_live: bool,
    /// Why the handler can't continue.
    stopped: Option<String>,
    retries: bool,
}

impl<M: Meta, F: FnMut(View<'_, M>) -> Outcome> InlineStage<M, F> {
    pub(super) fn new(stage: Stage<M>, handler: F) -> Self {
        let state = stage.state();
        assert_eq!(state.placement, StagePlacement::Inline, "the lane polls inline stages only");
        let (layer, is_live) = (state.layer, stage.is_live());
        let batch_max = i64::try_from(state.batch_max).unwrap_or(i64::MAX);
        let (is_last, wakes) =
            (layer + 1 == stage.shared().layers(), stage.shared().has_threads(layer + 1));
        Self {
            stage: Some(stage),
            handler,
            layer,
            is_last,
            wakes,
            batch_max,
            is_live,
            stopped: None,
            retries: false,
        }
    }

    /// There is nothing to read, possibly because the stream has ended or an earlier stage is dead.
    #[inline(never)]
    fn poll_nothing(&mut self, round: &mut Round<'_, M>) {
        let Some(stage) = self.stage.as_mut() else { return };
        if self.is_last {
            round.through = round.through.min(stage.released());
        }
        if !matches!(stage.poll_nothing(), Ok(Polled::Idle)) {
            // If the stage is dead, the failure is already recorded.
            (self.stage, self.retries) = (None, false);
        }
    }

    /// The handler has stopped before the end of the batch: permanently, if it gave a reason or
    /// panicked.
    #[cold]
    #[inline(never)]
    fn stop(&mut self, shown: std::thread::Result<()>, round: &mut Round<'_, M>) {
        if let Err(payload) = shown {
            self.stopped = Some(panic_reason(payload));
        }
        if let (Some(reason), Some(stage)) = (&self.stopped, &self.stage) {
            // Under `Abort`, no other handler may run from here on.
            stage.abort_if_asked(reason);
        }
        self.retries = self.stopped.is_none();
        round.is_stopped |= self.stopped.is_some();
    }
}

impl<M: Meta, F: FnMut(View<'_, M>) -> Outcome> Inline<M> for InlineStage<M, F> {
    fn poll(&mut self, round: &mut Round<'_, M>) {
        let Some(stage) = self.stage.as_mut().filter(|_| self.is_live) else {
            return self.poll_nothing(round);
        };
        let first = stage.released();
        let available =
            if self.layer == 0 { round.published } else { stage.shared().available(self.layer) };
        if available <= first {
            return self.poll_nothing(round);
        }
        let last = first + (available - first).min(self.batch_max);
        let (events, shared, id, handler) =
            (round.events, &**stage.shared(), stage.id(), &mut self.handler);
        let (stopped, mut done) = (&mut self.stopped, first);
        // The closure returns nothing, because an outcome would be passed through memory.
        let shown = catch_unwind(AssertUnwindSafe(|| {
            while done < last {
                let sequence = done + 1;
                let event = &events[sequence as usize & (events.len() - 1)];
                match handler(View::new(event, shared, sequence, id)) {
                    Outcome::Done => {}
                    Outcome::Reject(reason) => shared.reject(id.index, sequence, reason),
                    Outcome::Retry => break,
                    Outcome::Fail(reason) => {
                        *stopped = Some(reason);
                        break;
                    }
                }
                done = sequence;
            }
        }));
        if done > first {
            stage.move_inline(done, round.is_lazy, self.wakes);
        }
        round.processed += (done - first) as usize;
        if self.is_last {
            round.through = round.through.min(done);
        }
        self.retries = false;
        if done < last {
            self.stop(shown, round);
        }
    }

    fn sync(&mut self) {
        self.stage.iter_mut().for_each(Stage::sync);
    }

    fn layer(&self) -> usize {
        self.layer
    }

    fn fail_if_stopped(&mut self) {
        if let Some(reason) = self.stopped.take()
            && let Some(mut stage) = self.stage.take()
        {
            stage.fail(&reason);
        }
    }

    fn retries(&self) -> bool {
        self.retries
    }
}
