//! Statistics of downloads: of each, and of the engine as a whole.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where an object's memory came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BufferPoolUse {
    /// The buffer pool.
    Hit,
    /// Allocated: the object is larger than the pool's largest class, or its class was at the
    /// limit.
    Fresh,
    /// Allocated: an object under [`POOL_FROM_BYTES`](crate::POOL_FROM_BYTES) doesn't use the pool.
    Skip,
    /// Allocated: the engine has no pool.
    #[default]
    Off,
}

impl fmt::Display for BufferPoolUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hit => "hit",
            Self::Fresh => "fresh",
            Self::Skip => "skip",
            Self::Off => "off",
        })
    }
}

/// One download.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownloadStats {
    /// Size of the object.
    pub bytes: u64,
    /// Ranges that the object was fetched in; 1 for an object in one piece, 0 for an empty one.
    pub ranges: u32,
    /// Requests in addition to one per range, after errors that may pass.
    pub retries: u32,
    /// From the call to the last byte.
    pub elapsed: Duration,
    /// Where its memory came from.
    pub pool: BufferPoolUse,
}

impl DownloadStats {
    /// Bytes per second; 0 for an object that took no time.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.bytes as f64 / seconds } else { 0.0 }
    }
}

/// All downloads of an engine: see [`RangeEngine::stats`](crate::RangeEngine::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStats {
    /// Objects that arrived.
    pub objects: u64,
    /// Downloads that ended in an error, without those that were dropped.
    pub failed: u64,
    /// Bytes of the objects that arrived.
    pub bytes: u64,
    /// Ranges of the objects that arrived.
    pub ranges: u64,
    /// Bytes of all ranges that arrived, also of objects that fail later. With `expected_bytes`,
    /// this is the progress of all downloads.
    pub received_bytes: u64,
    /// Bytes of all objects whose size is known from their first answer.
    pub expected_bytes: u64,
    /// Retries, also those of failed objects.
    pub retries: u64,
    /// Objects in a buffer of the pool.
    pub hits: u64,
    /// Objects in allocated memory: see [`BufferPoolUse::Fresh`].
    pub fresh: u64,
    /// Objects that were too small for the pool.
    pub skipped: u64,
    /// Objects without a pool.
    pub unpooled: u64,
}

/// The counters behind [`EngineStats`].
#[derive(Debug, Default)]
pub(crate) struct DownloadCounters {
    objects: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    ranges: AtomicU64,
    received_bytes: AtomicU64,
    expected_bytes: AtomicU64,
    retries: AtomicU64,
    hits: AtomicU64,
    fresh: AtomicU64,
    skipped: AtomicU64,
    unpooled: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl DownloadCounters {
    pub(crate) fn arrived(&self, stats: &DownloadStats) {
        add(&self.objects, 1);
        add(&self.bytes, stats.bytes);
        add(&self.ranges, u64::from(stats.ranges));
        let memory = match stats.pool {
            BufferPoolUse::Hit => &self.hits,
            BufferPoolUse::Fresh => &self.fresh,
            BufferPoolUse::Skip => &self.skipped,
            BufferPoolUse::Off => &self.unpooled,
        };
        add(memory, 1);
    }

    pub(crate) fn expected(&self, bytes: u64) {
        add(&self.expected_bytes, bytes);
    }

    pub(crate) fn received(&self, bytes: u64) {
        add(&self.received_bytes, bytes);
    }

    pub(crate) fn failed(&self) {
        add(&self.failed, 1);
    }

    pub(crate) fn retried(&self) {
        add(&self.retries, 1);
    }

    pub(crate) fn snapshot(&self) -> EngineStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EngineStats {
            objects: of(&self.objects),
            failed: of(&self.failed),
            bytes: of(&self.bytes),
            ranges: of(&self.ranges),
            received_bytes: of(&self.received_bytes),
            expected_bytes: of(&self.expected_bytes),
            retries: of(&self.retries),
            hits: of(&self.hits),
            fresh: of(&self.fresh),
            skipped: of(&self.skipped),
            unpooled: of(&self.unpooled),
        }
    }
}
