//! A global allocator that counts what one thread asks for.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use rustix::thread::{RawPid, gettid};

/// The thread that is watched: its number in the kernel, 0 for none.
static WATCHED: AtomicI32 = AtomicI32::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// This thread's number, once asked. Without a destructor and initialised at compile time, so
    /// that reading it never allocates.
    static NUMBER: Cell<RawPid> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count() {
    let watched = WATCHED.load(Ordering::Relaxed);
    if watched == 0 {
        return;
    }
    let mut number = NUMBER.get();
    if number == 0 {
        number = gettid().as_raw_nonzero().get();
        NUMBER.set(number);
    }
    if number == watched {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: I90. Each call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: I90. The caller's promises are the system allocator's conditions.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: I90. The arguments are passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: I90. The caller's promises are the system allocator's conditions.
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: I90. The arguments are passed on unchanged.
        unsafe { System.dealloc(ptr, layout) }
    }

    // SAFETY: I90. The caller's promises are the system allocator's conditions.
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: I90. The arguments are passed on unchanged.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

/// Counts from now on what the thread of this name asks for. False: not one thread has it now; a
/// new one has its parent's name at first.
pub fn watch(name: &str) -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let named = |task: &PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let found: Vec<PathBuf> = tasks.filter(named).collect();
    let [only] = found.as_slice() else { return false };
    let number =
        only.file_name().and_then(|number| number.to_str()).and_then(|number| number.parse().ok());
    WATCHED.store(number.expect("a thread's number"), Ordering::Relaxed);
    true
}

pub fn stop() {
    WATCHED.store(0, Ordering::Relaxed);
}

pub fn reset() {
    ALLOCATIONS.store(0, Ordering::Relaxed);
}

pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}
