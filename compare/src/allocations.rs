//! Counts calls of the program's allocator while somebody asks for it.
//!
//! It stands before glibc for the whole program, so a contender that allocates from it pays for one
//! load and one branch that isn't taken, two instructions of some dozens; the contenders `glibc`,
//! `mimalloc` and `jemalloc` of `class` call their allocators directly and don't pass here.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// On a line that nobody writes to while a bench runs.
#[repr(align(128))]
struct Switch(AtomicBool);

static COUNTS: Switch = Switch(AtomicBool::new(false));
static CALLS: AtomicU64 = AtomicU64::new(0);
static LARGE: AtomicU64 = AtomicU64::new(0);

/// From so many bytes on a block counts as a large one.
pub const LARGE_BYTES: usize = 1 << 20;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A call that asks for so many bytes; one that gives back asks for none.
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

// SAFETY: I141. The system's allocator keeps the contract of the trait, and all calls go to it
// unchanged.
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

/// Counts from now on, in all threads.
pub fn begin() {
    CALLS.store(0, Ordering::Relaxed);
    LARGE.store(0, Ordering::Relaxed);
    COUNTS.0.store(true, Ordering::Release);
}

/// Stops, and says how often any thread took memory from the program's allocator or gave it back
/// since [`begin`].
pub fn end() -> u64 {
    COUNTS.0.store(false, Ordering::Release);
    CALLS.load(Ordering::Relaxed)
}

/// How often any thread asked for [`LARGE_BYTES`] or more since [`begin`]; a block that grows to it
/// counts each time it grows.
pub fn large() -> u64 {
    LARGE.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    /// Other tests allocate beside this one, so it counts at least its own.
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
