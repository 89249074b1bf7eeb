//! [`Job`]: the download of one object.
//!
//! ```text
//!  first request ──▶ size, ETag ──▶ buffer ──▶ parts, side by side ──▶ Bytes
//!        └── its body is the first part ─────────────▲
//! ```
//!
//! All parts are futures of one task and write into disjoint slices of one buffer, so dropping the
//! download drops them and gives the buffer back at once; there is no task to wait for. Only the
//! reader of a local file may outlive it, by one step at most.

use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::{BoxStream, FuturesUnordered};
use object_store::path::Path;
use object_store::{GetOptions, GetResult, GetResultPayload, ObjectMeta, ObjectStore};
use slipring::class::{GetError, PooledBuf};
use tokio::time::{self, Instant};

use crate::engine::Shared;
use crate::error::{Cause, DownloadError};
use crate::file;
use crate::gate::Turn;
use crate::identity::{check, is_named, pin, refused};
use crate::part::Part;
use crate::retry::Tries;
use crate::stats::BufferPoolUse;

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
    pub(crate) pool: BufferPoolUse,
}

/// An answer whose body is still to come.
struct Opened<'a> {
    result: GetResult,
    deadline: Instant,
    /// One of the requests in flight, until the body is in.
    turn: Turn<'a>,
}

/// A body on its way, and its request's turn.
struct Body<'a> {
    chunks: BoxStream<'static, object_store::Result<Bytes>>,
    deadline: Instant,
    turn: Turn<'a>,
}

/// An object as its first answer describes it.
struct Object {
    meta: ObjectMeta,
    /// Whether it is asked for by ranges.
    ranged: bool,
}

impl<'a> Job<'a> {
    pub(crate) async fn run(&self) -> Result<Arrived, DownloadError> {
        let (object, first, tries) = self.first().await?;
        let size = object.meta.size;
        self.engine.counters.expected(size);
        let Some(first) = first.filter(|_| size > 0) else {
            return Ok(Arrived {
                bytes: Bytes::new(),
                meta: object.meta,
                pool: self.engine.past_pool(),
            });
        };
        let now = self.buffer_now(size).map_err(|cause| self.failed(None, cause))?;
        let (first, (mut buffer, pool)) = match now {
            Some(buffer) => (Some(first), buffer),
            None => {
                let is_file = matches!(first.result.payload, GetResultPayload::File(..));
                // Those who hold buffers need this turn to get on, and whoever waits keeps no file
                // open.
                drop(first);
                let buffer = self.buffer_later(size).await?;
                let again = if is_file { Some(self.open_again(&object).await?) } else { None };
                (again, buffer)
            }
        };
        let buffer = match first {
            Some(Opened {
                result: GetResult { payload: GetResultPayload::File(file, _), .. },
                turn,
                ..
            }) => self.read(file, buffer, turn).await?,
            first => {
                self.parts(&mut buffer, &object, first.map(Body::from), tries).await?;
                buffer
            }
        };
        Ok(Arrived { bytes: buffer.into_bytes(), meta: object.meta, pool })
    }

    /// What the object is, the answer with its first bytes or all, or none if it has no bytes, and
    /// the tries that its first part has left.
    async fn first(&self) -> Result<(Object, Option<Opened<'a>>, Tries<'a>), DownloadError> {
        let mut asked = self.engine.options.first_bytes().map(|bytes| 0..bytes);
        let mut tries = self.tries();
        loop {
            let mut cause = match self.open(asked.clone(), None).await {
                // Nothing would tell if another range were of another object: it has to come in one
                // answer.
                Ok(Opened { result, .. })
                    if result.range.end < result.meta.size && !is_named(&result.meta) =>
                {
                    asked = None;
                    continue;
                }
                Ok(opened) => {
                    let object =
                        Object { meta: opened.result.meta.clone(), ranged: asked.is_some() };
                    return Ok((object, Some(opened), tries));
                }
                // A server without ranges serves the whole.
                Err(Cause::RangeIgnored) if asked.is_some() => {
                    asked = None;
                    continue;
                }
                Err(cause) => cause,
            };
            // No range lies in an empty object, and each store has its own words for that.
            if asked.is_some() && matches!(cause, Cause::Store(_) | Cause::Status { status: 416 }) {
                cause = match self.empty(cause).await {
                    Ok(meta) => return Ok((Object { meta, ranged: false }, None, tries)),
                    Err(cause) => cause,
                };
            }
            self.again(&mut tries, asked.clone(), cause, 0).await?;
        }
    }

