//! Options of a ring pool and the one function that checks them.

use core::borrow::Borrow;

use super::error::RingError;
use super::layout::{LINE_BYTES, Layout, stride};
use crate::machine::{Topology, window_default_bytes, window_own_core_default_bytes};
use crate::region::{Lock, Numa, Pages, RegionOptions};

/// Smallest chunk: 4 KiB.
pub const CHUNK_BYTES_MIN: usize = 4 << 10;
/// Largest chunk: 1 GiB, so that a slice's length fits 32 bits.
pub const CHUNK_BYTES_MAX: usize = 1 << 30;
/// The fewest chunks of a default window, if the pool has that many and a second core reads.
const WINDOW_CHUNKS_DEFAULT_MIN: usize = 8;
const CHUNK_BYTES_DEFAULT_MAX: usize = 256 << 10;
/// The fewest chunks of a pool, and of a window, with the default chunk size, if slices are small
/// enough. More and smaller chunks would mean that the cost of a chunk's end comes more often.
pub(super) const CHUNKS_DEFAULT_MIN: usize = 8;
pub(super) const CHUNKS_OF_WINDOW_DEFAULT_MIN: usize = 4;

/// The threads that read the pool's slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// The thread that owns the pool.
    OwnCore,
    /// Other threads as well.
    #[cfg_attr(not(feature = "pipeline"), allow(dead_code, reason = "only a lane has threads"))]
    OtherCores,
}

/// The options of a ring pool. Set `bytes`; the other defaults are usually right.
///
/// All of the pool is touched when it is made. So a memory limit shows as an error then and not as
/// a signal later, and no slice waits for a page (PERFORMANCE.md, "Touched before the clock, and
/// not"). This can't be turned off; ask for fewer bytes instead.
///
/// Tail waste is at most one largest slice per chunk. Slices whose length is a multiple of 4096
/// take an extra line of 64 bytes, because their strides would alias in the cache. The exception is
/// a chunk of exactly two of the largest slices, which has no line to spare; a pool of less than
/// eight largest slices has such chunks, or `chunk_bytes` asks for them. A chunk's end costs
/// several times an allocation. In a chunk of two slices every second allocation pays it, so ask
/// for sixteen largest slices or more.
///
/// To hold N slices of the largest size at the same time, ask for
/// `N x largest x chunk / (chunk - largest) + 2 x chunk` bytes. If slices are released in random
/// order, ask for eight to fourteen times the bytes that are held, because a chunk waits for its
/// last slice.
#[derive(Clone, Debug)]
pub struct RingOptions {
    /// The size of the pool in bytes; at least two chunks.
    pub bytes: usize,
    /// The size of the largest slice in bytes. A lane that frees on overwrite relies on it: there
    /// it must also cover what is skipped in front of a slice cut from a receive, and nothing
    /// larger may be committed from `reserve_rest`, or the pool fills up.
    pub max_slice_bytes: usize,
    /// The size of a chunk in bytes: a power of two, at least 4 KiB and at least two of the largest
    /// slice. Default: the largest power of two that is at most 256 KiB, at most an eighth of the
    /// pool, and at most a quarter of the window (an eighth of the default window of a lane with
    /// stages on threads). It is raised to the minimum. Where the largest slices get an extra line
    /// against aliasing, it is raised to twice the minimum, if the pool then still has four chunks
    /// and chunks of that size are allowed.
    pub chunk_bytes: Option<usize>,
    /// Bytes in rotation; the rest of the pool is spare, for bursts. At least two chunks, clamped
    /// to the pool. Default for a lane with stages on threads: min(4 MiB, L3 / 2 /
    /// `lanes_sharing_l3`), at least eight chunks. Default for a pool alone, and for a lane whose
    /// stages are all inline: min(4 MiB, L2 / 2), at least two chunks, because data that is read on
    /// the writing core stays in that core's cache.
    pub window_bytes: Option<usize>,
    /// The number of lanes whose threads share one L3 cache. It affects only the default of
    /// `window_bytes`.
    pub lanes_sharing_l3: usize,
    /// The number of chunks that retained handles may pin at the same time: fewer than the pool
    /// has, so that pins alone never fill it (no thread is woken when a handle is dropped).
    /// Default: a quarter of the chunks, at least one.
    pub pinned_chunks_max: Option<u32>,
    /// The page kind of the region.
    pub pages: Pages,
    /// Whether the region is locked in memory.
    pub lock: Lock,
    /// The region's NUMA node.
    pub numa: Numa,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            max_slice_bytes: 32 << 10,
            chunk_bytes: None,
            window_bytes: None,
            lanes_sharing_l3: 1,
            pinned_chunks_max: None,
            pages: Pages::PreferThp,
            lock: Lock::default(),
            numa: Numa::default(),
        }
    }
}

impl RingOptions {
    /// The region that these options ask for.
    pub(crate) fn region(&self, layout: &Layout) -> RegionOptions {
        RegionOptions {
            bytes: layout.pool_bytes(),
            pages: self.pages,
            lock: self.lock,
            numa: self.numa,
            ..RegionOptions::default()
        }
    }

    /// Checks every field and computes the layout. The machine's caches are read only for the
    /// default window.
    pub(crate) fn layout(&self, readers: Readers) -> Result<Layout, RingError> {
        self.layout_on(Topology::read, readers)
    }

