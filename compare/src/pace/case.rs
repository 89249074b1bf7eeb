//! A case is a store's shape and the objects to fetch; a setting is what the range engine is given.
//! [`measure`] runs one case with one setting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use serde_json::{Value, json};
use slipring_objects::{BufferPoolOptions, RangeEngine, RangeOptions};
use tokio::time::Instant;

use super::store::{Shape, ShapedStore};

/// A contender.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    part_bytes: Option<u64>,
    concurrency: Option<usize>,
}

/// First the engine's default, then settings with one value fixed, then with both.
pub const SETTINGS: [Setting; 9] = [
    Setting { name: "default", part_bytes: None, concurrency: None },
    Setting { name: "auto-x32", part_bytes: None, concurrency: Some(32) },
    Setting { name: "8MiB-auto", part_bytes: Some(8 << 20), concurrency: None },
    Setting { name: "4MiB-x8", part_bytes: Some(4 << 20), concurrency: Some(8) },
    Setting { name: "4MiB-x32", part_bytes: Some(4 << 20), concurrency: Some(32) },
    Setting { name: "4MiB-x128", part_bytes: Some(4 << 20), concurrency: Some(128) },
    Setting { name: "16MiB-x8", part_bytes: Some(16 << 20), concurrency: Some(8) },
    Setting { name: "16MiB-x32", part_bytes: Some(16 << 20), concurrency: Some(32) },
    Setting { name: "16MiB-x128", part_bytes: Some(16 << 20), concurrency: Some(128) },
];

impl Setting {
    /// The engine's options. Retries are the defaults: a setting that the store refuses too often
    /// fails, as it would for a user.
    pub fn options(&self) -> RangeOptions {
        RangeOptions {
            part_bytes: self.part_bytes,
            concurrency: self.concurrency,
            ..RangeOptions::default()
        }
    }

    /// Whether both values are given, so that the engine chooses none.
    pub fn is_fixed(&self) -> bool {
        self.part_bytes.is_some() && self.concurrency.is_some()
    }
}

/// The objects to fetch.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub name: &'static str,
    pub object_bytes: usize,
    pub objects: usize,
    /// Objects in flight.
    pub parallel: usize,
}

const MIB: usize = 1 << 20;

/// A gigabyte in few large objects, in some, and in many small ones.
pub const WORKS: [Work; 3] = [
    Work { name: "256MiB-x1", object_bytes: 256 * MIB, objects: 4, parallel: 1 },
    Work { name: "64MiB-x8", object_bytes: 64 * MIB, objects: 16, parallel: 8 },
    Work { name: "4MiB-x64", object_bytes: 4 * MIB, objects: 256, parallel: 64 },
];

/// Fetches all objects with one new engine.
///
/// # Errors
/// Options that the engine refuses, or bytes that aren't the object's.
pub async fn measure(
    shape: Shape,
    work: Work,
    setting: Setting,
    block: Bytes,
) -> Result<Value, String> {
    let inner = InMemory::new();
    let (path, bytes) = (Path::from("object"), block.slice(..work.object_bytes));
    inner.put(&path, bytes.clone().into()).await.map_err(|error| error.to_string())?;
    let store = Arc::new(ShapedStore::new(inner, shape));
    let engine = RangeEngine::new(&setting.options()).map_err(|error| error.to_string())?;
    let pool =
        BufferPoolOptions { max_buffers_per_class: work.parallel, ..BufferPoolOptions::default() }
            .build();
    let pool = pool.map_err(|error| error.to_string())?.ok_or("a pool is enabled by default")?;
    let engine = engine.with_buffer_pool(pool);
    let (begun, began) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let one = || {
        let (engine, store, path, begun) =
            (engine.clone(), Arc::clone(&store), path.clone(), Arc::clone(&begun));
        let bytes = bytes.clone();
        async move {
            let mut failed = 0;
            while begun.fetch_add(1, Ordering::Relaxed) < work.objects {
                match engine.get(&*store, &path).await {
                    Ok(object) if object.bytes != bytes => {
                        return Err("it isn't the object: its bytes differ".to_owned());
                    }
                    Ok(_) => {}
                    Err(_) => failed += 1,
                }
            }
            Ok(failed)
        }
    };
    let tasks: Vec<_> = (0..work.parallel).map(|_| tokio::spawn(one())).collect();
    let mut failed = 0;
    for task in tasks {
        failed += task.await.map_err(|error| error.to_string())??;
    }
    let (seconds, came) = (began.elapsed().as_secs_f64(), work.objects - failed);
    let asked = store.asked();
    Ok(json!({
        "ns_per_op": seconds * 1e9 / work.objects as f64,
        "bytes_per_second": (came * work.object_bytes) as f64 / seconds,
        "failed": failed,
        "retries": engine.stats().retries,
        "requests": asked.requests.load(Ordering::Relaxed),
        "refused": asked.refused.load(Ordering::Relaxed),
        "in_flight_most": asked.in_flight_most.load(Ordering::Relaxed),
    }))
}
