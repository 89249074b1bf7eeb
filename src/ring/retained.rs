//! Retained handles: bytes of a pool kept beyond their slot, on any thread.
#![allow(unsafe_code)]

use core::ops::Deref;
use std::sync::Arc;

use super::error::RetainError;
use super::memory::{Memory, Span};
use super::typed::{CastError, Rows, as_f32s};

/// A counted handle. It pins one chunk (none if it is empty), so that chunk's other bytes can't be
/// reused either, and keeps the region mapped.
///
/// Making or cloning one costs two atomic additions, dropping it two more. Retain the exceptions,
/// not every event.
#[derive(Debug)]
pub struct Retained {
    memory: Arc<Memory>,
    span: Span,
}

impl Retained {
    /// The span must be protected during this call, by its slice or by a slot that isn't released.
    ///
    /// An empty span needs no pin; and the slot of an event without a slice protects no chunk.
    pub(crate) fn new(memory: &Arc<Memory>, span: Span) -> Result<Self, RetainError> {
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
        // SAFETY: I26. The handle pins its chunk and keeps the region mapped for as long as it is
        // borrowed.
        unsafe { self.memory.bytes(self.span) }
    }
}

impl AsRef<[u8]> for Retained {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
