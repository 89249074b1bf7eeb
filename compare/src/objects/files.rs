//! Objects of a store into files, with object_store alone: the rival of `slipring get -o` that
//! `scripts/record downloads` runs beside it.
//!
//! As object_store's documentation shows it: one `get` per object, whose body is written to a file
//! of tokio's as it arrives. Each object is a task of its own. The client has its own defaults, and
//! so its own retries.

use std::collections::HashMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::choice::Wrong;

/// The objects, and where they go.
#[derive(Args)]
pub struct FilesOptions {
    /// Objects of one bucket: s3://BUCKET/KEY
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    /// Folder to write to, which must exist: one file per object, named by the last part of its
    /// key; existing files with these names are replaced
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Number of objects fetched in parallel
    #[arg(long, default_value = "8", value_name = "OBJECTS")]
    parallel: NonZero<usize>,
}

/// Downloads all objects. When one fails, those under way are dropped.
///
/// # Errors
/// A wrong option, or the first object that didn't become a file.
pub fn run(options: &FilesOptions) -> Result<(), Wrong> {
    let (bucket, keys) = one_bucket(&options.urls).map_err(Wrong::Option)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Wrong::Case(format!("there is no runtime: {error}")))?;
    let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build();
    let store: Arc<dyn ObjectStore> =
        Arc::new(store.map_err(|error| Wrong::Option(error.to_string()))?);
    let to_file = |(name, key): FileAndKey| {
        let (store, target) = (Arc::clone(&store), options.output.join(name));
        async move {
            let task = tokio::spawn(async move { download(&*store, &key, target).await });
            task.await.map_err(|error| error.to_string())?
        }
    };
    runtime
        .block_on(
            stream::iter(keys)
                .map(to_file)
                .buffer_unordered(options.parallel.get())
                .try_collect::<()>(),
        )
        .map_err(Wrong::Case)
}

async fn download(store: &dyn ObjectStore, key: &Path, target: PathBuf) -> Result<(), String> {
    let of_store = |error: object_store::Error| format!("{key}: {error}");
    let of_file = |error: std::io::Error| format!("{}: {error}", target.display());
    let mut body = store.get(key).await.map_err(of_store)?.into_stream();
    let mut file = File::create(&target).await.map_err(of_file)?;
    while let Some(bytes) = body.try_next().await.map_err(of_store)? {
        file.write_all(&bytes).await.map_err(of_file)?;
    }
    // The last write is still under way in a thread of the runtime.
    file.flush().await.map_err(of_file)
}

/// The name of an object's file, and its key.
type FileAndKey = (String, Path);

/// The bucket of all objects, and what each is named.
fn one_bucket(urls: &[String]) -> Result<(&str, Vec<FileAndKey>), String> {
    let (mut bucket, mut keys) = (None, Vec::with_capacity(urls.len()));
    let mut named: HashMap<String, &str> = HashMap::new();
    for url in urls {
        let rest = url.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
        let (own, key) = rest.ok_or_else(|| format!("{url}: write s3://BUCKET/KEY"))?;
        if *bucket.get_or_insert(own) != own {
            return Err(format!("{url}: all objects must be in the bucket of the first one"));
        }
        let key = Path::parse(key).map_err(|error| format!("{url}: {error}"))?;
        let name = key.filename().ok_or_else(|| format!("{url}: it has no key"))?.to_owned();
        if let Some(other) = named.insert(name.clone(), url) {
            return Err(format!("{url}: {other} would be the same file, {name}"));
        }
        keys.push((name, key));
    }
    Ok((bucket.ok_or("there is no URL")?, keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(urls: &[&str]) -> Result<(String, Vec<String>), String> {
        let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
        let (bucket, keys) = one_bucket(&urls)?;
        let keys = keys.into_iter().map(|(name, key)| format!("{key} to {name}"));
        Ok((bucket.to_owned(), keys.collect()))
    }

    #[test]
    fn a_file_has_the_last_part_of_its_key() {
        let found = of(&["s3://b/a/0", "s3://b/1"]).unwrap();
        assert_eq!(found, ("b".to_owned(), vec!["a/0 to 0".to_owned(), "1 to 1".to_owned()]));
    }

    #[test]
    fn what_would_lose_an_object_is_refused() {
        for (urls, why) in [
            (&["http://b/0"][..], "write s3://BUCKET/KEY"),
            (&["s3://b"], "write s3://BUCKET/KEY"),
            (&["s3://b/"], "it has no key"),
            (&["s3://b/x//y"], "s3://b/x//y: "),
            (&["s3://b/0", "s3://c/1"], "s3://c/1: all objects must be in the bucket"),
            (&["s3://b/x/0", "s3://b/y/0"], "s3://b/y/0: s3://b/x/0 would be the same file, 0"),
            (&[], "there is no URL"),
        ] {
            assert!(of(urls).is_err_and(|error| error.contains(why)), "{urls:?}");
        }
    }
}
