//! The ladder: one bump ring, and on each rung one ingredient more, so that an operation's
//! nanoseconds have names.
//!
//! ```text
//!   empty-harness      takes the size, writes 8 bytes into the entry
//!   ladder-plain       a ring with plain cursors: place by comparison, release by addition, one bounds check
//!   ladder-modulo      its place is `position % capacity`
//!   ladder-fetch-add   its release is a `fetch_add`, relaxed
//!   ladder-arc         its entry holds the read cursor by an `Arc`, cloned with each allocation and dropped with each release
//! ```
//!
//! The last rung is the seed's design again, built from the same parts as the others, so that each
//! rung differs from the one below by its ingredient only. No rung has chunks or a window: they
//! release in order, and a pool larger than the cache is marched through.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapMut;

use super::memory::mapped_on;
use super::{Contender, Exhausted, Fill, empty_harness, seed_arc, slipring, slipring_raii};
use crate::case::Plan;
use crate::harness::Runner;

/// The rungs from the lowest, and what they explain.
pub fn ladder() -> Vec<Runner> {
    vec![
        Runner::of::<empty_harness::EmptyHarness>(),
        Runner::of::<Ring<Plain>>(),
        Runner::of::<Ring<Modulo>>(),
        Runner::of::<Ring<FetchAdd>>(),
        Runner::of::<Ring<Counted>>(),
        Runner::of::<slipring::Slipring>(),
        Runner::of::<slipring_raii::SlipringRaii>(),
        Runner::of::<seed_arc::SeedArc>(),
    ]
}

/// What a rung is made of.
trait Rung {
    const NAME: &'static str;
    const DIVIDES: bool;
    /// What an entry holds.
    type Held: Held<Cursor = Self::Cursor>;
    /// The read cursor: bytes ever given back.
    type Cursor: Default;

    fn read(cursor: &Self::Cursor) -> u64;
}

/// A payload in its entry. What doesn't release by its drop does it by `release`.
trait Held {
    type Cursor;

    fn new(range: Range, cursor: &Self::Cursor) -> Self;
    fn range(&self) -> &Range;
    fn release(self, cursor: &mut Self::Cursor);
}

/// Where a payload lies, and what its release gives back: its bytes and the padding before them.
struct Range {
    offset: usize,
    bytes: usize,
    held: u64,
}

struct Plain;
struct Modulo;
struct FetchAdd;
struct Counted;

impl Rung for Plain {
    const NAME: &'static str = "ladder-plain";
    const DIVIDES: bool = false;
    type Held = Integers;
    type Cursor = u64;

    fn read(cursor: &u64) -> u64 {
        *cursor
    }
}

impl Rung for Modulo {
    const NAME: &'static str = "ladder-modulo";
    const DIVIDES: bool = true;
    type Held = Integers;
    type Cursor = u64;

    fn read(cursor: &u64) -> u64 {
        *cursor
    }
}

impl Rung for FetchAdd {
    const NAME: &'static str = "ladder-fetch-add";
    const DIVIDES: bool = true;
    type Held = Added;
    type Cursor = AtomicU64;

    fn read(cursor: &AtomicU64) -> u64 {
        cursor.load(Ordering::Relaxed)
    }
}

impl Rung for Counted {
    const NAME: &'static str = "ladder-arc";
    const DIVIDES: bool = true;
    type Held = Slice;
    type Cursor = Arc<AtomicU64>;

    fn read(cursor: &Arc<AtomicU64>) -> u64 {
        cursor.load(Ordering::Relaxed)
    }
}

/// Released by a plain addition.
struct Integers(Range);

impl Held for Integers {
    type Cursor = u64;

    fn new(range: Range, _cursor: &u64) -> Self {
        Self(range)
    }

    fn range(&self) -> &Range {
        &self.0
    }

    #[inline]
    fn release(self, cursor: &mut u64) {
        *cursor += self.0.held;
    }
}

/// Released by one locked instruction.
struct Added(Range);

impl Held for Added {
    type Cursor = AtomicU64;

    fn new(range: Range, _cursor: &AtomicU64) -> Self {
        Self(range)
    }

    fn range(&self) -> &Range {
        &self.0
    }

    #[inline]
    fn release(self, cursor: &mut AtomicU64) {
        // As an addition that other threads may see: `get_mut` would be a plain one.
        cursor.fetch_add(self.0.held, Ordering::Relaxed);
    }
}

