//! What a pool has done, and the size that follows from it.
//!
//! Counting costs nothing per slice: it happens when a chunk is closed and when something is
//! refused.
//!
//! # The right size
//!
//! [`RightSize`] is the smallest pool and window that would have served everything a pool has seen.
//!
//! It promises: a pool of this size, asked for the same operations in the same order, refuses none
//! of them. The chunk size stays the same, so every slice and every receive falls into the same
//! chunk as before. No more chunks than the high water mark were ever in use at the same time, and
//! a free chunk is always found. Two chunks are added, so that a chunk that a reader has just left
//! isn't written immediately, and the sum is rounded up to a power of two.
//!
//! It can't know what it hasn't seen: a longer burst, a slower stage, larger slices. If the pool
//! was full, it knows only that more was needed. The high water mark counts chunks that aren't
//! known to be free. Where slices are pushed and released in order, these are exactly the chunks in
//! use; where they are dropped, there are some more.
//!
//! ```
//! use slipring::ring::{RingOptions, RingPool};
//!
//! let options = RingOptions { bytes: 64 << 20, ..RingOptions::default() };
//! let mut pool = RingPool::new(&options)?;
//! let slice = pool.copy_in(b"four")?;
//! let right = pool.right_size();
//! assert!(right.pool_bytes <= 2 << 20 && !right.is_lower_bound);
//! let smaller = RingPool::new(&right.options(&options))?;
//! # drop((slice, smaller));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::fmt;

use super::error::Full;
use super::layout::{Layout, Sequence};
use super::options::{
    CHUNKS_DEFAULT_MIN, CHUNKS_OF_WINDOW_DEFAULT_MIN, RingOptions, preferred_chunk_bytes,
};
use super::window::FREE_CHUNKS_MIN;
use crate::machine::format::ByteSize;

/// A snapshot of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingStats {
    /// The size of the pool in bytes.
    pub pool_bytes: usize,
    /// The size of a chunk in bytes.
    pub chunk_bytes: usize,
    /// Bytes in rotation.
    pub window_bytes: usize,
    /// Bytes of the chunks in use now, counting whole chunks.
    pub in_use_bytes: usize,
    /// The highest `in_use_bytes` at the closing of any chunk.
    pub high_water_bytes: usize,
    /// Chunks waiting for the release of a slot, including the current one.
    pub blocked_by_sequence: u32,
    /// Chunks waiting for a token, receive, read in flight or slice of the owner, including the
    /// current one.
    pub blocked_by_owner: u32,
    /// Chunks waiting for a retained handle.
    pub blocked_by_pins: u32,
    /// Chunks pinned by retained handles.
    pub pinned_chunks: u32,
    /// The read cursor.
    pub released: Sequence,
    /// Bytes lost since the start: at the ends of chunks, and in ranges that were given back but
    /// weren't the newest.
    pub tail_waste_bytes: u64,
    /// Allocations refused because no chunk was free.
    pub refused_pool: u64,
    /// Allocations refused because they were too large.
    pub refused_too_large: u64,
}

/// The counters of an owner, which its thread alone writes.
#[derive(Debug, Default)]
pub(crate) struct RingCounters {
    tail_waste_bytes: Cell<u64>,
    refused_pool: Cell<u64>,
    refused_too_large: Cell<u64>,
}

impl RingCounters {
    pub(super) fn add_waste(&self, bytes: usize) {
        self.tail_waste_bytes.set(self.tail_waste_bytes.get() + bytes as u64);
    }

    pub(super) fn refuse(&self, why: Full) -> Full {
        match why {
            Full::Pool { .. } => self.refused_pool.set(self.refused_pool.get() + 1),
            Full::TooLarge { .. } => self.refused_too_large.set(self.refused_too_large.get() + 1),
        }
        why
    }

    pub(super) fn fill(&self, stats: &mut RingStats) {
        stats.tail_waste_bytes = self.tail_waste_bytes.get();
        stats.refused_pool = self.refused_pool.get();
        stats.refused_too_large = self.refused_too_large.get();
    }
}

