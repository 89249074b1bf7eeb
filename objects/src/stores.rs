//! [`Stores`]: maps a URL to the client of its store (one per store, kept alive) and to the object.

use std::collections::HashMap;
use std::env;
use std::fmt;
use std::io;
use std::path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use slipring::class::Ticker;
use url::Url;

use crate::connector::Connector;
use crate::engine::{Download, RangeEngine};
use crate::error::DownloadError;
use crate::options::{OptionsError, StoreOptions};

/// How often the pool looks for buffers that aren't needed.
const TICK: Duration = Duration::from_secs(1);

/// The clients of stores, and the engine with its pool that downloads from them. Each keeps its
/// connections, so a store is asked for many objects over few of them.
///
/// `s3://bucket/key`, `gs://bucket/key`, `az://container/key`, `http://host/path`, `https://...`,
/// `file:///path`, `memory:///key`; anything without a scheme is the path of a local file. Retries
/// of the clients are off: the engine does them, and counts them.
///
/// [`Stores::download`] is all that most callers need. [`StoreOptions`] configures it; by default
/// it downloads into the buffers of a pool. Use [`Stores::open`] with an engine of your own for
/// more control.
///
/// ```no_run
/// use slipring_objects::{BufferPoolOptions, StoreOptions, Stores};
///
/// # async fn download() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = BufferPoolOptions { max_buffers_per_class: 8, ..BufferPoolOptions::default() };
/// let options = StoreOptions { buffer_pool: Some(pool), ..StoreOptions::default() };
/// let stores = Stores::from_env().with_options(&options)?;
/// let object = stores.download("s3://bucket/key").await?;
/// println!("{} bytes, pool {}", object.bytes.len(), object.stats.pool);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Stores {
    /// Keys of object_store in lower case, and their values.
    settings: Vec<(String, String)>,
    clients: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
    engine: RangeEngine,
    /// The ticker of the engine's pool, from the first download on: opening needs no thread.
    ticker: Mutex<Option<Ticker>>,
}

/// Why [`Stores::download`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The URL leads to no store.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The download failed.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The system has no thread for the pool's ticker, so idle buffers would never give their
    /// memory back.
    #[error(
        "no thread that shrinks the buffer pool: {0}; set `shrink_after_secs` to 0 to do without"
    )]
    Ticker(#[source] io::Error),
}

impl Default for Stores {
    /// Without settings: stores that need none.
    fn default() -> Self {
        Self::new([])
    }
}

/// Why a URL leads to no store.
#[derive(Debug)]
#[non_exhaustive]
pub struct UrlError {
    /// The URL.
    pub url: String,
    /// Why.
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}; give s3://, gs://, az://, http(s)://, file:// or the path of a file, and endpoint and credentials in the environment",
            self.url, self.cause
        )
    }
}

impl std::error::Error for UrlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.cause.as_ref())
    }
}

impl Stores {
    /// Endpoint and credentials from the environment, under object_store's own keys:
    /// `AWS_ENDPOINT`, `AWS_ACCESS_KEY_ID`, `AZURE_STORAGE_ACCOUNT_NAME`, `GOOGLE_SERVICE_ACCOUNT`
    /// and all of their kind, `SERVICE_ACCOUNT` and `IDENTITY_ENDPOINT`.
    #[must_use]
    pub fn from_env() -> Self {
        let variables = env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        Self::new(variables.filter(|(key, _)| is_setting(key)))
    }

