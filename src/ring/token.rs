//! A token: a grant that is owned, for bytes that somebody else, the kernel for one, is still filling.
#![allow(unsafe_code)]

use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;

use super::error::TooLong;
use super::owner::OwnerRef;
use super::receive::Received;
use super::slice::PoolSlice;

/// Reserved bytes that are counted in their chunk. Dropped, they are given back: at once if nothing was allocated since,
/// else with the chunk (counted as tail waste).
#[must_use = "a token that isn't committed gives its bytes back"]
#[derive(Debug)]
pub struct Token {
    owner: OwnerRef,
    chunk: u32,
    start: usize,
    len: usize,
    /// The write position that this token left behind: as long as it stands there, the token is the newest.
    position: usize,
}

impl Token {
    /// Takes over a count of `chunk`.
    pub(super) fn new(owner: OwnerRef, chunk: u32, start: usize, len: usize, position: usize) -> Self {
        debug_assert!(start + len <= position, "the write position is behind the token");
        Self { owner, chunk, start, len, position }
    }

    /// Publishes the first `n` bytes as a slice.
    ///
    /// # Errors
    /// More than were reserved: the token comes back.
    pub fn commit(self, n: usize) -> Result<PoolSlice, TooLong<Self>> {
        let mut received = self.received(n)?;
        Ok(received.cut(0, n).unwrap_or_else(|e| unreachable!("{e}")))
    }

    /// The first `n` bytes as a receive, to be cut into slices without a copy.
    ///
    /// # Errors
    /// More than were reserved: the token comes back.
    pub fn received(self, n: usize) -> Result<Received, TooLong<Self>> {
        if n > self.len {
            return Err(TooLong { asked_bytes: n, available_bytes: self.len, back: self });
        }
        let this = ManuallyDrop::new(self);
        // The count of the chunk goes over to the receive.
        let position = this.shrink(this.start + n);
        Ok(Received::new(this.owner, this.chunk, this.start, n, position))
    }

    /// Hands the bytes to the kernel until [`InFlight::complete`].
    #[must_use = "dropping it pins the chunk until the completion is reported"]
    pub fn submit(self) -> InFlight {
        let id = self.owner.new_flight();
        debug_assert!(self.start + self.len <= self.position);
        InFlight { token: ManuallyDrop::new(self), id }
    }

    /// Gives back what lies behind `used_to`; returns the position that now counts as "newest".
    fn shrink(&self, used_to: usize) -> usize {
        let newest = self.chunk == self.owner.current.get() && self.position == self.owner.position.get();
        debug_assert!((self.start..=self.start + self.len).contains(&used_to));
        self.owner.give_back(self.chunk, self.position, used_to);
        if newest { self.owner.position.get() } else { self.position }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.owner.give_back(self.chunk, self.position, self.start);
        self.owner.drop_live(self.chunk);
    }
}

impl Deref for Token {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: I20. The range lies in its chunk, which lies in the region.
        let start = unsafe { self.owner.base.add(self.start) };
        // SAFETY: I25. The range was reserved for this token alone and its chunk can't be reused while it is counted.
        unsafe { slice::from_raw_parts(start.as_ptr(), self.len) }
    }
}

impl DerefMut for Token {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: I20. The range lies in its chunk, which lies in the region.
        let start = unsafe { self.owner.base.add(self.start) };
        // SAFETY: I25. The range was reserved for this token alone and its chunk can't be reused while it is counted.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), self.len) }
    }
}

/// A token that the kernel is writing to. No reference to its bytes exists; the pointer is for the submission.
///
/// Dropped, it keeps its chunk until [`super::RingPool::report_completion`] is told its number.
#[must_use = "dropping it pins the chunk until the completion is reported"]
#[derive(Debug)]
pub struct InFlight {
    token: ManuallyDrop<Token>,
    id: u64,
}

impl InFlight {
    /// Where the kernel may write [`InFlight::capacity`] bytes, until it has reported completion and no longer.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        // SAFETY: I20. The range lies in its chunk, which lies in the region.
        unsafe { self.token.owner.base.add(self.token.start) }
    }

    /// Bytes the kernel may write.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.token.len
    }

    /// The number under which a completion is reported after this was dropped.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The kernel is done: the bytes are ours again.
    pub fn complete(self) -> Token {
        let this = ManuallyDrop::new(self);
        let token = &*this.token;
        // The count of the chunk goes back to the token.
        Token::new(token.owner, token.chunk, token.start, token.len, token.position)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // The count of the chunk stays behind, under this number.
        self.token.owner.abandon_flight(self.id, self.token.chunk);
    }
}
