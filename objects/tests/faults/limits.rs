//! Downloads that are ended before they are complete: by a time limit, by a token, or because they
//! are dropped, at every await point.
//!
//! Nothing here asserts that something was fast. A download that its limit doesn't end never ends,
//! and the test hangs.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use slipring::class::AtLimit;
use slipring_objects::{DownloadError, RangeOptions};
use tokio_util::sync::CancellationToken;

use super::fault::{Fault, RetryAfter};
use super::harness::{
    Client, KEY, OBJECT_BYTES, PART_BYTES, Site, failed, in_time, in_use, name, options, pool,
};
use super::http::Request;
use super::object::Object;

/// The last byte of a part in the middle. A retry always asks for it, whatever arrived before.
const MIDDLE: u64 = 5 * PART_BYTES - 1;
const MS: fn(u64) -> Duration = Duration::from_millis;

/// Faults after which a download makes no progress, or next to none, until something ends it.
fn standstills() -> [(&'static str, Fault, u64); 6] {
    let later = Fault::Status { status: 503, retry_after: RetryAfter::Seconds(50) };
    let slow = Fault::Slow { bytes: 1, pause: MS(100) };
    [
        ("silent from the start", Fault::Silent, PART_BYTES - 1),
        ("silent in the middle", Fault::Silent, MIDDLE),
        ("stalled at the start", Fault::Stalled { after: 1000 }, PART_BYTES - 1),
        ("stalled in the middle", Fault::Stalled { after: 1000 }, MIDDLE),
        ("asked to come again in 50 s", later, MIDDLE),
        ("one byte per 100 ms", slow, MIDDLE),
    ]
}

fn assert_cause(error: &DownloadError, cause: &str, what: &str) {
    assert_eq!(name(&error.cause), cause, "{what}: {error}");
    assert!(error.to_string().contains("an object.bin"), "{what}: {error}");
}

/// Every standstill over every client, concurrently, because most of it is waiting.
async fn each_standstill<F: Future<Output = ()>>(
    check: impl Fn(Client, &'static str, Fault, u64) -> F,
) {
    let checks = [Client::Http, Client::S3]
        .into_iter()
        .flat_map(|client| standstills().map(|of| (client, of)));
    join_all(checks.map(|(client, (what, fault, position))| check(client, what, fault, position)))
        .await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_tried_again() {
    // On a busy machine a request without a fault may take too long as well. There are enough
    // retries for some of those.
    let patient = &RangeOptions { request_timeout: MS(1000), retries: 10, ..options() };
    let options = &RangeOptions { retries: 1, ..patient.clone() };
    each_standstill(|client, what, fault, position| async move {
        if matches!(fault, Fault::Status { .. }) {
            return;
        }
        let site = Site::new(client, patient).await;
        site.server.set_fault_at(position, fault.clone(), 1);
        let download = site.get(KEY).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        site.versions(KEY)[0].assert_is(&download.bytes, what);
        assert!(download.stats.retries >= 1, "{what}: nothing was tried again");
        drop(download);
        site.assert_sound(what).await;
        let site = Site::new(client, options).await;
        site.server.set_fault_at(position, fault, usize::MAX);
        let error = failed(site.get(KEY).await, what);
        assert_cause(&error, "RequestTimeout", what);
        assert!(error.range.is_some() && error.to_string().contains("in 1s"), "{what}: {error}");
        site.assert_back(what);
    })
    .await;
}

#[tokio::test]
async fn what_arrived_in_time_is_not_asked_for_again() {
    let options = RangeOptions { request_timeout: MS(1000), retries: 10, ..options() };
    let site = Site::new(Client::Http, &options).await;
    let position = MIDDLE;
    for fault in [
        Fault::Stalled { after: 1000 },
        Fault::Cut { after: 1000 },
        Fault::Short { by: PART_BYTES as usize - 1000 },
    ] {
        site.server.set_fault_at(position, fault.clone(), 1);
        let download = site.get(KEY).await.unwrap();
        site.versions(KEY)[0].assert_is(&download.bytes, "resumed");
        let seen = site.server.take_seen();
        let firsts: Vec<u64> = seen
            .iter()
            .filter(|seen| seen.request.covers(position))
            .map(|seen| seen.request.first())
            .collect();
        assert_eq!(firsts[..2], [4 * PART_BYTES, 4 * PART_BYTES + 1000], "{fault:?}");
        assert!(firsts.is_sorted(), "{fault:?}: {firsts:?}");
    }
}

#[tokio::test]
async fn a_slow_store_is_not_a_broken_one() {
    // No retry is allowed, and no request has time for the whole object, but each makes progress.
    let once = RangeOptions { request_timeout: MS(1000), retries: 0, retry_budget: 0, ..options() };
    let whole = &RangeOptions { part_bytes: Some(2 << 20), ..once };
    let checks = [Client::Http, Client::S3].map(|client| async move {
        let site = Site::new(client, whole).await;
        site.server.set_plan(|_| Fault::Slow { bytes: 64 << 10, pause: MS(150) });
        let download = in_time(site.get(KEY), "slow")
            .await
            .unwrap_or_else(|error| panic!("{client:?}: {error}"));
        site.versions(KEY)[0].assert_is(&download.bytes, "slow");
        assert!(download.stats.retries > 0 && download.stats.ranges == 1, "{:?}", download.stats);
    });
    join_all(checks).await;
}

#[tokio::test]
async fn an_object_that_takes_too_long_is_an_error() {
    let options = &RangeOptions { total_timeout: Some(MS(400)), ..options() };
    each_standstill(|client, what, fault, position| async move {
        let site = Site::new(client, options).await;
        site.server.set_fault_at(position, fault, usize::MAX);
        let error = failed(site.get(KEY).await, what);
        assert_cause(&error, "TotalTimeout", what);
        assert!(error.to_string().contains("400ms"), "{what}: {error}");
        site.assert_back(what);
    })
    .await;
}

#[tokio::test]
async fn waiting_for_a_turn_or_a_buffer_counts() {
    let once = RangeOptions { total_timeout: Some(MS(300)), concurrency: Some(1), ..options() };
    let object = || [Object::new(KEY, 5, OBJECT_BYTES)];
    // The only request in flight is silent.
    let site = Site::with_objects(Client::Http, &once, pool(2, AtLimit::Wait), object()).await;
    site.server.set_fault_at(0, Fault::Silent, 1);
    // Making the connections' client takes time, which the second download mustn't gain.
    drop(site.open(KEY));
    let (first, second) = tokio::join!(site.get(KEY), site.get(KEY));
    assert_cause(&failed(first, "silent"), "TotalTimeout", "silent");
    assert_cause(&failed(second, "after it"), "TotalTimeout", "after it");
    site.assert_back("no turn");
    // The only buffer is in use.
    let site = Site::with_objects(Client::Http, &once, pool(1, AtLimit::Wait), object()).await;
    let held = site.pool.get(OBJECT_BYTES).unwrap();
    assert_cause(&failed(site.get(KEY).await, "no buffer"), "TotalTimeout", "no buffer");
    assert_eq!(in_use(&site.pool), 1);
    drop(held);
    site.assert_back("no buffer");
}

#[tokio::test]
async fn a_download_that_waits_for_a_buffer_holds_no_turn() {
    // One turn and one buffer. The download that has the buffer must get the turn.
    let one = RangeOptions { concurrency: Some(1), ..options() };
    for client in [Client::Http, Client::S3] {
        let site = Site::with_objects(
            client,
            &one,
            pool(1, AtLimit::Wait),
            [Object::new(KEY, 5, OBJECT_BYTES)],
        )
        .await;
        let get = || async { drop(site.get(KEY).await.unwrap()) };
        in_time(async { tokio::join!(get(), get(), get()) }, "one turn and one buffer").await;
        site.assert_sound("one turn and one buffer").await;
    }
}

/// Polls `get` until the server has seen this many requests and some time has passed, then calls
/// `end`. Returns the output if `get` is complete then.
async fn when_asked<T>(
    site: &Site,
    requests: usize,
    get: impl Future<Output = T>,
    end: impl FnOnce(),
) -> Option<T> {
    let mut get = Box::pin(get);
    let mut seen = 0;
    while seen < requests {
        assert!((&mut get).now_or_never().is_none(), "it ended by itself");
        tokio::time::sleep(MS(1)).await;
        seen += site.server.take_seen().len();
    }
    // Time for the header and the first bytes of the body.
    for _ in 0..20 {
        assert!((&mut get).now_or_never().is_none(), "it ended by itself");
        tokio::time::sleep(MS(1)).await;
    }
    end();
    get.now_or_never()
}

#[tokio::test]
async fn a_token_ends_a_download_wherever_it_stands() {
    for client in [Client::Http, Client::S3] {
        let site = Site::new(client, &options()).await;
        for (what, fault, position) in standstills() {
            let cancel = CancellationToken::new();
            site.server.set_fault_at(position, fault, usize::MAX);
            let ended =
                when_asked(&site, 1, site.get_cancellable(KEY, &cancel), || cancel.cancel()).await;
            let Some(got) = ended else { panic!("{what}: it didn't end") };
            let error = failed(got, what);
            assert_cause(&error, "Cancelled", what);
            site.assert_sound(what).await;
        }
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        let error = failed(site.get_cancellable(KEY, &cancelled).await, "cancelled before");
        assert_cause(&error, "Cancelled", "before");
        assert_eq!(site.server.take_seen().len(), 0, "nothing was asked for");
    }
}

#[tokio::test]
async fn a_dropped_download_gives_everything_back_wherever_it_stands() {
    for client in [Client::Http, Client::S3] {
        // One request in flight: after a turn that isn't given back, no later download would end.
        let site = Site::new(client, &RangeOptions { concurrency: Some(1), ..options() }).await;
        for (what, fault, position) in standstills() {
            site.server.set_fault_at(position, fault, usize::MAX);
            // Dropped, where it is, at the end of this statement.
            assert!(when_asked(&site, 1, site.get(KEY), || ()).await.is_none());
            site.assert_sound(what).await;
        }
    }
}

/// A future that ends after `left` polls, with or without its output.
pub struct Polls<F> {
    inner: Pin<Box<F>>,
    left: u32,
}

impl<F: Future> Polls<F> {
    pub fn new(inner: F, polls: u32) -> Self {
        Self { inner: Box::pin(inner), left: polls }
    }
}

impl<F: Future> Future for Polls<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        match self.inner.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // That was the last poll.
            Poll::Pending if self.left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// More polls than any download of these tests needs.
const POLLS_MAX: u32 = 5000;

/// A throttled first request, a body that breaks off, and a part that is silent once. With these a
/// download waits for everything that it ever waits for.
fn trouble() -> impl FnMut(&Request) -> Fault + Send + 'static {
    let mut once = vec![
        (900_000, Fault::Silent),
        (600_000, Fault::Cut { after: 1000 }),
        (0, Fault::status(503)),
    ];
    move |request| {
        let found = once.iter().position(|(position, _)| request.covers(*position));
        found.map_or(Fault::None, |found| once.remove(found).1)
    }
}

async fn drop_at_each_poll(client: Client, options: &RangeOptions, at_limit: AtLimit) {
    let site =
        Site::with_objects(client, options, pool(1, at_limit), [Object::new(KEY, 5, OBJECT_BYTES)])
            .await;
    for polls in 0..POLLS_MAX {
        site.server.set_plan(trouble());
        let ended = Polls::new(site.get(KEY), polls).await;
        let what = format!("{client:?}, dropped at poll {polls}");
        if let Some(got) = ended {
            let download = got.unwrap_or_else(|error| panic!("{what}: {error}"));
            site.versions(KEY)[0].assert_is(&download.bytes, &what);
            assert!(polls > 10, "a download of nine parts in {polls} polls");
            assert_eq!(in_use(&site.pool), 1, "{what}: the object holds its buffer");
            drop(download);
            site.assert_sound(&what).await;
            return;
        }
        site.assert_back(&what);
    }
    panic!("no end after {POLLS_MAX} polls");
}

#[tokio::test]
async fn a_download_can_be_dropped_at_any_await_point() {
    let options = RangeOptions { request_timeout: MS(50), retries: 20, ..options() };
    drop_at_each_poll(Client::Http, &options, AtLimit::Refuse).await;
    let one_by_one = RangeOptions { concurrency: Some(1), ..options };
    drop_at_each_poll(Client::S3, &one_by_one, AtLimit::Wait).await;
}

#[tokio::test]
async fn a_download_can_be_dropped_while_it_waits_for_a_buffer() {
    for client in [Client::Http, Client::S3] {
        let site = Site::with_objects(
            client,
            &options(),
            pool(1, AtLimit::Wait),
            [Object::new(KEY, 5, OBJECT_BYTES)],
        )
        .await;
        let mut held = Some(site.pool.get(OBJECT_BYTES).unwrap());
        let mut waiting = Box::pin(site.get(KEY));
        while site.pool.stats().classes.iter().all(|class| class.waiting == 0) {
            assert!((&mut waiting).now_or_never().is_none(), "it ended by itself");
            tokio::task::yield_now().await;
        }
        drop(waiting);
        assert_eq!(in_use(&site.pool), 1);
        drop(held.take());
        site.assert_sound("waiting for a buffer").await;
    }
}
