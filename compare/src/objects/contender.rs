//! Who fetches: one way from a store and a key to an object's bytes in one piece.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use object_store::ObjectStore;
use object_store::path::Path;

use super::options::Plan;
use super::{engine, plain};

/// Fetches whole objects; many tasks share one.
pub trait Fetch: Send + Sync {
    /// One object, in one piece of memory.
    ///
    /// # Errors
    /// Why there is none.
    fn fetch<'a>(
        &'a self,
        store: &'a dyn ObjectStore,
        path: &'a Path,
    ) -> BoxFuture<'a, Result<Bytes, String>>;

    /// Requests that were made again, so far; none if it doesn't tell.
    fn retries(&self) -> Option<u64> {
        None
    }

    /// Regions of 1 MiB and more that it mapped by itself or filled with pages again, so far: the
    /// program's allocator doesn't see them.
    fn mapped(&self) -> u64 {
        0
    }
}

/// A contender and how it is made.
#[derive(Clone, Copy)]
pub struct Contender {
    pub name: &'static str,
    /// Whether the store's client tries again by itself.
    pub client_retries: bool,
    make: fn(&Plan) -> Result<Box<dyn Fetch>, String>,
}

impl Contender {
    /// # Errors
    /// Options that can't be.
    pub fn make(&self, plan: &Plan) -> Result<Box<dyn Fetch>, String> {
        (self.make)(plan)
    }
}

/// Every contender, in the order of a round.
pub const CONTENDERS: [Contender; 6] = [
    Contender { name: "slipring", client_retries: false, make: engine::pooled },
    Contender { name: "slipring-roomy", client_retries: false, make: engine::roomy },
    Contender { name: "slipring-unpooled", client_retries: false, make: engine::unpooled },
    Contender {
        name: "object_store",
        client_retries: true,
        make: |plan| Ok(Box::new(plain::Ranges::new(plan))),
    },
    Contender {
        name: "object_store-parts",
        client_retries: true,
        make: |plan| Ok(Box::new(plain::Parts::new(plan))),
    },
    Contender {
        name: "object_store-get",
        client_retries: true,
        make: |_| Ok(Box::new(plain::Whole)),
    },
];

/// Those of a quick run, whose figures targets are set for.
pub const QUICK: [&str; 4] = ["slipring", "slipring-roomy", "slipring-unpooled", "object_store"];