    /// Takes settings from `settings`; a store ignores keys that it doesn't know.
    #[must_use]
    pub fn new(settings: impl IntoIterator<Item = (String, String)>) -> Self {
        let settings =
            settings.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)).collect();
        let engine = StoreOptions::default().build().expect("the defaults fit");
        Self { settings, clients: Mutex::default(), engine, ticker: Mutex::default() }
    }

    /// The same stores with these options. Existing clients stay; the engine, its pool and its
    /// counters are new.
    ///
    /// # Errors
    /// [`OptionsError`] names the invalid field.
    pub fn with_options(self, options: &StoreOptions) -> Result<Self, OptionsError> {
        Ok(Self { engine: options.build()?, ticker: Mutex::default(), ..self })
    }

    /// The engine of [`Stores::download`], with its pool and its counters.
    #[must_use]
    pub fn engine(&self) -> &RangeEngine {
        &self.engine
    }

    /// Downloads the object of a URL, as [`RangeEngine::get`] does. A thread shrinks the pool when
    /// its buffers aren't needed, from the first call until `self` is dropped.
    ///
    /// # Errors
    /// [`StoreError`]: the URL is invalid, or the download failed.
    pub async fn download(&self, url: &str) -> Result<Download, StoreError> {
        let (store, path) = self.open(url)?;
        self.start_ticker().map_err(StoreError::Ticker)?;
        Ok(self.engine.get(&*store, &path).await?)
    }

    /// Starts the ticker, unless it runs or the pool never shrinks.
    fn start_ticker(&self) -> io::Result<()> {
        let pool = self.engine.buffer_pool().filter(|pool| pool.options().shrink_after.is_some());
        let mut ticker = self.ticker.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(pool), None) = (pool, &*ticker) {
            *ticker = Some(pool.ticker(TICK)?);
        }
        Ok(())
    }

    /// The client of the URL's store, made by the first call, and the object's key in the store.
    ///
    /// # Errors
    /// [`UrlError`] if the URL names no object; if it has a query or a fragment, which wouldn't be
    /// sent to the store; if a local path isn't a regular file; or if the store can't be set up.
    pub fn open(&self, url: &str) -> Result<(Arc<dyn ObjectStore>, Path), UrlError> {
        let failed = |cause| UrlError { url: url.to_owned(), cause };
        let parsed = parse(url).map_err(failed)?;
        if let Some(rest) = unsent(&parsed) {
            return Err(failed(rest.into()));
        }
        let (scheme, key) =
            ObjectStoreScheme::parse(&parsed).map_err(|cause| failed(cause.into()))?;
        if key.as_ref().is_empty() {
            return Err(failed("it names no object".into()));
        }
        if scheme == ObjectStoreScheme::Local && is_odd_file(&parsed) {
            return Err(failed("it isn't a regular file".into()));
        }
        let store = client_key(&parsed, &key);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&store) {
            return Ok((Arc::clone(client), key));
        }
        let client = self.connect(&scheme, &parsed).map_err(|cause| failed(cause.into()))?;
        clients.insert(store, Arc::clone(&client));
        Ok((client, key))
    }

    /// Clients made so far.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn connect(
        &self,
        scheme: &ObjectStoreScheme,
        url: &Url,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        let retry = RetryConfig {
            max_retries: 0,
            backoff: BackoffConfig::default(),
            ..RetryConfig::default()
        };
        // The engine has a time limit per request; a client's own limit would end long bodies.
        let client = ClientOptions::new().with_timeout_disabled();
        /// The settings that this store knows.
        macro_rules! set_up {
            ($builder:expr, $client:expr) => {{
                let builder = $builder.with_client_options($client);
                let builder =
                    self.settings.iter().fold(builder, |builder, (key, value)| match key.parse() {
                        Ok(key) => builder.with_config(key, value),
                        Err(_) => builder,
                    });
                Arc::new(
                    builder.with_retry(retry).with_http_connector(Connector::default()).build()?,
                )
            }};
        }
        Ok(match scheme {
            ObjectStoreScheme::Local => Arc::new(LocalFileSystem::new()),
            ObjectStoreScheme::Memory => Arc::new(InMemory::new()),
            ObjectStoreScheme::AmazonS3 => {
                set_up!(AmazonS3Builder::new().with_url(url.as_str()), client)
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                set_up!(GoogleCloudStorageBuilder::new().with_url(url.as_str()), client)
            }
            ObjectStoreScheme::MicrosoftAzure => {
                set_up!(MicrosoftAzureBuilder::new().with_url(url.as_str()), client)
            }
            ObjectStoreScheme::Http => {
                // A URL with http asks for it; the other stores need AWS_ALLOW_HTTP and its like.
                set_up!(
                    HttpBuilder::new().with_url(&url[..url::Position::BeforePath]),
                    client.with_allow_http(true)
                )
            }
            _ => {
                return Err(object_store::Error::NotSupported {
                    source: "no client for this scheme".into(),
                });
            }
        })
    }
}

/// Whether the path exists and isn't a regular file: a pipe or a device has no size, and opening
/// one may wait for ever.
fn is_odd_file(url: &Url) -> bool {
    let meta = url.to_file_path().ok().and_then(|path| path.metadata().ok());
    meta.is_some_and(|meta| !meta.is_file())
}

