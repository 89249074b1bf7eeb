//! Events that a stage has read and not yet released: for fsync, or device work in flight.
#![forbid(unsafe_code)]

use std::mem;
use std::sync::Arc;

use super::shared::LaneShared;
use super::slot::{Meta, LaneEvent};
use super::view::{StageId, View};
use crate::ring::Sequence;

/// A run of events, owned. Not Clone; views borrow it. Give it back with [`super::Stage::release`].
///
/// Dropping it instead fails its stage, because its events weren't processed. (Under `Detach` the
/// lane continues without the stage as soon as the stage's handle is used again or dropped. Until
/// then the lane waits, as for any idle stage.) Leaking it blocks the lane, and the statistics name
/// the stage and the sequence.
#[must_use = "dropping it unreleased fails the stage"]
pub struct Held<M: Meta> {
    slots: Vec<LaneEvent<M>>,
    first: Sequence,
    stage: u32,
    shared: Arc<LaneShared<M>>,
}

impl<M: Meta> Held<M> {
    pub(super) fn new(
        slots: Vec<LaneEvent<M>>,
        first: Sequence,
        stage: u32,
        shared: &Arc<LaneShared<M>>,
    ) -> Self {
        debug_assert!(!slots.is_empty());
        debug_assert!(
            first > shared.stages[stage as usize].progress(),
            "what is held isn't released"
        );
        shared.stages[stage as usize].add_held();
        Self { slots, first, stage, shared: Arc::clone(shared) }
    }

    /// How many events it holds; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The sequence of its first event; the others follow without a gap.
    #[must_use]
    pub fn first_sequence(&self) -> Sequence {
        self.first
    }

    /// Its events, in order.
    pub fn views(&self) -> impl Iterator<Item = View<'_, M>> {
        let stage = StageId::of(&self.shared, self.stage);
        let view = move |(slot, sequence)| View::new(slot, &self.shared, sequence, stage);
        self.slots.iter().zip(self.first..).map(view)
    }

    pub(super) fn is_of(&self, stage: u32, shared: &Arc<LaneShared<M>>) -> bool {
        self.stage == stage && Arc::ptr_eq(&self.shared, shared)
    }

    /// DisruptorEnds it without failing the stage, and returns the list of slots for reuse.
    pub(super) fn into_events(mut self) -> Vec<LaneEvent<M>> {
        self.shared.stages[self.stage as usize].remove_held();
        let slots = mem::take(&mut self.slots);
        debug_assert!(!slots.is_empty());
        slots
    }
}

impl<M: Meta> Drop for Held<M> {
    fn drop(&mut self) {
        // It was dissolved: nothing is held any more.
        if self.slots.is_empty() {
            return;
        }
        self.shared.drop_held(self.stage);
    }
}

impl<M: Meta> std::fmt::Debug for Held<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("first", &self.first)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
