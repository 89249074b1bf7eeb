//! [`Job`]: the download of one object.
//!
//! ```text
//!  first request ──▶ size, ETag ──▶ buffer ──▶ parts, side by side ──▶ Bytes
//!        └── its body is the first part ─────────────▲
//! ```
//!
//! All parts are futures of one task and write into disjoint slices of one buffer, so dropping the download drops them and gives the buffer back at
//! once; there is no task to wait for. Only a local file's reader lives on, for a step at most.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{GetOptions, GetResult, GetResultPayload, ObjectMeta, ObjectStore};
use slipring::class::{GetError, PooledBuf};
use tokio::time::{self, Instant};

use crate::engine::Shared;
use crate::error::{Cause, DownloadError};
use crate::file;
use crate::gate::Turn;
use crate::part::Part;
use crate::retry::Tries;
use crate::stats::PoolUse;

/// Objects below this aren't worth a buffer of the pool, whose smallest class it is.
pub const POOL_FROM_BYTES: u64 = 1 << 20;

/// An object on its way.
pub(crate) struct Job<'a> {
    pub(crate) engine: &'a Shared,
    pub(crate) store: &'a dyn ObjectStore,
    pub(crate) path: &'a Path,
    pub(crate) retries: AtomicU32,
    pub(crate) ranges: AtomicU32,
}

/// What a job ends with.
pub(crate) struct Arrived {
    pub(crate) bytes: Bytes,
    pub(crate) meta: ObjectMeta,
    pub(crate) pool: PoolUse,
}

/// An answer whose body is still to come.
struct Opened<'a> {
    result: GetResult,
    deadline: Instant,
    /// One of the requests in flight, until the body is in.
    _turn: Turn<'a>,
}

impl<'a> Job<'a> {
    pub(crate) async fn run(&self) -> Result<Arrived, DownloadError> {
        let opened = match self.first().await? {
            Ok(opened) => opened,
            Err(meta) => return Ok(Arrived { bytes: Bytes::new(), meta, pool: self.engine.small() }),
        };
        let meta = opened.result.meta.clone();
        let (opened, mut buffer, pool) = self.buffer(opened, meta.size).await?;
        let opened = match opened {
            Some(Opened { result: GetResult { payload: GetResultPayload::File(file, _), .. }, _turn, .. }) => {
                let read = file::read(file, buffer).await.map_err(|cause| self.failed(Some(0..meta.size), cause))?;
                self.arrived(meta.size);
                return Ok(Arrived { bytes: read.into_bytes(), meta, pool });
            }
            opened => opened,
        };
        self.parts(&mut buffer, &meta, opened).await?;
        Ok(Arrived { bytes: buffer.into_bytes(), meta, pool })
    }

