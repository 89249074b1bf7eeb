//! [`RangeEngine`]: the handle that downloads objects.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use slipring::class::ClassPool;
use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::error::{Cause, DownloadError};
use crate::gate::Gate;
use crate::job::{Arrived, EngineShared, Job};
use crate::options::{OptionsError, RangeOptions, StoreOptions};
use crate::retry::Budget;
use crate::stats::{DownloadCounters, DownloadStats, EngineStats};

/// Downloads objects by ranges. It is a handle: clones share the limit of requests in flight, the
/// retry budget and the counters.
///
/// Needs a tokio runtime with time, and with IO for stores that are reached over the network.
///
/// ```
/// use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
/// use slipring_objects::{BufferPoolOptions, BufferPoolUse, RangeEngine, RangeOptions};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let store = InMemory::new();
/// let path = Path::from("vectors.bin");
/// store.put(&path, vec![7; 3 << 20].into()).await?;
///
/// let pool = BufferPoolOptions::default().build()?.expect("it is enabled");
/// let engine = RangeEngine::new(&RangeOptions { part_bytes: Some(1 << 20), ..Default::default() })?
///     .with_buffer_pool(pool.clone());
/// let object = engine.get(&store, &path).await?;
/// assert_eq!((object.bytes.len(), object.stats.ranges, object.stats.pool), (3 << 20, 3, BufferPoolUse::Hit));
///
/// let slice = object.bytes.slice(0..4);
/// drop(object);
/// assert_eq!(pool.stats().classes[1].in_use, 1, "the slice keeps the buffer");
/// drop(slice);
/// assert_eq!(pool.stats().classes[1].in_use, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RangeEngine {
    shared: Arc<EngineShared>,
}

/// An object that arrived.
#[derive(Clone)]
pub struct Download {
    /// The object's bytes, in one piece. Dropping the last clone or slice gives the buffer back, on
    /// any thread.
    pub bytes: Bytes,
    /// The store's metadata of the object.
    pub meta: ObjectMeta,
    /// How the store says that the object is packed (`Content-Encoding`), if it does: `bytes` are
    /// as they are stored.
    pub content_encoding: Option<String>,
    /// Statistics of the download.
    pub stats: DownloadStats,
}

impl RangeEngine {
    /// An engine without a buffer pool.
    ///
    /// # Errors
    /// [`OptionsError`] names the invalid field.
    pub fn new(options: &RangeOptions) -> Result<Self, OptionsError> {
        options.check()?;
        Ok(Self {
            shared: Arc::new(EngineShared {
                options: options.clone(),
                pool: None,
                budget: Budget::new(options.retry_budget),
                counters: DownloadCounters::default(),
                gate: Gate::new(options.concurrency),
            }),
        })
    }

    /// An engine with these options over this pool, for objects of
    /// [`POOL_FROM_BYTES`](crate::POOL_FROM_BYTES) and more; see
    /// [`BufferPoolOptions`](crate::BufferPoolOptions) for one with the right classes. Other clones
    /// aren't affected.
    #[must_use]
    pub fn with_buffer_pool(self, pool: ClassPool) -> Self {
        let options = &self.shared.options;
        let mut engine = Self::new(options).expect("checked when the engine was made");
        Arc::get_mut(&mut engine.shared).expect("it has no clone yet").pool = Some(pool);
        engine
    }

    /// Downloads an object into one buffer. Dropping the future cancels it and gives the buffer
    /// back (for a local file after at most one step of reading).
    ///
    /// An object is copied once, from the client's receive buffer to its place; a local file isn't
    /// copied.
    ///
    /// # Errors
    /// [`DownloadError`] names the object, the range and the cause.
    pub async fn get(
        &self,
        store: &dyn ObjectStore,
        path: &Path,
    ) -> Result<Download, DownloadError> {
        self.get_cancellable(store, path, &CancellationToken::new()).await
    }

