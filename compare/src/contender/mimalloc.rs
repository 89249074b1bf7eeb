//! The allocator mimalloc, called explicitly: see [`super::allocator`]. Its free lists are sharded
//! by page and by thread, so what one thread allocates and frees needs no atomic instruction.

use mimalloc::MiMalloc;

use super::allocator::{Allocator, Named};

/// A block of mimalloc for each payload.
pub type Mimalloc = Allocator<MiMalloc>;

impl Named for MiMalloc {
    const NAME: &'static str = "mimalloc";
    const ALLOCATOR: Self = MiMalloc;
}
