//! A claim: a slot of the ring and the memory for it, taken together.
#![forbid(unsafe_code)]

use std::ops::{Deref, DerefMut};

use super::lane::Lane;
use super::slot::{Meta, LaneEvent};
use crate::ring::Sequence;

/// Bytes to fill, and a free slot for them, so pushing can't fail. A claim that is dropped or
/// leaked takes nothing.
///
/// Cheaper than [`super::Lane::reserve`] with [`super::Lane::push`], because no slice is counted
/// in between.
#[must_use = "a claim that isn't pushed gives its bytes and its slot back"]
pub struct Claim<'l, M: Meta> {
    lane: &'l mut Lane<M>,
    len: usize,
}

impl<'l, M: Meta> Claim<'l, M> {
    /// The lane must have a free slot and `len` bytes in its current chunk.
    #[inline]
    pub(super) fn new(lane: &'l mut Lane<M>, len: usize) -> Self {
        debug_assert!(lane.free_slots() > 0 && lane.pool.fits(len));
        Self { lane, len }
    }

    /// Keeps the first `n` bytes and gives back the rest. An `n` beyond the claim changes nothing.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(n);
    }

    /// Puts the bytes into the slot, which [`super::Lane::flush`] publishes. Returns the sequence.
    #[inline]
    pub fn push(self, meta: M) -> Sequence {
        let span = self.lane.pool.push_next_span(self.len);
        self.lane.put(LaneEvent { span, meta })
    }

    /// Pushes the slot and publishes it, with everything pushed before. Returns the sequence.
    #[inline]
    pub fn publish(self, meta: M) -> Sequence {
        let span = self.lane.pool.push_next_span(self.len);
        self.lane.put_and_flush(LaneEvent { span, meta })
    }
}

impl<M: Meta> Deref for Claim<'_, M> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.lane.pool.behind(self.len)
    }
}

impl<M: Meta> DerefMut for Claim<'_, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.lane.pool.behind_mut(self.len)
    }
}

impl<M: Meta> std::fmt::Debug for Claim<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("bytes", &self.len).field("lane", &self.lane).finish()
    }
}
