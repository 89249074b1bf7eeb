//! The flow of a lane's events through its stages: each stage's progress, failures, the end of the
//! stream, and which threads to wake.
//!
//! The only thing this module needs of a stage's poller is that it can release everything
//! ([`Pump`]), so loom can run it over a model of the disruptor's cursors.
//!
//! It depends on two rules of order, and `src/pipeline/flow/loom_tests.rs` checks both under every
//! interleaving:
//!
//! - The cause of a state is recorded before the state: the failure before the death; the death
//!   before the poller is handed to the pump, and before the last `Held` is seen to be gone.
//! - The end of the stream is read from `closed_at` only. The disruptor's own shutdown is a Relaxed
//!   store, which a stage may see before earlier stores of the lane.
#![forbid(unsafe_code)]

use super::error::Failure;
use super::policy::PanicPolicy;
use super::state::StageState;
use super::syscalls::abort_with;
use super::wait::{ASLEEP, ASLEEP_FULL, LaneSleeper};
use crate::barrier::Barrier;
use crate::process::ForkLock;
use crate::ring::{NONE, Sequence};
use crate::sync::{AtomicI64, Ordering, Padded};

/// What the pump needs of a dead stage's poller.
pub(crate) trait Pump {
    /// Releases all available events and returns their number.
    fn release_all(&mut self) -> u64;
}

/// The shared state of a lane's stages. `P` is the type of their pollers.
pub(crate) struct Flow<P> {
    pub(crate) stages: Box<[StageState]>,
    pub(crate) policy: PanicPolicy,
    pub(crate) barrier: Barrier,
    pub(crate) io: LaneSleeper,
    layers: Box<[std::ops::Range<usize>]>,
    published: Padded<AtomicI64>,
    closed_at: AtomicI64,
    /// 1 once the lane is dropped: events of dead stages are no longer pumped.
    gone: AtomicI64,
    /// Index of the first stage that failed, plus one; zero if none has.
    failed: AtomicI64,
    failure: ForkLock<Option<Failure>>,
    /// Pollers of dead stages. They are not dropped before the lane: a poller that never reaches
    /// the end would block the producer for ever.
    to_pump: ForkLock<Vec<(u32, P)>>,
}

impl<P> Flow<P> {
    pub(crate) fn new(
        stages: Vec<StageState>,
        policy: PanicPolicy,
        barrier: Barrier,
        io: LaneSleeper,
    ) -> Self {
        let count = stages.last().map_or(0, |stage| stage.layer + 1);
        let of = |layer| {
            stages.partition_point(|s| s.layer < layer)
                ..stages.partition_point(|s| s.layer <= layer)
        };
        let layers: Box<[_]> = (0..count).map(of).collect();
        assert!(
            !layers.is_empty() && layers.iter().all(|stages| !stages.is_empty()),
            "every layer has a stage"
        );
        Self {
            layers,
            stages: stages.into(),
            policy,
            barrier,
            io,
            published: Padded(AtomicI64::new(NONE)),
            closed_at: AtomicI64::new(i64::MAX),
            gone: AtomicI64::new(0),
            failed: AtomicI64::new(0),
            failure: ForkLock::new(None),
            to_pump: ForkLock::new(Vec::new()),
        }
    }

    /// The sequence up to which a stage of `layer` finds events.
    #[inline]
    pub(crate) fn available(&self, layer: usize) -> Sequence {
        // SYNC S3: as in `progress`.
        let Some(before) = layer.checked_sub(1) else {
            return self.published.0.load(Ordering::Acquire);
        };
        self.stages[self.layers[before].clone()]
            .iter()
            .map(StageState::progress)
            .min()
            .unwrap_or(NONE)
    }

    /// The number of layers.
    pub(crate) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The sequence up to which every stage has released.
    pub(crate) fn consumed(&self) -> Sequence {
        self.available(self.layers.len())
    }

    /// Records that events up to `sequence` are in the ring. The caller wakes the threads of the
    /// first layer next.
    #[inline]
    pub(crate) fn publish(&self, sequence: Sequence) {
        debug_assert!(sequence > self.available(0) && self.closed_at() == i64::MAX);
        // SYNC S3: pairs with a sleeper's second look.
        self.published.0.store(sequence, Ordering::Release);
    }

    /// Records that a stage has released up to `sequence`, and wakes the next layer. Always
    /// inlined, because it is much of the work for an event that comes alone.
    #[inline(always)]
    pub(crate) fn advance(&self, stage: usize, sequence: Sequence) {
        let state = &self.stages[stage];
        // `sequence` may be ahead of the progress of the layer before, because that layer moves its
        // cursor, which lets events through, before it stores its progress.
        debug_assert!(sequence > state.progress(), "progress only increases");
        state.set_progress(sequence);
        self.wake_layer(state.layer + 1);
    }

