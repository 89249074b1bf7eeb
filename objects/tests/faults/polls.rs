//! Cancellation at every await point: a download is polled N times and dropped, for every N from 0
//! to the number that completes it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use slipring::class::AtLimit;
use slipring_objects::RangeOptions;

use super::fault::Fault;
use super::object::Object;
use super::site::{Client, KEY, OBJECT_BYTES, Site, in_use, options, pool};

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
            // The last poll has been: nobody waits for what would come next.
            Poll::Pending if self.left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// More polls than any download of these tests takes.
const POLLS_MAX: u32 = 5000;

/// A throttled first request, a body that breaks off, a redirect and a part that is silent once:
/// all that a download ever waits for.
fn trouble() -> impl FnMut(&super::request::Request) -> Fault + Send + 'static {
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
    let options = RangeOptions {
        request_timeout: std::time::Duration::from_millis(50),
        retries: 20,
        ..options()
    };
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
