//! slipring's range engine, with a pool of buffers and without.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use object_store::ObjectStore;
use object_store::path::Path;
use slipring::class::{AtLimit, ClassPool};
use slipring_objects::{BufferPoolOptions, RangeEngine, RangeOptions};

use super::contender::Fetch;
use super::options::Plan;
use crate::heap::LARGE_BYTES;

/// An engine and, with one, its pool.
struct Engine {
    engine: RangeEngine,
    pool: Option<ClassPool>,
}

/// Parts at their places in a buffer of a pool as [`BufferPoolOptions`] has it by default, 16 buffers a
/// class, but for what happens when all are in use: as in `slipring get`, which lets go of each
/// object too, whoever finds none waits for one.
///
/// # Errors
/// Options that the engine or the pool refuses.
pub fn pooled(plan: &Plan) -> Result<Box<dyn Fetch>, String> {
    over(plan, &BufferPoolOptions { at_limit: AtLimit::Wait, ..BufferPoolOptions::default() })
}

/// The same with a buffer for each object that is fetched at once, so that nobody waits.
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

/// The same, in memory that is allocated for each object.
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
        // Fresh ones come from the program's allocator, which counts them.
        large.map(|class| class.misses - class.fresh).sum()
    }
}
