//! The default allocator: a vector with the payload's capacity for each operation, freed when its
//! entry is replaced. No pool, no limit, and the only contender whose payloads may live as long as
//! they like and on any thread.

use std::alloc::System;

use super::allocator::Named;
use super::{Contender, Exhausted, Fill};
use crate::case::Plan;

/// An entry is the vector itself.
pub struct Glibc {
    entries: Vec<Vec<u8>>,
}

/// Called explicitly, for benches where all allocators are.
impl Named for System {
    const NAME: &'static str = "glibc";
    const ALLOCATOR: Self = Self;
}

impl Contender for Glibc {
    const NAME: &'static str = "glibc";
    const ANY_ORDER: bool = true;

    fn new(plan: &Plan) -> Result<Self, String> {
        Ok(Self { entries: (0..plan.slots).map(|_| Vec::new()).collect() })
    }

    fn memory_bytes(&self) -> usize {
        self.entries.iter().map(Vec::capacity).sum()
    }

    #[inline(always)]
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        let mut payload = Vec::with_capacity(bytes);
        fill.append(op, bytes, &mut payload);
        self.entries[entry] = payload;
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        check(&self.entries[entry])
    }
}
