//! object_store alone, as a good user of it writes it: three ways to an object in one piece.
//!
//! | contender | requests of an object | its memory |
//! |---|---|---|
//! | `object_store` | its size, then `get_ranges` over all parts; object_store joins parts that touch each other into one request | what came, and the piece it is put together in |
//! | `object_store-parts` | its size, then `get_range` for each part, side by side | the parts, and that piece |
//! | `object_store-get` | one, `get`, whose body is collected | that piece: object_store knows its length and allocates once |
//!
//! All leave retries to the client, which has them by default, and free what came as soon as it is
//! copied.

use std::ops::Range;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::Semaphore;

use super::contender::Fetch;
use super::options::Plan;

/// The ranges of an object of `size` bytes.
fn ranges(size: u64, part_bytes: u64) -> Vec<Range<u64>> {
    (0..size.div_ceil(part_bytes))
        .map(|at| at * part_bytes..size.min((at + 1) * part_bytes))
        .collect()
}

/// Puts an object together; each part is freed when it is copied.
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

/// `get_ranges` and concatenate.
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

/// `get_range` for each part, side by side, and concatenate. So many requests are in flight, all
/// objects together, as the engine may have.
pub struct Parts {
    part_bytes: u64,
    in_flight: Semaphore,
    at_once: usize,
}

impl Parts {
    pub fn new(plan: &Plan) -> Self {
        let at_once = plan.concurrency.get();
        Self { part_bytes: plan.part_size as u64, in_flight: Semaphore::new(at_once), at_once }
    }
}

impl Fetch for Parts {
    fn fetch<'a>(
        &'a self,
        store: &'a dyn ObjectStore,
        path: &'a Path,
    ) -> BoxFuture<'a, Result<Bytes, String>> {
        let part = move |range: Range<u64>| async move {
            let _place = self.in_flight.acquire().await.map_err(|closed| closed.to_string())?;
            store.get_range(path, range).await.map_err(text)
        };
        Box::pin(async move {
            let size = store.head(path).await.map_err(text)?.size;
            let parts =
                stream::iter(ranges(size, self.part_bytes)).map(part).buffered(self.at_once);
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
