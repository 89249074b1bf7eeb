//! A claim: a slot of the ring and the memory for it, taken together.
#![forbid(unsafe_code)]

use std::ops::{Deref, DerefMut};

use super::slot::{Meta, Slot};
use crate::ring::{Grant, Sequence};

/// Bytes to fill, with room in the ring for them: staging can't fail. Dropped or leaked, it has taken nothing.
///
/// Cheaper than [`super::Lane::reserve`] with [`super::Lane::stage`], because no slice is counted in between.
#[must_use = "a claim that isn't staged gives its bytes and its slot back"]
pub struct Claim<'l, M: Meta> {
    grant: Grant<'l>,
    waiting: &'l mut [Slot<M>],
    staged: &'l mut Sequence,
}

impl<'l, M: Meta> Claim<'l, M> {
    /// Of the slot behind `staged`, which is free.
    #[inline]
    pub(super) fn new(grant: Grant<'l>, waiting: &'l mut [Slot<M>], staged: &'l mut Sequence) -> Self {
        debug_assert!(waiting.len().is_power_of_two());
        Self { grant, waiting, staged }
    }

    /// Gives back all but the first `n` bytes; more than were claimed changes nothing.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.grant.truncate(n);
    }

    /// Puts the bytes into the slot, to be published by [`super::Lane::flush`]. Returns its sequence.
    #[inline]
    pub fn stage(self, meta: M) -> Sequence {
        let (sequence, mask) = (*self.staged + 1, self.waiting.len() - 1);
        debug_assert!(sequence >= 0, "sequences start at 0");
        let span = self.grant.stage_span();
        self.waiting[sequence as usize & mask] = Slot { span, meta };
        *self.staged = sequence;
        sequence
    }
}

impl<M: Meta> Deref for Claim<'_, M> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.grant
    }
}

impl<M: Meta> DerefMut for Claim<'_, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.grant
    }
}

impl<M: Meta> std::fmt::Debug for Claim<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("bytes", &self.len())
            .field("sequence", &(*self.staged + 1))
            .finish_non_exhaustive()
    }
}
