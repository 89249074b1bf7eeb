//! The contenders: slipring's range engine, with a pool of buffers and without, and object_store
//! alone, used well. Each returns the bytes of a store's object in one piece.
//!
//! | contender | requests per object | its memory |
//! |---|---|---|
//! | `slipring...` | its first bytes, which come with the size; then parts, concurrently | one buffer, which every part is written to |
//! | `object_store` | its size, then `get_ranges` over all parts; object_store joins adjacent parts into one request | the bytes that arrived, and the piece that they are copied to |
//! | `object_store-parts` | its size, then `get_range` for each part, concurrently | the parts, and that piece |
//! | `object_store-get` | one `get`, whose body is collected | that piece: object_store knows its length and allocates once |
//!
//! The contenders of object_store leave retries to the client, which retries by default. They free
//! what arrived as soon as it is copied.

use std::ops::Range;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use slipring::class::{AtLimit, ClassPool};
use slipring_objects::{BufferPoolOptions, RangeEngine, RangeOptions};
use tokio::sync::Semaphore;

use super::options::Plan;
use crate::heap::LARGE_BYTES;

/// Fetches whole objects. Many tasks share one value.
pub trait Fetch: Send + Sync {
    /// Fetches one object into one piece of memory.
    ///
    /// # Errors
    /// The cause, as text.
    fn fetch<'a>(
        &'a self,
        store: &'a dyn ObjectStore,
        path: &'a Path,
    ) -> BoxFuture<'a, Result<Bytes, String>>;

    /// Retries so far. None if the contender doesn't count them.
    fn retries(&self) -> Option<u64> {
        None
    }

    /// Regions of 1 MiB and more that the contender mapped itself or filled with pages again, so
    /// far. The program's allocator doesn't see them.
    fn mapped(&self) -> u64 {
        0
    }
}

/// A contender, and how to make it.
#[derive(Clone, Copy)]
pub struct Contender {
    pub name: &'static str,
    /// Whether the store's client retries by itself.
    pub client_retries: bool,
    make: fn(&Plan) -> Result<Box<dyn Fetch>, String>,
}

impl Contender {
    /// # Errors
    /// A wrong option.
    pub fn make(&self, plan: &Plan) -> Result<Box<dyn Fetch>, String> {
        (self.make)(plan)
    }
}

/// Every contender, in the order of a round.
pub const CONTENDERS: [Contender; 6] = [
    Contender { name: "slipring", client_retries: false, make: pooled },
    Contender { name: "slipring-roomy", client_retries: false, make: roomy },
    Contender { name: "slipring-unpooled", client_retries: false, make: unpooled },
    Contender {
        name: "object_store",
        client_retries: true,
        make: |plan| Ok(Box::new(Ranges::new(plan))),
    },
    Contender {
        name: "object_store-parts",
        client_retries: true,
        make: |plan| Ok(Box::new(Parts::new(plan))),
    },
    Contender { name: "object_store-get", client_retries: true, make: |_| Ok(Box::new(Whole)) },
];

/// The contenders of a quick run, for whose figures there are targets.
pub const QUICK: [&str; 4] = ["slipring", "slipring-roomy", "slipring-unpooled", "object_store"];

/// An engine, and its pool if it has one.
struct Engine {
    engine: RangeEngine,
    pool: Option<ClassPool>,
}

/// Parts are written to their places in a buffer of the default pool of [`BufferPoolOptions`], with
/// 16 buffers per class. One option differs from the default: when all buffers are in use, a
/// download waits for one, as in `slipring get`, which also drops each object.
///
/// # Errors
/// Options that the engine or the pool refuses.
pub fn pooled(plan: &Plan) -> Result<Box<dyn Fetch>, String> {
    over(plan, &BufferPoolOptions { at_limit: AtLimit::Wait, ..BufferPoolOptions::default() })
}

/// The same with one buffer per object in flight, so that no download waits.
///
/// # Errors
/// Options that the engine or the pool refuses.
pub fn roomy(plan: &Plan) -> Result<Box<dyn Fetch>, String> {
    over(
        plan,
        &BufferPoolOptions {
            max_buffers_per_class: plan.parallel.get(),
            ..BufferPoolOptions::default()
        },
    )
}

fn over(plan: &Plan, options: &BufferPoolOptions) -> Result<Box<dyn Fetch>, String> {
    let pool = options
        .build()
        .map_err(|error| error.to_string())?
        .ok_or("a pool is enabled by default")?;
    Ok(Box::new(Engine { engine: engine(plan)?.with_buffer_pool(pool.clone()), pool: Some(pool) }))
}

