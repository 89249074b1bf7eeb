//! A receive: bytes that are there, to be cut into slices where they lie.
//!
//! ```text
//! received   |hdr|payload.....|hdr|payload..|hdr|pay        cut(header, payload) makes a slice and moves on;
//!            ^cut             ^             ^    ^end       what is left when it goes is given back
//! ```
#![allow(unsafe_code)]

use core::ops::Deref;
use core::slice;

use super::error::TooLong;
use super::memory::Span;
use super::owner::OwnerRef;
use super::slice::PoolSlice;

/// Received bytes, owned, counted in their chunk. It reads as the bytes that aren't cut yet.
#[must_use = "what isn't cut is given back"]
#[derive(Debug)]
pub struct Received {
    owner: OwnerRef,
    chunk: u32,
    /// Where the next cut starts.
    cut: usize,
    end: usize,
    /// The write position that this receive left behind.
    position: usize,
}

impl Received {
    /// Takes over a count of `chunk`.
    pub(super) fn new(owner: OwnerRef, chunk: u32, start: usize, len: usize, position: usize) -> Self {
        let end = start + len;
        debug_assert!(end <= position, "the write position is behind what was received");
        Self { owner, chunk, cut: start, end, position }
    }

    /// Skips `skip` bytes and makes the `len` bytes behind them a slice, without a copy.
    ///
    /// # Errors
    /// Fewer bytes are left: nothing is cut, and the receive is as it was.
    #[inline]
    pub fn cut(&mut self, skip: usize, len: usize) -> Result<PoolSlice, TooLong<()>> {
        let available = self.end - self.cut;
        let asked = skip.saturating_add(len);
        if asked > available {
            return Err(TooLong { asked_bytes: asked, available_bytes: available, back: () });
        }
        let offset = self.cut + skip;
        self.cut = offset + len;
        debug_assert!(self.cut <= self.end, "each byte is cut once, and none that wasn't received");
        self.owner.count_live(self.chunk);
        Ok(PoolSlice::new(self.owner, Span { offset: offset as u64, len: len as u32, chunk: self.chunk }))
    }

    /// Drops `n` bytes from the front, or as many as are left.
    pub fn skip(&mut self, n: usize) {
        self.cut += n.min(self.end - self.cut);
        debug_assert!(self.cut <= self.end);
    }
}

impl Deref for Received {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: I20. The range lies in its chunk, which lies in the region.
        let start = unsafe { self.owner.base.add(self.cut) };
        // SAFETY: I25. The range was reserved for this receive alone, nobody writes to it, and its chunk can't be reused while it is counted.
        unsafe { slice::from_raw_parts(start.as_ptr(), self.end - self.cut) }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        debug_assert!(self.cut <= self.end && self.end <= self.position);
        self.owner.give_back(self.chunk, self.position, self.cut);
        self.owner.drop_live(self.chunk);
    }
}
