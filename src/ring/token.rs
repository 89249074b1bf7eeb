//! A token: an owned grant, for bytes that somebody else (such as the kernel) is still filling.
#![allow(unsafe_code)]

use core::mem::ManuallyDrop;
use core::num::NonZeroU32;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;

use super::chunk::line_up;
use super::error::TooLong;
use super::live::ChunkRef;
use super::receive::Received;
use super::slice::PoolSlice;

/// Reserved bytes, counted in their chunk. Dropping a token gives them back: at once if nothing was
/// allocated since, else with the chunk (counted as tail waste).
#[must_use = "a token that isn't committed gives its bytes back"]
#[derive(Debug)]
pub struct Token {
    chunk: ChunkRef,
    start: usize,
    len: usize,
    /// The write position that this token left: if it is still there, the token is the newest.
    position: usize,
}

impl Token {
    /// Takes over a count of `chunk`.
    pub(super) fn new(chunk: ChunkRef, start: usize, len: usize, position: usize) -> Self {
        debug_assert!(chunk.holds(start, len) && position >= start + len);
        Self { chunk, start, len, position }
    }

    /// Publishes the first `n` bytes as a slice.
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
        // The receive takes over the token's count of the chunk.
        let end = this.start + n;
        debug_assert!(end <= this.position, "the write position is behind the token");
        this.chunk.give_back(this.position, end);
        Ok(Received::new(this.chunk, this.start, n, line_up(end).min(this.position)))
    }

    /// Hands the bytes to the kernel until [`InFlight::complete`].
    #[must_use = "dropping it pins the chunk until the completion is reported"]
    pub fn submit(self) -> InFlight {
        let id = self.chunk.owner().new_flight();
        InFlight { token: ManuallyDrop::new(self), id }
    }

    #[inline]
    fn bytes(&self) -> NonNull<u8> {
        debug_assert!(self.chunk.holds(self.start, self.len));
        // SAFETY: I20. The range lies in its chunk, which lies in the region.
        unsafe { self.chunk.owner().base.add(self.start) }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        debug_assert!(self.start + self.len <= self.position && self.chunk.is_live());
        self.chunk.give_back(self.position, self.start);
        self.chunk.drop_live();
    }
}

impl Deref for Token {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: I25. The range was reserved for this token alone and its chunk can't be reused
        // while it is counted.
        unsafe { slice::from_raw_parts(self.bytes().as_ptr(), self.len) }
    }
}

impl DerefMut for Token {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: I25. The range was reserved for this token alone and its chunk can't be reused
        // while it is counted.
        unsafe { slice::from_raw_parts_mut(self.bytes().as_ptr(), self.len) }
    }
}

/// The identity of a read: no other in the process has the same, in any pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlightId {
    /// The pool's number, which no other pool has.
    pub(super) pool: NonZeroU32,
    /// The read's number in its pool.
    pub(super) number: u64,
}

/// A token that the kernel is writing to. No reference to its bytes exists; the pointer is for the
/// submission.
///
/// If it is dropped, its chunk is kept until its number is passed to
/// [`super::RingPool::report_completion`].
#[must_use = "dropping it pins the chunk until the completion is reported"]
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
        // The count of the chunk remains, under this number.
        self.token.chunk.owner().abandon_flight(self.id, self.token.chunk);
    }
}
