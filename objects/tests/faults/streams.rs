//! Streams: with any fault, a sink gets each byte of one object once, at its place, or the download
//! fails; and every buffer and every turn is given back.

use std::io;
use std::sync::Mutex;

use fastrand::Rng;
use object_store::ObjectMeta;
use slipring::class::{AtLimit, PooledBuf};
use slipring_objects::{
    Cause, DownloadError, PartBufferOptions, PartSink, RangeOptions, StreamedObject,
};
use tokio_util::sync::CancellationToken;

use super::fault::{Deck, Fault};
use super::harness::{Client, KEY, OBJECT_BYTES, PART_BYTES, Site, in_time, name, options, pool};
use super::limits::Polls;
use super::object::Object;

/// Keeps what it gets. Refuses a byte that it already has.
#[derive(Default)]
struct Kept(Mutex<KeptBytes>);

#[derive(Default)]
struct KeptBytes {
    bytes: Vec<u8>,
    has: Vec<bool>,
    /// Parts are refused from this offset on, if there is one.
    full_from: Option<u64>,
}

impl PartSink for Kept {
    async fn begin(&self, meta: &ObjectMeta) -> io::Result<()> {
        let mut kept = self.0.lock().unwrap();
        assert!(kept.bytes.is_empty(), "begun twice");
        kept.bytes = vec![0; meta.size as usize];
        kept.has = vec![false; meta.size as usize];
        Ok(())
    }

    async fn put(&self, offset: u64, bytes: PooledBuf) -> io::Result<()> {
        tokio::task::yield_now().await;
        let mut kept = self.0.lock().unwrap();
        if kept.full_from.is_some_and(|full| offset >= full) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let place = offset as usize..offset as usize + bytes.len();
        assert!(kept.has[place.clone()].iter().all(|has| !has), "{place:?} came twice");
        kept.has[place.clone()].fill(true);
        kept.bytes[place].copy_from_slice(&bytes);
        Ok(())
    }
}

/// Two buffers of parts, and a site with these options.
async fn site(client: Client, options: &RangeOptions) -> Site {
    let objects = [Object::new(KEY, 5, OBJECT_BYTES)];
    let mut site = Site::with_objects(client, options, pool(2, AtLimit::Wait), objects).await;
    let parts =
        PartBufferOptions { part_bytes: PART_BYTES, buffers: 2, ..PartBufferOptions::default() };
    site.engine = site.engine.with_part_buffers(&parts).unwrap();
    site
}

async fn stream(site: &Site, sink: &Kept) -> Result<StreamedObject, DownloadError> {
    let (store, path) = site.open(KEY);
    site.engine.download_into(&*store, &path, sink).await
}

#[track_caller]
fn assert_back(site: &Site, what: &str) {
    let pool = site.engine.part_pool().unwrap().stats();
    assert_eq!((pool.classes[0].in_use, pool.direct.in_use), (0, 0), "{what}: buffers in use");
}

/// All bytes are there, and of one version that the server held from `before` on.
#[track_caller]
fn assert_right(site: &Site, sink: &Kept, before: usize, what: &str) {
    let kept = sink.0.lock().unwrap();
    assert!(kept.has.iter().all(|has| *has), "{what}: a byte is missing");
    let right = site.versions(KEY)[before - 1..].iter().any(|object| object.bytes == kept.bytes);
    assert!(right, "{what}: bytes that aren't the object's");
}

async fn assert_sound(site: &Site, what: &str) {
    site.server.set_faults([]);
    let (sink, before) = (Kept::default(), site.versions(KEY).len());
    in_time(stream(site, &sink), what).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_right(site, &sink, before, what);
    assert_back(site, what);
}

