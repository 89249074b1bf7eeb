//! A receive: bytes that have arrived, to be cut into slices in place.
//!
//! ```text
//! received   |hdr|payload.....|hdr|payload..|hdr|pay        cut(header, payload) makes a slice and moves on;
//!            ^cut             ^             ^    ^end       what is left when it goes is given back
//! ```
#![allow(unsafe_code)]

use core::ops::Deref;
use core::slice;

use super::error::TooLong;
use super::live::ChunkRef;
use super::slice::PoolSlice;

/// Received bytes, owned and counted in their chunk. It dereferences to the bytes that aren't cut
/// yet.
#[must_use = "what isn't cut is given back"]
#[derive(Debug)]
pub struct Received {
    chunk: ChunkRef,
    /// Where the next cut starts.
    cut: usize,
    end: usize,
    /// The write position after this receive.
    position: usize,
}

impl Received {
    /// Takes over a count of `chunk`.
    pub(super) fn new(chunk: ChunkRef, start: usize, len: usize, position: usize) -> Self {
        debug_assert!(chunk.holds(start, len) && position >= start + len);
        Self { chunk, cut: start, end: start + len, position }
    }

    /// Skips `skip` bytes and makes a slice of the `len` bytes after them, without a copy.
    ///
    /// # Errors
    /// Fewer bytes are left. Nothing is cut, and the receive is unchanged.
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
        debug_assert!(self.chunk.holds(offset, len));
        self.chunk.count_live();
        // SAFETY: I20. The range lies in its chunk, which lies in the region.
        let start = unsafe { self.chunk.owner().base.add(offset) };
        Ok(PoolSlice::new(self.chunk, start, len))
    }

    /// Drops `n` bytes from the front, or all that are left.
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
        let start = unsafe { self.chunk.owner().base.add(self.cut) };
        // SAFETY: I25. The range was reserved for this receive alone, nobody writes to it, and its
        // chunk can't be reused while it is counted.
        unsafe { slice::from_raw_parts(start.as_ptr(), self.end - self.cut) }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        debug_assert!(self.cut <= self.end && self.end <= self.position && self.chunk.is_live());
        self.chunk.give_back(self.position, self.cut);
        self.chunk.drop_live();
    }
}
