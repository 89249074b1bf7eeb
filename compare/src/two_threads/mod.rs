//! Two threads: the publisher allocates, writes and publishes payloads, a reader pinned to a second core spins for them and reads every byte.
//!
//! ```text
//!   core A:  allocate ──▶ write 512 B ──▶ publish a batch ──▶ ring of 4096 ──▶ core B: read 512 B, check, release
//! ```
//!
//! The clock stops when the reader has read the last payload. Each payload is checked by the reader, in the timed passes too: its number and the sum of
//! its words. Where the two cores lie to each other matters as much as the contender: compare within one run only.

mod cpus;
mod harness;
mod lane;
mod reader;
mod seed_arc;

use crate::contender::Fill;

pub use cpus::Cpus;
pub use harness::{Runner, measure};
pub use reader::{Reader, Tally};

/// Slots of the ring, in every case.
pub const RING_SLOTS: usize = 4096;

/// One case: `two-512B-b64` is payloads of 512 B, published 64 at a time.
#[derive(Clone, Copy)]
pub struct Case {
    pub payload_bytes: usize,
    pub batch: usize,
    pub pool_bytes: usize,
}

impl Case {
    pub fn name(&self) -> String {
        format!("two-{}B-b{}", self.payload_bytes, self.batch)
    }
}

/// The cases of a run, all of them quick ones.
pub fn cases() -> [Case; 2] {
    [1, 64].map(|batch| Case { payload_bytes: 512, batch, pool_bytes: 1 << 30 })
}

/// Every contender, in the order of a round.
pub fn contenders() -> Vec<Runner> {
    vec![Runner::of::<lane::RealLane>(), Runner::of::<seed_arc::SeedArc>()]
}

/// Moves payloads to a reader on another thread, in order.
pub trait TwoThreads: Sized {
    /// The name in results.
    const NAME: &'static str;

    /// Maps and touches all memory on the calling thread, which is pinned, and starts the reader on its CPU.
    fn start(case: &Case, cpus: Cpus, reader: Reader) -> Result<Self, String>;

    /// What it has reserved for payloads.
    fn memory_bytes(&self) -> usize;

    /// Publishes `count` payloads at once, numbered from `first`. Waits, spinning, while the ring is full.
    fn publish(&mut self, first: u64, count: usize, fill: &impl Fill) -> Result<(), String>;

    /// Ends the stream and waits for the reader's thread.
    fn finish(self) -> Result<(), String>;
}
