//! Where the suite runs: memory, a local folder, and the bucket that the environment names.

use std::env;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use slipring_objects::{Stores, UrlError};
use tempfile::TempDir;

/// A store, and the folder in it that one test has for itself.
pub struct Place {
    /// For messages.
    pub name: String,
    pub store: Arc<dyn ObjectStore>,
    /// Where `store` came from.
    pub stores: Stores,
    /// Files, which the engine reads without ranges.
    pub is_local: bool,
    /// Of the folder, without a slash at its end.
    url: String,
    folder: Path,
    _files: Option<TempDir>,
}

/// All places of this run, each with a folder of this name.
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
        // What means something else in a URL; the other characters are left to the parser.
        let key = key.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
        format!("{}/{key}", self.url)
    }

    pub fn open(&self, url: &str) -> Result<(Arc<dyn ObjectStore>, Path), UrlError> {
        self.stores.open(url)
    }

    /// Puts an object by object_store alone, or fails the test.
    pub async fn put(&self, key: &str, bytes: &Bytes) {
        let put = self.store.put(&self.path(key), bytes.clone().into()).await;
        put.unwrap_or_else(|error| {
            panic!("{}: `{key}` can't be put; is the server there? {error}", self.name)
        });
    }
}
