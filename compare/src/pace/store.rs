//! [`ShapedStore`]: a store in memory that answers as its [`Shape`] says, by the runtime's clock.
//!
//! ```text
//!   request ──▶ too many in flight: 503 ──▶ first byte ──▶ 256 KiB through the request's line ──▶ through the shared line ──▶ ...
//! ```
//!
//! It does nothing else. With a paused clock, the only time that passes is the shape's.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use slipring_objects::StoreAnswer;
use tokio::time::{Instant, sleep, sleep_until};

/// How a store answers: after which wait, at which rates, and how many requests together.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub name: &'static str,
    /// Time from a request to its first byte, or to its refusal.
    pub first_byte: Duration,
    /// Rate of one request.
    pub request_bytes_per_second: u64,
    /// Rate of all requests together.
    pub total_bytes_per_second: u64,
    /// Requests beyond this many in flight are refused with 503.
    pub in_flight_max: usize,
}

const MIB: u64 = 1 << 20;

/// A distant store, one in the same rack, one that refuses requests, and one over a slow line.
pub const SHAPES: [Shape; 4] = [
    Shape {
        name: "far",
        first_byte: Duration::from_millis(30),
        request_bytes_per_second: 40 * MIB,
        total_bytes_per_second: 800 * MIB,
        in_flight_max: usize::MAX,
    },
    Shape {
        name: "near",
        first_byte: Duration::from_millis(1),
        request_bytes_per_second: 200 * MIB,
        total_bytes_per_second: 400 * MIB,
        in_flight_max: usize::MAX,
    },
    Shape {
        name: "throttling",
        first_byte: Duration::from_millis(10),
        request_bytes_per_second: 40 * MIB,
        total_bytes_per_second: 2000 * MIB,
        in_flight_max: 16,
    },
    Shape {
        name: "slow",
        first_byte: Duration::from_millis(100),
        request_bytes_per_second: 2 * MIB,
        total_bytes_per_second: 8 * MIB,
        in_flight_max: usize::MAX,
    },
];

/// A line with a fixed rate. Pieces pass through it one after the other.
#[derive(Debug)]
pub struct Line {
    free_at: Instant,
    bytes_per_second: u64,
    /// How long the line goes on while its reader doesn't read: a socket's buffers, as a time.
    slack: Duration,
}

impl Line {
    pub fn new(free_at: Instant, bytes_per_second: u64, slack: Duration) -> Self {
        Self { free_at, bytes_per_second, slack }
    }

    /// The time at which a piece that enters now has passed. A piece that is late by less than the
    /// slack loses no time, because timers have steps of a millisecond.
    pub fn pass(&mut self, now: Instant, bytes: usize) -> Instant {
        let idle_since = now.checked_sub(self.slack).unwrap_or(now);
        self.free_at = self.free_at.max(idle_since)
            + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        self.free_at
    }
}

const PIECE_BYTES: usize = 256 << 10;

/// The slack of a request is what a socket's buffers hold while its reader does something else. The
/// slack of the shared line is a timer's step.
const REQUEST_SLACK: Duration = Duration::from_millis(20);
const TOTAL_SLACK: Duration = Duration::from_millis(2);

/// Counts of the requests to a store.
#[derive(Debug, Default)]
pub struct Asked {
    pub requests: AtomicUsize,
    pub refused: AtomicUsize,
    pub in_flight: AtomicUsize,
    pub in_flight_most: AtomicUsize,
}

/// A store in memory with a shape.
#[derive(Debug)]
pub struct ShapedStore {
    inner: InMemory,
    shape: Shape,
    total: Arc<Mutex<Line>>,
    asked: Arc<Asked>,
}

