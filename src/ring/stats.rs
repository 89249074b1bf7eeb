//! Statistics of a pool. Counting costs nothing per slice: it happens when a chunk is closed and
//! when something is refused.
#![forbid(unsafe_code)]

use core::cell::Cell;

use super::chunk::Sequence;
use super::error::Full;

/// Plain counters of the owner.
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

    pub(super) fn fill(&self, stats: &mut PoolStats) {
        stats.tail_waste_bytes = self.tail_waste_bytes.get();
        stats.refused_pool = self.refused_pool.get();
        stats.refused_too_large = self.refused_too_large.get();
    }
}

/// A snapshot of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Bytes of the pool.
    pub pool_bytes: usize,
    /// Bytes of a chunk.
    pub chunk_bytes: usize,
    /// Bytes in rotation.
    pub window_bytes: usize,
    /// Bytes of the chunks that are in use now, whole chunks.
    pub in_use_bytes: usize,
    /// The most that `in_use_bytes` was when a chunk was closed.
    pub high_water_bytes: usize,
    /// Chunks that wait for a slot's release, the current one included.
    pub blocked_by_sequence: u32,
    /// Chunks that wait for a token, receive, read in flight or slice of the owner, the current one
    /// included.
    pub blocked_by_owner: u32,
    /// Chunks that wait for a retained handle.
    pub blocked_by_pins: u32,
    /// Chunks that retained handles pin.
    pub pinned_chunks: u32,
    /// The read cursor.
    pub released: Sequence,
    /// Bytes that were given up at the end of chunks, and by grants that weren't the newest, since
    /// the start.
    pub tail_waste_bytes: u64,
    /// Allocations refused because no chunk was free.
    pub refused_pool: u64,
    /// Allocations refused because they were too large.
    pub refused_too_large: u64,
}
