//! The part of a pool that outlives it and crosses threads: the region and the pins.
//!
//! Slots, views and retained handles name memory by [`Span`], which is plain integers. This module
//! turns a span into bytes.
#![allow(unsafe_code)]

#[cfg(feature = "pipeline")]
use core::ptr::NonNull;
use core::slice;

use super::chunk::Layout;
use super::pins::Pins;
use crate::region::Region;

/// A range of a pool's region, as a slot carries it: integers, so it's Send and Sync by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) chunk: u32,
}

/// Region and pins, shared by the pool, its lane's stages and every retained handle. The last of
/// them unmaps the region.
#[derive(Debug)]
pub(crate) struct Memory {
    region: Region,
    pins: Pins,
}

impl Memory {
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

    /// Whether the `len` bytes from `start` lie in the region.
    #[cfg(feature = "pipeline")]
    pub(crate) fn holds(&self, start: NonNull<u8>, len: usize) -> bool {
        let offset = start.addr().get().checked_sub(self.region.base().addr().get());
        offset.is_some_and(|offset| offset + len <= self.region.bytes())
    }

    /// The bytes of a committed range.
    ///
    /// # Safety
    /// For as long as the reference lives:
    /// - `span` is a range that this memory's pool has committed;
    /// - its chunk isn't reused: it is counted in `owner_live`, or its slot isn't released, or it
    ///   is pinned.
    #[inline]
    pub(crate) unsafe fn bytes<'a>(&self, span: Span) -> &'a [u8] {
        debug_assert!(span.offset + u64::from(span.len) <= self.region.bytes() as u64);
        // SAFETY: I20. The range lies in the region (it was committed there), so the pointer stays
        // inside one mapping.
        let start = unsafe { self.region.base().add(span.offset as usize) };
        // SAFETY: I21. The caller promises that the range was committed and isn't reused: nobody
        // writes to it.
        unsafe { slice::from_raw_parts(start.as_ptr(), span.len as usize) }
    }
}
