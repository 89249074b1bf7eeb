//! Slices: committed, immutable ranges of a ring pool.
//!
//! | type | what protects the bytes | threads |
//! |---|---|---|
//! | [`PoolSlice`] | a hold on its chunk, until it is dropped | the pool's own |
//! | [`Pushed`] | its sequence, until that is released | any: it is integers |
//! | `EventSlice` | as [`PoolSlice`], in an event of a disruptor | any may read the bytes |
//! | [`Received`] | a hold on its chunk; slices are cut from it | the pool's own |
//!
//! ```text
//! received   |hdr|payload.....|hdr|payload..|hdr|pay     cut(header, payload) makes a slice;
//!            ^cut             ^             ^    ^end    a drop gives back what isn't cut
//! ```
#![allow(unsafe_code)]

#[cfg(feature = "pipeline")]
use core::mem::ManuallyDrop;
use core::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use core::ops::Deref;
use core::ptr::NonNull;
use core::slice;
use std::sync::Arc;

use super::error::{RetainError, TooLong};
use super::layout::{RingSpan, Sequence};
use super::memory::Retained;
#[cfg(feature = "pipeline")]
use super::memory::RingMemory;
use super::owner::ChunkRef;
use super::rows::{CastError, Rows, as_f32s};

/// A slice, freed when it is dropped. Not Clone, not Send. It may outlive its pool or lane.
///
/// Its size is 24 bytes: a pointer to its chunk's state, a pointer to its bytes, and its length.
#[must_use = "dropping a slice gives its memory back"]
pub struct PoolSlice {
    chunk: ChunkRef,
    start: NonNull<u8>,
    len: u32,
}

impl PoolSlice {
    /// Takes over a hold on the chunk that contains the `len` bytes from `start`.
    #[inline]
    pub(super) fn new(chunk: ChunkRef, start: NonNull<u8>, len: usize) -> Self {
        debug_assert!(chunk.contains(start.addr().get() - chunk.owner().base.addr().get(), len));
        Self { chunk, start, len: len as u32 }
    }

    /// The bytes as `f32`, in the machine's byte order.
    ///
    /// # Errors
    /// The length isn't a multiple of four, or the slice doesn't start on one (possible only if it
    /// was cut from a receive).
    pub fn as_f32s(&self) -> Result<&[f32], CastError> {
        as_f32s(self)
    }

    /// The bytes as rows of `dim` `f32` each.
    ///
    /// # Errors
    /// As [`PoolSlice::as_f32s`], or the length isn't a multiple of the row.
    pub fn rows(&self, dim: usize) -> Result<Rows<'_>, CastError> {
        Rows::new(self, dim)
    }

    /// A handle that is Send, Sync and Clone, and pins the chunk after this slice is dropped.
    ///
    /// # Errors
    /// As many chunks as allowed are already pinned.
    pub fn retain(&self) -> Result<Retained, RetainError> {
        let owner = self.chunk.owner();
        Retained::new(&owner.memory, self.span(owner.base))
    }

    #[inline]
    pub(super) fn chunk(&self) -> ChunkRef {
        self.chunk
    }

    /// The number of its chunk.
    #[inline]
    #[cfg(feature = "pipeline")]
    pub(crate) fn chunk_index(&self) -> u32 {
        self.chunk.index()
    }

    #[inline]
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The integers that a slot stores for the slice, in the region at `base`.
    #[inline]
    pub(super) fn span(&self, base: NonNull<u8>) -> RingSpan {
        let offset = self.start.addr().get() - base.addr().get();
        debug_assert!(
            self.chunk.contains(offset, self.len as usize),
            "a slice is inside the chunk that it holds"
        );
        RingSpan { offset: offset as u64, len: self.len, chunk: self.chunk.index() }
    }
}

impl Deref for PoolSlice {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        debug_assert!(self.chunk.has_holders(), "a slice outlived its hold");
        // SAFETY: I21. The range is committed, so no thread writes to it, and its chunk can't be
        // reused while the slice holds it.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }
}

impl AsRef<[u8]> for PoolSlice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for PoolSlice {
    #[inline]
    fn drop(&mut self) {
        debug_assert!(self.chunk.has_holders());
        self.chunk.remove_holder();
    }
}

impl core::fmt::Debug for PoolSlice {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let owner = self.chunk.owner();
        f.debug_struct("PoolSlice")
            .field("span", &self.span(owner.base))
            .field("memory", &Arc::as_ptr(&owner.memory))
            .finish()
    }
}

