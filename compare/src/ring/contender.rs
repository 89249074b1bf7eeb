//! The trait of all contenders on one thread, and the empty one.
//!
//! A contender is built with all of its memory touched, runs operations (`put`), shows the payload
//! of an entry (`verify_slot`), and is dropped. It owns the array of entries, because it decides
//! what an entry holds: a counted handle, an index, or integers only.

use std::hint::black_box;

use super::case::Plan;
use crate::payload::{Exhausted, Fill};

/// Holds the newest `slots` payloads, of any size up to the plan's largest, and releases the oldest
/// one or any one.
pub trait Contender: Sized {
    /// The name in results, in lower case with dashes.
    const NAME: &'static str;

    /// False if only the first 8 bytes of a payload are stored.
    const KEEPS_PAYLOAD: bool = true;

    /// Whether it can release any payload, not only the oldest one.
    const ANY_ORDER: bool = false;

    /// Whether its pool is mapped on the pages of the plan. A library whose pool comes from an
    /// allocator can't choose.
    const CHOOSES_PAGES: bool = false;

    /// Why it can't express the workload by its own means, and what was done about it.
    const EMULATED: Option<&'static str> = None;

    /// Allocates and touches all of its memory. The error says what was refused.
    fn new(plan: &Plan) -> Result<Self, String>;

    /// The bytes reserved for payloads: the pool, or more where its design needs more.
    fn memory_bytes(&self) -> usize;

    /// One operation: allocates `bytes`, writes them by `fill`, stores the payload in `entry`, and
    /// releases the entry's previous payload. Entries come in order (0, 1 ... slots - 1, 0), or
    /// after a first lap in any order if [`Contender::ANY_ORDER`] is true. Mark it
    /// `#[inline(always)]`: it has a caller for each order and way of writing, and otherwise the
    /// compiler makes some contenders pay for a call.
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted>;

    /// Passes the payload of an entry that has been put to `check`.
    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R;
}

/// `empty-harness`: the cost of the loop itself. It reads the size, writes 8 bytes into the entry,
/// and allocates nothing.
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
        // Every other contender reads the size, so this one must too.
        black_box(bytes);
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        check(&self.entries[entry])
    }
}