    /// As [`RangeEngine::get`], but the token can cancel it.
    ///
    /// # Errors
    /// As `get`, and [`Cause::Cancelled`].
    pub async fn get_cancellable(
        &self,
        store: &dyn ObjectStore,
        path: &Path,
        cancel: &CancellationToken,
    ) -> Result<Download, DownloadError> {
        let started = Instant::now();
        let engine = &*self.shared;
        let job =
            Job { engine, store, path, retries: AtomicU32::new(0), ranges: AtomicU32::new(0) };
        let ended = match cancel.run_until_cancelled(self.in_time(&job)).await {
            Some(ended) => ended,
            None => Err(job.failed(None, Cause::Cancelled)),
        };
        let Arrived { bytes, meta, content_encoding, pool } =
            ended.inspect_err(|_| engine.counters.failed())?;
        let stats = DownloadStats {
            bytes: bytes.len() as u64,
            ranges: job.ranges.into_inner(),
            retries: job.retries.into_inner(),
            elapsed: started.elapsed(),
            pool,
        };
        engine.counters.arrived(&stats);
        Ok(Download { bytes, meta, content_encoding, stats })
    }

    /// The options of this engine.
    #[must_use]
    pub fn options(&self) -> &RangeOptions {
        &self.shared.options
    }

    /// The pool of this engine.
    #[must_use]
    pub fn buffer_pool(&self) -> Option<&ClassPool> {
        self.shared.pool.as_ref()
    }

    /// Counters of all downloads so far.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        self.shared.counters.snapshot()
    }

    fn in_time<'a>(
        &self,
        job: &'a Job<'_>,
    ) -> impl Future<Output = Result<Arrived, DownloadError>> + Send + use<'a> {
        let total_timeout = self.shared.options.total_timeout;
        async move {
            let Some(total_timeout) = total_timeout else { return job.run().await };
            match time::timeout(total_timeout, job.run()).await {
                Ok(ended) => ended,
                Err(_) => Err(job.failed(None, Cause::TotalTimeout { total_timeout })),
            }
        }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes would hide the rest.
        let Self { bytes: _, meta, content_encoding, stats } = self;
        f.debug_struct("Download")
            .field("meta", meta)
            .field("content_encoding", content_encoding)
            .field("stats", stats)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RangeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EngineShared { options, pool, .. } = &*self.shared;
        f.debug_struct("RangeEngine")
            .field("options", options)
            .field("pool", &pool.is_some())
            .finish_non_exhaustive()
    }
}

impl StoreOptions {
    /// Makes the engine, with its pool if it has one. The pool holds no memory yet.
    ///
    /// # Errors
    /// [`OptionsError`] names the invalid field.
    pub fn build(&self) -> Result<RangeEngine, OptionsError> {
        let engine = RangeEngine::new(&self.range)?;
        let pool = self.buffer_pool.map(|pool| pool.build()).transpose()?.flatten();
        Ok(match pool {
            Some(pool) => engine.with_buffer_pool(pool),
            None => engine,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::BufferPoolOptions;

    #[test]
    fn there_is_a_pool_unless_it_is_off() {
        let has_pool = |options: StoreOptions| options.build().unwrap().buffer_pool().is_some();
        assert!(has_pool(StoreOptions::default()));
        assert!(!has_pool(StoreOptions { buffer_pool: None, ..StoreOptions::default() }));
        let off = BufferPoolOptions {
            enabled: false,
            max_buffers_per_class: 0,
            ..BufferPoolOptions::default()
        };
        assert!(!has_pool(StoreOptions { buffer_pool: Some(off), ..StoreOptions::default() }));
    }

    #[test]
    fn each_part_is_checked() {
        let refused = |options: StoreOptions| options.build().unwrap_err().field;
        let pool = BufferPoolOptions { max_buffers_per_class: 0, ..BufferPoolOptions::default() };
        assert_eq!(
            refused(StoreOptions { buffer_pool: Some(pool), ..StoreOptions::default() }),
            "max_buffers_per_class"
        );
        let range = RangeOptions { concurrency: Some(0), ..RangeOptions::default() };
        assert_eq!(refused(StoreOptions { range, ..StoreOptions::default() }), "concurrency");
    }
}
