//! What `mimalloc` and `jemalloc` share: a block of exactly the payload's size for each operation,
//! by explicit calls of the allocator, while the process goes on with its default one. Blocks are
//! freed when their entry is replaced.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use super::{Contender, Exhausted, Fill, Growing};
use crate::case::Plan;

/// What every allocator here gives anyway.
const ALIGN_BYTES: usize = 16;

/// An allocator that is a value without state.
pub trait Named: GlobalAlloc + 'static {
    const NAME: &'static str;
    const ALLOCATOR: Self;
}

/// An entry is a block.
pub struct Allocator<A: Named> {
    entries: Vec<Option<Block<A>>>,
}

/// Memory of one payload, readable as far as it has been written.
pub struct Block<A: Named> {
    start: NonNull<u8>,
    written: usize,
    layout: Layout,
    allocator: PhantomData<A>,
}

// SAFETY: I140. A block has one owner, and its allocator takes it back on any thread.
unsafe impl<A: Named> Send for Block<A> {}

impl<A: Named> Block<A> {
    #[inline(always)]
    pub fn new(bytes: usize) -> Result<Self, Exhausted> {
        let layout = Layout::from_size_align(bytes, ALIGN_BYTES).map_err(|_| Exhausted)?;
        assert!(bytes > 0, "a payload has 8 bytes at least");
        // SAFETY: I86. The layout's size isn't zero.
        let start = unsafe { A::ALLOCATOR.alloc(layout) };
        Ok(Self {
            start: NonNull::new(start).ok_or(Exhausted)?,
            written: 0,
            layout,
            allocator: PhantomData,
        })
    }
}

impl<A: Named> Drop for Block<A> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: I86. The block came from this allocator with this layout, and goes with its only
        // owner.
        unsafe { A::ALLOCATOR.dealloc(self.start.as_ptr(), self.layout) };
    }
}

impl<A: Named> Deref for Block<A> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: I86. The first `written` bytes of the block are initialised, and it is borrowed.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.written) }
    }
}

impl<A: Named> DerefMut for Block<A> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: I86. The first `written` bytes of the block are initialised, and it is borrowed
        // mutably.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.written) }
    }
}

impl<A: Named> Growing for Block<A> {
    #[inline(always)]
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.layout.size() - self.written, "the payload fits its block");
        let end = self.start.as_ptr().wrapping_add(self.written);
        // SAFETY: I86. The block has room for them after what was written, and nobody else borrows
        // it.
        unsafe { end.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.written += bytes.len();
    }
}

impl<A: Named> Contender for Allocator<A> {
    const NAME: &'static str = A::NAME;
    const ANY_ORDER: bool = true;

    fn new(plan: &Plan) -> Result<Self, String> {
        Ok(Self { entries: (0..plan.slots).map(|_| None).collect() })
    }

    fn memory_bytes(&self) -> usize {
        self.entries.iter().flatten().map(|block| block.layout.size()).sum()
    }

    #[inline(always)]
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        let mut block = Block::new(bytes)?;
        fill.append(op, bytes, &mut block);
        self.entries[entry] = Some(block);
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        check(self.entries[entry].as_ref().expect("the entry has been put"))
    }
}
