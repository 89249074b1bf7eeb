//! The flow of a lane's events through its stages: each stage's progress, failures, the end of the
//! stream, and who sleeps.
//!
//! All it knows of a stage's poller is that it can be kept and can release everything, so loom can
//! run this module over a model of the disruptor's cursors.
//!
//! It rests on two rules of order, and `src/pipeline/flow/loom_tests.rs` checks both under every
//! interleaving:
//!
//! - The cause of a state is recorded before the state: the failure before the death; the death
//!   before the poller is handed to the pump, and before the last `Held` is seen to be gone.
//! - The end of the stream is read from `closed_at` only. The disruptor's own shutdown is a Relaxed
//!   store, which a stage may see before earlier stores of the lane.
#![forbid(unsafe_code)]

use super::abort::abort_saying;
use super::spec::PanicPolicy;
use super::state::StageState;
use super::wake::{ASLEEP, ASLEEP_FULL, Party};
use crate::barrier::Barrier;
use crate::process::ForkLock;
use crate::ring::{NONE, Sequence};
use crate::sync::{AtomicI64, Ordering, Padded};

/// The first failure: which stage, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The stage's name.
    pub stage: String,
    /// Its number, in the order of the specification.
    pub index: u32,
    /// The panic's message, or the reason the handler gave.
    pub reason: String,
    /// The first sequence that it didn't process.
    pub sequence: Sequence,
}

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
    pub(crate) io: Party,
    layers: Box<[std::ops::Range<usize>]>,
    published: Padded<AtomicI64>,
    closed_at: AtomicI64,
    /// One once the lane is gone: nobody pumps dead stages any more.
    gone: AtomicI64,
    /// Index of the first stage that failed, plus one; zero if none has.
    failed: AtomicI64,
    failure: ForkLock<Option<Failure>>,
    /// Pollers of dead stages. They are not dropped before the lane: an unfinished poller would
    /// block the producer forever.
    parked: ForkLock<Vec<(u32, P)>>,
}

