//! The process's own pool, used through plain functions: the wire table without a limit. And
//! [`PooledBuf::direct`], which needs no pool.
//!
//! The pool promises what any other pool promises. The first call makes it, and it is never freed.
//! A forked child has a pool of its own.
#![allow(unsafe_code)]

use std::io::{self, Write};
use std::ptr;

use super::buffer::PooledBuf;
use super::get::{GetError, get_direct};
use super::options::{ClassError, ClassOptions};
use super::pool::ClassPool;
use super::shared::PoolNumber;
use super::stats::{ClassPoolStats, WarmUp};
use crate::sync::{Ordering, StaticPtr};

/// Null, or a pool that lives forever. There is no lock and no `OnceLock`, because a fork while a
/// thread makes the pool would leave it locked in the child forever.
static OWN: StaticPtr<ClassPool> = StaticPtr::new(ptr::null_mut());
/// As [`OWN`]: the pool that counts the buffers of [`PooledBuf::direct`]. Its classes aren't used.
static DIRECT: StaticPtr<ClassPool> = StaticPtr::new(ptr::null_mut());

/// The process's own pool.
///
/// ```
/// let buf = slipring::class::get(1500)?;
/// assert_eq!(buf.capacity(), 2048);
/// # Ok::<(), slipring::class::GetError>(())
/// ```
pub fn default_pool() -> &'static ClassPool {
    // SYNC S14: the pool is seen fully built.
    let there = OWN.load(Ordering::Acquire);
    // SAFETY: I108. It is null, or a pool that lives forever.
    match unsafe { there.as_ref() } {
        Some(pool) if !pool.shared().is_foreign() => pool,
        _ => make(&OWN, there, || ClassPool::of(ClassOptions::default(), PoolNumber::new())),
    }
}

/// The first call of this process: makes a pool and replaces what was found there, unless another
/// thread has done so.
#[cold]
fn make(
    at: &StaticPtr<ClassPool>,
    before: *mut ClassPool,
    pool: fn() -> ClassPool,
) -> &'static ClassPool {
    let made = Box::into_raw(Box::new(pool()));
    // SYNC S14: a thread that finds it sees it fully built.
    let kept = match at.compare_exchange(before, made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => made,
        Err(other) => {
            // SAFETY: I108. No other thread has seen this value.
            drop(unsafe { Box::from_raw(made) });
            other
        }
    };
    // SAFETY: I108. It is in the static and lives forever.
    unsafe { &*kept }
}

/// The pool of [`PooledBuf::direct`]. A forked child uses its copy of the parent's, because direct
/// buffers need no lock.
fn direct_pool() -> &'static ClassPool {
    // SYNC S14: the pool is seen fully built.
    let there = DIRECT.load(Ordering::Acquire);
    // SAFETY: I108. It is null, or a pool that lives forever.
    match unsafe { there.as_ref() } {
        Some(pool) => pool,
        None => make(&DIRECT, there, || {
            ClassPool::of(ClassOptions::default(), PoolNumber::without_place())
        }),
    }
}

impl PooledBuf {
    /// Allocates a direct buffer: `len` bytes that belong to no class and to no pool of the
    /// caller's. It is for lengths that no class should hold, or where there is no pool.
    ///
    /// Its bytes are zero, its capacity is `len`, and it starts on a cache line. Dropping it gives
    /// the memory back to the system's allocator, zeroed before that if
    /// [`PooledBuf::zero_on_drop`] was called. No statistics count it, and it also works in a
    /// forked child.
    ///
    /// It costs an allocation of zeroed memory with a header of 64 bytes. The system's allocator
    /// maps large allocations anew, so the first write to each page is a page fault, every time: a
    /// pool avoids that.
    ///
    /// ```
    /// use slipring::class::PooledBuf;
    ///
    /// let mut buf = PooledBuf::direct(100_000)?;
    /// assert!(buf.is_direct() && buf.capacity() == 100_000 && buf.iter().all(|&byte| byte == 0));
    /// buf[..5].copy_from_slice(b"bytes");
    /// # Ok::<(), slipring::class::GetError>(())
    /// ```
    ///
    /// # Errors
    /// [`GetError::TooLarge`] if no allocation can have `len` bytes, and [`GetError::OutOfMemory`]
    /// if the allocator has no memory for them.
    pub fn direct(len: usize) -> Result<Self, GetError> {
        get_direct(direct_pool().shared(), len)
    }
}

/// [`ClassPool::get`] of the process's pool.
///
/// # Errors
/// As there.
pub fn get(len: usize) -> Result<PooledBuf, GetError> {
    default_pool().get(len)
}

/// Drops a buffer after zeroing its whole capacity, as [`PooledBuf::zero_on_drop`] would. A buffer
/// of another pool goes back to that pool, as with any drop.
pub fn put_zeroed(mut buf: PooledBuf) {
    buf.zero_on_drop();
}

/// [`ClassPool::warm_up`] of the process's pool.
///
/// # Errors
/// As there.
pub fn warm_up(buffers: usize) -> Result<WarmUp, ClassError> {
    default_pool().warm_up(buffers)
}

/// [`ClassPool::stats`] of the process's pool.
#[must_use]
pub fn stats() -> ClassPoolStats {
    default_pool().stats()
}

/// Prints [`stats`] to standard output: one line per class, one for direct buffers, and the hit
/// rate of all gets.
///
/// # Errors
/// Standard output refused it: its reader is gone, or the disk is full. Unlike `println!`, it
/// doesn't panic.
pub fn print_stats() -> io::Result<()> {
    let (stats, mut stdout) = (stats(), io::stdout().lock());
    writeln!(stdout, "{stats}").and_then(|()| stdout.flush())
}

/// [`ClassPool::reset_stats`] of the process's pool.
pub fn reset_stats() {
    default_pool().reset_stats();
}
