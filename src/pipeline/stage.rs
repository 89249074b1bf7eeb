//! A stage: the handle through which events are seen, read ahead and released.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;

use super::error::StageError;
use super::event_ring::{LaneEvent, StageBatch, StagePoller, panic_reason};
use super::policy::{Meta, PanicPolicy};
use super::shared::LaneShared;
use super::state::StageState;
use super::timing::StageTimer;
use super::view::{Held, StageId, View};
use crate::ring::{Foreign, NONE, Sequence};

/// A handler's result for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The event is processed: release it.
    Done,
    /// Not now (a full disk, for example): show the event again at the next poll. Earlier events of
    /// the batch are released.
    Retry,
    /// The event is bad, and the stage continues with the next. The statistics count rejected
    /// events and contain the first reason. Later layers see the event like any other, and
    /// [`View::is_rejected`] is true for it.
    Reject(String),
    /// The stage can't continue: it has failed, and the lane's panic policy applies.
    Fail(String),
}

/// The result of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// There are no events.
    Idle,
    /// This many events were processed or rejected, and released; none if none was asked for.
    Advanced(usize),
    /// This many events were processed or rejected, and the next will be shown again later.
    Retry(usize),
    /// The stream has ended, and every event before its end is processed.
    Ended,
}

/// One consumer of events. Send, not Clone.
///
/// If the handle is dropped before the end of the stream, the stage counts as failed; if its lane
/// is already gone, as late.
pub struct Stage<M: Meta> {
    poller: Option<StagePoller<M>>,
    shared: Arc<LaneShared<M>>,
    id: StageId,
    released: Sequence,
    read: Sequence,
    /// First and last sequence of every `Held` that was handed out, and whether it was given back.
    helds: VecDeque<(Sequence, Sequence, bool)>,
    spare: Vec<Vec<LaneEvent<M>>>,
    /// The stage has reported that no more events will come. None is shown from then on, even if an
    /// earlier stage releases more.
    is_cut_off: bool,
    /// Processed events that the stage's progress includes and its cursor in the disruptor doesn't
    /// yet. Only for stages that the lane polls.
    lag: u64,
    /// Only in a timed lane.
    timer: Option<StageTimer>,
}

impl<M: Meta> Stage<M> {
    pub(super) fn new(
        poller: StagePoller<M>,
        shared: &Arc<LaneShared<M>>,
        index: u32,
        timer: Option<StageTimer>,
    ) -> Self {
        let id = StageId::of(shared, index);
        let (helds, spare) = (VecDeque::new(), Vec::new());
        let (released, read, is_cut_off, lag) = (NONE, NONE, false, 0);
        Self {
            poller: Some(poller),
            shared: Arc::clone(shared),
            id,
            released,
            read,
            helds,
            spare,
            is_cut_off,
            lag,
            timer,
        }
    }

