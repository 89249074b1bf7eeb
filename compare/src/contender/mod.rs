//! The contenders, one file each, behind one trait.
//!
//! A contender is built with all of its memory touched, takes operations (`put`), shows what an
//! entry holds (`verify_slot`), and is dropped. It owns the array of entries, because what stands
//! in an entry is its own affair: a counted handle, an index, or integers only.

mod allocator;
mod bbqueue;
mod bump_two_arenas;
mod bytes;
mod empty_harness;
mod fill;
mod free_list;
mod glibc;
mod inline_slots;
mod jemalloc;
mod ladder;
mod memory;
mod mimalloc;
mod ring_pool;
mod ringbuf;
mod rtrb;
mod seed_arc;
mod seed_static;
mod slipring;
mod slipring_raii;
#[cfg(test)]
pub mod suite;

use crate::case::{Order, Plan};
use crate::harness::Runner;

pub use allocator::{Block, Named};
pub use empty_harness::EmptyHarness;
pub use fill::{Copied, Fill, Growing, Pattern, Touch8};
pub use ladder::ladder;
pub use memory::{mapped, mapped_on, shortage, untouched_on};
pub use seed_arc::SeedArc;
pub use slipring::Slipring;
pub use slipring_raii::SlipringRaii;

/// Takes payloads of any size up to the plan's largest, keeps the newest `slots` of them, and
/// releases the oldest, or any.
pub trait Contender: Sized {
    /// The name in results, in lower case with dashes.
    const NAME: &'static str;

    /// False for what keeps only the first 8 bytes of a payload.
    const KEEPS_PAYLOAD: bool = true;

    /// Whether it can release any payload when another comes, not the oldest only.
    const ANY_ORDER: bool = false;

    /// Whether its pool lies on the pages of the plan: a library that takes its pool from an
    /// allocator has no say.
    const CHOOSES_PAGES: bool = false;

    /// Why it can't express the workload by its own means, and what was done about it.
    const EMULATED: Option<&'static str> = None;

    /// Allocates and touches everything. The error says what was refused.
    fn new(plan: &Plan) -> Result<Self, String>;

    /// What it has reserved for payloads: the pool where that suffices, more where its design asks
    /// for more.
    fn memory_bytes(&self) -> usize;

    /// One operation: allocate `bytes`, write them by `fill`, put them into `entry`, release what
    /// stood there. Entries come in order (0, 1 ... slots - 1, 0), or after a first lap in any
    /// order if [`Contender::ANY_ORDER`] says so. Mark it `#[inline(always)]`: it has a caller for
    /// each order and way of writing, and left to itself the compiler makes some contenders pay for
    /// a call.
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted>;

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
        // By its slot path it can't release in any order; then it is the pool with kept slices,
        // under both names.
        Runner::of::<slipring_raii::SlipringRaii>().named("slipring", &[Order::Random]),
        Runner::of::<slipring_raii::SlipringRaii>(),
        Runner::of::<seed_arc::SeedArc>(),
        Runner::of::<seed_static::SeedStatic>(),
        Runner::of::<free_list::FreeList>(),
        Runner::of::<inline_slots::InlineSlots>(),
        Runner::of::<bump_two_arenas::BumpTwoArenas>(),
        Runner::of::<glibc::Glibc>(),
        Runner::of::<mimalloc::Mimalloc>(),
        Runner::of::<jemalloc::Jemalloc>(),
        Runner::of::<bytes::BytesBlocks>(),
        Runner::of::<bbqueue::BbQueue>(),
        Runner::of::<rtrb::Rtrb>(),
        Runner::of::<ringbuf::Ringbuf>(),
    ]
}

/// The contenders of a quick run, whose figures targets are set for.
pub const QUICK: [&str; 7] = [
    "empty-harness",
    "slipring",
    "slipring-raii",
    "seed-arc",
    "free-list",
    "bump-two-arenas",
    "glibc",
];
