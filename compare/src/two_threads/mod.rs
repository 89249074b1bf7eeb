//! Two threads: the publisher allocates, writes and publishes payloads, a reader pinned to a second
//! core spins for them and reads every byte.
//!
//! ```text
//!   core A:  allocate ──▶ write 512 B ──▶ publish a batch ──▶ ring of 4096 ──▶ core B: read 512 B, check, release
//! ```
//!
//! The clock stops when the reader has read the last payload. Each payload is checked by the
//! reader, in the timed passes too: its number and the sum of its words. Where the two cores lie to
//! each other matters as much as the contender: compare within one run only.
//!
//! # Who takes part
//! | contender | the payload lies in | what travels | a batch of n is published |
//! |---|---|---|---|
//! | `slipring` | the lane's pool, released when it is read | a slot of the disruptor | at once |
//! | `slipring-overwrite` | the same, released when its slot is published over | the same | at once |
//! | `slipring-slices` | a ring pool, dropped when its event is published over | the slice, in an event of the disruptor | one by one |
//! | `seed-arc`, `seed-arc-patient` | the seed's region, a counted slice | the slice, in a slot of the disruptor | at once |
//! | `rtrb` | a ring pool with the lane's chunk and window | a span of 16 bytes | at once |
//! | `crossbeam`, `std-mpsc`, `flume`, `kanal` | the same | the same | one by one: they have no other way |
//! | `rtrb-vec`, `crossbeam-vec`, ... | a vector from the heap | the vector | as its library does |
//!
//! # What is the same for all, and what isn't
//! - **Full.** Every ring and channel is bounded to the case's slots. A full one is tried again,
//!   spinning, and nobody parks: the libraries' blocking calls would park and pay for system calls,
//!   so `try_send` and `try_recv` are their better side. flume and kanal take their lock for each
//!   try, also of an empty channel; crossbeam, the standard library and rtrb only read. The lane,
//!   the seed and rtrb ask for a batch's room at once.
//! - **Reading.** A stage of the lane takes up to 256 slots and releases them by one store; rtrb's
//!   reader does the same; the disruptor gives the seed's all there is. The others receive one by
//!   one.
//! - **Waiting.** An idle reader waits as the library's `Idle` does: how often it looks at a line
//!   that its writer is about to write decides more at batch 1 than which queue it is. The seed's
//!   alone waits as its disruptor does; `seed-arc-patient` shows it with ours.
//! - **Allocating.** All memory of the lane, the seed and the chunks is mapped and touched before
//!   the clock, on the publisher's pinned thread; channels are built with their full capacity.
//!   Vectors come from the program's allocator (glibc's) on the publisher and are freed on the
//!   reader.
//! - **Releasing.** The lane learns what was read from the position that its stage tells, a line of
//!   its own. A foreign channel tells nobody, so the chunks' reader counts what it has read on a
//!   cache line of its own, a plain store for each payload, which the publisher loads once in a
//!   chunk.
//! - **Pinning.** Publisher and reader are pinned to the first two CPUs that the process may use,
//!   in every contender, if the system lets them.
//! - **What a lane does besides**, and the rivals with chunks don't: it isolates panics, wakes
//!   sleepers, keeps counters, allows several stages, and bounds what is pushed. That is part of
//!   its figures.

mod case;
mod channel;
mod chunks;
mod cpus;
mod crossbeam;
mod distance;
mod flume;
mod harness;
mod kanal;
mod lane;
mod over_chunks;
mod over_vecs;
mod patience;
mod reader;
mod rtrb;
mod seed_arc;
mod slices;
mod std_mpsc;

use crate::contender::Fill;
use over_chunks::OverChunks;
use over_vecs::OverVecs;

pub use case::{Case, cases};
pub use channel::Channel;
pub use cpus::Cpus;
pub use crossbeam::Crossbeam;
pub use distance::round_trip_ns;
pub use flume::Flume;
pub use harness::{Runner, measure};
pub use kanal::Kanal;
pub use patience::{Idle, Patience};
pub use reader::{Behind, Reader, Tally};
pub use rtrb::Rtrb;
pub use std_mpsc::StdMpsc;

/// The contenders in the order of a round; the quick ones are those that targets are set against.
pub fn contenders(quick: bool) -> Vec<Runner> {
    if quick {
        return vec![
            Runner::of::<lane::Slipring>(),
            Runner::of::<seed_arc::SeedArc<false>>(),
            Runner::of::<OverChunks<rtrb::Rtrb>>(),
        ];
    }
    vec![
        Runner::of::<lane::Slipring>(),
        Runner::of::<lane::SlipringOverwrite>(),
        Runner::of::<slices::Slices>(),
        Runner::of::<seed_arc::SeedArc<false>>(),
        Runner::of::<seed_arc::SeedArc<true>>(),
        Runner::of::<OverChunks<rtrb::Rtrb>>(),
        Runner::of::<OverChunks<crossbeam::Crossbeam>>(),
        Runner::of::<OverChunks<std_mpsc::StdMpsc>>(),
        Runner::of::<OverChunks<flume::Flume>>(),
        Runner::of::<OverChunks<kanal::Kanal>>(),
        Runner::of::<OverVecs<rtrb::Rtrb>>(),
        Runner::of::<OverVecs<crossbeam::Crossbeam>>(),
        Runner::of::<OverVecs<std_mpsc::StdMpsc>>(),
        Runner::of::<OverVecs<flume::Flume>>(),
        Runner::of::<OverVecs<kanal::Kanal>>(),
    ]
}

/// Moves payloads to a reader on another thread, in order.
pub trait TwoThreads: Sized {
    /// The name in results.
    const NAME: &'static str;

    /// Maps and touches all memory on the calling thread, which is pinned, and starts the reader on
    /// its CPU.
    fn start(case: &Case, cpus: Cpus, reader: Reader) -> Result<Self, String>;

    /// What it has reserved for payloads.
    fn memory_bytes(&self) -> usize;

    /// Publishes `count` payloads, numbered from `first`: at once, or one by one where its library
    /// has no other way. Waits, spinning, while the ring is full.
    ///
    /// # Errors
    /// What was refused, or that the reader has gone: it never waits for ever.
    fn publish(&mut self, first: u64, count: usize, fill: &impl Fill) -> Result<(), String>;

    /// Ends the stream and waits for the reader's thread.
    fn finish(self) -> Result<(), String>;
}
