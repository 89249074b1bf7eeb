//! The contenders, one file each, behind one trait.
//!
//! A contender is built with all of its memory touched, takes operations (`put`), shows what an entry holds (`verify_slot`), and is dropped.
//! It owns the array of entries, because what stands in an entry is its own affair: a counted handle, an index, or integers only.

mod bump_two_arenas;
mod empty_harness;
mod fill;
mod free_list;
mod glibc;
mod memory;
mod ring_pool;
mod seed_arc;
mod slipring;
mod slipring_raii;
#[cfg(test)]
pub mod suite;

use crate::case::Plan;
use crate::harness::Runner;

pub use fill::{Copied, Fill, Pattern, Touch8};
pub use memory::mapped;

/// Takes payloads of any size up to the plan's largest, keeps the newest `slots` of them, and releases them in order.
pub trait Contender: Sized {
    /// The name in results, in lower case with dashes.
    const NAME: &'static str;

    /// False for what keeps only the first 8 bytes of a payload.
    const KEEPS_PAYLOAD: bool = true;

    /// Allocates and touches everything. The error says what was refused.
    fn new(plan: &Plan) -> Result<Self, String>;

    /// What it has reserved for payloads: the pool where that suffices, more where its design asks for more.
    fn memory_bytes(&self) -> usize;

    /// One operation: allocate `bytes`, write them by `fill`, put them into `entry`, release what stood there. Entries come in
    /// order: 0, 1 ... slots - 1, 0. Mark it `#[inline]`, so that no contender pays for a call.
    fn put(&mut self, entry: usize, op: u64, bytes: usize, fill: &impl Fill) -> Result<(), Exhausted>;

    /// Shows the payload that stands in an entry, which has been put.
    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R;
}

/// The contender has no room for this payload.
#[derive(Debug, PartialEq)]
pub struct Exhausted;

/// Every contender, in the order of a round.
pub fn all() -> Vec<Runner> {
    vec![
        Runner::of::<empty_harness::EmptyHarness>(),
        Runner::of::<slipring::Slipring>(),
        Runner::of::<slipring_raii::SlipringRaii>(),
        Runner::of::<seed_arc::SeedArc>(),
        Runner::of::<free_list::FreeList>(),
        Runner::of::<bump_two_arenas::BumpTwoArenas>(),
        Runner::of::<glibc::Glibc>(),
    ]
}
