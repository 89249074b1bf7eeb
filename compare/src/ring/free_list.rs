//! `free-list` and `inline-slots`: contenders with a buffer of the largest size for every payload.

use memmap2::MmapMut;

use super::case::Plan;
use super::contender::Contender;
use crate::memory::mapped_on;
use crate::payload::{Exhausted, Fill};

/// `free-list`: the pool cut into buffers of the largest size, with their numbers on a stack. Most
/// programs write this first, and it is hard to beat while payloads are alike: the newest released
/// buffer is used next, so the working set is what is alive, in any pool. Its price is memory:
/// every payload occupies the largest size.
///
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
        // One buffer more than the pool holds: an operation allocates before it releases, and the
        // pool of a `fit` case holds exactly the slots.
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

/// Each buffer is preceded by the length of its payload.
const LENGTH_BYTES: usize = size_of::<u64>();

/// Slots start on a cache line, as events that are padded against false sharing do.
const ALIGN_BYTES: usize = 64;

/// `inline-slots`: slots with a buffer of the largest size inside, as in a ring of fixed-size
/// events. Nothing is allocated and nothing is released, because the new payload overwrites the old
/// one. Its price is that of the free list and more: a payload exists only in its slot and only
/// until the slot is written again, so it is never alive together with the one that replaces it.
///
/// An entry is a slot: a length and a buffer.
pub struct InlineSlots {
    memory: MmapMut,
    slot_bytes: usize,
}

impl Contender for InlineSlots {
    const NAME: &'static str = "inline-slots";
    const ANY_ORDER: bool = true;
    const CHOOSES_PAGES: bool = true;

    fn new(plan: &Plan) -> Result<Self, String> {
        let slot_bytes = (LENGTH_BYTES + plan.largest_bytes).next_multiple_of(ALIGN_BYTES);
        Ok(Self { memory: mapped_on(plan.slots * slot_bytes, plan.pages)?, slot_bytes })
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
        let slot = &mut self.memory[entry * self.slot_bytes..][..LENGTH_BYTES + bytes];
        let (length, payload) = slot.split_at_mut(LENGTH_BYTES);
        length.copy_from_slice(&(bytes as u64).to_le_bytes());
        fill.fill(op, payload);
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        let slot = &self.memory[entry * self.slot_bytes..][..self.slot_bytes];
        let (length, buffer) = slot.split_first_chunk().expect("a slot begins with a length");
        check(&buffer[..u64::from_le_bytes(*length) as usize])
    }
}
