//! `arc-ring` and `static-ring`: rings without chunks, whose slices advance a shared read cursor
//! when they are dropped. They are the designs that this library's ring replaces (docs/ORIGINS.md),
//! written anew.
//!
//! Two things differ from the originals. A payload that doesn't fit before the end of the region
//! skips the bytes that are left there. The original never released these bytes and stayed full for
//! ever; here the slice carries them and releases them when it is dropped. And a slice holds
//! offsets instead of a pointer, which costs a bounds check and needs no unsafe code.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapMut;

use super::case::Plan;
use super::contender::Contender;
use crate::memory::mapped_on;
use crate::payload::{Exhausted, Fill};

/// `arc-ring`: a ring whose slices hold an `Arc` of the read cursor, as [`CountedRing`] describes
/// it.
pub type ArcRing = CountedRing<true>;

/// One mapped region, a plain write position, a read cursor that each dropped slice advances by
/// `fetch_add` through its own `Arc`, and `%` for the place of a position. Slices are dropped in
/// the order of their allocation.
///
/// `GIVES_PADDING_BACK` is false for a defective form that a test shows: see the module.
pub struct CountedRing<const GIVES_PADDING_BACK: bool> {
    memory: MmapMut,
    capacity_bytes: u64,
    /// Bytes ever allocated, padding included.
    written: u64,
    /// Bytes ever released.
    read: Arc<AtomicU64>,
    entries: Vec<Option<CountedSlice>>,
}

struct CountedSlice {
    offset: usize,
    bytes: usize,
    /// The bytes that the drop releases: the payload and the padding before it.
    held: u64,
    read: Arc<AtomicU64>,
}

impl Drop for CountedSlice {
    #[inline(always)]
    fn drop(&mut self) {
        // Relaxed: only the thread that drops reads it.
        self.read.fetch_add(self.held, Ordering::Relaxed);
    }
}

impl<const GIVES_PADDING_BACK: bool> CountedRing<GIVES_PADDING_BACK> {
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
    fn allocate(&mut self, bytes: usize) -> Result<CountedSlice, Exhausted> {
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
        Ok(CountedSlice { offset, bytes, held, read: Arc::clone(&self.read) })
    }
}

impl<const GIVES_PADDING_BACK: bool> Contender for CountedRing<GIVES_PADDING_BACK> {
    const NAME: &'static str = if GIVES_PADDING_BACK { "arc-ring" } else { "arc-ring-leaky" };
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

thread_local! {
    /// Bytes ever released to the pool of this thread.
    static READ: AtomicU64 = const { AtomicU64::new(0) };
    static POOL_EXISTS: Cell<bool> = const { Cell::new(false) };
}

/// `static-ring`: the same ring with its read cursor in a static of the thread, so that no slice
/// carries an `Arc`, and nothing is cloned or counted.
///
/// Because the cursor is static, a thread has one such pool at a time, and a slice must be dropped
/// on its pool's thread.
pub struct StaticRing {
    entries: Vec<Option<StaticSlice>>,
    memory: MmapMut,
    capacity_bytes: u64,
    /// Bytes ever allocated, padding included.
    written: u64,
}

struct StaticSlice {
    offset: usize,
    bytes: usize,
    /// The bytes that the drop releases: the payload and the padding before it.
    held: u64,
}

impl Drop for StaticSlice {
    #[inline(always)]
    fn drop(&mut self) {
        READ.with(|read| read.fetch_add(self.held, Ordering::Relaxed));
    }
}

impl StaticRing {
    #[inline(always)]
    fn allocate(&mut self, bytes: usize) -> Result<StaticSlice, Exhausted> {
        let place = self.written % self.capacity_bytes;
        let left = self.capacity_bytes - place;
        let padding = if (bytes as u64) > left { left } else { 0 };
        let held = bytes as u64 + padding;
        let alive = self.written - READ.with(|read| read.load(Ordering::Relaxed));
        if alive + held > self.capacity_bytes {
            return Err(Exhausted);
        }
        let offset = if padding == 0 { place as usize } else { 0 };
        self.written += held;
        Ok(StaticSlice { offset, bytes, held })
    }
}

impl Contender for StaticRing {
    const NAME: &'static str = "static-ring";
    const CHOOSES_PAGES: bool = true;

    fn new(plan: &Plan) -> Result<Self, String> {
        if POOL_EXISTS.get() {
            return Err("this thread's static pool is in use".to_owned());
        }
        let memory = mapped_on(plan.pool_bytes, plan.pages)?;
        let entries = (0..plan.slots).map(|_| None).collect();
        READ.with(|read| read.store(0, Ordering::Relaxed));
        POOL_EXISTS.set(true);
        Ok(Self { entries, memory, capacity_bytes: plan.pool_bytes as u64, written: 0 })
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

impl Drop for StaticRing {
    fn drop(&mut self) {
        self.entries.clear();
        POOL_EXISTS.set(false);
    }
}

#[cfg(test)]
impl<const GIVES_PADDING_BACK: bool> CountedRing<GIVES_PADDING_BACK> {
    /// Drops every slice.
    pub fn release_all(&mut self) {
        self.entries.iter_mut().for_each(|entry| *entry = None);
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Pattern;
    use crate::ring::case::Case;

    #[test]
    fn a_thread_has_one_pool_at_a_time_and_starts_anew_with_the_next() {
        let plan = Case { slots: 4, ..Case::FIT }.plan();
        let mut first = StaticRing::new(&plan).unwrap();
        assert!(StaticRing::new(&plan).is_err_and(|error| error.contains("in use")));
        first.put(0, 1, 512, &Pattern).unwrap();
        drop(first);
        let mut second = StaticRing::new(&plan).unwrap();
        (0..4).for_each(|entry| second.put(entry, 2, 512, &Pattern).unwrap());
        assert_eq!(
            second.put(0, 3, 512, &Pattern),
            Err(Exhausted),
            "the pool is as large as it says"
        );
    }
}
