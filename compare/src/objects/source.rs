//! The stores that objects come from: a server, the process's own memory, or a folder.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, RetryConfig};

use super::corpus::{Corpus, DISTINCT, key};
use super::options::{Source, Variant};

/// The store of a variant. `retries`: whether the client retries by itself. It does by default, but
/// must not if the engine retries and counts.
///
/// # Errors
/// What the store lacks.
pub async fn open(variant: &Variant, retries: bool) -> Result<Arc<dyn ObjectStore>, String> {
    let wrong =
        |error: object_store::Error| format!("the store of {}: {error}", variant.source.name());
    match variant.source {
        Source::S3 | Source::Endpoint => {
            let endpoint =
                variant.endpoint.as_deref().ok_or("the source is a server and needs --endpoint")?;
            server(endpoint, &variant.bucket, variant.source == Source::S3, retries).map_err(wrong)
        }
        Source::Memory => {
            let (store, corpus) = (InMemory::new(), Corpus::new(variant.plan.object_size));
            for at in 0..DISTINCT {
                store.put(&Path::from(key(at)), corpus.object(at).into()).await.map_err(wrong)?;
            }
            Ok(Arc::new(store))
        }
        Source::File => {
            let folder =
                variant.folder.as_ref().ok_or("the source is a folder and needs --folder")?;
            Ok(Arc::new(
                LocalFileSystem::new_with_prefix(folder.join(&variant.bucket)).map_err(wrong)?,
            ))
        }
    }
}

fn server(
    endpoint: &str,
    bucket: &str,
    is_own: bool,
    retries: bool,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    // Our own server checks no signature, so the environment isn't read for it.
    let builder = if is_own {
        AmazonS3Builder::new().with_skip_signature(true)
    } else {
        AmazonS3Builder::from_env()
    };
    let builder = builder.with_endpoint(endpoint).with_bucket_name(bucket).with_allow_http(true);
    let retry = RetryConfig::default();
    let retry = if retries { retry } else { RetryConfig { max_retries: 0, ..retry } };
    Ok(Arc::new(builder.with_retry(retry).build()?))
}

/// Writes all objects to a server that this program didn't start.
///
/// # Errors
/// The server refused one.
pub async fn upload(endpoint: &str, bucket: &str, corpus: &Corpus) -> Result<(), String> {
    let failed = |error| format!("--endpoint {endpoint}, --bucket {bucket}: {error}");
    let store = server(endpoint, bucket, false, false).map_err(failed)?;
    for at in 0..DISTINCT {
        store.put(&Path::from(key(at)), corpus.object(at).into()).await.map_err(failed)?;
    }
    Ok(())
}
