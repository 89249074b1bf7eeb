//! Slots that hold a buffer of the largest size inline, as a ring of fixed-size events does it:
//! nothing is allocated, and nothing is released, because the new payload is written over the old
//! one. It pays as the free list does, the largest size for every payload, and more: a payload
//! lives in its slot and nowhere else, and goes when its slot is written again, so it never
//! coexists with the one that replaces it.

use memmap2::MmapMut;

use super::memory::mapped_on;
use super::{Contender, Exhausted, Fill};
use crate::case::Plan;

/// Before each buffer stands the length of its payload.
const LENGTH_BYTES: usize = size_of::<u64>();

/// Slots start on a line, as events that are padded against false sharing do.
const ALIGN_BYTES: usize = 64;

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
