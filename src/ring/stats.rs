//! Statistics of a pool. Counting costs nothing per slice: it happens when a chunk is closed and
//! when something is refused.
#![forbid(unsafe_code)]

use core::cell::Cell;

use super::chunk::Sequence;
use super::error::Full;

/// The owner's plain counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    tail_waste_bytes: Cell<u64>,
    refused_pool: Cell<u64>,
    refused_too_large: Cell<u64>,
}

impl Counters {
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
    /// The highest `in_use_bytes` at any closing of a chunk.
    pub high_water_bytes: usize,
    /// Chunks waiting for a slot's release, including the current one.
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
    /// Bytes lost since the start: at the ends of chunks, and in ranges that were given back and
    /// weren't the newest.
    pub tail_waste_bytes: u64,
    /// Allocations refused because no chunk was free.
    pub refused_pool: u64,
    /// Allocations refused because they were too large.
    pub refused_too_large: u64,
}
