//! What a stage sees of an event: a [`View`] for the length of a call, or views of a [`Held`],
//! which the stage has read ahead and not yet released (for fsync, or for device work under way).
#![allow(unsafe_code)]

use std::mem;
use std::sync::Arc;

use super::event_ring::LaneEvent;
use super::policy::Meta;
use super::shared::LaneShared;
use crate::ring::{CastError, RetainError, Retained, Rows, Sequence};

/// One event: its bytes, its metadata, its sequence. A view can't outlive the call, or the `Held`,
/// that shows it.
#[derive(Clone, Copy)]
pub struct View<'a, M> {
    event: &'a LaneEvent<M>,
    shared: &'a LaneShared<M>,
    sequence: Sequence,
    stage: StageId,
}

/// Which stage a view is shown to: looked up once per batch.
#[derive(Clone, Copy)]
pub(super) struct StageId {
    /// Its index among the lane's stages.
    pub(super) index: u32,
    pub(super) layer: u32,
}

impl StageId {
    #[inline]
    pub(super) fn of<M>(shared: &LaneShared<M>, index: u32) -> Self {
        Self { index, layer: shared.stages[index as usize].layer as u32 }
    }
}

impl<'a, M: Meta> View<'a, M> {
    /// The caller ensures that the stage doesn't release the sequence while `'a` lasts.
    #[inline]
    pub(super) fn new(
        event: &'a LaneEvent<M>,
        shared: &'a LaneShared<M>,
        sequence: Sequence,
        stage: StageId,
    ) -> Self {
        debug_assert!(sequence > shared.stages[stage.index as usize].progress());
        Self { event, shared, sequence, stage }
    }

    /// The slice's bytes; empty for an event without a slice.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        // SAFETY: I40. The stage doesn't release this sequence while the view lives, so the chunk
        // isn't reused.
        unsafe { self.shared.memory.bytes(self.event.span) }
    }

    /// The bytes as `f32`, in the machine's byte order.
    ///
    /// # Errors
    /// The length or the start address isn't a multiple of four.
    #[inline]
    pub fn as_f32s(&self) -> Result<&'a [f32], CastError> {
        crate::ring::as_f32s(self.bytes())
    }

    /// The bytes as rows of `dim` `f32` each.
    ///
    /// # Errors
    /// As [`View::as_f32s`], or the length isn't a multiple of the row.
    #[inline]
    pub fn rows(&self, dim: usize) -> Result<Rows<'a>, CastError> {
        Rows::new(self.bytes(), dim)
    }

    /// The metadata that was pushed with the slice.
    #[must_use]
    #[inline]
    pub fn meta(&self) -> &'a M {
        &self.event.meta
    }

    /// The event's number in the lane's stream, from 0.
    #[must_use]
    #[inline]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Whether a stage of an earlier layer rejected this event. A rejection by a stage of the same
    /// layer may be visible or not.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.shared.is_rejected(self.sequence)
    }

    /// A counted handle on the bytes that outlives the release, on any thread.
    ///
    /// # Errors
    /// As many chunks as allowed are already pinned.
    pub fn retain(&self) -> Result<Retained, RetainError> {
        Retained::new(&self.shared.memory, self.event.span)
    }

    #[inline]
    pub(super) fn lane(&self) -> u32 {
        self.shared.id
    }

    #[inline]
    pub(super) fn stage(&self) -> u32 {
        self.stage.index
    }

    #[inline]
    pub(super) fn layer(&self) -> usize {
        self.stage.layer as usize
    }

    /// Whether `stage` has processed this event. False if the stage was detached and died before
    /// it.
    #[inline]
    pub(super) fn was_processed_by(&self, stage: u32) -> bool {
        self.sequence < self.shared.stages[stage as usize].died_at()
    }
}

impl<M: std::fmt::Debug> std::fmt::Debug for View<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("sequence", &self.sequence)
            .field("event", self.event)
            .finish_non_exhaustive()
    }
}

/// Consecutive events, owned. Not Clone; views borrow it. Give it back with
/// [`Stage::release`](super::Stage::release).
///
/// Dropping it instead fails its stage, because its events weren't processed. (Under `Detach` the
/// lane continues without the stage as soon as the stage's handle is used again or dropped. Until
/// then the lane waits, as for any idle stage.) Leaking it blocks the lane, and the statistics name
/// the stage and the sequence.
#[must_use = "dropping it unreleased fails the stage"]
pub struct Held<M: Meta> {
    events: Vec<LaneEvent<M>>,
    first: Sequence,
    stage: u32,
    shared: Arc<LaneShared<M>>,
}

impl<M: Meta> Held<M> {
    pub(super) fn new(
        events: Vec<LaneEvent<M>>,
        first: Sequence,
        stage: u32,
        shared: &Arc<LaneShared<M>>,
    ) -> Self {
        debug_assert!(!events.is_empty());
        debug_assert!(
            first > shared.stages[stage as usize].progress(),
            "events that are held aren't released"
        );
        shared.stages[stage as usize].add_held();
        Self { events, first, stage, shared: Arc::clone(shared) }
    }

    /// How many events it holds; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// The sequence of its first event; the others follow without a gap.
    #[must_use]
    pub fn first_sequence(&self) -> Sequence {
        self.first
    }

    /// Its events, in order.
    pub fn views(&self) -> impl Iterator<Item = View<'_, M>> {
        let stage = StageId::of(&self.shared, self.stage);
        let view = move |(event, sequence)| View::new(event, &self.shared, sequence, stage);
        self.events.iter().zip(self.first..).map(view)
    }

    pub(super) fn is_of(&self, stage: u32, shared: &Arc<LaneShared<M>>) -> bool {
        self.stage == stage && Arc::ptr_eq(&self.shared, shared)
    }

    /// Ends it without failing the stage, and returns the list of events for reuse.
    pub(super) fn into_events(mut self) -> Vec<LaneEvent<M>> {
        self.shared.stages[self.stage as usize].remove_held();
        let events = mem::take(&mut self.events);
        debug_assert!(!events.is_empty());
        events
    }
}

impl<M: Meta> Drop for Held<M> {
    fn drop(&mut self) {
        // `into_events` has ended it.
        if self.events.is_empty() {
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