    /// The stage's name in the specification.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state().name
    }

    /// Shows at most `max` events to `handler`, in order, and releases those that are done.
    ///
    /// A panic of the handler is caught: the events before it are released, the stage is dead, and
    /// the lane's panic policy applies. Cost: some nanoseconds per event, besides the handler.
    ///
    /// # Errors
    /// The stage is dead, or has seen everything that an earlier dead stage had processed, or still
    /// holds events that were read ahead.
    #[inline]
    pub fn poll(
        &mut self,
        max: usize,
        handler: impl FnMut(View<'_, M>) -> Outcome,
    ) -> Result<Polled, StageError> {
        self.poll_batch(max, || (), handler)
    }

    /// As [`Stage::poll`]; `begin` is called before the first event of a batch.
    #[inline]
    pub(super) fn poll_batch(
        &mut self,
        max: usize,
        begin: impl FnOnce(),
        mut handler: impl FnMut(View<'_, M>) -> Outcome,
    ) -> Result<Polled, StageError> {
        // Only a lost `Held` kills the stage from outside, and while one is out, `released` is less
        // than `read`.
        if self.released < self.read || self.is_cut_off {
            return self.refuse();
        }
        let Some(poller) = self.poller.as_mut() else { return self.refuse() };
        // A stage that is woken by progress must find the events. Otherwise it would spin until the
        // cursor let them through.
        let has_progress =
            cfg!(debug_assertions) && self.shared.available(self.id.layer as usize) > self.released;
        let (shared, id, mut sequence, mut stopped) = (&*self.shared, self.id, self.released, None);
        let driven = poller.drive(max as u64, begin, |event| {
            sequence += 1;
            match handler(View::new(event, shared, sequence, id)) {
                Outcome::Done => return true,
                Outcome::Reject(reason) => {
                    shared.reject(id.index, sequence, reason);
                    return true;
                }
                Outcome::Retry => {}
                Outcome::Fail(reason) => stopped = Some(reason),
            }
            false
        });
        let Some(StageBatch { done, is_all, shown }) = driven else {
            debug_assert!(!has_progress, "a stage's cursor moves before its progress is stored");
            return self.no_events();
        };
        self.move_to(self.released + done as i64);
        self.read = self.released;
        self.check();
        if is_all { Ok(Polled::Advanced(done as usize)) } else { self.stop(done, stopped, shown) }
    }

    /// Nothing is shown: the stage has ended or died, it has seen everything that an earlier dead
    /// stage had processed, or it holds events.
    #[cold]
    fn refuse(&mut self) -> Result<Polled, StageError> {
        self.check_alive()?;
        if !self.helds.is_empty() {
            return Err(StageError::Holding { since: self.released + 1 });
        }
        if self.poller.is_none() { Ok(Polled::Ended) } else { self.no_events() }
    }

    /// The handler has stopped before the end of the batch: permanently if it gave a reason or
    /// panicked, otherwise temporarily.
    #[cold]
    fn stop(
        &mut self,
        done: u64,
        stopped: Option<String>,
        shown: std::thread::Result<()>,
    ) -> Result<Polled, StageError> {
        match shown.map_or_else(|payload| Some(panic_reason(payload)), |()| stopped) {
            Some(reason) => Err(self.fail(&reason)),
            None => Ok(Polled::Retry(done as usize)),
        }
    }

    /// Reads at most `max` events without releasing them. `None`: there are none now, or the stage
    /// [has ended](Stage::has_ended).
    ///
    /// # Errors
    /// The stage is dead, or has seen everything that an earlier dead stage had processed.
    pub fn read(&mut self, max: usize) -> Result<Option<Held<M>>, StageError> {
        self.check_alive()?;
        if self.is_cut_off {
            return self.no_events().map(|_| None);
        }
        let skip = (self.read - self.released) as u64;
        let Some(poller) = self.poller.as_mut() else { return Ok(None) };
        let mut events = self.spare.pop().unwrap_or_default();
        events.clear();
        poller.read(skip, max as u64, &mut events);
        if events.is_empty() {
            self.spare.push(events);
            return self.no_events().map(|_| None);
        }
        if self.helds.is_empty() {
            self.state().set_held_release(self.released);
        }
        let first = self.read + 1;
        self.read += events.len() as i64;
        self.helds.push_back((first, self.read, false));
        self.note_oldest();
        self.check();
        Ok(Some(Held::new(events, first, self.id.index, &self.shared)))
    }

    /// Gives events back. They are released once every older `Held` has been given back.
    ///
    /// # Errors
    /// The `Held` belongs to another stage. It is returned.
    pub fn release(&mut self, held: Held<M>) -> Result<(), Foreign<Held<M>>> {
        if !held.is_of(self.id.index, &self.shared) {
            return Err(Foreign(held));
        }
        let first = held.first_sequence();
        let entry = self.helds.iter_mut().find(|(from, ..)| *from == first);
        debug_assert!(entry.is_some(), "the list has every Held of this stage");
        if let Some((_, _, is_back)) = entry {
            *is_back = true;
        }
        self.spare.push(held.into_events());
        let mut through = self.released;
        while let Some(&(_, last, true)) = self.helds.front() {
            through = last;
            self.helds.pop_front();
        }
        // If the stage is dead, this releases nothing: where it died is already recorded.
        if through > self.released
            && !self.state().is_dead()
            && let Some(poller) = &mut self.poller
        {
            if self.shared.stages[self.id.index as usize].move_held_release(self.released, through)
            {
                poller.release((through - self.released) as u64);
                self.move_to(through);
            } else {
                // A later `Held` is being lost at this moment. The death is recorded before this
                // call returns.
                self.shared.fail_for_lost_held(self.id.index);
            }
        }
        self.note_oldest();
        self.check();
        if self.state().is_dead() {
            // The pump of a dead stage waits for the stage's last Held.
            self.shared.wake_all();
        }
        Ok(())
    }

    /// Whether every event of the stream is processed and released and the stage has seen the end.
    /// It sees the end in a call that finds no more events.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state().has_ended()
    }

    /// The sequence up to which the stage has released; -1 before the first release.
    #[must_use]
    pub fn released(&self) -> Sequence {
        self.released
    }

    /// Whether the stage holds events that it read ahead.
    pub(super) fn is_holding(&self) -> bool {
        !self.helds.is_empty()
    }

    pub(super) fn state(&self) -> &StageState {
        &self.shared.stages[self.id.index as usize]
    }

    pub(super) fn shared(&self) -> &Arc<LaneShared<M>> {
        &self.shared
    }

    #[inline]
    pub(super) fn id(&self) -> StageId {
        self.id
    }

    /// Whether the stage may still be shown events: it hasn't ended, and neither it nor an earlier
    /// stage is dead.
    pub(super) fn is_live(&self) -> bool {
        self.poller.is_some() && !self.is_cut_off && !self.state().is_dead()
    }

    /// Polls a stage of the lane's that has nothing to read.
    pub(super) fn poll_nothing(&mut self) -> Result<Polled, StageError> {
        self.check_alive()?;
        self.no_events()
    }

    /// A stage that its lane polls has processed up to `released`. Its cursor in the disruptor
    /// moves now or, if `is_lazy`, in [`Stage::sync`]; in any case before threads that read by the
    /// cursor are woken. The IO thread needn't be woken, because it is the caller. `wakes`: the
    /// next layer has threads.
    #[inline(always)]
    pub(super) fn move_inline(&mut self, released: Sequence, is_lazy: bool, wakes: bool) {
        self.lag += (released - self.released) as u64;
        if !is_lazy {
            self.sync();
        }
        (self.released, self.read) = (released, released);
        if self.timer.is_some() {
            self.note_release();
        }
        let state = self.state();
        debug_assert!(released > state.progress(), "progress only increases");
        debug_assert!(
            self.lag == 0 || is_lazy && !wakes,
            "a thread that is woken finds the events"
        );
        state.set_progress(released);
        if wakes {
            self.shared.wake_threads(state.layer + 1);
        }
        self.check();
    }

    /// Moves the stage's cursor in the disruptor up to its progress. The cursors of all earlier
    /// layers must have been moved before.
    #[inline(never)]
    pub(super) fn sync(&mut self) {
        let lag = std::mem::take(&mut self.lag);
        if let Some(poller) = self.poller.as_mut().filter(|_| lag > 0) {
            poller.release(lag);
        }
    }

    /// Whether there is something to do or to report: unread events, the end, or a failure.
    pub(super) fn is_ready(&self) -> bool {
        let (state, shared, next) = (self.state(), &self.shared, self.read + 1);
        shared.available(state.layer) >= next
            || next >= shared.closed_at()
            || next >= shared.cut_off_at(state.layer)
            || state.is_dead()
    }

    /// Returns an error if the stage is dead, for example because a `Held` was dropped on another
    /// thread. Then the stage's poller goes to the pump.
    fn check_alive(&mut self) -> Result<(), StageError> {
        if !self.state().is_dead() {
            return Ok(());
        }
        if let Some(poller) = self.poller.take() {
            self.shared.hand_to_pump(self.id.index, poller);
        }
        Err(self.failed())
    }

    /// There are no events: nothing was published, the stream has ended, or an earlier stage is
    /// dead.
    #[inline]
    fn no_events(&mut self) -> Result<Polled, StageError> {
        if self.shared.may_continue_after(self.read) { Ok(Polled::Idle) } else { self.check_end() }
    }

    #[inline(never)]
    fn check_end(&mut self) -> Result<Polled, StageError> {
        if self.helds.is_empty() && self.shared.end(self.id.index, self.released) {
            debug_assert_eq!(self.lag, 0, "when a stage ends, its cursor is at its progress");
            self.poller = None;
            return Ok(Polled::Ended);
        }
        if self.read + 1 >= self.shared.cut_off_at(self.state().layer) {
            self.is_cut_off = true;
            return Err(self.failed());
        }
        Ok(Polled::Idle)
    }

    /// Why the stage sees no more events: a stage has failed, or the lane ended before this stage
    /// or an earlier one had processed all events.
    fn failed(&self) -> StageError {
        if let Some(failure) = self.shared.failure() {
            return StageError::Failed(failure);
        }
        let layer = self.state().layer;
        let is_late = |(stage, index): &(&StageState, u32)| {
            (stage.layer < layer || *index == self.id.index) && stage.is_dead()
        };
        let late = self.shared.stages.iter().zip(0..).find(is_late);
        late.map_or(StageError::Ended, |(stage, _)| StageError::Left {
            stage: stage.name.clone(),
            sequence: stage.died_at(),
        })
    }

    /// The handler can't continue: aborts the process if that is the policy.
    pub(super) fn abort_if_asked(&self, reason: &str) {
        if self.shared.policy == PanicPolicy::Abort {
            self.shared.fail_stage(self.id.index, self.released + 1, reason, None);
        }
    }

    /// The handler can't continue, for this reason.
    #[cold]
    pub(super) fn fail(&mut self, reason: &str) -> StageError {
        debug_assert_eq!(self.lag, 0, "when a stage dies, its cursor is at its progress");
        let poller = self.poller.take();
        self.shared.fail_stage(self.id.index, self.released + 1, reason, poller);
        self.failed()
    }

    /// The stage is dropped after its lane. It is late unless it has seen the end. Its poller no
    /// longer blocks anything.
    fn end_after_lane(&mut self) {
        if self.poller.take().is_some()
            && !(self.helds.is_empty() && self.shared.end(self.id.index, self.released))
        {
            self.shared.record_late_stage(self.id.index, self.released + 1);
        }
    }

    #[inline]
    fn move_to(&mut self, released: Sequence) {
        if released > self.released {
            self.released = released;
            if self.timer.is_some() {
                self.note_release();
            }
            self.shared.advance(self.id.index as usize, self.released);
        }
    }

    /// The timer, in a timed lane.
    pub(super) fn timer_mut(&mut self) -> Option<&mut StageTimer> {
        self.timer.as_mut()
    }

    /// Records the latencies of a release, in a timed lane.
    #[cold]
    fn note_release(&mut self) {
        if let (Some(timer), Some(timing)) = (&mut self.timer, &self.shared.timing) {
            timer.note_release(timing, self.released);
        }
    }

    /// Checks that everything read is released or held, without a gap. Only in debug builds and in
    /// profile `checked`.
    fn check(&self) {
        if !cfg!(debug_assertions) || self.state().is_dead() {
            return;
        }
        debug_assert!(self.released <= self.read);
        debug_assert_eq!(self.helds.front().map_or(self.read, |held| held.0 - 1), self.released);
        debug_assert_eq!(self.helds.back().map_or(self.released, |held| held.1), self.read);
        debug_assert!(self.poller.is_none() || self.released == self.state().progress());
    }

    fn note_oldest(&self) {
        self.state().set_held_from(self.helds.front().map_or(NONE, |held| held.0));
    }
}

impl<M: Meta> Drop for Stage<M> {
    fn drop(&mut self) {
        if self.poller.is_none() {
            return;
        }
        if self.shared.is_gone() {
            self.end_after_lane();
        } else if !(self.helds.is_empty() && self.shared.end(self.id.index, self.released)) {
            self.fail("its handle was dropped before the end of the stream");
        }
    }
}

impl<M: Meta> std::fmt::Debug for Stage<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage")
            .field("name", &self.name())
            .field("released", &self.released)
            .finish_non_exhaustive()
    }
}
