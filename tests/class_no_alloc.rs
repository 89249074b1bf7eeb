//! A get and a drop allocate nothing, even on a thread with more pools than it finds without a
//! search. A counting allocator checks this.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use slipring::class::{ClassOptions, ClassPool};

thread_local! {
    /// Calls of this thread that allocate.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: I90. The system's allocator keeps the contract of the trait, and all calls go to it
// unchanged.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: I90. The caller's promises are passed on.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: I90. The arguments are the caller's.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: I90. The caller's promises are passed on.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: I90. The arguments are the caller's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn pools_that_take_turns_allocate_nothing() {
    for count in [1, 2, 5, 100] {
        let pools: Vec<ClassPool> =
            (0..count).map(|_| ClassPool::new(&ClassOptions::default()).unwrap()).collect();
        let turn = || {
            for pool in &pools {
                drop((pool.get(100).unwrap(), pool.get(3000).unwrap()));
            }
        };
        turn();
        let before = CALLS.get();
        (0..10).for_each(|_| turn());
        assert_eq!(CALLS.get() - before, 0, "a thread with {count} pools allocates");
    }
}
