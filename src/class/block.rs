//! [`Block`]: the memory of one buffer while no buffer uses it.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use super::bin::BIN_SLOTS;

/// The first byte of a buffer's memory. Its holder owns the buffer's bytes: it isn't Clone, and the
/// pool makes only one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block(NonNull<u8>);

// SAFETY: I100. A block is the only way to its bytes, and no thread owns them.
unsafe impl Send for Block {}

impl Block {
    /// Makes the only block over the bytes from `at` on.
    #[inline]
    pub(crate) fn new(at: NonNull<u8>) -> Self {
        debug_assert!(
            at.addr().get().is_multiple_of(super::table::CLASS_UNIT_BYTES),
            "a buffer starts on a line"
        );
        Self(at)
    }

    #[inline]
    pub(crate) fn at(&self) -> NonNull<u8> {
        self.0
    }

    #[inline]
    pub(crate) fn into_raw(self) -> *mut u8 {
        self.0.as_ptr()
    }

    /// Takes back what `into_raw` returned; None for null.
    #[inline]
    pub(crate) fn from_raw(at: *mut u8) -> Option<Self> {
        NonNull::new(at).map(Self)
    }

    #[inline]
    pub(crate) fn addr(&self) -> usize {
        self.0.addr().get()
    }
}

/// A few blocks in transit between a bin and the store, without an allocation.
#[derive(Debug)]
pub(crate) struct Batch {
    blocks: [Option<Block>; BIN_SLOTS],
    len: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { blocks: [const { None }; BIN_SLOTS], len: 0 }
    }

    /// Adds a block. There is room for as many as a bin holds.
    pub(crate) fn push(&mut self, block: Block) {
        debug_assert!(self.len < BIN_SLOTS, "more blocks than a bin holds");
        self.blocks[self.len] = Some(block);
        self.len += 1;
    }

    /// The block added last.
    pub(crate) fn pop(&mut self) -> Option<Block> {
        self.len = self.len.checked_sub(1)?;
        let popped = self.blocks[self.len].take();
        debug_assert!(popped.is_some(), "a batch has a hole");
        popped
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Iterator for Batch {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        self.pop()
    }
}

/// A placeholder for a block: its bytes are never read.
#[cfg(test)]
pub(crate) fn fake(number: usize) -> Block {
    let at = std::ptr::without_provenance_mut(number * super::table::CLASS_UNIT_BYTES);
    Block::new(NonNull::new(at).expect("numbers start at 1"))
}