/// Whether an environment variable is one of object_store's keys, by its prefix where the keys have
/// one.
fn is_setting(key: &str) -> bool {
    ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| key.starts_with(prefix))
        || ["SERVICE_ACCOUNT", "IDENTITY_ENDPOINT"].contains(&key)
}

/// Complains about a query or a fragment: it wouldn't be sent to the store, so another object might
/// be fetched.
fn unsent(url: &Url) -> Option<String> {
    let part = |mark, instead, text: Option<&str>| {
        text.map(|text| {
            format!("`{mark}{text}` isn't part of a key; write {instead} for a {mark} of the key")
        })
    };
    part('?', "%3F", url.query()).or_else(|| part('#', "%23", url.fragment()))
}

/// A URL, or the path of a local file.
fn parse(url: &str) -> Result<Url, Box<dyn std::error::Error + Send + Sync>> {
    if url.contains("://") {
        return Ok(Url::parse(url)?);
    }
    let mut file = path::absolute(url)?;
    if file.components().any(|part| part == path::Component::ParentDir) {
        // A key has no `..`, and only the system knows where it leads after a link. The file's own
        // name stays.
        let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
            return Err("it names no file".into());
        };
        file = folder.canonicalize()?.join(name);
    }
    Url::from_file_path(&file).map_err(|()| "it isn't a path".into())
}