    /// As [`RingOptions::layout`], on a machine with these caches.
    pub(super) fn layout_on<T: Borrow<Topology>>(
        &self,
        topology: impl FnOnce() -> T,
        readers: Readers,
    ) -> Result<Layout, RingError> {
        let window_bytes =
            self.window_bytes.unwrap_or_else(|| self.window_default(topology().borrow(), readers));
        let of_window_bytes = match (self.window_bytes, readers) {
            // The minimum number of chunks doesn't justify a window larger than the caches.
            (None, Readers::OtherCores) => window_bytes / WINDOW_CHUNKS_DEFAULT_MIN,
            _ => window_bytes / CHUNKS_OF_WINDOW_DEFAULT_MIN,
        };
        let chunk_bytes = self.chunk(of_window_bytes)?;
        let chunks = self.bytes / chunk_bytes;
        if chunks < 2 {
            return Err(RingError::Option {
                field: "bytes",
                given: self.bytes,
                must: "at least two chunks, that is",
                limit: 2 * chunk_bytes,
            });
        }
        let chunks_max = u32::MAX as usize;
        if chunks > chunks_max {
            let (must, limit) =
                ("in larger chunks, or at most", (chunks_max + 1) * chunk_bytes - 1);
            return Err(RingError::Option { field: "bytes", given: self.bytes, must, limit });
        }
        let window_chunks = match (self.window_bytes, readers) {
            (Some(window), _) if window < 2 * chunk_bytes => {
                let (must, limit) = ("at least two chunks, that is", 2 * chunk_bytes);
                return Err(RingError::Option {
                    field: "window_bytes",
                    given: window,
                    must,
                    limit,
                });
            }
            (Some(window), _) => window / chunk_bytes,
            (None, Readers::OwnCore) => (window_bytes / chunk_bytes).max(2),
            (None, Readers::OtherCores) => {
                (window_bytes / chunk_bytes).max(WINDOW_CHUNKS_DEFAULT_MIN)
            }
        };
        let pinned_max = self.pinned_chunks_max.unwrap_or(((chunks / 4) as u32).max(1));
        if pinned_max as usize >= chunks {
            let (given, limit) = (pinned_max as usize, chunks - 1);
            let must = "fewer than the pool's chunks, that is at most";
            return Err(RingError::Option { field: "pinned_chunks_max", given, must, limit });
        }
        Ok(Layout::new(
            chunk_bytes,
            chunks,
            window_chunks.min(chunks),
            self.max_slice_bytes,
            pinned_max,
        ))
    }

    /// Uses the smallest caches, because the lane may run or move there.
    fn window_default(&self, topology: &Topology, readers: Readers) -> usize {
        match readers {
            Readers::OwnCore => window_own_core_default_bytes(topology.l2_bytes_min()),
            Readers::OtherCores => {
                window_default_bytes(topology.l3_bytes_min(), self.lanes_sharing_l3.max(1))
            }
        }
    }

    /// The chunk size, checked or chosen. `of_window_bytes` is the part of the window that a chunk
    /// may be by default.
    fn chunk(&self, of_window_bytes: usize) -> Result<usize, RingError> {
        if self.max_slice_bytes == 0 || self.max_slice_bytes > CHUNK_BYTES_MAX / 2 {
            let (must, limit) = ("at least 1 and at most", CHUNK_BYTES_MAX / 2);
            return Err(RingError::Option {
                field: "max_slice_bytes",
                given: self.max_slice_bytes,
                must,
                limit,
            });
        }
        let least = (2 * self.max_slice_bytes.next_multiple_of(LINE_BYTES))
            .next_power_of_two()
            .max(CHUNK_BYTES_MIN);
        let Some(chunk) = self.chunk_bytes else {
            let mut chosen = preferred_chunk_bytes(self.bytes, of_window_bytes).max(least);
            // A chunk of exactly two largest slices has no line to spare against aliasing. A pool
            // with room for larger chunks has room for the lines.
            let is_possible = chosen < CHUNK_BYTES_MAX && self.bytes / (2 * chosen) >= 4;
            if is_possible && 2 * stride(self.max_slice_bytes) > chosen {
                chosen *= 2;
            }
            return Ok(chosen);
        };
        if chunk < least {
            return Err(RingError::Option {
                field: "chunk_bytes",
                given: chunk,
                must: "at least two of the largest slice and 4 KiB, that is",
                limit: least,
            });
        }
        if !chunk.is_power_of_two() || chunk > CHUNK_BYTES_MAX {
            return Err(RingError::Option {
                field: "chunk_bytes",
                given: chunk,
                must: "a power of two of at most",
                limit: CHUNK_BYTES_MAX,
            });
        }
        Ok(chunk)
    }
}

/// The default chunk size for a pool of `pool_bytes` if slices are small enough, a power of two.
/// `of_window_bytes` is the part of the window that a chunk may be.
pub(super) fn preferred_chunk_bytes(pool_bytes: usize, of_window_bytes: usize) -> usize {
    let bytes =
        CHUNK_BYTES_DEFAULT_MAX.min(pool_bytes / CHUNKS_DEFAULT_MIN).min(of_window_bytes).max(1);
    1 << bytes.ilog2()
}

#[cfg(all(test, not(any(miri, loom))))]
mod tests;
