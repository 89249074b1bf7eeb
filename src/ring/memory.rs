//! The part of a pool that outlives it and crosses threads: the region with its pins, and the
//! retained handles that hold them.
//!
//! Slots, views and retained handles name memory by a [`RingSpan`], which is plain integers. This
//! module turns a span into bytes.
#![allow(unsafe_code)]

use core::ops::Deref;
#[cfg(feature = "pipeline")]
use core::ptr::NonNull;
use core::slice;
use std::sync::Arc;

use super::error::RetainError;
use super::layout::{Layout, RingSpan};
use super::pins::Pins;
use super::rows::{CastError, Rows, as_f32s};
use crate::region::Region;

/// Region and pins, shared by the pool, its lane's stages and every retained handle. The last of
/// them unmaps the region.
#[derive(Debug)]
pub(crate) struct RingMemory {
    region: Region,
    pins: Pins,
}

impl RingMemory {
    pub(crate) fn new(region: Region, layout: &Layout) -> Self {
        assert!(
            region.bytes() >= layout.pool_bytes(),
            "{} of {} bytes mapped",
            region.bytes(),
            layout.pool_bytes()
        );
        Self { region, pins: Pins::new(layout.chunks(), layout.pinned_chunks_max()) }
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Whether the `len` bytes from `start` are inside the region.
    #[cfg(feature = "pipeline")]
    pub(crate) fn contains(&self, start: NonNull<u8>, len: usize) -> bool {
        let offset = start.addr().get().checked_sub(self.region.base().addr().get());
        offset.is_some_and(|offset| offset + len <= self.region.bytes())
    }

    /// The bytes of a committed range.
    ///
    /// # Safety
    /// For as long as the reference lives:
    /// - `span` is a range that this memory's pool has committed;
    /// - its chunk isn't reused: the chunk's `holders` count it, or its slot isn't released, or it
    ///   is pinned.
    #[inline]
    pub(crate) unsafe fn bytes<'a>(&self, span: RingSpan) -> &'a [u8] {
        debug_assert!(span.offset + u64::from(span.len) <= self.region.bytes() as u64);
        // SAFETY: I20. The range is inside the region (it was committed there), so the pointer
        // stays inside one mapping.
        let start = unsafe { self.region.base().add(span.offset as usize) };
        // SAFETY: I21. The caller promises that the range was committed and isn't reused, so no
        // thread writes to it.
        unsafe { slice::from_raw_parts(start.as_ptr(), span.len as usize) }
    }
}

/// A counted handle of a slice's bytes, for any thread. It pins one chunk (none if it is empty), so
/// that chunk's other bytes can't be reused either, and it holds the region, which stays mapped.
///
/// Making or cloning one costs two atomic additions, dropping it two more. Retain the exceptions,
/// not every event.
#[derive(Debug)]
pub struct Retained {
    memory: Arc<RingMemory>,
    span: RingSpan,
}

impl Retained {
    /// The span must be protected during this call, by its slice or by a slot that isn't released.
    ///
    /// An empty span needs no pin; and the slot of an event without a slice protects no chunk.
    pub(crate) fn new(memory: &Arc<RingMemory>, span: RingSpan) -> Result<Self, RetainError> {
        if span.len > 0 && !memory.pins().pin(span.chunk) {
            return Err(RetainError { pinned_chunks_max: memory.pins().pinned_max() });
        }
        Ok(Self { memory: Arc::clone(memory), span })
    }

    /// The bytes as `f32`, in the machine's byte order.
    ///
    /// # Errors
    /// The length isn't a multiple of four, or the start isn't on one.
    pub fn as_f32s(&self) -> Result<&[f32], CastError> {
        as_f32s(self)
    }

    /// The bytes as rows of `dim` `f32` each.
    ///
    /// # Errors
    /// As [`Retained::as_f32s`], or the length isn't a multiple of the row.
    pub fn rows(&self, dim: usize) -> Result<Rows<'_>, CastError> {
        Rows::new(self, dim)
    }
}

impl Clone for Retained {
    fn clone(&self) -> Self {
        if self.span.len > 0 {
            self.memory.pins().pin_again(self.span.chunk);
        }
        Self { memory: Arc::clone(&self.memory), span: self.span }
    }
}

impl Drop for Retained {
    fn drop(&mut self) {
        if self.span.len > 0 {
            self.memory.pins().unpin(self.span.chunk);
        }
    }
}

impl Deref for Retained {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        debug_assert!(self.span.len == 0 || self.memory.pins().is_pinned(self.span.chunk));
        // SAFETY: I26. The handle pins its chunk and holds the region for as long as it is
        // borrowed.
        unsafe { self.memory.bytes(self.span) }
    }
}

impl AsRef<[u8]> for Retained {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
