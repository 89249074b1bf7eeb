//! [`LocalFile`]: a local file whose name crate object_store can't express.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::time::SystemTime;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};
use tokio::task;

/// A store with one object, which can only be read: a file whose path has control characters, `:`
/// or `|`, isn't UTF-8, or ends with `#` and digits.
#[derive(Debug)]
pub(crate) struct LocalFile {
    path: PathBuf,
}

impl LocalFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn refused<T>(&self, operation: &str) -> Result<T> {
        Err(Error::NotImplemented {
            operation: operation.to_owned(),
            implementer: self.to_string(),
        })
    }
}

impl fmt::Display for LocalFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.path)
    }
}

/// Opens the file. Blocks.
fn open(path: PathBuf, location: Path, options: &GetOptions) -> Result<GetResult> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::NotFound { path: location.to_string(), source: error.into() }
        }
        std::io::ErrorKind::PermissionDenied => {
            Error::PermissionDenied { path: location.to_string(), source: error.into() }
        }
        _ => Error::Generic { store: "local file", source: error.into() },
    };
    let file = File::open(&path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let meta = ObjectMeta {
        location: location.clone(),
        last_modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH).into(),
        size: metadata.len(),
        e_tag: None,
        version: None,
    };
    options.check_preconditions(&meta)?;
    let out_of_range = |error| Error::Generic { store: "local file", source: Box::new(error) };
    let range = match &options.range {
        Some(range) => range.as_range(meta.size).map_err(out_of_range)?,
        None => 0..meta.size,
    };
    Ok(GetResult {
        payload: GetResultPayload::File(file, path),
        meta,
        range,
        attributes: Attributes::default(),
        extensions: Default::default(),
    })
}

#[async_trait]
impl ObjectStore for LocalFile {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (path, location) = (self.path.clone(), location.clone());
        match task::spawn_blocking(move || open(path, location, &options)).await {
            Ok(opened) => opened,
            Err(source) => Err(Error::JoinError { source }),
        }
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        self.refused("put")
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.refused("put_multipart")
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        stream::iter([self.refused("delete")]).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::iter([self.refused("list")]).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        self.refused("list")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        self.refused("copy")
    }
}
