//! Where a download is tried: a faulty server, and an engine with a small pool that asks it through
//! one of two clients.

use std::future::Future;
use std::time::Duration;

use slipring::class::{AtLimit, ClassOptions, ClassPool, ClassTable, Limit};
use slipring_objects::{Download, DownloadError, RangeEngine, RangeOptions, Stores};
use tokio_util::sync::CancellationToken;

use super::object::Object;
use super::server::Server;

/// Bytes of a part in these tests.
pub const PART_BYTES: u64 = 128 << 10;
/// Bytes of an object that is large enough for the pool: eight whole parts and a short one.
pub const OBJECT_BYTES: usize = (1 << 20) + 12_345;
/// The object of most tests.
pub const KEY: &str = "bucket/folder/an object.bin";

/// Who asks the server.
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

/// Small parts, no patience.
pub fn options() -> RangeOptions {
    RangeOptions {
        part_bytes: Some(PART_BYTES),
        concurrency: Some(3),
        backoff_first: Duration::from_millis(1),
        backoff_max: Duration::from_millis(4),
        ..RangeOptions::default()
    }
}

/// Three classes, of which the first is too small for any object that the pool is used for.
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

    pub async fn get(&self, key: &str) -> Result<Download, DownloadError> {
        let (store, path) = self.stores.open(&self.url(key)).unwrap();
        self.engine.get(store.as_ref(), &path).await
    }

    pub async fn get_cancellable(
        &self,
        key: &str,
        cancel: &CancellationToken,
    ) -> Result<Download, DownloadError> {
        let (store, path) = self.stores.open(&self.url(key)).unwrap();
        self.engine.get_cancellable(store.as_ref(), &path, cancel).await
    }

    /// What the server holds under this key, the newest last.
    pub fn versions(&self, key: &str) -> Vec<Object> {
        self.server.versions(key)
    }

    /// Without faults the object comes, over the same engine, and its buffer has gone back.
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

/// Longer than anything here takes.
const HANG: Duration = slipring_test_support::patience(100);

/// What waits for a turn or a buffer that is lost waits for ever: that is told apart by waiting
/// very long.
pub async fn in_time<T>(ends: impl Future<Output = T>, what: &str) -> T {
    let Ok(ended) = tokio::time::timeout(HANG, ends).await else {
        panic!("{what}: no end, as if a turn or a buffer were lost");
    };
    ended
}

/// Buffers in use, those of no class among them.
pub fn in_use(pool: &ClassPool) -> u64 {
    let stats = pool.stats();
    stats.classes.iter().map(|class| class.in_use).sum::<u64>() + stats.direct.in_use
}
