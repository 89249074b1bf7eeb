//! A free list: the pool cut into buffers of the largest size, their numbers on a stack. What most
//! programs write first, and hard to beat while payloads are alike: the newest released buffer is
//! used next, so the working set is what is alive, in any pool. It pays in memory, the largest size
//! for every payload.

use memmap2::MmapMut;

use super::memory::mapped_on;
use super::{Contender, Exhausted, Fill};
use crate::case::Plan;

/// An entry is the number of a buffer and the length of its payload.
pub struct FreeList {
    memory: MmapMut,
    buffer_bytes: usize,
    free: Vec<u32>,
    entries: Vec<Option<(u32, u32)>>,
}

impl FreeList {
    #[inline(always)]
    fn buffer(&mut self, number: u32, bytes: usize) -> &mut [u8] {
        let offset = number as usize * self.buffer_bytes;
        &mut self.memory[offset..offset + bytes]
    }
}

impl Contender for FreeList {
    const NAME: &'static str = "free-list";
    const ANY_ORDER: bool = true;
    const CHOOSES_PAGES: bool = true;

    fn new(plan: &Plan) -> Result<Self, String> {
        // One buffer more than the pool holds: an operation allocates before it releases, and `fit`
        // is exactly the slots.
        let buffers = u32::try_from(plan.pool_bytes / plan.largest_bytes + 1)
            .map_err(|error| error.to_string())?;
        let memory = mapped_on(buffers as usize * plan.largest_bytes, plan.pages)?;
        // The lowest number on top, so that the first lap is in order.
        let free = (0..buffers).rev().collect();
        Ok(Self { memory, buffer_bytes: plan.largest_bytes, free, entries: vec![None; plan.slots] })
    }

    fn memory_bytes(&self) -> usize {
        self.memory.len()
    }

    #[inline(always)]
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        let number = self.free.pop().ok_or(Exhausted)?;
        fill.fill(op, self.buffer(number, bytes));
        if let Some((old, _)) = self.entries[entry].replace((number, bytes as u32)) {
            self.free.push(old);
        }
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        let (number, bytes) = self.entries[entry].expect("the entry has been put");
        check(self.buffer(number, bytes as usize))
    }
}