/// The same without a pool: memory is allocated for each object.
///
/// # Errors
/// Options that the engine refuses.
pub fn unpooled(plan: &Plan) -> Result<Box<dyn Fetch>, String> {
    Ok(Box::new(Engine { engine: engine(plan)?, pool: None }))
}

fn engine(plan: &Plan) -> Result<RangeEngine, String> {
    let options = RangeOptions {
        part_bytes: Some(plan.part_size as u64),
        concurrency: Some(plan.concurrency.get()),
        ..RangeOptions::default()
    };
    RangeEngine::new(&options).map_err(|error| error.to_string())
}

impl Fetch for Engine {
    fn fetch<'a>(
        &'a self,
        store: &'a dyn ObjectStore,
        path: &'a Path,
    ) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(async move {
            let object = self.engine.get(store, path).await.map_err(|error| error.to_string())?;
            Ok(object.bytes)
        })
    }

    fn retries(&self) -> Option<u64> {
        Some(self.engine.stats().retries)
    }

    fn mapped(&self) -> u64 {
        let Some(pool) = &self.pool else { return 0 };
        let stats = pool.stats();
        let large = stats.classes.iter().filter(|class| class.class_bytes >= LARGE_BYTES);
        // Fresh buffers come from the program's allocator, which counts them.
        large.map(|class| class.misses - class.fresh).sum()
    }
}

/// The ranges of an object of `size` bytes.
fn ranges(size: u64, part_bytes: u64) -> Vec<Range<u64>> {
    (0..size.div_ceil(part_bytes))
        .map(|at| at * part_bytes..size.min((at + 1) * part_bytes))
        .collect()
}

/// Assembles an object. Each part is freed when it is copied.
fn concatenated(size: u64, parts: Vec<Bytes>) -> Bytes {
    let mut whole = Vec::with_capacity(size as usize);
    for part in parts {
        whole.extend_from_slice(&part);
    }
    whole.into()
}

fn text(error: object_store::Error) -> String {
    error.to_string()
}

/// `get_ranges`, then concatenates.
pub struct Ranges {
    part_bytes: u64,
}

impl Ranges {
    pub fn new(plan: &Plan) -> Self {
        Self { part_bytes: plan.part_size as u64 }
    }
}

impl Fetch for Ranges {
    fn fetch<'a>(
        &'a self,
        store: &'a dyn ObjectStore,
        path: &'a Path,
    ) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(async move {
            let size = store.head(path).await.map_err(text)?.size;
            let parts =
                store.get_ranges(path, &ranges(size, self.part_bytes)).await.map_err(text)?;
            Ok(concatenated(size, parts))
        })
    }
}

/// `get_range` for each part, concurrently, then concatenates. The limit on requests in flight is
/// that of the engine, over all objects.
pub struct Parts {
    part_bytes: u64,
    permits: Semaphore,
    in_flight_max: usize,
}

impl Parts {
    pub fn new(plan: &Plan) -> Self {
        let in_flight_max = plan.concurrency.get();
        let permits = Semaphore::new(in_flight_max);
        Self { part_bytes: plan.part_size as u64, permits, in_flight_max }
    }
}

impl Fetch for Parts {
    fn fetch<'a>(
        &'a self,
        store: &'a dyn ObjectStore,
        path: &'a Path,
    ) -> BoxFuture<'a, Result<Bytes, String>> {
        let part = move |range: Range<u64>| async move {
            let _permit = self.permits.acquire().await.map_err(|closed| closed.to_string())?;
            store.get_range(path, range).await.map_err(text)
        };
        Box::pin(async move {
            let size = store.head(path).await.map_err(text)?.size;
            let parts =
                stream::iter(ranges(size, self.part_bytes)).map(part).buffered(self.in_flight_max);
            Ok(concatenated(size, parts.try_collect().await?))
        })
    }
}

/// One `get`, collected.
pub struct Whole;

impl Fetch for Whole {
    fn fetch<'a>(
        &'a self,
        store: &'a dyn ObjectStore,
        path: &'a Path,
    ) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(async move { store.get(path).await.map_err(text)?.bytes().await.map_err(text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_an_object_once_and_in_order() {
        assert_eq!(ranges(10, 4), [0..4, 4..8, 8..10]);
        assert_eq!((ranges(8, 4).len(), ranges(1, 4).len(), ranges(0, 4).len()), (2, 1, 0));
    }
}
