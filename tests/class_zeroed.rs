//! Direct buffers go back to the system's allocator, and only the allocator sees what they hold
//! then. The allocator of this program looks into each block of a certain size before it frees it.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::slice;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use slipring::class::{self, AtLimit, ClassOptions, ClassPool, ClassTable, Limit, PooledBuf};

/// No other block of this program has this size.
const DIRECT_BYTES: usize = 77_777;
/// The header of a direct buffer, before its payload.
const HEADER_BYTES: usize = 64;

/// The number of bytes that weren't zero in freed blocks of that size.
static LEFT_BYTES: AtomicUsize = AtomicUsize::new(0);
/// The number of such blocks.
static FREED: AtomicUsize = AtomicUsize::new(0);

struct Looking;

// SAFETY: I90. The system's allocator keeps the contract of the trait, and all calls go to it
// unchanged.
unsafe impl GlobalAlloc for Looking {
    // SAFETY: I90. The caller's promises are passed on.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: I90. The arguments are the caller's.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: I90. The caller's promises are passed on.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: I90. The arguments are the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    // SAFETY: I90. The caller's promises are passed on.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if layout.size() == HEADER_BYTES + DIRECT_BYTES {
            // SAFETY: I90. The block is alive until it is freed below, and was allocated zeroed.
            let block = unsafe { slice::from_raw_parts(at, layout.size()) };
            let left = block[HEADER_BYTES..].iter().filter(|&&byte| byte != 0).count();
            LEFT_BYTES.fetch_add(left, Ordering::Relaxed);
            FREED.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: I90. The arguments are the caller's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Looking = Looking;

/// The number of bytes that aren't zero in the block that this frees. One test at a time, because
/// the figures are the program's.
#[track_caller]
fn left_by(free: impl FnOnce()) -> usize {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock();
    let before = (LEFT_BYTES.load(Ordering::Relaxed), FREED.load(Ordering::Relaxed));
    free();
    assert_eq!(FREED.load(Ordering::Relaxed) - before.1, 1, "one block of the size is freed");
    LEFT_BYTES.load(Ordering::Relaxed) - before.0
}

fn filled(pool: &ClassPool) -> PooledBuf {
    let mut buf = pool.get(DIRECT_BYTES).unwrap();
    assert!(buf.is_direct());
    buf.fill(0xff);
    buf.truncate(1);
    buf
}

#[test]
fn a_direct_buffer_is_zeroed_before_it_is_freed() {
    let pool = |zero_on_return| {
        ClassPool::new(&ClassOptions { zero_on_return, ..ClassOptions::default() }).unwrap()
    };
    let (plain, zeroing) = (pool(false), pool(true));
    assert_eq!(left_by(|| drop(filled(&plain))), DIRECT_BYTES, "zeroing wasn't asked for");
    let marked = || {
        let mut buf = filled(&plain);
        buf.zero_on_drop();
        assert_eq!((buf.capacity(), buf.is_direct(), buf[0]), (DIRECT_BYTES, true, 0xff));
        drop(buf);
    };
    assert_eq!(left_by(marked), 0);
    assert_eq!(left_by(|| class::put_zeroed(filled(&plain))), 0);
    assert_eq!(left_by(|| drop(filled(&zeroing))), 0);
    assert_eq!(left_by(|| class::put_zeroed(filled(&zeroing))), 0);
    let in_no_pool = || {
        let mut buf = PooledBuf::direct(DIRECT_BYTES).unwrap();
        buf.fill(0xff);
        buf.zero_on_drop();
    };
    assert_eq!(left_by(in_no_pool), 0);
    assert_eq!(class::stats().direct.gets, 0, "the process's pool counted it");
}

#[test]
fn a_fresh_buffer_at_the_limit_is_zeroed_too() {
    let table = ClassTable::new(&[128 << 10]).unwrap();
    let (limit, at_limit) = (Limit::buffers(1), AtLimit::Fresh);
    let pool = ClassPool::new(&ClassOptions { table, limit, at_limit, ..ClassOptions::default() })
        .unwrap();
    let _only = pool.get(1).unwrap();
    assert_eq!(left_by(|| class::put_zeroed(filled(&pool))), 0);
    assert_eq!(left_by(|| drop(filled(&pool))), DIRECT_BYTES);
}
