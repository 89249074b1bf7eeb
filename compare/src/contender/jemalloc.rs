//! The allocator jemalloc, called explicitly: see [`super::allocator`]. Blocks come from a cache of
//! the thread, in classes by size.

use tikv_jemallocator::Jemalloc as Allocating;

use super::allocator::{Allocator, Named};

/// A block of jemalloc for each payload.
pub type Jemalloc = Allocator<Allocating>;

impl Named for Allocating {
    const NAME: &'static str = "jemalloc";
    const ALLOCATOR: Self = Allocating;
}