/// The smallest pool and window that would have served everything a pool has seen so far. Never
/// more than the pool has.
///
/// If the pool has its default chunk size, setting `pool_bytes` and `window_bytes` is enough: the
/// default of [`RingOptions::chunk_bytes`] then stays the same. With another chunk size, or with
/// retained handles, use [`RightSize::options`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RightSize {
    /// The size of the pool in bytes: a power of two, or the present size.
    pub pool_bytes: usize,
    /// Bytes in rotation.
    pub window_bytes: usize,
    /// The size of a chunk in bytes, unchanged.
    pub chunk_bytes: usize,
    /// The number of chunks that may be pinned: as now, or all but one chunk of the smaller pool.
    pub pinned_chunks_max: u32,
    /// The pool was full at least once. What was refused then would have needed more than
    /// `pool_bytes`; how much more is unknown.
    pub is_lower_bound: bool,
}

impl RightSize {
    /// Computed from a snapshot of a pool with this layout. At least `least_bytes`, if the pool has
    /// them.
    pub(crate) fn of(stats: &RingStats, layout: &Layout, least_bytes: usize) -> Self {
        let (chunk_bytes, high_water_bytes) = (layout.chunk_bytes(), stats.high_water_bytes);
        assert!((chunk_bytes..=layout.pool_bytes()).contains(&high_water_bytes), "{stats:?}");
        let is_lower_bound = stats.refused_pool > 0;
        let wanted_bytes = high_water_bytes + FREE_CHUNKS_MIN * chunk_bytes;
        let pool_bytes = if is_lower_bound {
            layout.pool_bytes()
        } else {
            let least_bytes = least_bytes.max(CHUNKS_DEFAULT_MIN * chunk_bytes);
            wanted_bytes.max(least_bytes).next_power_of_two().min(layout.pool_bytes())
        };
        // Data beyond the window is held in spare chunks, so a burst doesn't justify a larger
        // window.
        let (window_now_bytes, least_bytes) =
            (layout.window_chunks() * chunk_bytes, CHUNKS_OF_WINDOW_DEFAULT_MIN * chunk_bytes);
        let wished_bytes =
            wanted_bytes.max(least_bytes).next_power_of_two().min(window_now_bytes).min(pool_bytes);
        let window_bytes =
            match preferred_chunk_bytes(pool_bytes, wished_bytes / CHUNKS_OF_WINDOW_DEFAULT_MIN) {
                // Set explicitly, this window would raise the default chunk size.
                wish if wish >= 2 * chunk_bytes => {
                    wished_bytes.min((2 * CHUNKS_OF_WINDOW_DEFAULT_MIN - 1) * chunk_bytes)
                }
                _ => wished_bytes,
            };
        let pinned_chunks_max =
            layout.pinned_chunks_max().min((pool_bytes / chunk_bytes) as u32 - 1);
        assert!(high_water_bytes <= pool_bytes && pool_bytes <= layout.pool_bytes());
        assert!(
            (2 * chunk_bytes..=pool_bytes).contains(&window_bytes),
            "a window of {window_bytes} in {pool_bytes}"
        );
        Self { pool_bytes, window_bytes, chunk_bytes, pinned_chunks_max, is_lower_bound }
    }

    /// The options of a pool of this size; everything else is as in `base`.
    #[must_use]
    pub fn options(&self, base: &RingOptions) -> RingOptions {
        RingOptions {
            bytes: self.pool_bytes,
            window_bytes: Some(self.window_bytes),
            chunk_bytes: Some(self.chunk_bytes),
            pinned_chunks_max: Some(self.pinned_chunks_max),
            ..base.clone()
        }
    }
}

impl fmt::Display for RightSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pool, window) = (ByteSize(self.pool_bytes), ByteSize(self.window_bytes));
        if self.is_lower_bound {
            write!(f, "more than a pool of {pool} would have been needed; how much more is unknown")
        } else {
            write!(f, "a pool of {pool} with a window of {window} would have served")
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
