//! Reserved bytes: borrowed as a [`Grant`], owned as a [`Token`], or with the kernel as an
//! [`InFlight`].
//!
//! ```text
//! RingPool::reserve ─▶ Grant ─┬─ commit ──▶ PoolSlice
//!                             ├─ push ────▶ Pushed
//!                             ├─ received ▶ Received ─ cut ▶ PoolSlice, PoolSlice, ...
//!                             └─ into_token ▶ Token ─ commit, received as above
//!                                               │ ▲
//!                                        submit ▼ │ complete
//!                                             InFlight
//! ```
//! A grant borrows the pool, so there is one at a time and nothing else can be allocated after it.
//! It doesn't hold its chunk before it is committed, so a grant that is dropped or leaked costs
//! nothing. A token holds its chunk, and the pool may go on meanwhile.
#![allow(unsafe_code)]

use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;

use super::error::{Full, TooLong};
use super::layout::{LINE_BYTES, line_up};
use super::owner::{ChunkRef, FlightId};
use super::pool::RingPool;
use super::slice::{PoolSlice, Pushed, Received};

impl RingPool {
    /// Reserves `len` bytes at the write position. Dropping the grant gives back what isn't
    /// committed.
    ///
    /// # Errors
    /// [`Full::TooLarge`] or [`Full::Pool`]; it never blocks.
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Grant<'_>, Full> {
        if !self.fits(len) {
            self.find_room(len)?;
        }
        self.check();
        Ok(Grant::new(self, len))
    }

    /// Reserves the rest of the current chunk, at least `min` bytes, for a receive of unknown
    /// length.
    ///
    /// # Errors
    /// As [`RingPool::reserve`] for `min`.
    pub fn reserve_rest(&mut self, min: usize) -> Result<Grant<'_>, Full> {
        // A receive needs room for at least one byte.
        let min = min.max(1);
        if !self.fits(min) {
            self.find_room(min)?;
        }
        let rest = self.room();
        debug_assert!(rest >= min);
        self.check();
        Ok(Grant::new(self, rest))
    }

    /// Reserves and fills in one call.
    ///
    /// # Errors
    /// As [`RingPool::reserve`].
    pub fn copy_in(&mut self, bytes: &[u8]) -> Result<PoolSlice, Full> {
        let mut grant = self.reserve(bytes.len())?;
        grant.copy_from_slice(bytes);
        Ok(grant.commit_all())
    }
}

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

    /// Commits the first `n` bytes as a slice and gives the rest back.
    ///
    /// # Errors
    /// More than were reserved. The grant is returned.
    #[inline]
    pub fn commit(self, n: usize) -> Result<PoolSlice, TooLong<Self>> {
        if n > self.len {
            return Err(self.too_long(n));
        }
        let start = self.pool.start();
        let chunk = self.pool.hand_out(n);
        Ok(PoolSlice::new(chunk, start, n))
    }

    /// Commits all of it.
    #[inline]
    pub fn commit_all(self) -> PoolSlice {
        let len = self.len;
        self.commit(len).unwrap_or_else(|e| unreachable!("{e}"))
    }

    /// Commits all of it and pushes it under the next sequence. Same as [`RingPool::push`] of
    /// [`Grant::commit_all`], and cheaper, because no slice holds the chunk in between and none can
    /// be foreign.
    #[inline]
    pub fn push(self) -> Pushed {
        self.pool.push_next(self.len)
    }

    /// Gives back all but the first `n` bytes. An `n` beyond the reservation changes nothing.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(n);
    }

    /// Turns the grant into an owned token, for bytes that are still being filled while the pool
    /// goes on.
    pub fn into_token(self) -> Token {
        let start = self.pool.position();
        let chunk = self.pool.hand_out(self.len);
        Token::new(chunk, start, self.len, self.pool.position())
    }

    /// The first `n` bytes as a receive, to be cut into slices without a copy; the rest is given
    /// back.
    ///
    /// # Errors
    /// More than were reserved. The grant is returned.
    pub fn received(self, n: usize) -> Result<Received, TooLong<Self>> {
        if n > self.len {
            return Err(self.too_long(n));
        }
        let start = self.pool.position();
        let chunk = self.pool.hand_out(n);
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

/// Reserved bytes that hold their chunk. Dropping a token gives them back: immediately if nothing
/// was allocated since, else with the chunk (as tail waste).
#[must_use = "a token that isn't committed gives its bytes back"]
#[derive(Debug)]
pub struct Token {
    chunk: ChunkRef,
    start: usize,
    len: usize,
    /// The write position right after the token was made. If it is still the same, the token is the
    /// newest.
    position: usize,
}

impl Token {
    /// Takes over a hold on `chunk`.
    pub(super) fn new(chunk: ChunkRef, start: usize, len: usize, position: usize) -> Self {
        debug_assert!(chunk.contains(start, len) && position >= start + len);
        Self { chunk, start, len, position }
    }

    /// Commits the first `n` bytes as a slice.
    ///
    /// # Errors
    /// More than were reserved. The token is returned.
    pub fn commit(self, n: usize) -> Result<PoolSlice, TooLong<Self>> {
        let mut received = self.received(n)?;
        Ok(received.cut(0, n).unwrap_or_else(|e| unreachable!("{e}")))
    }

    /// The first `n` bytes as a receive, to be cut into slices without a copy.
    ///
    /// # Errors
    /// More than were reserved. The token is returned.
    pub fn received(self, n: usize) -> Result<Received, TooLong<Self>> {
        if n > self.len {
            return Err(TooLong { asked_bytes: n, available_bytes: self.len, back: self });
        }
        let this = ManuallyDrop::new(self);
        // The receive takes over the token's hold on the chunk.
        let end = this.start + n;
        debug_assert!(end <= this.position, "a token ends at or before the write position");
        this.chunk.return_range(this.position, end);
        Ok(Received::new(this.chunk, this.start, n, line_up(end).min(this.position)))
    }

    /// Hands the bytes to the kernel until [`InFlight::complete`].
    #[must_use = "dropping it keeps the chunk until the completion is reported"]
    pub fn submit(self) -> InFlight {
        let id = self.chunk.owner().new_flight();
        InFlight { token: ManuallyDrop::new(self), id }
    }

    #[inline]
    fn bytes(&self) -> NonNull<u8> {
        debug_assert!(self.chunk.contains(self.start, self.len));
        // SAFETY: I20. The range is inside its chunk, and the chunk is inside the region.
        unsafe { self.chunk.owner().base.add(self.start) }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        debug_assert!(self.start + self.len <= self.position && self.chunk.has_holders());
        self.chunk.return_range(self.position, self.start);
        self.chunk.remove_holder();
    }
}

impl Deref for Token {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: I25. The range was reserved for this token alone, and its chunk can't be reused
        // while the token holds it.
        unsafe { slice::from_raw_parts(self.bytes().as_ptr(), self.len) }
    }
}

