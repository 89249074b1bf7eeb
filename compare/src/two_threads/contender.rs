//! The trait of all contenders on two threads.

use super::case::Case;
use crate::payload::Fill;
use crate::threads::{Cpus, Reader};

/// Moves payloads to a reader on another thread, in order.
pub trait TwoThreads: Sized {
    /// The name in results.
    const NAME: &'static str;

    /// Maps and touches all memory on the calling thread, which it pins, and starts the reader on
    /// its CPU.
    fn start(case: &Case, cpus: Cpus, reader: Reader) -> Result<Self, String>;

    /// The bytes reserved for payloads.
    fn memory_bytes(&self) -> usize;

    /// Publishes `count` payloads, numbered from `first`: as one batch, or one by one where its
    /// library has no other way. Spins while the ring is full.
    ///
    /// # Errors
    /// A refusal, or the reader has gone: it never waits for ever.
    fn publish(&mut self, first: u64, count: usize, fill: &impl Fill) -> Result<(), String>;

    /// Closes the ring or channel and waits until the reader's thread has drained it.
    fn close(self) -> Result<(), String>;
}
