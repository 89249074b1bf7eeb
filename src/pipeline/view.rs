//! What a stage sees of a slice, for the length of a call.
#![allow(unsafe_code)]

use super::shared::LaneShared;
use super::slot::{Meta, LaneEvent};
use crate::ring::{CastError, RetainError, Retained, Rows, Sequence};

/// One event: its bytes, its metadata, its sequence. It can't outlive the call, or the `Held`, that
/// shows it.
#[derive(Clone, Copy)]
pub struct View<'a, M> {
    slot: &'a LaneEvent<M>,
    shared: &'a LaneShared<M>,
    sequence: Sequence,
    stage: StageId,
}

/// Which stage a view is shown to: looked up once per batch.
#[derive(Clone, Copy)]
pub(super) struct StageId {
    /// Its place among the lane's stages.
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
    /// The slot's sequence isn't released by `push` while `'a` lasts.
    #[inline]
    pub(super) fn new(
        slot: &'a LaneEvent<M>,
        shared: &'a LaneShared<M>,
        sequence: Sequence,
        stage: StageId,
    ) -> Self {
        debug_assert!(sequence > shared.stages[stage.index as usize].progress());
        Self { slot, shared, sequence, stage }
    }

    /// The slice's bytes; empty for a slot without one.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        // SAFETY: I40. The stage hasn't released this sequence while the view lives, so the chunk
        // isn't reused.
        unsafe { self.shared.memory.bytes(self.slot.span) }
    }

    /// The bytes as `f32`, in the machine's byte order.
    ///
    /// # Errors
    /// The length isn't a multiple of four, or the start isn't on one.
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

    /// What the publisher put beside the slice.
    #[must_use]
    #[inline]
    pub fn meta(&self) -> &'a M {
        &self.slot.meta
    }

    /// The event's number in the lane's stream, from 0.
    #[must_use]
    #[inline]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Whether a stage rejected this event. Of an earlier layer: what a stage of the same layer
    /// says at that moment may show or not.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.shared.is_rejected(self.sequence)
    }

    /// A counted handle on the bytes that outlives the release, on any thread.
    ///
    /// # Errors
    /// As many chunks as allowed are pinned already.
    pub fn retain(&self) -> Result<Retained, RetainError> {
        Retained::new(&self.shared.memory, self.slot.span)
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

    /// Whether `stage` has processed this event; a dead one hasn't, if it was detached.
    #[inline]
    pub(super) fn was_processed_by(&self, stage: u32) -> bool {
        self.sequence < self.shared.stages[stage as usize].died_at()
    }
}

impl<M: std::fmt::Debug> std::fmt::Debug for View<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("sequence", &self.sequence)
            .field("slot", self.slot)
            .finish_non_exhaustive()
    }
}
