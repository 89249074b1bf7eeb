//! The heap: the program's allocator, which counts its calls on demand, and the allocators that
//! contenders call explicitly.
//!
//! The counting allocator wraps glibc's for the whole program. A contender that allocates through
//! it pays for one load and one branch that isn't taken, which is two of several dozen
//! instructions. A contender that calls an allocator explicitly, by [`Block`], doesn't go through
//! it.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mimalloc::MiMalloc;
use tikv_jemallocator::Jemalloc;

use crate::payload::{Exhausted, Growing};

/// On a cache line of its own, which isn't written while a bench runs.
#[repr(align(128))]
struct Switch(AtomicBool);

static COUNTS: Switch = Switch(AtomicBool::new(false));
static CALLS: AtomicU64 = AtomicU64::new(0);
static LARGE: AtomicU64 = AtomicU64::new(0);

/// A block of at least this many bytes counts as large.
pub const LARGE_BYTES: usize = 1 << 20;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts a call that asks for this many bytes; a call that frees asks for none.
#[inline]
fn count(bytes: usize) {
    if COUNTS.0.load(Ordering::Relaxed) {
        add(bytes);
    }
}

#[cold]
fn add(bytes: usize) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    if bytes >= LARGE_BYTES {
        LARGE.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: I141. The system's allocator keeps the contract of the trait, and every call is passed
// to it unchanged.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    // SAFETY: I141. The caller's promises are passed on.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: I141. The arguments are the caller's.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    // SAFETY: I141. The caller's promises are passed on.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0);
        // SAFETY: I141. The arguments are the caller's.
        unsafe { System.dealloc(at, layout) }
    }

    #[inline]
    // SAFETY: I141. The caller's promises are passed on.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: I141. The arguments are the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    // SAFETY: I141. The caller's promises are passed on.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes);
        // SAFETY: I141. The arguments are the caller's.
        unsafe { System.realloc(at, layout, bytes) }
    }
}

/// Starts counting, in all threads.
pub fn begin() {
    CALLS.store(0, Ordering::Relaxed);
    LARGE.store(0, Ordering::Relaxed);
    COUNTS.0.store(true, Ordering::Release);
}

/// Stops counting. Returns how many calls of the program's allocator, to allocate or to free, all
/// threads have made since [`begin`].
pub fn end() -> u64 {
    COUNTS.0.store(false, Ordering::Release);
    CALLS.load(Ordering::Relaxed)
}

/// How many calls asked for [`LARGE_BYTES`] or more since [`begin`]. A block that grows to that
/// size counts each time it grows.
pub fn large() -> u64 {
    LARGE.load(Ordering::Relaxed)
}

/// Every allocator here aligns to at least this much anyway.
const ALIGN_BYTES: usize = 16;

/// An allocator that is called explicitly: a value without state.
pub trait Named: GlobalAlloc + 'static {
    const NAME: &'static str;
    const ALLOCATOR: Self;
}

/// Memory of one payload, readable as far as it has been written.
pub struct Block<A: Named> {
    start: NonNull<u8>,
    written: usize,
    pub layout: Layout,
    allocator: PhantomData<A>,
}

// SAFETY: I140. A block has one owner, and its allocator takes it back on any thread.
unsafe impl<A: Named> Send for Block<A> {}

impl<A: Named> Block<A> {
    #[inline(always)]
    pub fn new(bytes: usize) -> Result<Self, Exhausted> {
        let layout = Layout::from_size_align(bytes, ALIGN_BYTES).map_err(|_| Exhausted)?;
        assert!(bytes > 0, "a payload has at least 8 bytes");
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
        // SAFETY: I86. The block has room for them after the written bytes, and nothing else
        // borrows it.
        unsafe { end.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.written += bytes.len();
    }
}

impl Named for System {
    const NAME: &'static str = "glibc";
    const ALLOCATOR: Self = Self;
}

impl Named for MiMalloc {
    const NAME: &'static str = "mimalloc";
    const ALLOCATOR: Self = Self;
}

impl Named for Jemalloc {
    const NAME: &'static str = "jemalloc";
    const ALLOCATOR: Self = Self;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    /// Other tests allocate at the same time, so the count is at least this test's own.
    #[test]
    fn the_counter_counts_while_it_is_asked_to() {
        begin();
        (0..100).for_each(|number| drop(black_box(Box::new(number))));
        let mut grows = black_box(Vec::<u8>::with_capacity(LARGE_BYTES));
        grows.reserve_exact(LARGE_BYTES + 1);
        assert!(end() >= 200 && large() >= 1, "{grows:?}");
        let calls = CALLS.load(Ordering::Relaxed);
        drop(black_box(Box::new(1)));
        assert!(CALLS.load(Ordering::Relaxed) >= calls);
    }
}
