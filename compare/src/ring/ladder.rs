//! The ladder: a ring, and on each rung one ingredient more, so that each part of an operation's
//! nanoseconds has a name.
//!
//! ```text
//!   empty-harness      reads the size, writes 8 bytes into the entry
//!   ladder-plain       a ring with plain cursors: place by comparison, release by addition, one bounds check
//!   ladder-modulo      its place is `position % capacity`
//!   ladder-fetch-add   its release is a `fetch_add`, relaxed
//!   ladder-arc         its entry holds the read cursor by an `Arc`, cloned by each allocation and dropped by each release
//! ```
//!
//! The last rung is `arc-ring` again, built from the same parts as the others, so that each rung
//! differs from the one below only by its ingredient. No rung has chunks or a window: they release
//! in order, and step through all of a pool that is larger than the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapMut;

use super::arc_ring::ArcRing;
use super::case::Plan;
use super::contender::{Contender, EmptyHarness};
use super::harness::{Runner, runner};
use super::slipring::{Slipring, SlipringRaii};
use crate::memory::mapped_on;
use crate::payload::{Exhausted, Fill};

/// The rungs from the lowest, and the contenders that they explain.
pub fn rungs() -> Vec<Runner> {
    vec![
        runner::<EmptyHarness>(),
        runner::<Ring<Plain>>(),
        runner::<Ring<Modulo>>(),
        runner::<Ring<FetchAdd>>(),
        runner::<Ring<Counted>>(),
        runner::<Slipring>(),
        runner::<SlipringRaii>(),
        runner::<ArcRing>(),
    ]
}

/// The ingredients of a rung.
trait Rung {
    const NAME: &'static str;
    const DIVIDES: bool;
    /// The content of an entry.
    type Held: Held<Cursor = Self::Cursor>;
    /// The read cursor: bytes ever released.
    type Cursor: Default;

    fn read(cursor: &Self::Cursor) -> u64;
}

/// A payload in its entry. A kind that isn't released by its drop is released by `release`.
trait Held {
    type Cursor;

    fn new(range: Range, cursor: &Self::Cursor) -> Self;
    fn range(&self) -> &Range;
    fn release(self, cursor: &mut Self::Cursor);
}

/// The place of a payload, and the bytes that its release frees: its own and the padding before
/// them.
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
        // An addition that other threads may see: by `get_mut` it would be a plain one.
        cursor.fetch_add(self.0.held, Ordering::Relaxed);
    }
}

/// Releases itself when dropped, through its own reference to the cursor: three locked instructions
/// in its life.
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
    use crate::measure::Rounds;
    use crate::ring::case::{Case, Pool, Written};
    use crate::ring::harness::{Failure, Setting, measure};

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
            let timings = measure(&case, &rungs(), &rounds).unwrap();
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
        for rung in rungs().into_iter().filter(|rung| rung.name.starts_with("ladder-")) {
            let outcome = (rung.verify)(&Setting::of(&case), 2000);
            assert!(
                matches!(outcome, Err(Failure::Exhausted { .. })),
                "{}: {outcome:?}",
                rung.name
            );
        }
    }
}