#[tokio::test]
async fn parts_arrive_once_at_their_places_or_the_stream_fails() {
    let timeout = std::time::Duration::from_millis(300);
    for enabled in [true, false] {
        let options = RangeOptions { enabled, retries: 2, request_timeout: timeout, ..options() };
        for client in [Client::Http, Client::S3] {
            let site = site(client, &options).await;
            let (mut deck, mut right) = (Deck::new(Rng::with_seed(7), PART_BYTES as usize), 0);
            for round in 0..60 {
                let (fault, position) = (deck.draw(), round * 17_000 % OBJECT_BYTES as u64);
                let what = format!("{client:?}, ranges {enabled}, {fault:?} at {position}");
                // Without a name the object may come again from its start.
                if !enabled && fault == Fault::Nameless {
                    continue;
                }
                site.server.set_fault_at(position, fault, 1);
                let (sink, before) = (Kept::default(), site.versions(KEY).len());
                match in_time(stream(&site, &sink), &what).await {
                    Ok(streamed) => {
                        assert_eq!(streamed.stats.bytes, OBJECT_BYTES as u64, "{what}");
                        assert_right(&site, &sink, before, &what);
                        right += 1;
                    }
                    Err(error) => assert!(!error.to_string().is_empty(), "{what}"),
                }
                assert_back(&site, &what);
            }
            assert!(right > 20, "{right} of 60");
            assert_sound(&site, "after all").await;
            let stats = site.engine.part_stats();
            assert!(stats.high_water <= 2 && stats.hits + 4 >= stats.gets, "{stats:?}");
        }
    }
}

#[tokio::test]
async fn many_streams_share_two_buffers_and_one_turn() {
    for enabled in [true, false] {
        let one = RangeOptions { enabled, concurrency: Some(1), ..options() };
        let site = site(Client::Http, &one).await;
        let get = || async {
            let sink = Kept::default();
            stream(&site, &sink).await.unwrap();
            assert_right(&site, &sink, 1, "one of many");
        };
        let all = futures_util::future::join_all((0..8).map(|_| get()));
        in_time(all, "two buffers and one turn").await;
        assert!(site.engine.part_stats().high_water <= 2);
    }
}

#[tokio::test]
async fn a_sink_that_refuses_ends_the_download() {
    for enabled in [true, false] {
        let site = site(Client::S3, &RangeOptions { enabled, ..options() }).await;
        let sink = Kept::default();
        sink.0.lock().unwrap().full_from = Some(3 * PART_BYTES);
        let error = in_time(stream(&site, &sink), "full").await.unwrap_err();
        assert_eq!((name(&error.cause), error.retries), ("Sink".to_owned(), 0), "{error}");
        assert!(
            matches!(&error.cause, Cause::Sink(error) if error.kind() == io::ErrorKind::StorageFull)
        );
        assert_sound(&site, "after a full sink").await;
    }
}

#[tokio::test]
async fn an_object_that_is_replaced_is_no_object() {
    let site = site(Client::Http, &options()).await;
    site.server.set_fault_at(5 * PART_BYTES, Fault::Replaced, 1);
    let error = in_time(stream(&site, &Kept::default()), "replaced").await.unwrap_err();
    assert_eq!(name(&error.cause), "Changed", "{error}");
    assert_sound(&site, "after it was replaced").await;
}

#[tokio::test]
async fn a_stream_can_be_dropped_or_cancelled_anywhere() {
    let site = site(Client::Http, &options()).await;
    for polls in 0.. {
        let sink = Kept::default();
        let ended = Polls::new(stream(&site, &sink), polls).await;
        let what = format!("dropped at poll {polls}");
        assert_back(&site, &what);
        if let Some(ended) = ended {
            ended.unwrap();
            assert!(polls > 5, "{polls} polls");
            break;
        }
    }
    assert_sound(&site, "after all drops").await;
    let (cancel, (store, path)) = (CancellationToken::new(), site.open(KEY));
    cancel.cancel();
    let sink = Kept::default();
    let ended = site.engine.download_into_cancellable(&*store, &path, &sink, &cancel).await;
    assert_eq!(name(&ended.unwrap_err().cause), "Cancelled");
}

#[tokio::test]
async fn a_broken_answer_in_one_piece_is_not_put_twice() {
    for client in [Client::Http, Client::S3] {
        let site = site(client, &RangeOptions { enabled: false, ..options() }).await;
        let broken = Fault::Cut { after: 5 * PART_BYTES as usize + 7 };
        site.server.set_fault_at(0, broken, 1);
        let sink = Kept::default();
        let streamed = in_time(stream(&site, &sink), "broken").await.unwrap();
        assert_eq!((streamed.stats.ranges, streamed.stats.retries), (1, 1));
        assert_right(&site, &sink, 1, "broken");
        assert_back(&site, "broken");
    }
}