/// Releases itself when dropped, through its own count of the cursor: three locked instructions in
/// a life.
struct Slice {
    range: Range,
    cursor: Arc<AtomicU64>,
}

impl Drop for Slice {
    #[inline]
    fn drop(&mut self) {
        self.cursor.fetch_add(self.range.held, Ordering::Relaxed);
    }
}

impl Held for Slice {
    type Cursor = Arc<AtomicU64>;

    #[inline]
    fn new(range: Range, cursor: &Arc<AtomicU64>) -> Self {
        Self { range, cursor: Arc::clone(cursor) }
    }

    fn range(&self) -> &Range {
        &self.range
    }

    #[inline]
    fn release(self, _cursor: &mut Arc<AtomicU64>) {}
}

/// One rung.
struct Ring<R: Rung> {
    memory: MmapMut,
    capacity_bytes: u64,
    /// Bytes ever allocated, padding included.
    written: u64,
    /// `written` within the memory, for rungs that don't divide.
    place: u64,
    cursor: R::Cursor,
    entries: Vec<Option<R::Held>>,
}

impl<R: Rung> Ring<R> {
    #[inline]
    fn allocate(&mut self, bytes: usize) -> Result<Range, Exhausted> {
        let place = if R::DIVIDES { self.written % self.capacity_bytes } else { self.place };
        let left = self.capacity_bytes - place;
        let padding = if bytes as u64 > left { left } else { 0 };
        let held = bytes as u64 + padding;
        if self.written - R::read(&self.cursor) + held > self.capacity_bytes {
            return Err(Exhausted);
        }
        let offset = if padding == 0 { place } else { 0 };
        self.written += held;
        let end = offset + bytes as u64;
        self.place = if end == self.capacity_bytes { 0 } else { end };
        Ok(Range { offset: offset as usize, bytes, held })
    }
}

impl<R: Rung> Contender for Ring<R> {
    const NAME: &'static str = R::NAME;
    const CHOOSES_PAGES: bool = true;

    fn new(plan: &Plan) -> Result<Self, String> {
        let memory = mapped_on(plan.pool_bytes, plan.pages)?;
        let entries = (0..plan.slots).map(|_| None).collect();
        let (capacity_bytes, cursor) = (plan.pool_bytes as u64, R::Cursor::default());
        Ok(Self { memory, capacity_bytes, written: 0, place: 0, cursor, entries })
    }

    fn memory_bytes(&self) -> usize {
        self.memory.len()
    }

    #[inline]
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        let range = self.allocate(bytes)?;
        fill.fill(op, &mut self.memory[range.offset..range.offset + bytes]);
        if let Some(old) = self.entries[entry].replace(R::Held::new(range, &self.cursor)) {
            old.release(&mut self.cursor);
        }
        Ok(())
    }

    fn verify_slot<T>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> T) -> T {
        let Range { offset, bytes, .. } =
            *self.entries[entry].as_ref().expect("the entry has been put").range();
        check(&self.memory[offset..offset + bytes])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Case, Pool, Written};
    use crate::harness::{Failure, Rounds, measure};

    #[test]
    fn every_rung_keeps_what_it_was_given_and_is_measured() {
        let rounds = Rounds { repeats: 2, ops: 2000, verified_ops: 20_000 };
        // Sizes that don't divide the pool: padding at every wrap.
        for (dim, pool_bytes) in [(16, 16 << 10), (3, 9 << 10)] {
            let case = Case {
                written: Written::Whole,
                dim,
                slots: 8,
                pool: Pool::Bytes(pool_bytes),
                ..Case::FIT
            };
            let timings = measure(&case, &ladder(), &rounds).unwrap();
            let names: Vec<&str> = timings.iter().map(|timing| timing.contender).collect();
            let rungs = [
                "empty-harness",
                "ladder-plain",
                "ladder-modulo",
                "ladder-fetch-add",
                "ladder-arc",
            ];
            assert_eq!((&names[..5], names.len()), (&rungs[..], 8));
        }
    }

    #[test]
    fn every_rung_refuses_before_it_overwrites() {
        let case = Case { written: Written::Whole, slots: 8, pool: Pool::Bytes(1024), ..Case::FIT };
        for rung in ladder().into_iter().filter(|rung| rung.name.starts_with("ladder-")) {
            let outcome = (rung.verify)(&case.plan(), &case.drawn(), 2000);
            assert!(
                matches!(outcome, Err(Failure::Exhausted { .. })),
                "{}: {outcome:?}",
                rung.name
            );
        }
    }
}
