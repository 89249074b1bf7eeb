//! What the tests share: a [`Site`], where downloads are tried, and a [`Case`], one row of a table.
//!
//! A site is a faulty server, and an engine with a small pool that asks it through one of two
//! clients. A case is one fault at one part of an object, and the outcome that it must have. Every
//! case runs over both clients.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::path::Path;
use slipring::class::{AtLimit, ClassOptions, ClassPool, ClassTable, Limit};
use slipring_objects::{Cause, Download, DownloadError, RangeEngine, RangeOptions, Stores};
use tokio_util::sync::CancellationToken;

use super::fault::Fault;
use super::object::Object;
use super::server::Server;

/// Bytes of a part in these tests.
pub const PART_BYTES: u64 = 128 << 10;
/// Bytes of an object that is large enough for the pool: eight whole parts and a short one.
pub const OBJECT_BYTES: usize = (1 << 20) + 12_345;
/// The object of most tests.
pub const KEY: &str = "bucket/folder/an object.bin";

/// The client that asks the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Client {
    Http,
    S3,
}

pub struct Site {
    pub server: Server,
    pub engine: RangeEngine,
    pub pool: ClassPool,
    pub client: Client,
    stores: Stores,
}

/// Small parts and short backoffs.
pub fn options() -> RangeOptions {
    RangeOptions {
        part_bytes: Some(PART_BYTES),
        concurrency: Some(3),
        backoff_first: Duration::from_millis(1),
        backoff_max: Duration::from_millis(4),
        ..RangeOptions::default()
    }
}

/// Three classes. The first is too small for every object that uses the pool.
pub fn pool(buffers: usize, at_limit: AtLimit) -> ClassPool {
    let table = ClassTable::new(&[64 << 10, 1088 << 10, 1280 << 10]).unwrap();
    let limit = Limit::buffers(buffers);
    ClassPool::new(&ClassOptions {
        table,
        limit,
        at_limit,
        cache_bytes: 0,
        ..ClassOptions::default()
    })
    .unwrap()
}

impl Site {
    /// With the object [`KEY`].
    pub async fn new(client: Client, options: &RangeOptions) -> Self {
        Self::with_objects(
            client,
            options,
            pool(2, AtLimit::Refuse),
            [Object::new(KEY, 5, OBJECT_BYTES)],
        )
        .await
    }