/// One request, until its body has been read or dropped.
struct InFlight(Arc<Asked>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ShapedStore {
    pub fn new(inner: InMemory, shape: Shape) -> Self {
        let total = Line::new(Instant::now(), shape.total_bytes_per_second, TOTAL_SLACK);
        Self { inner, shape, total: Arc::new(Mutex::new(total)), asked: Arc::default() }
    }

    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Counts a request. None if there are too many in flight.
    fn enter(&self) -> Option<InFlight> {
        let asked = &self.asked;
        asked.requests.fetch_add(1, Ordering::Relaxed);
        let in_flight = asked.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        let entered = InFlight(Arc::clone(asked));
        if in_flight > self.shape.in_flight_max {
            asked.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        asked.in_flight_most.fetch_max(in_flight, Ordering::Relaxed);
        Some(entered)
    }

    /// The bytes, as they pass through both lines.
    fn body(&self, bytes: Bytes, entered: InFlight) -> BoxStream<'static, Result<Bytes>> {
        let own = Line::new(Instant::now(), self.shape.request_bytes_per_second, REQUEST_SLACK);
        let total = Arc::clone(&self.total);
        let body = stream::unfold(
            (bytes, own, total, entered),
            |(mut bytes, mut own, total, entered)| async move {
                if bytes.is_empty() {
                    return None;
                }
                let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
                sleep_until(own.pass(Instant::now(), piece.len())).await;
                let through = total
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pass(Instant::now(), piece.len());
                sleep_until(through).await;
                Some((Ok(piece), (bytes, own, total, entered)))
            },
        );
        body.boxed()
    }
}

/// The error that an HTTP client would return.
fn slow_down() -> object_store::Error {
    let answer = StoreAnswer::Status { status: 503, retry_after: None };
    let source = HttpError::new(HttpErrorKind::Unknown, answer);
    object_store::Error::Generic { store: "shaped", source: Box::new(source) }
}

impl fmt::Display for ShapedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} store", self.shape.name)
    }
}

#[async_trait]
impl ObjectStore for ShapedStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let entered = self.enter();
        sleep(self.shape.first_byte).await;
        let Some(entered) = entered else { return Err(slow_down()) };
        let is_head = options.head;
        let found = self.inner.get_opts(location, options).await?;
        if is_head {
            return Ok(found);
        }
        let (meta, range, attributes) =
            (found.meta.clone(), found.range.clone(), found.attributes.clone());
        let payload = GetResultPayload::Stream(self.body(found.bytes().await?, entered));
        Ok(GetResult { payload, meta, range, attributes, extensions: Default::default() })
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::run::wait;
    use futures_util::future::join_all;
    use object_store::ObjectStoreExt;

    async fn shaped(shape: Shape, len: usize) -> ShapedStore {
        let store = ShapedStore::new(InMemory::new(), shape);
        store.put(&Path::from("a"), vec![7; len].into()).await.unwrap();
        store
    }

    /// Sends this many concurrent requests, each for the whole object. Returns the milliseconds and
    /// how many requests were refused.
    fn fetch(shape: Shape, len: usize, requests: usize) -> (u128, usize) {
        wait(true, async {
            let (store, path, start) = (shaped(shape, len).await, Path::from("a"), Instant::now());
            let one = || async { store.get(&path).await?.bytes().await };
            let all = join_all((0..requests).map(|_| one())).await;
            let refused = all.iter().filter(|outcome| outcome.is_err()).count();
            assert!(all.iter().flatten().all(|bytes| bytes.len() == len));
            assert_eq!(
                (
                    store.asked.refused.load(Ordering::Relaxed),
                    store.asked.in_flight.load(Ordering::Relaxed)
                ),
                (refused, 0)
            );
            (start.elapsed().as_millis(), refused)
        })
        .unwrap()
    }

    #[test]
    fn time_passes_as_the_shape_says() {
        let [far, near, throttling, slow] = SHAPES;
        // 30 ms, and 4 MiB at 40 MiB/s. Twenty requests fill the shared line; with forty, the bytes
        // take twice as long.
        for (requests, ms) in [(1, 130), (20, 130), (40, 230)] {
            let (took, refused) = fetch(far, 4 << 20, requests);
            assert!((ms..ms + 15).contains(&took) && refused == 0, "{requests}: {took} ms");
        }
        let (took, _) = fetch(near, 40 << 20, 4);
        assert!((400..420).contains(&took), "{took} ms");
        assert_eq!(fetch(throttling, 1 << 10, 20).1, 4);
        let (took, _) = fetch(slow, 4 << 20, 4);
        assert!((2100..2500).contains(&took), "{took} ms");
    }

    #[test]
    fn pieces_pass_one_after_the_other_at_the_lines_rate() {
        let start = Instant::now();
        let ms = |number| start + Duration::from_millis(number);
        let mut line = Line::new(start, 1000, Duration::from_millis(5));
        assert_eq!((line.pass(start, 10), line.pass(start, 20)), (ms(10), ms(30)));
        assert_eq!(line.pass(ms(33), 10), ms(40), "late by less than the slack");
        assert_eq!(line.pass(ms(140), 10), ms(145), "what wasn't used is gone, but for the slack");
    }
}
