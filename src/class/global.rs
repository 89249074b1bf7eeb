//! A pool for the whole process, behind plain functions: the wire table without a limit.
//!
//! Promises what any other pool does. It is made by the first call, and never goes.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use super::buffer::PooledBuf;
use super::error::{ClassError, GetError};
use super::options::ClassOptions;
use super::pool::ClassPool;
use super::stats::{PoolStats, WarmUp};

/// The process's own pool.
///
/// ```
/// let buf = slipring::class::get(1500)?;
/// assert_eq!(buf.capacity(), 2048);
/// # Ok::<(), slipring::class::GetError>(())
/// ```
pub fn default_pool() -> &'static ClassPool {
    static POOL: OnceLock<ClassPool> = OnceLock::new();
    POOL.get_or_init(|| ClassPool::new(&ClassOptions::default()).expect("the default options are good"))
}

/// [`ClassPool::get`] of the process's pool.
///
/// # Errors
/// As there.
pub fn get(len: usize) -> Result<PooledBuf, GetError> {
    default_pool().get(len)
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
pub fn stats() -> PoolStats {
    default_pool().stats()
}

/// [`ClassPool::reset_stats`] of the process's pool.
pub fn reset_stats() {
    default_pool().reset_stats();
}
