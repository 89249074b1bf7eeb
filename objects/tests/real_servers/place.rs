//! What the suite runs on: places (memory, a local folder, and the bucket that the environment
//! names), the pool of the engine, and the objects.

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use percent_encoding::percent_decode_str;
use slipring::class::{AtLimit, ClassOptions, ClassPool, ClassTable, Limit};
use slipring_objects::{Stores, UrlError};
use tempfile::TempDir;

/// A store, and a folder in it for one test alone.
pub struct Place {
    /// For messages.
    pub name: String,
    pub store: Arc<dyn ObjectStore>,
    /// Where `store` came from.
    pub stores: Stores,
    /// Whether the objects are files, which the engine reads without ranges.
    pub is_local: bool,
    /// The folder's URL, without a slash at its end.
    url: String,
    folder: Path,
    _files: Option<TempDir>,
}

/// All places of this run, with a folder of this name in each.
pub fn places(folder: &str) -> Vec<Place> {
    let files = TempDir::new().expect("a folder for temporary files");
    let local = format!("file://{}/{folder}", files.path().display());
    let mut places = vec![
        Place::new(&format!("memory:///{folder}"), Stores::default(), None),
        Place::new(&local, Stores::default(), Some(files)),
    ];
    if let Ok(bucket) = env::var("SLIPRING_OBJECT_STORE") {
        places.push(Place::new(&format!("{bucket}/{folder}"), Stores::from_env(), None));
    }
    places
}

impl Place {
    fn new(url: &str, stores: Stores, files: Option<TempDir>) -> Self {
        let (store, folder) = stores.open(url).unwrap_or_else(|error| panic!("{error}"));
        Self {
            name: url.to_owned(),
            store,
            stores,
            is_local: files.is_some(),
            url: url.to_owned(),
            folder,
            _files: files,
        }
    }

    /// The object's key in the store.
    pub fn path(&self, key: &str) -> Path {
        Path::parse(format!("{}/{key}", self.folder)).expect("a key")
    }

    /// The object's URL.
    pub fn url(&self, key: &str) -> String {
        // Escapes the characters that have a meaning in a URL. The parser escapes the others.
        let key = key.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
        format!("{}/{key}", self.url)
    }

    /// The URL of a key in the folder, escaped by the caller.
    pub fn folder_url(&self, escaped_key: &str) -> String {
        format!("{}/{escaped_key}", self.url)
    }

    /// The local file of a URL.
    pub fn file(&self, url: &str) -> PathBuf {
        let path = url.strip_prefix("file://").expect("a local file");
        PathBuf::from(OsString::from_vec(percent_decode_str(path).collect()))
    }

    pub fn open(&self, url: &str) -> Result<(Arc<dyn ObjectStore>, Path), UrlError> {
        self.stores.open(url)
    }

    /// Puts an object with crate object_store alone, or fails the test.
    pub async fn put(&self, key: &str, bytes: &Bytes) {
        let put = self.store.put(&self.path(key), bytes.clone().into()).await;
        put.unwrap_or_else(|error| {
            panic!("{}: `{key}` can't be put; is the server there? {error}", self.name)
        });
    }
}

/// The largest class.
pub const POOLED_MOST: usize = 4 << 20;

/// Classes of 1, 2 and 4 MiB with 16 buffers each. Beyond that, buffers are allocated fresh. The
/// pool is small, so that an object above its largest class is small too.
pub fn small_pool() -> ClassPool {
    ClassPool::new(&ClassOptions {
        table: ClassTable::new(&[1 << 20, 2 << 20, POOLED_MOST]).unwrap(),
        limit: Limit::buffers(16),
        at_limit: AtLimit::Fresh,
        cache_bytes: 0,
        shrink_after: None,
        ..ClassOptions::default()
    })
    .unwrap()
}

/// No buffer is in use, of a class or direct.
#[track_caller]
pub fn assert_all_back(pool: &ClassPool, place: &str) {
    let stats = pool.stats();
    for class in &stats.classes {
        assert_eq!(class.in_use, 0, "{place}, class of {} bytes: {class:?}", class.class_bytes);
    }
    assert_eq!(stats.direct.in_use, 0, "{place}, direct buffers");
}

/// Object number `seed`, `size` bytes long. No two ranges of it, or of two objects, are alike, so a
/// part at a wrong place, a part twice, or a part of another object is noticed.
pub fn object(seed: usize, size: usize) -> Bytes {
    // A Weyl sequence, mixed once: random enough here, and the same on every machine.
    let word = |index: usize| {
        let step = (((seed as u64) << 40) + index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (step ^ (step >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..size.div_ceil(8)).flat_map(word).collect();
    bytes.truncate(size);
    bytes.into()
}