    /// The object's metadata if it is empty; else what its range was refused for, or what kept the
    /// whole from coming and may pass. It asks for the whole, since what a HEAD says of a length
    /// isn't always true.
    async fn empty(&self, refused: Cause) -> Result<ObjectMeta, Cause> {
        match self.open(None, None).await {
            Ok(Opened { result, .. }) if result.meta.size == 0 => {
                if let GetResultPayload::File(file, _) = &result.payload {
                    file::check_empty(file)?;
                }
                Ok(result.meta)
            }
            Err(cause) if cause.may_pass() => Err(cause),
            _ => Err(refused),
        }
    }

    /// The first answer once more.
    async fn open_again(&self, object: &Object) -> Result<Opened<'a>, DownloadError> {
        let asked = object.ranged.then(|| 0..self.first_bytes(object));
        self.open(asked.clone(), Some(&object.meta))
            .await
            .map_err(|cause| self.failed(asked, cause))
    }

    /// Bytes that the first answer has, also if it was given up.
    fn first_bytes(&self, object: &Object) -> u64 {
        let size = object.meta.size;
        self.engine.options.first_bytes().filter(|_| object.ranged).unwrap_or(size).min(size)
    }

    /// Asks for a range, or for all; with `first`, of the object as its first answer had it.
    async fn open(
        &self,
        asked: Option<Range<u64>>,
        first: Option<&ObjectMeta>,
    ) -> Result<Opened<'a>, Cause> {
        let turn = self.engine.gate.turn().await;
        let request_timeout = self.engine.options.request_timeout;
        let deadline = Instant::now() + request_timeout;
        let mut options =
            GetOptions { range: asked.clone().map(Into::into), ..GetOptions::default() };
        if let Some(first) = first {
            pin(&mut options, first);
        }
        let result = time::timeout_at(deadline, self.store.get_opts(self.path, options)).await;
        let result = result.map_err(|_| Cause::RequestTimeout { request_timeout, got_bytes: 0 })?;
        let result = result.map_err(|error| refused(error, first)).inspect_err(|cause| {
            if matches!(cause, Cause::Throttled { .. }) {
                self.engine.gate.throttled(turn.since());
            }
        })?;
        if let Some(first) = first {
            check(first, &result.meta)?;
        }
        let size = result.meta.size;
        let expected = asked.map_or(0..size, |asked| asked.start..asked.end.min(size));
        if result.range != expected {
            return Err(Cause::Shifted { got: result.range });
        }
        Ok(Opened { result, deadline, turn })
    }

    /// A buffer for the whole object; none if that has to be waited for.
    fn buffer_now(&self, size: u64) -> Result<Option<(PooledBuf, BufferPoolUse)>, Cause> {
        let failed = |cause| Cause::Buffer { object_bytes: size, cause };
        let len = usize::try_from(size).map_err(|_| failed(None))?;
        let Some(pool) = self.engine.pool.as_ref().filter(|_| size >= POOL_FROM_BYTES) else {
            let buffer = self.engine.heap.try_get(len).map_err(|cause| failed(Some(cause)))?;
            return Ok(Some((buffer, self.engine.past_pool())));
        };
        match pool.try_get(len) {
            Ok(buffer) => Ok(Some(pooled(buffer))),
            Err(GetError::Exhausted { .. }) => Ok(None),
            Err(cause) => Err(failed(Some(cause))),
        }
    }

    /// The buffer that had to be waited for.
    async fn buffer_later(&self, size: u64) -> Result<(PooledBuf, BufferPoolUse), DownloadError> {
        let pool = self.engine.pool.as_ref().expect("only a pool is waited for");
        let buffer = pool.get_async(size as usize).await;
        buffer.map(pooled).map_err(|cause| {
            self.failed(None, Cause::Buffer { object_bytes: size, cause: Some(cause) })
        })
    }

    async fn read(
        &self,
        file: File,
        buffer: PooledBuf,
        _turn: Turn<'a>,
    ) -> Result<PooledBuf, DownloadError> {
        let size = buffer.len() as u64;
        let buffer =
            file::read(file, buffer).await.map_err(|cause| self.failed(Some(0..size), cause))?;
        self.arrived(size);
        Ok(buffer)
    }

    /// Fills the buffer, the first part from the body that is open already.
    async fn parts(
        &self,
        buffer: &mut [u8],
        object: &Object,
        body: Option<Body<'a>>,
        tries: Tries<'a>,
    ) -> Result<(), DownloadError> {
        let (gate, first_bytes) = (&self.engine.gate, self.first_bytes(object));
        let part_bytes =
            self.engine.options.part_of(object.meta.size - first_bytes, gate.idle(), gate.each());
        let (mut first, mut fetches) = (Some((body, tries)), FuturesUnordered::new());
        for part in Part::split(buffer, first_bytes as usize, part_bytes as usize) {
            // More could have no turn, and a large object has many.
            if fetches.len() == gate.most() {
                fetches.try_next().await?;
            }
            let (body, tries) = first.take().unwrap_or_else(|| (None, self.tries()));
            fetches.push(self.fetch(part, object, body, tries));
        }
        while fetches.try_next().await?.is_some() {}
        Ok(())
    }

    /// One part, with as many requests as it takes.
    async fn fetch(
        &self,
        mut part: Part<'_>,
        object: &Object,
        mut body: Option<Body<'a>>,
        mut tries: Tries<'a>,
    ) -> Result<(), DownloadError> {
        loop {
            let before_bytes = part.filled_bytes();
            let opened = match body.take() {
                Some(body) => Ok(body),
                None => self
                    .open(object.ranged.then(|| part.range()), Some(&object.meta))
                    .await
                    .map(Body::from),
            };
            let ended = match opened {
                Ok(body) => self.receive(&mut part, body).await,
                Err(cause) => Err(cause),
            };
            let Err(cause) = ended else {
                self.arrived(part.filled_bytes());
                return Ok(());
            };
            // What came is kept, unless nothing vouches that the rest will fit; or it all came, and
            // still the store said no.
            if !object.ranged || !is_named(&object.meta) || part.range().is_empty() {
                part.restart();
            }
            let kept_bytes = part.filled_bytes().saturating_sub(before_bytes);
            self.again(&mut tries, Some(part.whole()), cause, kept_bytes).await?;
        }
    }

    async fn receive(&self, part: &mut Part<'_>, mut body: Body<'a>) -> Result<(), Cause> {
        let before_bytes = part.filled_bytes();
        let received = time::timeout_at(body.deadline, part.receive(&mut body.chunks)).await;
        self.engine.gate.took(part.filled_bytes() - before_bytes, body.turn.since());
        received.unwrap_or_else(|_| {
            let request_timeout = self.engine.options.request_timeout;
            Err(Cause::RequestTimeout { request_timeout, got_bytes: part.filled_bytes() })
        })
    }

    /// Waits until the next try, or ends the download. `kept_bytes`: what the last one brought for
    /// good.
    async fn again(
        &self,
        tries: &mut Tries<'_>,
        range: Option<Range<u64>>,
        cause: Cause,
        kept_bytes: u64,
    ) -> Result<(), DownloadError> {
        let wait = tries.next(cause, kept_bytes).map_err(|cause| self.failed(range, cause))?;
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.engine.counters.retried();
        time::sleep(wait).await;
        Ok(())
    }

    fn arrived(&self, bytes: u64) {
        self.ranges.fetch_add(1, Ordering::Relaxed);
        self.engine.counters.received(bytes);
        self.engine.gate.arrived(bytes);
        self.engine.budget.give_back();
    }

    fn tries(&self) -> Tries<'a> {
        Tries::new(&self.engine.options, &self.engine.budget)
    }

    pub(crate) fn failed(&self, range: Option<Range<u64>>, cause: Cause) -> DownloadError {
        DownloadError {
            object: self.path.clone(),
            range,
            retries: self.retries.load(Ordering::Relaxed),
            cause,
        }
    }
}

impl<'a> From<Opened<'a>> for Body<'a> {
    fn from(opened: Opened<'a>) -> Self {
        let Opened { result, deadline, turn } = opened;
        // A file, too, if a store has it for one range and not for another.
        Self { chunks: result.into_stream(), deadline, turn }
    }
}

fn pooled(buffer: PooledBuf) -> (PooledBuf, BufferPoolUse) {
    let pool = if buffer.is_direct() { BufferPoolUse::Fresh } else { BufferPoolUse::Hit };
    (buffer, pool)
}
