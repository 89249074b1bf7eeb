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
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{FutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Attribute, GetOptions, GetResult, GetResultPayload, ObjectMeta, ObjectStore};
use slipring::class::{ClassPool, GetError, PooledBuf};
use tokio::time::{self, Instant};

use crate::error::{Cause, DownloadError};
use crate::file;
use crate::gate::{Gate, Turn};
use crate::identity::{check, is_named, pin, refused};
use crate::options::RangeOptions;
use crate::part::Part;
use crate::part_buffers::PartBuffers;
use crate::progress;
use crate::retry::{Budget, Tries};
use crate::stats::{BufferPoolUse, DownloadCounters};

/// Objects below this size don't use the pool; it is the pool's smallest class.
pub const POOL_FROM_BYTES: u64 = 1 << 20;

/// What clones of an engine share.
pub(crate) struct EngineShared {
    pub(crate) options: RangeOptions,
    pub(crate) pool: Option<ClassPool>,
    pub(crate) parts: PartBuffers,
    pub(crate) budget: Budget,
    pub(crate) counters: DownloadCounters,
    pub(crate) gate: Gate,
}

impl EngineShared {
    /// How memory that isn't the pool's is reported.
    pub(crate) fn unpooled_use(&self) -> BufferPoolUse {
        if self.pool.is_some() { BufferPoolUse::Skip } else { BufferPoolUse::Off }
    }
}

/// One download.
pub(crate) struct Job<'a> {
    pub(crate) engine: &'a EngineShared,
    pub(crate) store: &'a dyn ObjectStore,
    pub(crate) path: &'a Path,
    pub(crate) retries: AtomicU32,
    pub(crate) ranges: AtomicU32,
}

/// A finished download.
pub(crate) struct Arrived {
    pub(crate) bytes: Bytes,
    pub(crate) meta: ObjectMeta,
    pub(crate) content_encoding: Option<String>,
    pub(crate) pool: BufferPoolUse,
}

/// An answer whose body hasn't been read.
pub(crate) struct Opened<'a> {
    pub(crate) result: GetResult,
    deadline: Instant,
    /// Counts as a request in flight until the body has been read.
    pub(crate) turn: Turn<'a>,
}

/// A body that is being read, and its request's turn.
pub(crate) struct Body<'a> {
    pub(crate) chunks: BoxStream<'static, object_store::Result<Bytes>>,
    deadline: Instant,
    turn: Turn<'a>,
}

/// What the first answer says about the object.
pub(crate) struct FirstAnswer {
    pub(crate) meta: ObjectMeta,
    pub(crate) content_encoding: Option<String>,
    /// Whether the object is fetched by ranges.
    pub(crate) ranged: bool,
    /// Bytes of the first answer, also if it was given up.
    pub(crate) first_bytes: u64,
}

