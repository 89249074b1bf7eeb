//! [`Overwriting`]: a store in which the object is overwritten at the worst time, between its first
//! part and the next.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Forwards all calls to `store`. When the first answer of a `get` has begun, it overwrites the
/// object. There is no race: the engine sends its next request only after it has that answer.
#[derive(Debug)]
pub struct Overwriting {
    store: Arc<dyn ObjectStore>,
    after: Mutex<Option<PutPayload>>,
}

impl Overwriting {
    pub fn new(store: &Arc<dyn ObjectStore>, after: &Bytes) -> Self {
        Self { store: Arc::clone(store), after: Mutex::new(Some(after.clone().into())) }
    }

    /// Whether the object was overwritten.
    pub fn is_done(&self) -> bool {
        self.after.lock().unwrap().is_none()
    }
}

impl fmt::Display for Overwriting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, overwritten", self.store)
    }
}

#[async_trait]
impl ObjectStore for Overwriting {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let answer = self.store.get_opts(location, options).await?;
        let after = self.after.lock().unwrap().take();
        if let Some(after) = after {
            self.store.put(location, after).await.expect("an object is overwritten");
        }
        Ok(answer)
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