impl<P> Flow<P> {
    pub(crate) fn new(
        stages: Vec<StageState>,
        policy: PanicPolicy,
        barrier: Barrier,
        io: Party,
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
            parked: ForkLock::new(Vec::new()),
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

    /// How many layers there are.
    pub(crate) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The sequence up to which every stage has released.
    pub(crate) fn consumed(&self) -> Sequence {
        self.available(self.layers.len())
    }

    /// Events up to `sequence` are in the ring. The caller wakes the threads of the first layer
    /// next.
    #[inline]
    pub(crate) fn publish(&self, sequence: Sequence) {
        debug_assert!(sequence > self.available(0) && self.closed_at() == i64::MAX);
        // SYNC S3: pairs with a sleeper's second look.
        self.published.0.store(sequence, Ordering::Release);
    }

    /// A stage has released up to `sequence`. Always inlined, with the wake-up, because it is much
    /// of the work for an event that comes alone.
    #[inline(always)]
    pub(crate) fn advance(&self, stage: usize, sequence: Sequence) {
        let state = &self.stages[stage];
        // This isn't compared with the layer before: that layer's cursor, which lets events
        // through, moves before its progress is stored.
        debug_assert!(sequence > state.progress(), "stages move on");
        state.set_progress(sequence);
        self.wake_layer(state.layer + 1);
    }

    /// Whether stages of `layer` have their own threads; false after the last layer.
    pub(crate) fn has_threads(&self, layer: usize) -> bool {
        self.stages.iter().any(|stage| stage.layer == layer && stage.party().is_some())
    }

    /// Wakes the threads that wait for events of `layer`. Called on the IO thread, which releases a
    /// dead stage's events itself, in its next round.
    #[inline]
    pub(crate) fn wake_threads(&self, layer: usize) {
        self.barrier.light();
        for stage in &self.stages[self.layers[layer].clone()] {
            if let Some(party) = stage.party().filter(|_| !stage.is_dead()) {
                party.wake_if(ASLEEP);
            }
        }
    }

    /// Wakes those who wait for events of `layer`; after the last layer, the IO thread if it is
    /// full.
    #[inline(always)]
    fn wake_layer(&self, layer: usize) {
        self.barrier.light();
        let Some(stages) = self.layers.get(layer) else { return self.io.wake_if(ASLEEP_FULL) };
        for stage in &self.stages[stages.clone()] {
            // If anyone releases a dead stage's events, it is the IO thread, and nobody else would
            // wake it to do so.
            stage.party().filter(|_| !stage.is_dead()).unwrap_or(&self.io).wake_if(ASLEEP);
        }
    }

    pub(crate) fn wake_all(&self) {
        self.barrier.light();
        self.stages.iter().filter_map(StageState::party).for_each(|party| party.wake_if(ASLEEP));
        self.io.wake_if(ASLEEP);
    }

    /// Where the stream ends: the number of events, or `i64::MAX` while it is open.
    #[inline]
    pub(crate) fn closed_at(&self) -> Sequence {
        // SYNC S5: pairs with `close`.
        self.closed_at.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self, at: Sequence) {
        assert!(
            at == self.available(0) + 1 && self.closed_at() == i64::MAX,
            "a stream ends once, behind what is published"
        );
        // SYNC S5: pairs with every idle loop.
        self.closed_at.store(at, Ordering::Release);
        self.wake_all();
    }

    /// Ends a stage that has nothing held and has released up to `released`, if that is the end of
    /// the stream. Returns false if the stream goes on.
    pub(crate) fn end(&self, stage: u32, released: Sequence) -> bool {
        if released + 1 < self.closed_at() {
            return false;
        }
        self.stages[stage as usize].set_ended();
        self.wake_all();
        true
    }

    /// The lane is gone: events of dead stages are not released any more.
    pub(crate) fn leave(&self) {
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

    /// Whether more events may come after `sequence`, for every stage. It doesn't loop over stages.
    #[inline]
    pub(crate) fn goes_on_after(&self, sequence: Sequence) -> bool {
        sequence + 1 < self.closed_at() && !self.has_failed() && !self.is_gone()
    }

    /// The first sequence that no stage of `layer` will see, because an earlier stage is dead and
    /// nobody releases its events; `i64::MAX` if there is none. Everything that the dead stage has
    /// finished comes before it.
    pub(crate) fn cut_off_at(&self, layer: usize) -> Sequence {
        // SYNC S4: pairs with `fail`. SYNC S5: pairs with `leave`.
        let is_poisoned =
            self.failed.load(Ordering::Acquire) != 0 && self.policy == PanicPolicy::Poison;
        if !is_poisoned && !self.is_gone() {
            return i64::MAX;
        }
        let dead = self.stages.iter().filter(|stage| stage.layer < layer && stage.is_dead());
        // A release that has been settled will happen; what was pumped is beyond the death.
        dead.map(|stage| stage.died_at().max(stage.progress() + 1)).min().unwrap_or(i64::MAX)
    }

    /// Records that a stage is dead, and why. The first failure wins; under `Abort` this doesn't
    /// return. `first_missing` is the first sequence that the stage won't process.
    fn fail(&self, stage: u32, first_missing: Sequence, reason: &str) {
        let state = &self.stages[stage as usize];
        debug_assert!(
            !state.has_ended(),
            "stage `{}` ended before it failed: {reason}",
            state.name
        );
        // None in a forked child whose parent was failing at the fork: the cause is unknown there.
        let mut failure = self.failure.lock();
        if let Some(failure @ None) = failure.as_deref_mut() {
            let (stage_name, reason) = (state.name.clone(), reason.to_owned());
            *failure =
                Some(Failure { stage: stage_name, index: stage, reason, sequence: first_missing });
        }
        // SYNC S4: a thread that sees the death, or the number, finds the failure.
        state.note_death(first_missing);
        if self.failed.load(Ordering::Relaxed) == 0 {
            self.failed.store(i64::from(stage) + 1, Ordering::Release);
        }
        drop(failure);
        if self.policy == PanicPolicy::Abort {
            abort_saying(format_args!(
                "stage `{}` failed at sequence {first_missing}: {reason}; aborting",
                state.name
            ));
        }
    }

    /// A stage is dead. The death is recorded before anyone else may release the stage's events.
    pub(crate) fn die(&self, stage: u32, first_missing: Sequence, reason: &str, poller: Option<P>) {
        self.fail(stage, first_missing, reason);
        match poller {
            Some(poller) => self.park(stage, poller),
            None => self.wake_all(),
        }
    }

    /// A `Held` was lost: its events aren't processed, and its stage is dead after what it has
    /// released. Both the code that drops the `Held` and the stage whose release is refused call
    /// this; the first call settles it for both.
    pub(crate) fn lose_held(&self, stage: u32) {
        let state = &self.stages[stage as usize];
        let first_missing = state.settle_death();
        if self.is_gone() {
            state.note_death(first_missing);
        } else {
            self.fail(stage, first_missing, "a Held was dropped unreleased");
        }
    }

    /// A `Held` is dropped unreleased. The loss is recorded before the `Held` is counted off. The
    /// pump waits for the latter, so nobody sees a row that wasn't written.
    pub(crate) fn drop_held(&self, stage: u32) {
        self.lose_held(stage);
        self.stages[stage as usize].drop_held();
        self.wake_all();
    }

    /// The lane ends before a stage has seen the end, or the stage is dropped after its lane. Such
    /// a stage is late, not dead. Nothing fails; later layers learn that no more events will come.
    pub(crate) fn leave_stage(&self, stage: u32, first_missing: Sequence) {
        self.stages[stage as usize].note_death(first_missing);
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

    /// Keeps the poller of a dead stage, whose death is recorded.
    pub(crate) fn park(&self, stage: u32, poller: P) {
        assert!(self.stages[stage as usize].is_dead(), "only the dead are pumped");
        // Once the lane is gone nobody pumps, and the poller blocks nothing.
        if let Some(mut parked) = self.parked.lock().filter(|_| !self.is_gone()) {
            parked.push((stage, poller));
        }
        self.wake_all();
    }

    /// Whether any pollers of dead stages are waiting for the pump.
    pub(crate) fn has_parked(&self) -> bool {
        self.parked.lock().is_some_and(|parked| !parked.is_empty())
    }
}

impl<P: Pump> Flow<P> {
    /// Releases the events of dead stages on their behalf, once no `Held` of theirs is left. Called
    /// by the IO thread, under `Detach`; `detached` holds the pollers that it has taken.
    pub(crate) fn pump(&self, detached: &mut Vec<(u32, P)>) {
        if let Some(mut parked) = self.parked.lock() {
            detached.append(&mut parked);
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
