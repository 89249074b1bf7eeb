//! The stream of one object: its parts arrive in [`PartBuffers`](crate::part_buffers) and go to a
//! [`PartSink`].
//!
//! ```text
//!  slot ──▶ first request ──▶ sink.begin ──▶ parts, side by side: slot ──▶ request ──▶ sink.put
//! ```
//!
//! A slot is taken before a turn, always: see the rule in `part_buffers.rs`. A whole object in one
//! answer, and a local file, come part by part through one slot.

use std::fs::File;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use object_store::{GetResult, GetResultPayload};
use tokio::time;

use crate::error::{Cause, DownloadError};
use crate::file::FileParts;
use crate::identity::is_named;
use crate::job::{Body, FirstAnswer, Job, Opened};
use crate::part::{Part, part_ranges};
use crate::part_buffers::PartSlot;
use crate::retry::Tries;
use crate::sink::PartSink;

impl<'a> Job<'a> {
    /// Downloads the object into the sink.
    pub(crate) async fn stream<S: PartSink>(&self, sink: &S) -> Result<FirstAnswer, DownloadError> {
        // Before the first request, so that no request waits for a slot.
        let slot = self.engine.parts.slot().await;
        let most = self.engine.parts.options().part_bytes;
        let (object, first, tries) = self.ask_first(Some(most)).await?;
        let size = object.meta.size;
        self.engine.counters.expected(size);
        sink.begin(&object.meta).await.map_err(|error| self.failed(None, Cause::Sink(error)))?;
        match first.filter(|_| size > 0) {
            None => {}
            Some(Opened {
                result: GetResult { payload: GetResultPayload::File(file, _), .. },
                turn: _turn,
                ..
            }) => self.stream_file(file, size, &slot, sink).await?,
            Some(first) if object.ranged => {
                self.stream_parts(&object, slot, first.into(), tries, sink).await?;
            }
            Some(first) => self.stream_whole(&object, &slot, first.into(), tries, sink).await?,
        }
        Ok(object)
    }

    /// Streams an object that is fetched by ranges. The first part comes from the body that is
    /// already open.
    async fn stream_parts<S: PartSink>(
        &self,
        object: &FirstAnswer,
        slot: PartSlot<'a>,
        body: Body<'a>,
        tries: Tries<'a>,
        sink: &S,
    ) -> Result<(), DownloadError> {
        let (gate, most) = (&self.engine.gate, self.engine.parts.options().part_bytes);
        let (size, first_bytes) = (object.meta.size, object.first_bytes);
        let rest = size - first_bytes;
        let part_bytes =
            self.engine.options.part_of(rest, gate.idle(), gate.bytes_per_second()).min(most);
        let mut ranges = part_ranges(size, first_bytes, part_bytes);
        let mut fetches = FuturesUnordered::new();
        if let Some(range) = ranges.next() {
            fetches.push(self.stream_part(range, slot, object, Some(body), tries, sink));
        }
        for range in ranges {
            // In the order of the parts; meanwhile the others go on.
            let mut slot = pin!(self.engine.parts.slot());
            let slot = loop {
                match select(slot.as_mut(), fetches.next()).await {
                    Either::Left((slot, _)) => break slot,
                    Either::Right((Some(ended), _)) => ended?,
                    Either::Right((None, _)) => break slot.await,
                }
            };
            fetches.push(self.stream_part(range, slot, object, None, self.tries(), sink));
        }
        while let Some(ended) = fetches.next().await {
            ended?;
        }
        Ok(())
    }

    async fn stream_part<S: PartSink>(
        &self,
        range: Range<u64>,
        slot: PartSlot<'a>,
        object: &FirstAnswer,
        body: Option<Body<'a>>,
        tries: Tries<'a>,
        sink: &S,
    ) -> Result<(), DownloadError> {
        let failed = |cause| self.failed(Some(range.clone()), cause);
        let mut buffer = slot.buffer(range.end - range.start).map_err(|error| {
            failed(Cause::Buffer { object_bytes: object.meta.size, cause: Some(error) })
        })?;
        self.fetch(Part::new(range.start, &mut buffer), object, body, tries).await?;
        sink.put(range.start, buffer).await.map_err(|error| failed(Cause::Sink(error)))
    }

