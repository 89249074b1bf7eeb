//! [`Stores`]: maps a URL to the client of its store (one per store, kept alive) and to the object.

use std::collections::HashMap;
use std::env;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use object_store::client::{HttpClient, HttpConnector};
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreScheme};
use slipring::class::Ticker;

use crate::address::{Address, Refusal, WebAddress, plain, spelled};
use crate::engine::{Download, RangeEngine};
use crate::error::DownloadError;
use crate::exact::ExactUrl;
use crate::local::LocalFile;
use crate::options::{OptionsError, StoreOptions};
use crate::redact::{printable, redact};
use crate::servers::ServerOptions;
use crate::settings::{SettingError, normalized};
use crate::setup::{ClientSettings, no_retries};

type OpenedObject = Result<(Arc<dyn ObjectStore>, Path), Refusal>;

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
pub struct Stores {
    settings: ClientSettings,
    clients: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
    /// The connections to web servers, by scheme, host and port.
    web_clients: Mutex<HashMap<String, HttpClient>>,
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
    /// The URL, with its secrets hidden.
    pub url: String,
    /// Why.
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.cause.is::<SettingError>() {
            return write!(f, "{}: the setting {}", self.url, self.cause);
        }
        write!(
            f,
            "{}: {}; give s3://, gs://, az://, http(s)://, file:// or the path of a file, and endpoint and credentials in the environment",
            self.url, self.cause
        )
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The settings have secrets.
        f.debug_struct("Stores")
            .field("servers", &self.settings.servers)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
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
    /// and all of their kind, `SERVICE_ACCOUNT` and `IDENTITY_ENDPOINT`. See [`Stores::new`].
    #[must_use]
    pub fn from_env() -> Self {
        let variables = env::vars_os().filter_map(|(key, value)| {
            Some((key.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        Self::new(variables.filter(|(key, _)| is_setting(key)))
    }

    /// Takes settings from `settings`; a store ignores keys that it doesn't know. White space
    /// around a value isn't part of it, and an empty value counts as not set. A value that no
    /// request can have is a [`SettingError`](crate::SettingError) when a store that uses it is
    /// opened.
    #[must_use]
    pub fn new(settings: impl IntoIterator<Item = (String, String)>) -> Self {
        let settings = settings.into_iter();
        let values = settings.filter_map(|(key, value)| normalized(&key, &value)).collect();
        let engine = StoreOptions::default().build().expect("the defaults fit");
        Self {
            settings: ClientSettings { values, servers: ServerOptions::default() },
            clients: Mutex::default(),
            web_clients: Mutex::default(),
            engine,
            ticker: Mutex::default(),
        }
    }

    /// The same stores, where servers may do what `servers` says. Existing clients are dropped.
    #[must_use]
    pub fn with_servers(self, servers: ServerOptions) -> Self {
        let settings = ClientSettings { servers, ..self.settings };
        Self { settings, clients: Mutex::default(), web_clients: Mutex::default(), ..self }
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
        let mut ticker = lock(&self.ticker);
        if let (Some(pool), None) = (pool, &*ticker) {
            *ticker = Some(pool.ticker(TICK)?);
        }
        Ok(())
    }

    /// The client of the URL's store, made by the first call, and the object's key in the store.
    ///
    /// A key that a [`Path`] can't be (with empty parts or control characters) comes as it is
    /// written in a URL, together with a client that reads it so. The client of an `http` or
    /// `https` URL has this one object, whatever the path; the path is its name for people.
    ///
    /// # Errors
    /// [`UrlError`] if the URL names no object, or none that can be asked for exactly; if a local
    /// path isn't a regular file; or if the store can't be set up, with a
    /// [`SettingError`](crate::SettingError) as its cause if that is a setting's fault.
    pub fn open(&self, url: &str) -> Result<(Arc<dyn ObjectStore>, Path), UrlError> {
        let opened = match Address::parse(url) {
            Ok(Address::Key { scheme, store, key }) => self.open_key(&scheme, &store, &key),
            Ok(Address::Web(address)) => self.open_web(&address),
            Ok(Address::File(path)) => self.open_file(path),
            Err(refused) => Err(refused),
        };
        // As a text: a cause may have the URL in it, with its secrets.
        opened.map_err(|cause| UrlError {
            url: redact(url),
            cause: match cause.downcast::<SettingError>() {
                Ok(error) => error,
                Err(cause) => printable(&cause.to_string()).into(),
            },
        })
    }

    fn open_key(&self, scheme: &ObjectStoreScheme, store: &str, key: &str) -> OpenedObject {
        let path = plain(key);
        let name = if path.is_some() { store.to_owned() } else { format!("{store} exact") };
        let client = self.client(name, || self.settings.connect(scheme, store, path.is_none()))?;
        Ok((client, path.unwrap_or_else(|| spelled(key))))
    }

    /// A client of its own that shares the server's connections with the others.
    fn open_web(&self, address: &WebAddress) -> OpenedObject {
        let mut clients = lock(&self.web_clients);
        let shared = match clients.get(&address.origin) {
            Some(client) => client.clone(),
            None => {
                let client = self
                    .settings
                    .connector()
                    .connect(&self.settings.web_client_options(address)?)?;
                clients.insert(address.origin.clone(), client.clone());
                client
            }
        };
        let store = HttpBuilder::new()
            .with_url(&address.origin)
            .with_client_options(self.settings.web_client_options(address)?)
            .with_retry(no_retries())
            .with_http_connector(ExactUrl::new(shared, address))
            .build()?;
        Ok((Arc::new(store), address.path()))
    }

    fn open_file(&self, file: PathBuf) -> OpenedObject {
        if file.metadata().is_ok_and(|meta| !meta.is_file()) {
            return Err("it isn't a regular file".into());
        }
        let text = file.to_string_lossy();
        let key = text.trim_start_matches('/');
        if key.is_empty() {
            return Err("it names no object".into());
        }
        let is_plain = file.to_str().is_some() && !is_multipart_name(key) && !is_drive(key);
        let path = plain(key).filter(|_| is_plain);
        match path {
            Some(path) => {
                let make = || Ok(Arc::new(LocalFileSystem::new()) as _);
                Ok((self.client("file:///".to_owned(), make)?, path))
            }
            None => {
                let path = spelled(key);
                Ok((Arc::new(LocalFile::new(file)), path))
            }
        }
    }

    /// The client of this name, which `make` makes if there is none yet.
    fn client(
        &self,
        name: String,
        make: impl FnOnce() -> Result<Arc<dyn ObjectStore>, Refusal>,
    ) -> Result<Arc<dyn ObjectStore>, Refusal> {
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(&name) {
            return Ok(Arc::clone(client));
        }
        let client = make()?;
        clients.insert(name, Arc::clone(&client));
        Ok(client)
    }

    /// Clients made so far, each with its connections.
    #[must_use]
    pub fn clients(&self) -> usize {
        lock(&self.clients).len() + lock(&self.web_clients).len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether crate object_store takes the file for a part of an unfinished upload.
fn is_multipart_name(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or_default();
    name.split_once('#').is_some_and(|(_, end)| end.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether crate object_store, which makes a URL of the path, takes a part of it for the letter of
/// a drive, as in `a:` and `a|`.
fn is_drive(key: &str) -> bool {
    key.contains([':', '|'])
}

/// Whether an environment variable is one of object_store's keys, by its prefix where the keys have
/// one.
fn is_setting(key: &str) -> bool {
    ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| key.starts_with(prefix))
        || ["SERVICE_ACCOUNT", "IDENTITY_ENDPOINT"].contains(&key)
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
    fn a_key_is_refused_or_exactly_that_key() {
        let stores = settings(&[("aws_skip_signature", "true")]);
        for (url, path) in [
            ("memory:///what%3F%23", "what?#"),
            ("/tmp/what?#", "tmp/what?#"),
            ("s3://bucket/a//b", "a/%2Fb"),
            ("s3://bucket/a/", "a%2F"),
            ("s3://bucket/a%0A%25", "a%0A%25"),
            ("http://h/x/a%2Fb?sig=1", "x/a/b"),
            ("/tmp/a\nb", "tmp/a%0Ab"),
        ] {
            assert_eq!(stores.open(url).unwrap().1.as_ref(), path, "{url}");
        }
        for url in ["memory:///a//b", "az://container/a//b", "s3://bucket/a/../b", "s3://b/a?b"] {
            let refused = stores.open(url).unwrap_err().to_string();
            assert!(refused.starts_with(url), "{refused}");
        }
        // One client for plain keys, and one for spelled ones.
        let (plain, _) = stores.open("s3://bucket/a").unwrap();
        let (exact, _) = stores.open("s3://bucket/a//c").unwrap();
        assert!(!Arc::ptr_eq(&plain, &exact));
        assert!(Arc::ptr_eq(&exact, &stores.open("s3://bucket/b//").unwrap().0));
    }

    #[test]
    fn secrets_are_in_no_error_and_no_debug_text() {
        let stores = settings(&[("aws_secret_access_key", "hidden")]);
        assert!(!format!("{stores:?}").contains("hidden"));
        for url in
            ["http://me:hidden@h/a/../b", "s3://b/k?X-Amz-Signature=hidden", "ftp://:hidden@h/"]
        {
            let refused = stores.open(url).unwrap_err();
            assert!(!format!("{refused} {refused:?}").contains("hidden"), "{refused:?}");
        }
    }

    #[test]
    fn a_malformed_setting_is_named_by_the_stores_that_use_it() {
        let s3 = |key: &str, value: &str| {
            let set = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"), (key, value)];
            settings(&set).open("s3://bucket/key").map(|_| ()).map_err(|error| error.to_string())
        };
        for (key, value, part) in [
            (
                "AWS_SESSION_TOKEN",
                "hid\nden",
                "the setting AWS_SESSION_TOKEN has the character '\\n'",
            ),
            ("AWS_ENDPOINT", "127.0.0.1:9000", "the setting AWS_ENDPOINT has no scheme; begin it"),
            ("AWS_ENDPOINT_URL", "http:// hidden", "the setting AWS_ENDPOINT_URL has"),
            ("AWS_SKIP_SIGNATURE", "hidden", "the setting AWS_SKIP_SIGNATURE is neither"),
        ] {
            let refused = s3(key, value).unwrap_err();
            assert!(refused.contains(part) && !refused.contains("hidden"), "{refused}");
            assert!(!refused.contains("give s3://"), "{refused}");
        }
        for (key, value) in [
            ("AWS_SESSION_TOKEN", "t\n"),
            ("AWS_ENDPOINT", ""),
            ("AWS_ENDPOINT", " http://h:1\r\n"),
            ("AWS_REGION", "\n"),
            ("GOOGLE_BASE_URL", "no url"),
            ("AZURE_STORAGE_TOKEN", "\u{0}"),
        ] {
            assert_eq!(s3(key, value), Ok(()), "{key}");
        }
        for (key, url) in [
            ("GOOGLE_BASE_URL", "gs://bucket/key"),
            ("GOOGLE_BEARER_TOKEN", "gs://bucket/key"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "az://container/key"),
            ("AZURE_STORAGE_TOKEN", "az://container/key"),
            ("AZURE_ENDPOINT", "az://container/key"),
            ("USER_AGENT", "http://host/key"),
        ] {
            let refused = settings(&[(key, "a\u{1}b")]).open(url).unwrap_err();
            assert!(refused.to_string().contains(key), "{refused}");
        }
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
