//! The process's heap, for a command that allocates and frees large buffers all the time.
//!
//! glibc maps large blocks and gives them back when they are freed, but raises the size from which
//! on it does so with each that is freed, up to 32 MiB. From then on freed buffers stay in its
//! heaps, one for each thread, and the process has twice the memory of the buffers in use. A size
//! that is set stays.
#![allow(unsafe_code)]

/// Blocks of this size and more are given back when they are freed.
#[cfg(target_env = "gnu")]
const MAPPED_FROM_BYTES: i32 = 1 << 20;

/// From now on, large blocks are given back to the system when they are freed. A C library other
/// than glibc does so anyway.
pub(crate) fn give_back_large_blocks() {
    // It fails for sizes above glibc's own limit only, which is 32 MiB.
    #[cfg(target_env = "gnu")]
    // SAFETY: I61. It takes two integers.
    let _set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES) };
}
