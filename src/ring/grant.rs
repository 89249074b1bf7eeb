//! A grant: bytes reserved at the write position, borrowed from the pool.
//!
//! A grant borrows the pool, so there is one at a time and nothing else can be allocated after it.
//! The pool counts nothing until the grant is committed, so a grant that is dropped or leaked costs
//! nothing.
#![allow(unsafe_code)]

use core::ops::{Deref, DerefMut};
use core::slice;

use super::chunk::LINE_BYTES;
use super::error::TooLong;
use super::pool::RingPool;
use super::pushed::Pushed;
use super::receive::Received;
use super::slice::PoolSlice;
use super::token::Token;

/// Bytes to fill, as many as were reserved. They hold whatever was there before; only committed
/// bytes are visible to others.
#[must_use = "a grant that isn't committed gives its bytes back"]
#[derive(Debug)]
pub struct Grant<'p> {
    pool: &'p mut RingPool,
    len: usize,
}

impl<'p> Grant<'p> {
    /// A grant over the next `len` bytes of the current chunk, which must hold them.
    #[inline]
    pub(super) fn new(pool: &'p mut RingPool, len: usize) -> Self {
        debug_assert!(len <= pool.room());
        debug_assert_eq!(pool.position() % LINE_BYTES, 0, "a grant starts on a line");
        Self { pool, len }
    }

    /// Publishes the first `n` bytes as a slice and gives the rest back.
    ///
    /// # Errors
    /// More than were reserved: the grant comes back.
    #[inline]
    pub fn commit(self, n: usize) -> Result<PoolSlice, TooLong<Self>> {
        if n > self.len {
            return Err(self.too_long(n));
        }
        let start = self.pool.start();
        let chunk = self.pool.take(n);
        Ok(PoolSlice::new(chunk, start, n))
    }

    /// Publishes all of it.
    #[inline]
    pub fn commit_all(self) -> PoolSlice {
        let len = self.len;
        self.commit(len).unwrap_or_else(|e| unreachable!("{e}"))
    }

    /// Commits and pushes all of it under the next sequence. Same as [`RingPool::push`] of
    /// [`Grant::commit_all`], and cheaper, because no slice is counted in between and none can be
    /// foreign.
    #[inline]
    pub fn push(self) -> Pushed {
        self.pool.push_next(self.len)
    }

    /// Keeps the first `n` bytes and gives back the rest. An `n` beyond the reservation changes
    /// nothing.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(n);
    }

    /// Turns the grant into an owned token, for bytes that are still being filled while the pool
    /// goes on.
    pub fn into_token(self) -> Token {
        let start = self.pool.position();
        let chunk = self.pool.take(self.len);
        Token::new(chunk, start, self.len, self.pool.position())
    }

    /// The first `n` bytes as a receive, to be cut into slices without a copy; the rest is given
    /// back.
    ///
    /// # Errors
    /// More than were reserved: the grant comes back.
    pub fn received(self, n: usize) -> Result<Received, TooLong<Self>> {
        if n > self.len {
            return Err(self.too_long(n));
        }
        let start = self.pool.position();
        let chunk = self.pool.take(n);
        Ok(Received::new(chunk, start, n, self.pool.position()))
    }

    #[cold]
    fn too_long(self, asked_bytes: usize) -> TooLong<Self> {
        assert!(asked_bytes > self.len);
        TooLong { asked_bytes, available_bytes: self.len, back: self }
    }
}

impl Deref for Grant<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: I24, I29. The range starts at the write position and the pool is borrowed, so it
        // belongs to this grant alone.
        unsafe { slice::from_raw_parts(self.pool.start().as_ptr(), self.len) }
    }
}

impl DerefMut for Grant<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: I24, I29. The range starts at the write position and the pool is borrowed, so it
        // belongs to this grant alone.
        unsafe { slice::from_raw_parts_mut(self.pool.start().as_ptr(), self.len) }
    }
}

/// A lane's claim makes a new grant at each access: nothing moves the write position while the
/// claim borrows the lane. Grants themselves aren't checked again, because they were checked when
/// they were made.
#[cfg(feature = "pipeline")]
impl RingPool {
    /// The next `len` bytes.
    #[inline]
    pub(crate) fn behind(&self, len: usize) -> &[u8] {
        assert!(self.holds_next(len), "what was claimed fits");
        // SAFETY: I24, I29. The range starts at the write position and the pool is borrowed.
        unsafe { slice::from_raw_parts(self.start().as_ptr(), len) }
    }

    /// The next `len` bytes, to be filled.
    #[inline]
    pub(crate) fn behind_mut(&mut self, len: usize) -> &mut [u8] {
        assert!(self.holds_next(len), "what was claimed fits");
        // SAFETY: I24, I29. The range starts at the write position and the pool is borrowed, so it
        // belongs to the borrower alone.
        unsafe { slice::from_raw_parts_mut(self.start().as_ptr(), len) }
    }
}