impl<'a> Job<'a> {
    pub(crate) async fn run(&self) -> Result<Arrived, DownloadError> {
        let (object, first, tries) = self.ask_first(None).await?;
        let size = object.meta.size;
        self.engine.counters.expected(size);
        let Some(first) = first.filter(|_| size > 0) else {
            return Ok(Arrived {
                bytes: Bytes::new(),
                meta: object.meta,
                content_encoding: object.content_encoding,
                pool: self.engine.unpooled_use(),
            });
        };
        let now = self.buffer_now(size).map_err(|cause| self.failed(None, cause))?;
        let (first, (mut buffer, pool)) = match now {
            Some(buffer) => (Some(first), buffer),
            None => {
                let is_file = matches!(first.result.payload, GetResultPayload::File(..));
                // Downloads that hold buffers need this turn to go on, and a download that waits
                // keeps no file open.
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
        Ok(Arrived {
            bytes: buffer.into_bytes(),
            meta: object.meta,
            content_encoding: object.content_encoding,
            pool,
        })
    }

    /// Returns what the first answer says, the answer itself (`None` if the object is empty), and
    /// the tries that are left for the first part. The first request asks for at most `most` bytes,
    /// if that is given.
    pub(crate) async fn ask_first(
        &self,
        most: Option<u64>,
    ) -> Result<(FirstAnswer, Option<Opened<'a>>, Tries<'a>), DownloadError> {
        let asked = self.engine.options.first_bytes();
        let mut asked = asked.map(|bytes| 0..bytes.min(most.unwrap_or(u64::MAX)));
        let mut tries = self.tries();
        loop {
            let mut cause = match self.open(asked.clone(), None).await {
                // The object can't be identified, so a later range could be of another object:
                // fetch it in one answer.
                Ok(Opened { result, .. })
                    if result.range.end < result.meta.size && !is_named(&result.meta) =>
                {
                    asked = None;
                    continue;
                }
                Ok(opened) => {
                    let object = FirstAnswer::new(&opened.result, asked.as_ref());
                    return Ok((object, Some(opened), tries));
                }
                // A server without ranges sends the whole object.
                Err(Cause::RangeIgnored) if asked.is_some() => {
                    asked = None;
                    continue;
                }
                Err(cause) => cause,
            };
            // An empty object has no range, and each store reports that differently.
            if asked.is_some() && matches!(cause, Cause::Store(_) | Cause::Status { status: 416 }) {
                cause = match self.empty(cause).await {
                    Ok(meta) => {
                        let (ranged, first_bytes, content_encoding) = (false, 0, None);
                        let empty = FirstAnswer { meta, content_encoding, ranged, first_bytes };
                        return Ok((empty, None, tries));
                    }
                    Err(cause) => cause,
                };
            }
            self.wait_to_retry(&mut tries, asked.clone(), cause, 0).await?;
        }
    }

    /// Returns the metadata if the object is empty; otherwise why its range was refused, or an
    /// error that may pass. Asks for the whole object, because some servers answer a HEAD with a
    /// wrong length.
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

    /// Asks for the first answer again.
    async fn open_again(&self, object: &FirstAnswer) -> Result<Opened<'a>, DownloadError> {
        let asked = object.ranged.then_some(0..object.first_bytes);
        self.open(asked.clone(), Some(&object.meta))
            .await
            .map_err(|cause| self.failed(asked, cause))
    }

    /// Asks for a range, or for the whole object. With `first`, the answer must be about the object
    /// of the first answer.
    pub(crate) async fn open(
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
        // object_store panics where credentials, some of which it reads from files, don't fit into
        // a request.
        let asking = async { self.store.get_opts(self.path, options).await };
        let asking = AssertUnwindSafe(asking).catch_unwind();
        let (result, deadline) = progress::while_it_moves(asking, deadline, request_timeout)
            .await
            .map_err(|got_bytes| Cause::RequestTimeout { request_timeout, got_bytes })?;
        let result = result.map_err(|payload| Cause::panicked(&*payload))?;
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
            return Err(Cause::Shifted { got: result.range, size: Some(size) });
        }
        Ok(Opened { result, deadline, turn })
    }

    /// A buffer for the whole object; `None` if the download has to wait for one.
    fn buffer_now(&self, size: u64) -> Result<Option<(PooledBuf, BufferPoolUse)>, Cause> {
        let failed = |cause| Cause::Buffer { object_bytes: size, cause };
        let len = usize::try_from(size).map_err(|_| failed(None))?;
        let Some(pool) = self.engine.pool.as_ref().filter(|_| size >= POOL_FROM_BYTES) else {
            let buffer = PooledBuf::direct(len).map_err(|cause| failed(Some(cause)))?;
            return Ok(Some((buffer, self.engine.unpooled_use())));
        };
        match pool.try_get(len) {
            Ok(buffer) => Ok(Some(pooled(buffer))),
            Err(GetError::Exhausted { .. }) => Ok(None),
            Err(cause) => Err(failed(Some(cause))),
        }
    }