    /// The first answer, of the whole object or of its first bytes; of an empty object its metadata alone.
    async fn first(&self) -> Result<Result<Opened<'a>, ObjectMeta>, DownloadError> {
        let mut asked = self.engine.options.first_bytes().map(|bytes| 0..bytes);
        let mut tries = self.tries();
        loop {
            let cause = match self.open(asked.clone(), None).await {
                Ok(opened) => return Ok(Ok(opened)),
                // A server without ranges serves the whole.
                Err(Cause::RangeIgnored) if asked.is_some() => {
                    asked = None;
                    continue;
                }
                Err(cause) => cause,
            };
            // No range lies in an empty object, and each store has its own words for that.
            if asked.is_some()
                && matches!(cause, Cause::Store(_) | Cause::Status { status: 416 })
                && let Some(meta) = self.empty().await
            {
                return Ok(Err(meta));
            }
            self.again(&mut tries, asked.clone(), cause).await?;
        }
    }

    /// The object's metadata if it is empty.
    async fn empty(&self) -> Option<ObjectMeta> {
        let _turn = self.engine.gate.turn().await;
        let options = GetOptions { head: true, ..GetOptions::default() };
        let head = time::timeout(self.engine.options.request_timeout, self.store.get_opts(self.path, options)).await;
        head.ok()?.ok().map(|result| result.meta).filter(|meta| meta.size == 0)
    }

    /// Asks for a range, or for all. With `known`, the answer must be about the same object as the first one.
    async fn open(&self, asked: Option<Range<u64>>, known: Option<&ObjectMeta>) -> Result<Opened<'a>, Cause> {
        let turn = self.engine.gate.turn().await;
        let request_timeout = self.engine.options.request_timeout;
        let deadline = Instant::now() + request_timeout;
        let mut options = GetOptions { range: asked.clone().map(Into::into), ..GetOptions::default() };
        if let Some(known) = known {
            options.version = known.version.clone();
            // A weak ETag never matches, by the rules of If-Match; it is compared below.
            options.if_match = known.e_tag.clone().filter(|e_tag| !e_tag.starts_with("W/"));
        }
        let result = time::timeout_at(deadline, self.store.get_opts(self.path, options)).await;
        let result = result.map_err(|_| Cause::RequestTimeout { request_timeout, got_bytes: 0 })?;
        let result = result.map_err(Cause::from).inspect_err(|cause| {
            if matches!(cause, Cause::Throttled { .. }) {
                self.engine.gate.throttled(turn.since());
            }
        })?;
        if let Some(known) = known {
            same(known, &result.meta)?;
        }
        let size = result.meta.size;
        let expected = asked.map_or(0..size, |asked| asked.start..asked.end.min(size));
        if result.range != expected {
            return Err(Cause::Shifted { got: result.range });
        }
        Ok(Opened { result, deadline, _turn: turn })
    }

    /// A buffer for the whole object. Whoever has to wait for one gives its request up before: those that hold buffers need it to get on.
    async fn buffer(
        &self,
        opened: Opened<'a>,
        size: u64,
    ) -> Result<(Option<Opened<'a>>, PooledBuf, PoolUse), DownloadError> {
        let failed = |cause| self.failed(None, Cause::Buffer { object_bytes: size, cause });
        let len = usize::try_from(size).map_err(|_| failed(None))?;
        let Some(pool) = self.engine.pool.as_ref().filter(|_| size >= POOL_FROM_BYTES) else {
            let buffer = self.engine.heap.try_get(len).map_err(|cause| failed(Some(cause)))?;
            return Ok((Some(opened), buffer, self.engine.small()));
        };
        let (opened, buffer) = match pool.try_get(len) {
            Err(GetError::Exhausted { .. }) => {
                drop(opened);
                (None, pool.get_async(len).await)
            }
            got => (Some(opened), got),
        };
        let buffer = buffer.map_err(|cause| failed(Some(cause)))?;
        let pool = if buffer.is_direct() { PoolUse::Fresh } else { PoolUse::Hit };
        Ok((opened, buffer, pool))
    }

    /// Fills the buffer, the first part from the answer that is open already.
    async fn parts(
        &self,
        buffer: &mut [u8],
        meta: &ObjectMeta,
        mut opened: Option<Opened<'a>>,
    ) -> Result<(), DownloadError> {
        let options = &self.engine.options;
        // What the first request was clipped to, also if its answer was given up.
        let first_bytes = opened.as_ref().map_or_else(
            || options.first_bytes().unwrap_or(meta.size).min(meta.size),
            |opened| opened.result.range.end,
        );
        let part_bytes = options.part_of(meta.size - first_bytes, self.engine.gate.idle());
        let mut fetches = FuturesUnordered::new();
        for part in Part::split(buffer, first_bytes as usize, part_bytes as usize) {
            // More could have no turn, and a large object has many.
            if fetches.len() == self.engine.gate.most() {
                fetches.try_next().await?;
            }
            fetches.push(self.fetch(part, meta, opened.take()));
        }
        while fetches.try_next().await?.is_some() {}
        Ok(())
    }

    /// One part, with as many requests as it takes.
    async fn fetch(
        &self,
        mut part: Part<'_>,
        meta: &ObjectMeta,
        opened: Option<Opened<'a>>,
    ) -> Result<(), DownloadError> {
        let (mut opened, mut tries) = (opened, self.tries());
        loop {
            let ended = match opened.take() {
                Some(opened) => self.receive(&mut part, opened).await,
                None => match self.open(Some(part.range()), Some(meta)).await {
                    Ok(opened) => self.receive(&mut part, opened).await,
                    Err(cause) => Err(cause),
                },
            };
            match ended {
                Ok(()) => {
                    self.arrived(part.filled_bytes());
                    return Ok(());
                }
                Err(cause) => self.again(&mut tries, Some(part.range()), cause).await?,
            }
        }
    }

    async fn receive(&self, part: &mut Part<'_>, opened: Opened<'a>) -> Result<(), Cause> {
        let Opened { result, deadline, _turn } = opened;
        let received = time::timeout_at(deadline, part.receive(result.into_stream())).await;
        received.unwrap_or_else(|_| {
            let request_timeout = self.engine.options.request_timeout;
            Err(Cause::RequestTimeout { request_timeout, got_bytes: part.filled_bytes() })
        })
    }

    /// Waits until the next try, or ends the download.
    async fn again(&self, tries: &mut Tries<'_>, range: Option<Range<u64>>, cause: Cause) -> Result<(), DownloadError> {
        let wait: Duration = tries.next(cause).map_err(|cause| self.failed(range, cause))?;
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.engine.counters.retried();
        time::sleep(wait).await;
        Ok(())
    }

    fn arrived(&self, bytes: u64) {
        self.ranges.fetch_add(1, Ordering::Relaxed);
        self.engine.gate.arrived(bytes);
        self.engine.budget.give_back();
    }

    fn tries(&self) -> Tries<'a> {
        Tries::new(&self.engine.options, &self.engine.budget)
    }

    pub(crate) fn failed(&self, range: Option<Range<u64>>, cause: Cause) -> DownloadError {
        DownloadError { object: self.path.clone(), range, retries: self.retries.load(Ordering::Relaxed), cause }
    }
}

/// Whether a later answer is about the object of the first one, by whatever tells.
fn same(first: &ObjectMeta, now: &ObjectMeta) -> Result<(), Cause> {
    let field = |field, before: &dyn ToString, now: &dyn ToString| {
        let (before, now) = (before.to_string(), now.to_string());
        if before == now { Ok(()) } else { Err(Cause::Changed { field, before, now }) }
    };
    field("size", &first.size, &now.size)?;
    match (&first.e_tag, &now.e_tag) {
        (Some(before), Some(now)) => field("ETag", before, now),
        (None, None) => field("Last-Modified", &first.last_modified, &now.last_modified),
        // A server that names the object once and not again can't vouch for it.
        (before, now) => field("ETag", &named(before), &named(now)),
    }
}

fn named(e_tag: &Option<String>) -> &str {
    e_tag.as_deref().unwrap_or("none")
}
