//! [`RangeEngine`]: the handle that downloads objects.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use slipring::class::ClassPool;
use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::error::{Cause, DownloadError};
use crate::gate::Gate;
use crate::job::{Arrived, EngineShared, FirstAnswer, Job};
use crate::options::{OptionsError, RangeOptions, StoreOptions};
use crate::part_buffers::{PartBufferOptions, PartBufferStats, PartBuffers};
use crate::retry::Budget;
use crate::sink::PartSink;
use crate::stats::{BufferPoolUse, DownloadCounters, DownloadStats, EngineStats};

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
        let parts = PartBuffers::new(&PartBufferOptions { reuse: false, ..Default::default() })?;
        Ok(Self {
            shared: Arc::new(EngineShared {
                options: options.clone(),
                pool: None,
                parts,
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
        let parts = *self.shared.parts.options();
        self.with_memory(Some(pool), &parts).expect("checked when the engine was made")
    }

    /// An engine with these options whose streams ([`RangeEngine::download_into`]) use these
    /// buffers. Without it they use those of [`PartBufferOptions::default`], but allocate and free
    /// each. Other clones aren't affected.
    ///
    /// # Errors
    /// [`OptionsError`] names the invalid field.
    pub fn with_part_buffers(self, parts: &PartBufferOptions) -> Result<Self, OptionsError> {
        let pool = self.shared.pool.clone();
        self.with_memory(pool, parts)
    }

    fn with_memory(
        self,
        pool: Option<ClassPool>,
        parts: &PartBufferOptions,
    ) -> Result<Self, OptionsError> {
        let mut engine = Self::new(&self.shared.options)?;
        let shared = Arc::get_mut(&mut engine.shared).expect("it has no clone yet");
        (shared.pool, shared.parts) = (pool, PartBuffers::new(parts)?);
        Ok(engine)
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
        let (started, job) = (Instant::now(), self.job(store, path));
        let Arrived { bytes, meta, content_encoding, pool } =
            self.ended(&job, job.run(), cancel).await?;
        let stats = self.arrived(job, meta.size, started.elapsed(), pool);
        Ok(Download { bytes, meta, content_encoding, stats })
    }

    /// Downloads an object part by part into `sink`. Its memory is bounded by the engine's part
    /// buffers ([`PartBufferOptions`]), whatever the object's size; all streams of the engine share
    /// them. Dropping the future cancels it, but what the sink has taken stays.
    ///
    /// A part has at most `part_bytes` of the engine's options and of its part buffers. Parts
    /// arrive side by side and go to the sink as each is complete; a retry continues in the
    /// part's buffer, so the sink sees only whole parts. All parts are of the same object, by its
    /// ETag, version, size and time; if it changes meanwhile, that is an error.
    ///
    /// # Errors
    /// As [`RangeEngine::get`], and [`Cause::Sink`] with the sink's error. The sink may have taken
    /// any part by then.
    ///
    /// ```
    /// use std::io;
    /// use std::sync::Mutex;
    /// use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
    /// use slipring::class::PooledBuf;
    /// use slipring_objects::{PartBufferOptions, PartSink, RangeEngine, RangeOptions};
    ///
    /// struct Sum(Mutex<u64>);
    ///
    /// impl PartSink for Sum {
    ///     async fn put(&self, _offset: u64, bytes: PooledBuf) -> io::Result<()> {
    ///         *self.0.lock().unwrap() += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let (store, path) = (InMemory::new(), Path::from("vectors.bin"));
    /// store.put(&path, vec![1; 3 << 20].into()).await?;
    ///
    /// let parts = PartBufferOptions { part_bytes: 1 << 20, buffers: 2, ..Default::default() };
    /// let engine = RangeEngine::new(&RangeOptions::default())?.with_part_buffers(&parts)?;
    /// let sum = Sum(Mutex::new(0));
    /// let object = engine.download_into(&store, &path, &sum).await?;
    /// assert_eq!((object.meta.size, *sum.0.lock().unwrap()), (3 << 20, 3 << 20));
    /// assert!(engine.part_stats().high_water <= 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn download_into<S: PartSink>(
        &self,
        store: &dyn ObjectStore,
        path: &Path,
        sink: &S,
    ) -> Result<StreamedObject, DownloadError> {
        self.download_into_cancellable(store, path, sink, &CancellationToken::new()).await
    }

    /// As [`RangeEngine::download_into`], but the token can cancel it.
    ///
    /// # Errors
    /// As `download_into`, and [`Cause::Cancelled`].
    pub async fn download_into_cancellable<S: PartSink>(
        &self,
        store: &dyn ObjectStore,
        path: &Path,
        sink: &S,
        cancel: &CancellationToken,
    ) -> Result<StreamedObject, DownloadError> {
        let (started, job) = (Instant::now(), self.job(store, path));
        let FirstAnswer { meta, content_encoding, .. } =
            self.ended(&job, job.stream(sink), cancel).await?;
        let reused = self.shared.parts.options().reuse;
        let pool = if reused { BufferPoolUse::Hit } else { BufferPoolUse::Off };
        let stats = self.arrived(job, meta.size, started.elapsed(), pool);
        Ok(StreamedObject { meta, content_encoding, stats })
    }

    /// How the part buffers of streams were used so far.
    #[must_use]
    pub fn part_stats(&self) -> PartBufferStats {
        self.shared.parts.stats()
    }

    /// The pool of the part buffers; `None` if they aren't reused.
    #[must_use]
    pub fn part_pool(&self) -> Option<&ClassPool> {
        self.shared.parts.pool()
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

    fn job<'a>(&'a self, store: &'a dyn ObjectStore, path: &'a Path) -> Job<'a> {
        let (engine, retries, ranges) = (&*self.shared, AtomicU32::new(0), AtomicU32::new(0));
        Job { engine, store, path, retries, ranges }
    }

    /// Runs the job's work until its end, the token's, or the time's.
    async fn ended<T>(
        &self,
        job: &Job<'_>,
        work: impl Future<Output = Result<T, DownloadError>>,
        cancel: &CancellationToken,
    ) -> Result<T, DownloadError> {
        let engine = &*self.shared;
        let in_time = async {
            let Some(total_timeout) = engine.options.total_timeout else { return work.await };
            match time::timeout(total_timeout, work).await {
                Ok(ended) => ended,
                Err(_) => Err(job.failed(None, Cause::TotalTimeout { total_timeout })),
            }
        };
        let ended = match cancel.run_until_cancelled(in_time).await {
            Some(ended) => ended,
            None => Err(job.failed(None, Cause::Cancelled)),
        };
        ended.inspect_err(|_| engine.counters.failed())
    }

    /// Counts an object that arrived.
    fn arrived(
        &self,
        job: Job<'_>,
        bytes: u64,
        elapsed: Duration,
        pool: BufferPoolUse,
    ) -> DownloadStats {
        let (ranges, retries) = (job.ranges.into_inner(), job.retries.into_inner());
        let stats = DownloadStats { bytes, ranges, retries, elapsed, pool };
        self.shared.counters.arrived(&stats);
        stats
    }
}

/// An object that a sink has taken as a whole.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamedObject {
    /// The store's metadata of the object.
    pub meta: ObjectMeta,
    /// How the store says that the object is packed (`Content-Encoding`), if it does: the sink took
    /// it as it is.
    pub content_encoding: Option<String>,
    /// Statistics of the download; its time includes the sink's.
    pub stats: DownloadStats,
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
