//! What the loop itself costs: takes the size, writes 8 bytes into the entry, allocates nothing.

use std::hint::black_box;

use super::{Contender, Exhausted, Fill};
use crate::case::Plan;

/// An entry is the first 8 bytes of a payload.
pub struct EmptyHarness {
    entries: Vec<[u8; 8]>,
}

impl Contender for EmptyHarness {
    const NAME: &'static str = "empty-harness";
    const KEEPS_PAYLOAD: bool = false;
    const ANY_ORDER: bool = true;
    const CHOOSES_PAGES: bool = true;

    fn new(plan: &Plan) -> Result<Self, String> {
        Ok(Self { entries: vec![[0; 8]; plan.slots] })
    }

    fn memory_bytes(&self) -> usize {
        0
    }

    #[inline(always)]
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        _fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        self.entries[entry] = op.to_le_bytes();
        // The size is read by every other contender, so it must be here.
        black_box(bytes);
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        check(&self.entries[entry])
    }
}
