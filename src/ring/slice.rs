//! `PoolSlice`: a committed, immutable range of a ring pool.
#![allow(unsafe_code)]

#[cfg(feature = "pipeline")]
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;
use core::slice;
use std::sync::Arc;

use super::error::RetainError;
use super::live::ChunkRef;
#[cfg(feature = "pipeline")]
use super::memory::Memory;
use super::memory::Span;
use super::retained::Retained;
use super::typed::{CastError, Rows, as_f32s};

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
    /// Takes over a count of the chunk that holds the `len` bytes from `start`.
    #[inline]
    pub(super) fn new(chunk: ChunkRef, start: NonNull<u8>, len: usize) -> Self {
        debug_assert!(chunk.holds(start.addr().get() - chunk.owner().base.addr().get(), len));
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

    /// A counted handle that is Send, Sync and Clone, and keeps the chunk after this slice is
    /// dropped.
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
    pub(super) fn span(&self, base: NonNull<u8>) -> Span {
        let offset = self.start.addr().get() - base.addr().get();
        debug_assert!(
            self.chunk.holds(offset, self.len as usize),
            "a slice lies in the chunk that counts it"
        );
        Span { offset: offset as u64, len: self.len, chunk: self.chunk.index() }
    }
}

impl Deref for PoolSlice {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        debug_assert!(self.chunk.is_live(), "a slice outlived its count");
        // SAFETY: I21. The range is committed, so nobody writes to it, and its chunk can't be
        // reused while it is counted.
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
        debug_assert!(self.chunk.is_live());
        self.chunk.drop_live();
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

/// A slice in an event of a disruptor: any thread may read its bytes, and the thread that owns its
/// pool takes it out again. Meanwhile it stays counted in its chunk. It has no drop of its own,
/// because the last of a ring's threads drops the events.
#[cfg(feature = "pipeline")]
pub(crate) struct EventSlice(ManuallyDrop<PoolSlice>);

// SAFETY: I31. Any thread may hold and forget it; what touches its chunk is unsafe to
// call, and asks for the owner's thread.
#[cfg(feature = "pipeline")]
unsafe impl Send for EventSlice {}
// SAFETY: I31. Through a shared reference only its address and length are read, which nobody
// changes.
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
    /// For as long as the reference lives, the slice isn't taken out, or its pool has gone without
    /// that.
    #[inline]
    pub(crate) unsafe fn bytes<'a>(&self, memory: &'a Memory) -> &'a [u8] {
        let (start, len) = (self.0.start, self.0.len as usize);
        debug_assert!(memory.holds(start, len), "it is the memory of another pool");
        // SAFETY: I21, I31. The range is committed, and by the caller's promise its chunk is
        // counted or nobody is left to reuse it.
        unsafe { slice::from_raw_parts(start.as_ptr(), len) }
    }
}