impl DerefMut for Token {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: I25. The range was reserved for this token alone, and its chunk can't be reused
        // while the token holds it.
        unsafe { slice::from_raw_parts_mut(self.bytes().as_ptr(), self.len) }
    }
}

/// A token that the kernel is writing to. No reference to its bytes exists; the pointer is for the
/// submission.
///
/// If it is dropped, its chunk isn't reused until its number is passed to
/// [`RingPool::report_completion`].
#[must_use = "dropping it keeps the chunk until the completion is reported"]
#[derive(Debug)]
pub struct InFlight {
    token: ManuallyDrop<Token>,
    id: FlightId,
}

impl InFlight {
    /// Where the kernel may write [`InFlight::capacity`] bytes, until it reports completion.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.token.bytes()
    }

    /// The number of bytes that the kernel may write.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.token.len
    }

    /// The number for reporting a completion after this was dropped.
    #[must_use]
    pub fn id(&self) -> FlightId {
        self.id
    }

    /// The kernel is done: turns it back into a token.
    pub fn complete(self) -> Token {
        let this = ManuallyDrop::new(self);
        let token = &*this.token;
        Token { chunk: token.chunk, start: token.start, len: token.len, position: token.position }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // The hold on the chunk remains, under this number.
        self.token.chunk.owner().abandon_flight(self.id, self.token.chunk);
    }
}