    /// Streams an object that comes in one answer.
    async fn stream_whole<S: PartSink>(
        &self,
        object: &FirstAnswer,
        slot: &PartSlot<'a>,
        first: Body<'a>,
        mut tries: Tries<'a>,
        sink: &S,
    ) -> Result<(), DownloadError> {
        let (mut first, mut put_bytes) = (Some(first), 0);
        loop {
            let body = match first.take() {
                Some(body) => Ok(body),
                None => self.open(None, Some(&object.meta)).await.map(Body::from),
            };
            let ended = match body {
                Ok(body) => self.pour(object.meta.size, slot, body, &mut put_bytes, sink).await,
                Err(cause) => Err(cause),
            };
            let Err(cause) = ended else {
                self.range_ended(object.meta.size);
                return Ok(());
            };
            // It may be another object that comes next.
            if !is_named(&object.meta) {
                put_bytes = 0;
            }
            self.wait_to_retry(&mut tries, None, cause, 0).await?;
        }
    }

    /// Puts the body of a whole object, except its first `put_bytes` bytes.
    async fn pour<S: PartSink>(
        &self,
        size: u64,
        slot: &PartSlot<'a>,
        mut body: Body<'a>,
        put_bytes: &mut u64,
        sink: &S,
    ) -> Result<(), Cause> {
        let (part_bytes, request_timeout) =
            (self.engine.parts.options().part_bytes, self.engine.options.request_timeout);
        let mut chunk = Bytes::new();
        for range in part_ranges(size, part_bytes.min(size), part_bytes) {
            let mut buffer = slot
                .buffer(range.end - range.start)
                .map_err(|cause| Cause::Buffer { object_bytes: size, cause: Some(cause) })?;
            let mut part = Part::new(range.start, &mut buffer);
            // Each part has the time of a request: a sink that waits doesn't count.
            let filled = time::timeout(request_timeout, part.fill(&mut chunk, &mut body.chunks));
            let filled = filled.await.unwrap_or_else(|_| {
                Err(Cause::RequestTimeout { request_timeout, got_bytes: part.range().start })
            });
            filled.map_err(|cause| match cause {
                Cause::Short { .. } => {
                    Cause::Short { expected_bytes: size, got_bytes: part.range().start }
                }
                cause => cause,
            })?;
            if range.start >= *put_bytes {
                sink.put(range.start, buffer).await.map_err(Cause::Sink)?;
                self.engine.counters.received(range.end - range.start);
                *put_bytes = range.end;
            }
        }
        let more = time::timeout(request_timeout, body.chunks.next()).await;
        match more.map_err(|_| Cause::RequestTimeout { request_timeout, got_bytes: size })? {
            None if chunk.is_empty() => Ok(()),
            Some(Err(error)) => Err(error.into()),
            _ => Err(Cause::Long { expected_bytes: size }),
        }
    }

    async fn stream_file<S: PartSink>(
        &self,
        file: File,
        size: u64,
        slot: &PartSlot<'a>,
        sink: &S,
    ) -> Result<(), DownloadError> {
        let failed = |range: &Range<u64>, cause| self.failed(Some(range.clone()), cause);
        let whole = 0..size;
        let file = Arc::new(FileParts::new(file, size).map_err(|cause| failed(&whole, cause))?);
        let part_bytes = self.engine.parts.options().part_bytes;
        for range in part_ranges(size, part_bytes.min(size), part_bytes) {
            let buffer = slot.buffer(range.end - range.start).map_err(|cause| {
                failed(&range, Cause::Buffer { object_bytes: size, cause: Some(cause) })
            })?;
            let buffer = FileParts::read(&file, range.start, buffer)
                .await
                .map_err(|cause| failed(&range, cause))?;
            let put = sink.put(range.start, buffer).await;
            put.map_err(|error| failed(&range, Cause::Sink(error)))?;
            self.engine.counters.received(range.end - range.start);
        }
        file.check().map_err(|cause| failed(&whole, cause))?;
        self.range_ended(size);
        Ok(())
    }

    /// Counts a whole object that came part by part.
    fn range_ended(&self, bytes: u64) {
        self.ranges.fetch_add(1, Ordering::Relaxed);
        self.engine.gate.arrived(bytes);
        self.engine.budget.refund();
    }
}