    /// Whether stages of `layer` have their own threads; false after the last layer.
    pub(crate) fn has_threads(&self, layer: usize) -> bool {
        self.stages.iter().any(|stage| stage.layer == layer && stage.sleeper().is_some())
    }

    /// Wakes the threads that wait for events of `layer`. Called on the IO thread, which releases a
    /// dead stage's events itself, in its next round.
    #[inline]
    pub(crate) fn wake_threads(&self, layer: usize) {
        self.barrier.light();
        for stage in &self.stages[self.layers[layer].clone()] {
            if let Some(sleeper) = stage.sleeper().filter(|_| !stage.is_dead()) {
                sleeper.wake_if(ASLEEP);
            }
        }
    }

    /// Wakes all that wait for events of `layer`; after the last layer, the IO thread if it waits
    /// for room.
    #[inline(always)]
    fn wake_layer(&self, layer: usize) {
        self.barrier.light();
        let Some(stages) = self.layers.get(layer) else { return self.io.wake_if(ASLEEP_FULL) };
        for stage in &self.stages[stages.clone()] {
            // A dead stage's events are released by the IO thread, which nothing else would wake to
            // do so.
            stage.sleeper().filter(|_| !stage.is_dead()).unwrap_or(&self.io).wake_if(ASLEEP);
        }
    }

    pub(crate) fn wake_all(&self) {
        self.barrier.light();
        self.stages
            .iter()
            .filter_map(StageState::sleeper)
            .for_each(|sleeper| sleeper.wake_if(ASLEEP));
        self.io.wake_if(ASLEEP);
    }

    /// Where the stream ends: the number of events, or `i64::MAX` while the lane is open.
    #[inline]
    pub(crate) fn closed_at(&self) -> Sequence {
        // SYNC S5: pairs with `close`.
        self.closed_at.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self, at: Sequence) {
        assert!(
            at == self.available(0) + 1 && self.closed_at() == i64::MAX,
            "a stream ends once, after the last published event"
        );
        // SYNC S5: pairs with every idle loop.
        self.closed_at.store(at, Ordering::Release);
        self.wake_all();
    }

    /// Ends a stage that holds nothing and has released up to `released`, if that is the end of the
    /// stream. Returns false if more events may come.
    pub(crate) fn end(&self, stage: u32, released: Sequence) -> bool {
        if released + 1 < self.closed_at() {
            return false;
        }
        self.stages[stage as usize].set_ended();
        self.wake_all();
        true
    }

