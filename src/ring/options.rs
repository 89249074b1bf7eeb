//! Options of a ring pool and the one function that checks them.

use core::borrow::Borrow;

use super::chunk::{LINE_BYTES, Layout, stride};
use super::error::PoolError;
use crate::region::{
    Lock, Numa, Pages, RegionOptions, Topology, window_default_bytes, window_own_core_default_bytes,
};

/// Smallest chunk: 4 KiB.
pub const CHUNK_BYTES_MIN: usize = 4 << 10;
/// Largest chunk: 1 GiB, so that a slice's length fits 32 bits.
pub const CHUNK_BYTES_MAX: usize = 1 << 30;
/// Chunks a window has at least, where the pool holds so many and a second core reads.
const WINDOW_CHUNKS_DEFAULT_MIN: usize = 8;
const CHUNK_BYTES_DEFAULT_MAX: usize = 256 << 10;
/// Chunks that a pool, and a window, are cut into by default, where slices are small enough. A
/// chunk's end costs 20 to 30 ns: at 16 chunks of a 512 KiB pool that was 6 to 10 % of an
/// operation, at 8 it's the half.
pub(super) const CHUNKS_DEFAULT_MIN: usize = 8;
pub(super) const CHUNKS_OF_WINDOW_DEFAULT_MIN: usize = 4;

/// Where the pool's slices are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// On the thread that owns the pool.
    OwnCore,
    /// On other threads as well.
    #[cfg_attr(not(feature = "pipeline"), allow(dead_code, reason = "only a lane has threads"))]
    OtherCores,
}

/// What a ring pool is made of. Only `bytes` has no default worth keeping.
///
/// All of the pool is touched when it is made: a limit of memory is an error then and not a signal
/// later, and no slice waits for a page (PERFORMANCE.md, "Touched before the clock, and not").
/// There is no option against it; ask for fewer bytes instead.
///
/// Tail waste is at most one largest slice a chunk. Slices whose length is a multiple of 4096 take
/// a line of 64 bytes more, because their strides would alias in the cache, unless a chunk is
/// exactly two of the largest: such a chunk, which a pool of less than eight of them or
/// `chunk_bytes` asks for, has no line to spare. A chunk's end costs several times an allocation:
/// where a chunk holds two slices every second one pays it, so ask for sixteen of the largest or
/// more. For N slices of the largest size alive at once, ask for
/// `N x largest x chunk / (chunk - largest) + 2 x chunk` bytes; released in random order, for eight
/// to fourteen times the live bytes, because a chunk waits for its last slice.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// Bytes of the pool; at least two chunks.
    pub bytes: usize,
    /// Bytes of the largest slice. A lane that frees on overwrite counts on it: there it must also
    /// cover what is skipped in front of a slice that is cut from a receive, and nothing larger may
    /// be committed out of `reserve_rest`, or the pool runs full.
    pub max_slice_bytes: usize,
    /// Bytes of a chunk: a power of two, at least 4 KiB and two of the largest slice. Default: the
    /// largest power of two that is at most 256 KiB, an eighth of the pool and a quarter of the
    /// window (an eighth of the default one of a lane with stages on threads), raised to that
    /// minimum, and to twice that where the largest slices get a line against aliasing, if the pool
    /// then still has four and a chunk of that size is allowed.
    pub chunk_bytes: Option<usize>,
    /// Bytes in rotation, the rest is reserve for bursts; at least two chunks, clamped to the pool.
    /// Default: for a lane with stages on threads min(4 MiB, L3 / 2 / `lanes_sharing_l3`), at least
    /// eight chunks; for a pool alone, and a lane whose stages are all inline, min(4 MiB, L2 / 2),
    /// at least two chunks: what is read on the core that writes stays in its own cache.
    pub window_bytes: Option<usize>,
    /// Lanes whose threads share one L3 cache; matters for the default of `window_bytes` only.
    pub lanes_sharing_l3: usize,
    /// Chunks that retained handles may pin at once: fewer than the pool has, so that pins alone
    /// never fill it (nobody is woken when one goes). Default: a quarter of the chunks, at least
    /// one.
    pub pinned_chunks_max: Option<u32>,
    /// Page kind of the region.
    pub pages: Pages,
    /// Whether the region is locked into memory.
    pub lock: Lock,
    /// The region's NUMA node.
    pub numa: Numa,
}