/// A pushed slice: its sequence protects its bytes, and [`super::RingPool::view`] shows them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Pushed {
    sequence: Sequence,
    /// The address of its first byte. The pool's region makes it a pointer again.
    start: NonZeroUsize,
    /// The pool's number in the high half, the length in the low one: one store writes both.
    pool_and_len: NonZeroU64,
}

/// A pool's number, in the high half of a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolTag(NonZeroU64);

impl PoolTag {
    pub(super) fn new(pool: NonZeroU32) -> Self {
        let tag = NonZeroU64::new(u64::from(pool.get()) << 32);
        Self(tag.unwrap_or_else(|| unreachable!("a pool's number isn't zero")))
    }
}

impl Pushed {
    #[inline]
    pub(super) fn new(sequence: Sequence, start: NonNull<u8>, len: usize, pool: PoolTag) -> Self {
        debug_assert!(u32::try_from(len).is_ok(), "a chunk is far below 4 GiB");
        debug_assert!(
            sequence >= 0 && pool.0.get() as u32 == 0,
            "a tag with a low half would change the length"
        );
        Self { sequence, start: start.addr(), pool_and_len: pool.0 | u64::from(len as u32) }
    }

    /// Its place in the order of pushing, from 0.
    #[must_use]
    #[inline]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    #[inline]
    pub(super) fn start(&self) -> NonZeroUsize {
        self.start
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.pool_and_len.get() as u32 as usize
    }

    #[inline]
    pub(super) fn is_of(&self, pool: PoolTag) -> bool {
        self.pool_and_len.get() >> 32 == pool.0.get() >> 32
    }
}

/// A slice in an event of a disruptor: any thread may read its bytes, and the thread that owns its
/// pool takes it out again. Until then the slice holds its chunk. It has no drop of its own,
/// because the last of a ring's threads drops the events.
#[cfg(feature = "pipeline")]
pub(crate) struct EventSlice(ManuallyDrop<PoolSlice>);

// SAFETY: I31. Any thread may own and forget it. What accesses its chunk is unsafe to call, and
// requires the owner's thread.
#[cfg(feature = "pipeline")]
unsafe impl Send for EventSlice {}
// SAFETY: I31. Through a shared reference only its address and length are read, and they never
// change.
#[cfg(feature = "pipeline")]
unsafe impl Sync for EventSlice {}

#[cfg(feature = "pipeline")]
impl EventSlice {
    #[inline]
    pub(crate) fn new(slice: PoolSlice) -> Self {
        Self(ManuallyDrop::new(slice))
    }

    /// Turns it back into the slice, to be dropped.
    ///
    /// # Safety
    /// - The calling thread owns the slice's pool, which still exists.
    /// - No reference that [`EventSlice::bytes`] gave is used any more.
    #[inline]
    pub(crate) unsafe fn into_slice(self) -> PoolSlice {
        ManuallyDrop::into_inner(self.0)
    }

    /// The bytes, on any thread. `memory` is the pool's, and stays mapped while they are used.
    ///
    /// # Safety
    /// For as long as the reference lives, the slice isn't taken out of its event; or its pool was
    /// dropped while the slice was still in it.
    #[inline]
    pub(crate) unsafe fn bytes<'a>(&self, memory: &'a RingMemory) -> &'a [u8] {
        let (start, len) = (self.0.start, self.0.len as usize);
        debug_assert!(memory.contains(start, len), "it is the memory of another pool");
        // SAFETY: I21, I31. The range is committed. By the caller's promise the slice still holds
        // its chunk, or the pool that could reuse the chunk is gone.
        unsafe { slice::from_raw_parts(start.as_ptr(), len) }
    }
}

/// Received bytes, from which slices are cut. It holds its chunk, and dereferences to the bytes
/// that aren't cut yet.
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
    /// Takes over a hold on `chunk`.
    pub(super) fn new(chunk: ChunkRef, start: usize, len: usize, position: usize) -> Self {
        debug_assert!(chunk.contains(start, len) && position >= start + len);
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
        debug_assert!(self.chunk.contains(offset, len));
        self.chunk.add_holder();
        // SAFETY: I20. The range is inside its chunk, and the chunk is inside the region.
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
        // SAFETY: I20. The range is inside its chunk, and the chunk is inside the region.
        let start = unsafe { self.chunk.owner().base.add(self.cut) };
        // SAFETY: I25. The range was reserved for this receive alone, no thread writes to it, and
        // its chunk can't be reused while the receive holds it.
        unsafe { slice::from_raw_parts(start.as_ptr(), self.end - self.cut) }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        debug_assert!(
            self.cut <= self.end && self.end <= self.position && self.chunk.has_holders()
        );
        self.chunk.return_range(self.position, self.cut);
        self.chunk.remove_holder();
    }
}