    pub async fn with_objects(
        client: Client,
        options: &RangeOptions,
        pool: ClassPool,
        objects: impl IntoIterator<Item = Object>,
    ) -> Self {
        let server = Server::start(objects).await;
        let settings = [
            ("AWS_ENDPOINT", format!("http://{}", server.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_SKIP_SIGNATURE", "true".to_owned()),
        ];
        let stores = Stores::new(settings.map(|(key, value)| (key.to_owned(), value)));
        let engine = RangeEngine::new(options).unwrap().with_buffer_pool(pool.clone());
        Self { server, engine, pool, client, stores }
    }

    fn url(&self, key: &str) -> String {
        match self.client {
            Client::Http => format!("http://{}/{key}", self.server.address),
            Client::S3 => format!("s3://{key}"),
        }
    }

    /// The client and the path of a key.
    pub fn open(&self, key: &str) -> (Arc<dyn ObjectStore>, Path) {
        self.stores.open(&self.url(key)).unwrap()
    }

    pub async fn get(&self, key: &str) -> Result<Download, DownloadError> {
        let (store, path) = self.open(key);
        self.engine.get(store.as_ref(), &path).await
    }

    pub async fn get_cancellable(
        &self,
        key: &str,
        cancel: &CancellationToken,
    ) -> Result<Download, DownloadError> {
        let (store, path) = self.open(key);
        self.engine.get_cancellable(store.as_ref(), &path, cancel).await
    }

    /// All versions that the server has held under this key, the newest last.
    pub fn versions(&self, key: &str) -> Vec<Object> {
        self.server.versions(key)
    }

    /// Without faults, the same engine downloads the object, and its buffer is returned.
    pub async fn assert_sound(&self, what: &str) {
        self.assert_back(what);
        self.server.set_faults([]);
        let got = in_time(self.get(KEY), &format!("after {what}")).await;
        let download = got.unwrap_or_else(|error| panic!("after {what}: {error}"));
        self.versions(KEY).last().unwrap().assert_is(&download.bytes, &format!("after {what}"));
        drop(download);
        self.assert_back(what);
        self.server.take_seen();
    }

    /// No buffer is in use.
    #[track_caller]
    pub fn assert_back(&self, what: &str) {
        let in_use = in_use(&self.pool);
        assert_eq!(in_use, 0, "{what}: buffers are still in use");
    }
}

/// Longer than any download here takes.
const HANG: Duration = slipring_test_support::patience(100);

/// Panics if `ends` doesn't end. A download that waits for a lost turn or buffer waits for ever;
/// this waits long enough to tell.
pub async fn in_time<T>(ends: impl Future<Output = T>, what: &str) -> T {
    let Ok(ended) = tokio::time::timeout(HANG, ends).await else {
        panic!("{what}: no end, as if a turn or a buffer were lost");
    };
    ended
}

/// Buffers in use, including those of no class.
pub fn in_use(pool: &ClassPool) -> u64 {
    let stats = pool.stats();
    stats.classes.iter().map(|class| class.in_use).sum::<u64>() + stats.direct.in_use
}

/// One row of a table.
pub struct Case {
    pub name: &'static str,
    pub fault: Fault,
    pub at: At,
    /// The number of requests that have the fault; later ones have none.
    pub times: usize,
    pub ends: Ends,
}

/// The part that has the fault.
#[derive(Clone, Copy, Debug)]
pub enum At {
    First,
    Middle,
    Last,
}

/// The outcome that a case must have, and the number of retries.
#[derive(Clone, Copy, Debug)]
pub enum Ends {
    Right(u32),
    /// An error with the cause of this name.
    Error(&'static str, u32),
    /// An error or the right bytes: it may depend on when the client looks at its connection.
    Either,
}

/// Every request has the fault.
pub const ALWAYS: usize = usize::MAX;

/// One case per part; all of them must have the same outcome.
pub fn everywhere(name: &'static str, fault: Fault, times: usize, ends: Ends) -> Vec<Case> {
    let case = |at| Case { name, fault: fault.clone(), at, times, ends };
    [At::First, At::Middle, At::Last].map(case).into()
}

impl At {
    fn part(self) -> Range<u64> {
        match self {
            Self::First => 0..PART_BYTES,
            Self::Middle => 4 * PART_BYTES..5 * PART_BYTES,
            Self::Last => 8 * PART_BYTES..OBJECT_BYTES as u64,
        }
    }

    /// The last byte of the part. A retry always asks for it, whatever arrived before.
    fn position(self) -> u64 {
        self.part().end - 1
    }
}

/// The error of a download that must not succeed. On success it panics without printing the object.
#[track_caller]
pub fn failed(got: Result<Download, DownloadError>, what: &str) -> DownloadError {
    got.map(|download| download.stats).expect_err(what)
}

/// The name of a cause's variant.
pub fn name(cause: &Cause) -> String {
    let text = format!("{cause:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// Runs all cases with one engine per client and at most two retries per range.
pub async fn run(cases: impl IntoIterator<Item = Case>) {
    run_with(&RangeOptions { retries: 2, ..options() }, cases).await;
}

pub async fn run_with(options: &RangeOptions, cases: impl IntoIterator<Item = Case>) {
    let sites = [Site::new(Client::Http, options).await, Site::new(Client::S3, options).await];
    for case in cases {
        for site in &sites {
            case.run(site).await;
        }
    }
}

impl Case {
    async fn run(&self, site: &Site) {
        let position = self.at.position();
        let what = format!("{}, {:?} part, {:?}", self.name, self.at, site.client);
        site.server.set_fault_at(position, self.fault.clone(), self.times);
        let ranged = site.engine.options().enabled;
        let before = site.versions(KEY);
        let got = in_time(site.get(KEY), &what).await;
        let seen = site.server.take_seen();
        let faulty = seen
            .iter()
            .filter(|seen| seen.request.method == "GET" && seen.fault == self.fault)
            .count();
        assert!(faulty > 0, "{what}: the fault never came");
        match (got, self.ends) {
            (Ok(download), Ends::Right(retries)) => {
                assert_eq!(download.stats.retries, retries, "{what}: retries");
                assert_right(&download, site, before.len(), &what);
            }
            (Ok(download), Ends::Either) => assert_right(&download, site, before.len(), &what),
            (Err(error), Ends::Error(cause, retries)) => {
                assert_eq!(name(&error.cause), cause, "{what}: {error}");
                assert_eq!(error.retries, retries, "{what}: {error}");
                self.assert_named(&error, ranged, &what);
            }
            (Err(error), Ends::Either) => self.assert_named(&error, ranged, &what),
            (Err(error), ends) => panic!("{what}: {ends:?} was expected, not: {error} ({error:?})"),
            (Ok(_), ends) => panic!("{what}: {ends:?} was expected, not an object"),
        }
        // A permit, a buffer or a retry that isn't given back would fail one of the later cases.
        site.assert_sound(&what).await;
    }

    /// The error names object, part and cause.
    fn assert_named(&self, error: &DownloadError, ranged: bool, what: &str) {
        let text = error.to_string();
        assert!(text.contains("folder/an object.bin"), "{what}: no object in: {text}");
        assert!(text.ends_with(&error.cause.to_string()), "{what}: no cause in: {text}");
        // A request for the whole object has no range to name.
        let Some(range) = error.range.clone() else {
            assert!(!ranged, "{what}: no range in: {text}");
            return;
        };
        let part = if ranged { self.at.part() } else { 0..OBJECT_BYTES as u64 };
        assert_eq!(range, part, "{what}: {text}");
        // What refuses the whole object isn't about a part of it.
        let is_of_a_part = !matches!(
            error.cause,
            Cause::NotFound(_) | Cause::Denied(_) | Cause::Unauthenticated(_)
        );
        let said = text.contains(&format!("bytes {} to {}", range.start, range.end));
        assert_eq!(said, is_of_a_part, "{what}: the range in: {text}");
    }
}

fn assert_right(download: &Download, site: &Site, before: usize, what: &str) {
    assert_eq!(
        site.versions(KEY).len(),
        before,
        "{what}: the object was replaced, and the download didn't notice"
    );
    site.versions(KEY)[before - 1].assert_is(&download.bytes, what);
    assert_eq!(download.stats.bytes, OBJECT_BYTES as u64, "{what}");
}
