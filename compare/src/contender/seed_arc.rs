//! The seed's design, written anew: one mapped region, a plain write position, a read cursor that
//! each dropped slice advances by `fetch_add` through its own `Arc`, `%` for the place of a
//! position. Slices are dropped in the order of their allocation.
//!
//! Two things differ from the original. A payload that doesn't fit before the end of the region
//! skips what is left there: the original never gave these bytes back and ran full for ever, here
//! the slice carries them and gives them back on its drop. And the slice holds offsets instead of a
//! pointer, which costs a bounds check and spares the unsafe code.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapMut;

use super::memory::mapped_on;
use super::{Contender, Exhausted, Fill};
use crate::case::Plan;

/// The design as it takes part: padding is given back.
pub type SeedArc = Seed<true>;

/// `GIVES_PADDING_BACK` is false for the original, whose loss is a test.
pub struct Seed<const GIVES_PADDING_BACK: bool> {
    memory: MmapMut,
    capacity_bytes: u64,
    /// Bytes ever allocated, padding included.
    written: u64,
    /// Bytes ever given back.
    read: Arc<AtomicU64>,
    entries: Vec<Option<Slice>>,
}

struct Slice {
    offset: usize,
    bytes: usize,
    /// What the drop gives back: the bytes and the padding before them.
    held: u64,
    read: Arc<AtomicU64>,
}

impl Drop for Slice {
    #[inline(always)]
    fn drop(&mut self) {
        // Relaxed: the only reader is the thread that drops.
        self.read.fetch_add(self.held, Ordering::Relaxed);
    }
}

impl<const GIVES_PADDING_BACK: bool> Seed<GIVES_PADDING_BACK> {
    /// Over a mapping that holds the plan's pool.
    pub fn over(memory: MmapMut, plan: &Plan) -> Self {
        assert!(memory.len() >= plan.pool_bytes, "{} bytes are mapped", memory.len());
        let entries = (0..plan.slots).map(|_| None).collect();
        Self {
            memory,
            capacity_bytes: plan.pool_bytes as u64,
            written: 0,
            read: Arc::default(),
            entries,
        }
    }

    #[inline(always)]
    fn allocate(&mut self, bytes: usize) -> Result<Slice, Exhausted> {
        let place = self.written % self.capacity_bytes;
        let left = self.capacity_bytes - place;
        let padding = if (bytes as u64) > left { left } else { 0 };
        let taken = bytes as u64 + padding;
        let alive = self.written - self.read.load(Ordering::Relaxed);
        if alive + taken > self.capacity_bytes {
            return Err(Exhausted);
        }
        let offset = if padding == 0 { place as usize } else { 0 };
        self.written += taken;
        let held = if GIVES_PADDING_BACK { taken } else { bytes as u64 };
        Ok(Slice { offset, bytes, held, read: Arc::clone(&self.read) })
    }
}

impl<const GIVES_PADDING_BACK: bool> Contender for Seed<GIVES_PADDING_BACK> {
    const NAME: &'static str = if GIVES_PADDING_BACK { "seed-arc" } else { "seed-arc-original" };
    const CHOOSES_PAGES: bool = true;

    fn new(plan: &Plan) -> Result<Self, String> {
        Ok(Self::over(mapped_on(plan.pool_bytes, plan.pages)?, plan))
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
        let slice = self.allocate(bytes)?;
        fill.fill(op, &mut self.memory[slice.offset..slice.offset + bytes]);
        self.entries[entry] = Some(slice);
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        let slice = self.entries[entry].as_ref().expect("the entry has been put");
        check(&self.memory[slice.offset..slice.offset + slice.bytes])
    }
}

#[cfg(test)]
impl<const GIVES_PADDING_BACK: bool> Seed<GIVES_PADDING_BACK> {
    /// Drops every slice, so that nothing is alive.
    pub fn release_all(&mut self) {
        self.entries.iter_mut().for_each(|entry| *entry = None);
    }
}