/// What two URLs have in common if one client serves both: everything before the key, which may
/// begin after a bucket in the path.
fn client_key(url: &Url, key: &Path) -> String {
    let before_path = &url[..url::Position::BeforePath];
    if Path::from_url_path(url.path()).is_ok_and(|path| path == *key) {
        return before_path.to_owned();
    }
    let bucket = url.path_segments().and_then(|mut segments| segments.next()).unwrap_or_default();
    format!("{before_path}/{bucket}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Stores {
        Stores::new(pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())))
    }

    #[test]
    fn there_is_one_client_per_store() {
        let stores = settings(&[
            ("AWS_ENDPOINT", "http://127.0.0.1:1"),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_SKIP_SIGNATURE", "true"),
        ]);
        let (first, key) = stores.open("s3://bucket/a/b%20c.bin").unwrap();
        assert_eq!(key.as_ref(), "a/b c.bin");
        let (second, _) = stores.open("s3://bucket/d").unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(stores.clients(), 1);
        for other in [
            "s3://other/d",
            "http://127.0.0.1:1/x",
            "http://127.0.0.1:2/x",
            "memory:///x",
            "file:///x",
        ] {
            stores.open(other).unwrap();
        }
        assert_eq!(stores.clients(), 6);
    }

    /// Without a caller's wiring: the second object is in the first one's buffer.
    #[tokio::test]
    async fn every_download_uses_the_pool_of_the_options() {
        use crate::{BufferPoolOptions, BufferPoolUse};

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("object").display().to_string();
        std::fs::write(&file, vec![7; 3 << 20]).unwrap();
        let stores = Stores::default();
        assert!(stores.ticker.lock().unwrap().is_none(), "nothing to shrink yet");
        for _ in 0..2 {
            let object = stores.download(&file).await.unwrap();
            assert_eq!((object.bytes.len(), object.stats.pool), (3 << 20, BufferPoolUse::Hit));
        }
        let class = stores.engine().buffer_pool().unwrap().stats().classes[1];
        assert_eq!((class.gets, class.hits, class.in_use), (2, 1, 0));
        assert!(stores.ticker.lock().unwrap().is_some());

        let clients = stores.clients();
        let off = StoreOptions { buffer_pool: None, ..StoreOptions::default() };
        let stores = stores.with_options(&off).unwrap();
        assert_eq!(stores.clients(), clients, "they stay");
        assert_eq!(stores.download(&file).await.unwrap().stats.pool, BufferPoolUse::Off);
        assert!(stores.ticker.lock().unwrap().is_none());
        let never = BufferPoolOptions {
            shrink_after_secs: 0,
            max_buffers_per_class: 1,
            ..BufferPoolOptions::default()
        };
        let stores =
            stores.with_options(&StoreOptions { buffer_pool: Some(never), ..off }).unwrap();
        assert_eq!(stores.download(&file).await.unwrap().stats.pool, BufferPoolUse::Hit);
        assert_eq!(stores.engine().buffer_pool().unwrap().options().limit.buffers, 1);
        assert!(stores.ticker.lock().unwrap().is_none(), "nothing shrinks");

        let none = BufferPoolOptions { max_buffers_per_class: 0, ..never };
        let refused = stores
            .with_options(&StoreOptions { buffer_pool: Some(none), ..StoreOptions::default() });
        assert_eq!(refused.unwrap_err().field, "max_buffers_per_class");
    }

    #[tokio::test]
    async fn a_download_says_what_kept_it() {
        let stores = Stores::default();
        let url = stores.download("gopher://x/y").await.unwrap_err();
        assert!(
            matches!(&url, StoreError::Url(_)) && url.to_string().starts_with("gopher://x/y: "),
            "{url}"
        );
        let missing = stores.download("memory:///none").await.unwrap_err();
        assert!(matches!(missing, StoreError::Download(_)), "{missing}");
    }

    #[test]
    fn a_bucket_is_part_of_the_host_or_of_the_path() {
        let place = |url: &str| {
            let url = parse(url).unwrap();
            let (_, key) = ObjectStoreScheme::parse(&url).unwrap();
            super::client_key(&url, &key)
        };
        assert_eq!(
            place("https://bucket.s3.eu-central-1.amazonaws.com/a/b"),
            "https://bucket.s3.eu-central-1.amazonaws.com"
        );
        assert_eq!(
            place("https://s3.eu-central-1.amazonaws.com/bucket/a"),
            "https://s3.eu-central-1.amazonaws.com/bucket"
        );
        assert_eq!(
            place("https://account.blob.core.windows.net/container/a"),
            "https://account.blob.core.windows.net/container"
        );
        assert_eq!(place("gs://bucket/a/b"), "gs://bucket");
    }

    #[test]
    fn a_path_without_a_scheme_is_a_local_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a file.bin");
        let (_, key) = Stores::default().open(file.to_str().unwrap()).unwrap();
        assert_eq!(format!("/{key}"), file.to_str().unwrap());
        // Up and down again, whatever links are on the way.
        std::fs::create_dir(folder.path().join("below")).unwrap();
        let up = folder.path().join("below/../a file.bin");
        let (_, key) = Stores::default().open(up.to_str().unwrap()).unwrap();
        assert_eq!(
            format!("/{key}"),
            folder.path().canonicalize().unwrap().join("a file.bin").to_str().unwrap()
        );
        let refused = Stores::default().open("below/..").unwrap_err().to_string();
        assert!(refused.contains("it names no file"), "{refused}");
    }

    #[test]
    fn what_would_not_be_sent_is_refused() {
        for (url, part, instead) in [
            ("https://host/x.npy?signature=a/b", "`?signature=a/b`", "%3F"),
            ("s3://bucket/what?", "`?`", "%3F"),
            ("file:///tmp/a#b", "`#b`", "%23"),
        ] {
            let refused = Stores::default().open(url).unwrap_err().to_string();
            assert!(
                refused.starts_with(url) && refused.contains(part) && refused.contains(instead),
                "{refused}"
            );
        }
        let (_, key) = Stores::default().open("memory:///what%3F%23").unwrap();
        assert_eq!(key.as_ref(), "what?#");
        let (_, key) = Stores::default().open("/tmp/what?#").unwrap();
        assert_eq!(key.as_ref(), "tmp/what?#");
    }

    #[test]
    fn settings_are_told_from_the_rest_of_the_environment() {
        for key in [
            "AWS_ENDPOINT",
            "AZURE_STORAGE_ACCOUNT_NAME",
            "GOOGLE_BUCKET",
            "SERVICE_ACCOUNT",
            "IDENTITY_ENDPOINT",
        ] {
            assert!(is_setting(key), "{key}");
        }
        assert!(
            ["PATH", "MY_AWS_REGION", "SERVICE_ACCOUNTS", "aws"].iter().all(|key| !is_setting(key))
        );
    }

    #[test]
    fn what_is_no_object_is_refused_with_what_to_do() {
        for url in ["s3://bucket", "s3://bucket/", "gopher://x/y", "http://", "file:///", ""] {
            let refused = Stores::default().open(url).unwrap_err().to_string();
            assert!(
                refused.starts_with(&format!("{url}: ")) && refused.contains("give s3://"),
                "{refused}"
            );
        }
    }
}
