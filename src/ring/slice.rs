//! `PoolSlice`: a committed, immutable range of a ring pool.
#![allow(unsafe_code)]

use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;
use core::slice;
use std::sync::Arc;

use super::error::RetainError;
use super::memory::Span;
use super::owner::OwnerRef;
use super::retained::Retained;
use super::typed::{CastError, Rows, as_f32s};

/// RAII: dropped, it is counted off its chunk. Not Clone, not Send; it may outlive its pool or lane.
///
/// It is 24 bytes: a pointer to its owner's state, one to its bytes, its length and its chunk.
#[must_use = "dropping a slice gives its memory back"]
pub struct PoolSlice {
    owner: OwnerRef,
    start: NonNull<u8>,
    len: u32,
    chunk: u32,
}

impl PoolSlice {
    /// Takes over a count of the span's chunk.
    #[inline]
    pub(super) fn new(owner: OwnerRef, span: Span) -> Self {
        debug_assert!(owner.owns(span));
        // SAFETY: I20. The range lies in its chunk, which lies in the region.
        let start = unsafe { owner.base.add(span.offset as usize) };
        Self { owner, start, len: span.len, chunk: span.chunk }
    }

    /// The bytes as `f32`, in the machine's byte order.
    ///
    /// # Errors
    /// The length isn't a multiple of four, or the slice doesn't start on one (possible only if it was cut from a receive).
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

    /// A counted handle that is Send, Sync and Clone and keeps the chunk after this slice is gone.
    ///
    /// # Errors
    /// As many chunks as allowed are pinned already.
    pub fn retain(&self) -> Result<Retained, RetainError> {
        Retained::new(&self.owner.memory, self.span())
    }

    #[inline]
    pub(super) fn is_owned_by(&self, owner: OwnerRef) -> bool {
        self.owner == owner
    }

    /// The integers a slot holds. The count of the chunk goes over to the caller.
    #[inline]
    pub(super) fn into_span(self) -> Span {
        ManuallyDrop::new(self).span()
    }

    #[inline]
    fn span(&self) -> Span {
        let offset = self.start.as_ptr() as usize - self.owner.base.as_ptr() as usize;
        debug_assert!(offset + self.len as usize <= self.owner.layout.pool_bytes());
        Span { offset: offset as u64, len: self.len, chunk: self.chunk }
    }
}

impl Deref for PoolSlice {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: I21. The range is committed, so nobody writes to it, and its chunk can't be reused while it is counted.
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
        self.owner.drop_live(self.chunk);
    }
}

impl core::fmt::Debug for PoolSlice {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PoolSlice")
            .field("span", &self.span())
            .field("memory", &Arc::as_ptr(&self.owner.memory))
            .finish()
    }
}
