//! A lane's grant: bytes reserved in its pool, to become slices.
#![forbid(unsafe_code)]

use std::ops::{Deref, DerefMut};

use crate::ring::{Grant, PoolSlice, Received, Token, TooLong};

/// Bytes to fill, at most as many as were asked for. Their content is undefined until written; only
/// committed bytes are visible to others.
///
/// A pool's own [`Grant`] can also be pushed at once, under the pool's next sequence. In a lane, a
/// sequence belongs to a slot of the ring, which [`Lane::claim`](super::Lane::claim) takes together
/// with the bytes.
#[must_use = "a grant that isn't committed gives its bytes back"]
#[derive(Debug)]
pub struct LaneGrant<'l>(Grant<'l>);

impl<'l> LaneGrant<'l> {
    #[inline]
    pub(super) fn new(grant: Grant<'l>) -> Self {
        Self(grant)
    }

    /// Keeps the first `n` bytes and gives back the rest. An `n` beyond the reservation changes
    /// nothing.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.0.truncate(n);
    }

    /// Commits the first `n` bytes as a slice and gives the rest back.
    ///
    /// # Errors
    /// More than were reserved: the grant comes back.
    #[inline]
    pub fn commit(self, n: usize) -> Result<PoolSlice, TooLong<Self>> {
        self.0.commit(n).map_err(too_long)
    }

    /// Commits all of it as a slice.
    #[inline]
    pub fn commit_all(self) -> PoolSlice {
        self.0.commit_all()
    }

    /// DisruptorEnds the borrow of the lane and keeps the range, so that several ranges can be filled while
    /// the lane goes on.
    pub fn into_token(self) -> Token {
        self.0.into_token()
    }

    /// The first `n` bytes as a receive, to be cut into slices without a copy; the rest is given
    /// back.
    ///
    /// # Errors
    /// More than were reserved: the grant comes back.
    pub fn received(self, n: usize) -> Result<Received, TooLong<Self>> {
        self.0.received(n).map_err(too_long)
    }
}

#[cold]
fn too_long(error: TooLong<Grant<'_>>) -> TooLong<LaneGrant<'_>> {
    let TooLong { asked_bytes, available_bytes, back } = error;
    TooLong { asked_bytes, available_bytes, back: LaneGrant(back) }
}

impl Deref for LaneGrant<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for LaneGrant<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