    /// Waits for a buffer of the pool.
    async fn buffer_later(&self, size: u64) -> Result<(PooledBuf, BufferPoolUse), DownloadError> {
        let pool = self.engine.pool.as_ref().expect("downloads wait for pools only");
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

    /// Fills the buffer; the first part comes from the body that is already open.
    async fn parts(
        &self,
        buffer: &mut [u8],
        object: &FirstAnswer,
        body: Option<Body<'a>>,
        tries: Tries<'a>,
    ) -> Result<(), DownloadError> {
        let (gate, first_bytes) = (&self.engine.gate, object.first_bytes);
        let part_bytes = self.engine.options.part_of(
            object.meta.size - first_bytes,
            gate.idle(),
            gate.bytes_per_second(),
        );
        let (mut first, mut fetches) = (Some((body, tries)), FuturesUnordered::new());
        for part in Part::split(buffer, first_bytes as usize, part_bytes as usize) {
            // More fetches than turns would only wait, and a large object has many parts.
            if fetches.len() == gate.most() {
                fetches.try_next().await?;
            }
            let (body, tries) = first.take().unwrap_or_else(|| (None, self.tries()));
            fetches.push(self.fetch(part, object, body, tries));
        }
        while fetches.try_next().await?.is_some() {}
        Ok(())
    }

    /// Fetches one part, with as many requests as that takes.
    pub(crate) async fn fetch(
        &self,
        mut part: Part<'_>,
        object: &FirstAnswer,
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
            // What arrived is kept, unless the rest may be of another object, or all of it arrived
            // and the store still reported an error.
            if !object.ranged || !is_named(&object.meta) || part.range().is_empty() {
                part.restart();
            }
            let kept_bytes = part.filled_bytes().saturating_sub(before_bytes);
            self.wait_to_retry(&mut tries, Some(part.whole()), cause, kept_bytes).await?;
        }
    }

    async fn receive(&self, part: &mut Part<'_>, mut body: Body<'a>) -> Result<(), Cause> {
        let before_bytes = part.filled_bytes();
        let received = time::timeout_at(body.deadline, part.receive(&mut body.chunks)).await;
        self.engine.gate.note_speed(part.filled_bytes() - before_bytes, body.turn.since());
        received.unwrap_or_else(|_| {
            let request_timeout = self.engine.options.request_timeout;
            Err(Cause::RequestTimeout { request_timeout, got_bytes: part.filled_bytes() })
        })
    }

    /// Waits until the next try, or ends the download. `kept_bytes` is what the last try added.
    pub(crate) async fn wait_to_retry(
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
        self.engine.budget.refund();
    }

    pub(crate) fn tries(&self) -> Tries<'a> {
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

impl FirstAnswer {
    /// What this answer to a request for a range, or for the whole object, says.
    fn new(result: &GetResult, asked: Option<&Range<u64>>) -> Self {
        let meta = result.meta.clone();
        let first_bytes = asked.map_or(meta.size, |asked| asked.end.min(meta.size));
        let content_encoding = content_encoding(result);
        Self { meta, content_encoding, ranged: asked.is_some(), first_bytes }
    }
}

impl<'a> From<Opened<'a>> for Body<'a> {
    fn from(opened: Opened<'a>) -> Self {
        let Opened { result, deadline, turn } = opened;
        // Also a file, if a store answers one range with a file and another without.
        Self { chunks: result.into_stream(), deadline, turn }
    }
}

/// How the stored bytes are packed, if the store says so.
fn content_encoding(result: &GetResult) -> Option<String> {
    let encoding = result.attributes.get(&Attribute::ContentEncoding)?.trim();
    (!encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity"))
        .then(|| encoding.to_owned())
}

fn pooled(buffer: PooledBuf) -> (PooledBuf, BufferPoolUse) {
    let pool = if buffer.is_direct() { BufferPoolUse::Fresh } else { BufferPoolUse::Hit };
    (buffer, pool)
}
