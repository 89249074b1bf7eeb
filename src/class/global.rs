//! A pool for the whole process, behind plain functions: the wire table without a limit.
//!
//! Promises what any other pool promises. The first call makes it, and it is never freed. A forked
//! child has its own.
#![allow(unsafe_code)]

use std::io::{self, Write};
use std::ptr;

use super::buffer::PooledBuf;
use super::error::{ClassError, GetError};
use super::options::ClassOptions;
use super::pool::ClassPool;
use super::stats::{ClassPoolStats, WarmUp};
use crate::sync::{Ordering, StaticPtr};

/// Null, or a pool that lives forever. There is no lock and no `OnceLock`, because a fork while a
/// thread makes the pool would leave it locked in the child forever.
static OWN: StaticPtr<ClassPool> = StaticPtr::new(ptr::null_mut());

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
        _ => make(there),
    }
}

/// The first call of this process.
#[cold]
fn make(before: *mut ClassPool) -> &'static ClassPool {
    let made = Box::into_raw(Box::new(ClassPool::of(ClassOptions::default())));
    // SYNC S14: a thread that finds it sees it fully built.
    let kept = match OWN.compare_exchange(before, made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => made,
        Err(other) => {
            // SAFETY: I108. Nobody else has seen this value.
            drop(unsafe { Box::from_raw(made) });
            other
        }
    };
    // SAFETY: I108. It is in the static and lives forever.
    unsafe { &*kept }
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
