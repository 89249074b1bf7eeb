//! The seed's later design, written anew: one static pool a thread. Slices reach its read cursor as
//! a static of the thread, so that none carries an `Arc`, and nothing is cloned or counted.
//!
//! What it was taken to be: everything else as in `seed-arc`. A plain write position, a read cursor
//! that each dropped slice advances by a Relaxed `fetch_add`, `%` for the place of a position. The
//! same two things differ from the original: padding is given back, and a slice holds offsets
//! instead of a pointer. Because the cursor is static, a thread can have one such pool at a time,
//! and a slice must be dropped on its pool's thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapMut;

use super::memory::mapped_on;
use super::{Contender, Exhausted, Fill};
use crate::case::Plan;

thread_local! {
    /// Bytes ever given back to the pool of this thread.
    static READ: AtomicU64 = const { AtomicU64::new(0) };
    static POOL_EXISTS: Cell<bool> = const { Cell::new(false) };
}

/// The pool; its read cursor stands beside it.
pub struct SeedStatic {
    entries: Vec<Option<Slice>>,
    memory: MmapMut,
    capacity_bytes: u64,
    /// Bytes ever allocated, padding included.
    written: u64,
}

struct Slice {
    offset: usize,
    bytes: usize,
    /// What the drop gives back: the bytes and the padding before them.
    held: u64,
}

impl Drop for Slice {
    #[inline(always)]
    fn drop(&mut self) {
        READ.with(|read| read.fetch_add(self.held, Ordering::Relaxed));
    }
}

impl SeedStatic {
    #[inline(always)]
    fn allocate(&mut self, bytes: usize) -> Result<Slice, Exhausted> {
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
        Ok(Slice { offset, bytes, held })
    }
}

impl Contender for SeedStatic {
    const NAME: &'static str = "seed-static";
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

impl Drop for SeedStatic {
    fn drop(&mut self) {
        self.entries.clear();
        POOL_EXISTS.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;
    use crate::contender::Pattern;

    #[test]
    fn a_thread_has_one_pool_at_a_time_and_starts_anew_with_the_next() {
        let plan = Case { slots: 4, ..Case::FIT }.plan();
        let mut first = SeedStatic::new(&plan).unwrap();
        assert!(SeedStatic::new(&plan).is_err_and(|error| error.contains("in use")));
        first.put(0, 1, 512, &Pattern).unwrap();
        drop(first);
        let mut second = SeedStatic::new(&plan).unwrap();
        (0..4).for_each(|entry| second.put(entry, 2, 512, &Pattern).unwrap());
        assert_eq!(
            second.put(0, 3, 512, &Pattern),
            Err(Exhausted),
            "the pool is as large as it says"
        );
    }
}