    /// The lane is gone: events of dead stages are no longer released.
    pub(crate) fn set_gone(&self) {
        // SYNC S5: pairs with `cut_off_at`.
        self.gone.store(1, Ordering::Release);
        self.wake_all();
    }

    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire) != 0
    }

    /// The stage that poisoned the lane.
    #[inline]
    pub(crate) fn poisoned(&self) -> Option<u32> {
        let failed = self.failed.load(Ordering::Relaxed);
        (failed != 0 && self.policy == PanicPolicy::Poison).then(|| (failed - 1) as u32)
    }

    /// Whether events after `sequence` may come to every stage: the stream hasn't ended there, no
    /// stage has failed, and the lane isn't gone. It doesn't loop over stages.
    #[inline]
    pub(crate) fn may_continue_after(&self, sequence: Sequence) -> bool {
        sequence + 1 < self.closed_at() && !self.has_failed() && !self.is_gone()
    }

    /// The first sequence that no stage of `layer` will see, because an earlier stage is dead and
    /// its events aren't released; `i64::MAX` if there is none. All events that the dead stage has
    /// processed come before it.
    pub(crate) fn cut_off_at(&self, layer: usize) -> Sequence {
        // SYNC S4: pairs with `record_failure`. SYNC S5: pairs with `set_gone`.
        let is_poisoned =
            self.failed.load(Ordering::Acquire) != 0 && self.policy == PanicPolicy::Poison;
        if !is_poisoned && !self.is_gone() {
            return i64::MAX;
        }
        let dead = self.stages.iter().filter(|stage| stage.layer < layer && stage.is_dead());
        // A release that `move_held_release` has granted will happen, so `died_at` may be ahead of
        // the progress. The pump moves the progress beyond `died_at`.
        dead.map(|stage| stage.died_at().max(stage.progress() + 1)).min().unwrap_or(i64::MAX)
    }

    /// Records that a stage is dead, and why. Only the first failure is recorded. Under `Abort`
    /// this doesn't return. `first_missing` is the first sequence that the stage won't process.
    fn record_failure(&self, stage: u32, first_missing: Sequence, reason: &str) {
        let state = &self.stages[stage as usize];
        debug_assert!(
            !state.has_ended(),
            "stage `{}` ended before it failed: {reason}",
            state.name
        );
        // The lock is None in a forked child if the parent held it at the fork. The cause is
        // unknown there.
        let mut failure = self.failure.lock();
        if let Some(failure @ None) = failure.as_deref_mut() {
            let (stage_name, reason) = (state.name.clone(), reason.to_owned());
            *failure =
                Some(Failure { stage: stage_name, index: stage, reason, sequence: first_missing });
        }
        // SYNC S4: a thread that sees the death, or the number, finds the failure.
        state.record_death(first_missing);
        if self.failed.load(Ordering::Relaxed) == 0 {
            self.failed.store(i64::from(stage) + 1, Ordering::Release);
        }
        drop(failure);
        if self.policy == PanicPolicy::Abort {
            abort_with(format_args!(
                "stage `{}` failed at sequence {first_missing}: {reason}; aborting",
                state.name
            ));
        }
    }

    /// A stage is dead. The death is recorded before the pump may release the stage's events.
    pub(crate) fn fail_stage(
        &self,
        stage: u32,
        first_missing: Sequence,
        reason: &str,
        poller: Option<P>,
    ) {
        self.record_failure(stage, first_missing, reason);
        match poller {
            Some(poller) => self.hand_to_pump(stage, poller),
            None => self.wake_all(),
        }
    }

    /// A `Held` was lost, so its events aren't processed, and its stage is dead after what it has
    /// released. Called by the drop of the `Held` and by the stage whose release is refused; the
    /// first call decides where the stage died.
    pub(crate) fn fail_for_lost_held(&self, stage: u32) {
        let state = &self.stages[stage as usize];
        let first_missing = state.mark_held_lost();
        if self.is_gone() {
            state.record_death(first_missing);
        } else {
            self.record_failure(stage, first_missing, "a Held was dropped unreleased");
        }
    }

    /// A `Held` is dropped unreleased. The loss is recorded before the number of `Held`s decreases.
    /// The pump waits for the latter, so no reader sees a row that wasn't written.
    pub(crate) fn drop_held(&self, stage: u32) {
        self.fail_for_lost_held(stage);
        self.stages[stage as usize].remove_held();
        self.wake_all();
    }

    /// The lane ends before a stage has seen the end, or the stage is dropped after its lane. Such
    /// a stage is late, and hasn't failed. Later layers learn that no more events will come.
    pub(crate) fn record_late_stage(&self, stage: u32, first_missing: Sequence) {
        self.stages[stage as usize].record_death(first_missing);
        self.wake_all();
    }

    /// The failure, if there is one.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let is_known = self.has_failed() || self.stages.iter().any(StageState::is_dead);
        if is_known { self.failure.lock()?.clone() } else { None }
    }

    #[inline]
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire) != 0
    }

    /// Hands the poller of a dead stage, whose death is recorded, to the pump.
    pub(crate) fn hand_to_pump(&self, stage: u32, poller: P) {
        assert!(self.stages[stage as usize].is_dead(), "only dead stages are pumped");
        // Once the lane is gone, nothing pumps, and the poller blocks nothing.
        if let Some(mut to_pump) = self.to_pump.lock().filter(|_| !self.is_gone()) {
            to_pump.push((stage, poller));
        }
        self.wake_all();
    }

    /// Whether any pollers of dead stages are waiting for the pump.
    pub(crate) fn has_pollers_to_pump(&self) -> bool {
        self.to_pump.lock().is_some_and(|to_pump| !to_pump.is_empty())
    }
}

impl<P: Pump> Flow<P> {
    /// Releases the events of dead stages on their behalf, once none of their `Held`s is left.
    /// Called by the IO thread, under `Detach`; `detached` holds the pollers that it pumps.
    pub(crate) fn pump(&self, detached: &mut Vec<(u32, P)>) {
        if let Some(mut to_pump) = self.to_pump.lock() {
            detached.append(&mut to_pump);
        }
        for (stage, poller) in detached {
            let state = &self.stages[*stage as usize];
            if state.helds() == 0 {
                let released = poller.release_all();
                if released > 0 {
                    self.advance(*stage as usize, state.progress() + released as i64);
                }
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
