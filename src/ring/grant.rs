//! A grant: bytes reserved at the write position, borrowed from the pool.
//!
//! Because it borrows the pool, there is one at a time and nothing can be allocated behind it: until it is committed the
//! pool counts nothing, so a grant that is dropped, or leaked, has cost nothing.
#![allow(unsafe_code)]

use core::ops::{Deref, DerefMut};
use core::slice;

use super::chunk::LINE_BYTES;
use super::error::TooLong;
use super::memory::Span;
use super::pool::RingPool;
use super::receive::Received;
use super::slice::PoolSlice;
use super::token::Token;

/// Bytes to fill, at most as many as were asked for. They hold whatever was there before: only what is committed is shown.
#[must_use = "a grant that isn't committed gives its bytes back"]
#[derive(Debug)]
pub struct Grant<'p> {
    pool: &'p mut RingPool,
    start: usize,
    len: usize,
}

impl<'p> Grant<'p> {
    /// Over the next `len` bytes of the current chunk, which holds them.
    #[inline]
    pub(super) fn new(pool: &'p mut RingPool, len: usize) -> Self {
        let start = pool.owner().position.get();
        debug_assert!(len <= pool.owner().room());
        debug_assert_eq!(start % LINE_BYTES, 0, "a grant starts on a line");
        Self { pool, start, len }
    }

    /// Publishes the first `n` bytes as a slice and gives the rest back.
    ///
    /// # Errors
    /// More than were reserved: the grant comes back.
    #[inline]
    pub fn commit(self, n: usize) -> Result<PoolSlice, TooLong<Self>> {
        if n > self.len {
            return Err(TooLong { asked_bytes: n, available_bytes: self.len, back: self });
        }
        let (owner, start) = (self.pool.owner(), self.start);
        let chunk = owner.current.get();
        owner.bump(start, n);
        owner.count_live(chunk);
        owner.check();
        Ok(PoolSlice::new(owner, Span { offset: start as u64, len: n as u32, chunk }))
    }

    /// Publishes all of it.
    #[inline]
    pub fn commit_all(self) -> PoolSlice {
        let len = self.len;
        self.commit(len).unwrap_or_else(|e| unreachable!("{e}"))
    }

    /// Owned instead of borrowed, for bytes that are still being filled while the pool goes on.
    pub fn into_token(self) -> Token {
        let owner = self.pool.owner();
        let position = owner.bump(self.start, self.len);
        let chunk = owner.current.get();
        owner.count_live(chunk);
        owner.check();
        Token::new(owner, chunk, self.start, self.len, position)
    }

    /// The first `n` bytes as a receive, to be cut into slices without a copy; the rest is given back.
    ///
    /// # Errors
    /// More than were reserved: the grant comes back.
    pub fn received(self, n: usize) -> Result<Received, TooLong<Self>> {
        if n > self.len {
            return Err(TooLong { asked_bytes: n, available_bytes: self.len, back: self });
        }
        let owner = self.pool.owner();
        let position = owner.bump(self.start, n);
        let chunk = owner.current.get();
        owner.count_live(chunk);
        owner.check();
        Ok(Received::new(owner, chunk, self.start, n, position))
    }
}

impl Deref for Grant<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: I20. The range lies in the current chunk, which lies in the region.
        let start = unsafe { self.pool.owner().base.add(self.start) };
        // SAFETY: I24. The range is behind the write position and the pool is borrowed: it belongs to this grant alone.
        unsafe { slice::from_raw_parts(start.as_ptr(), self.len) }
    }
}

impl DerefMut for Grant<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: I20. The range lies in the current chunk, which lies in the region.
        let start = unsafe { self.pool.owner().base.add(self.start) };
        // SAFETY: I24. The range is behind the write position and the pool is borrowed: it belongs to this grant alone.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), self.len) }
    }
}