impl Default for PoolOptions {
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

impl PoolOptions {
    /// The region these options ask for.
    pub(crate) fn region(&self, layout: &Layout) -> RegionOptions {
        RegionOptions {
            bytes: layout.pool_bytes(),
            pages: self.pages,
            lock: self.lock,
            numa: self.numa,
            ..RegionOptions::default()
        }
    }

    /// Checks every field and works out the layout; the machine's caches are read for the default
    /// window only.
    pub(crate) fn layout(&self, readers: Readers) -> Result<Layout, PoolError> {
        self.layout_on(Topology::read, readers)
    }

    /// The same on a machine with these caches.
    pub(super) fn layout_on<T: Borrow<Topology>>(
        &self,
        topology: impl FnOnce() -> T,
        readers: Readers,
    ) -> Result<Layout, PoolError> {
        let window_bytes =
            self.window_bytes.unwrap_or_else(|| self.window_default(topology().borrow(), readers));
        let of_window_bytes = match (self.window_bytes, readers) {
            // The chunks that it has at least are no reason for a larger one than the caches are.
            (None, Readers::OtherCores) => window_bytes / WINDOW_CHUNKS_DEFAULT_MIN,
            _ => window_bytes / CHUNKS_OF_WINDOW_DEFAULT_MIN,
        };
        let chunk_bytes = self.chunk(of_window_bytes)?;
        let chunks = self.bytes / chunk_bytes;
        if chunks < 2 {
            return Err(PoolError::Option {
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
            return Err(PoolError::Option { field: "bytes", given: self.bytes, must, limit });
        }
        let window_chunks = match (self.window_bytes, readers) {
            (Some(window), _) if window < 2 * chunk_bytes => {
                let (must, limit) = ("at least two chunks, that is", 2 * chunk_bytes);
                return Err(PoolError::Option {
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
            return Err(PoolError::Option { field: "pinned_chunks_max", given, must, limit });
        }
        Ok(Layout::new(
            chunk_bytes,
            chunks,
            window_chunks.min(chunks),
            self.max_slice_bytes,
            pinned_max,
        ))
    }

    /// By the smallest caches: the lane may run, or move, where they are.
    fn window_default(&self, topology: &Topology, readers: Readers) -> usize {
        match readers {
            Readers::OwnCore => window_own_core_default_bytes(topology.l2_bytes_min()),
            Readers::OtherCores => {
                window_default_bytes(topology.l3_bytes_min(), self.lanes_sharing_l3.max(1))
            }
        }
    }

    fn chunk(&self, of_window_bytes: usize) -> Result<usize, PoolError> {
        if self.max_slice_bytes == 0 || self.max_slice_bytes > CHUNK_BYTES_MAX / 2 {
            let (must, limit) = ("at least 1 and at most", CHUNK_BYTES_MAX / 2);
            return Err(PoolError::Option {
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
            let mut chosen = chunk_wish_bytes(self.bytes, of_window_bytes).max(least);
            // Exactly two of the largest have no line to spare against aliasing; a pool that has
            // room for larger chunks has room for the lines.
            let is_possible = chosen < CHUNK_BYTES_MAX && self.bytes / (2 * chosen) >= 4;
            if is_possible && 2 * stride(self.max_slice_bytes) > chosen {
                chosen *= 2;
            }
            return Ok(chosen);
        };
        if chunk < least {
            return Err(PoolError::Option {
                field: "chunk_bytes",
                given: chunk,
                must: "at least two of the largest slice and 4 KiB, that is",
                limit: least,
            });
        }
        if !chunk.is_power_of_two() || chunk > CHUNK_BYTES_MAX {
            return Err(PoolError::Option {
                field: "chunk_bytes",
                given: chunk,
                must: "a power of two of at most",
                limit: CHUNK_BYTES_MAX,
            });
        }
        Ok(chunk)
    }
}

/// The chunk that a pool of these bytes wishes for, and a window of which a part may be a chunk; if
/// slices are small enough. A power of two.
pub(super) fn chunk_wish_bytes(pool_bytes: usize, of_window_bytes: usize) -> usize {
    let wish_bytes =
        CHUNK_BYTES_DEFAULT_MAX.min(pool_bytes / CHUNKS_DEFAULT_MIN).min(of_window_bytes).max(1);
    1 << wish_bytes.ilog2()
}

#[cfg(all(test, not(any(miri, loom))))]
mod tests;
