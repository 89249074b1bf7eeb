//! Receive queues beside their rivals: one thread receives messages and enqueues them, another
//! dequeues, checks and is done with them.
//!
//! ```text
//!   core A:  a message arrives ──▶ enqueue ──▶ 256 messages at most ──▶ core B: dequeue ──▶ check number at head and tail ──▶ done
//! ```
//!
//! An operation is one message from its arrival until its buffer is back; the clock stops when the
//! other thread is done with the last one. Every message is checked, also while the clock runs; in
//! a pass before it, every byte.
//!
//! # Which bytes are written by whom
//! A message arrives when the kernel writes it somewhere; that write costs every design the same
//! and isn't part of the figure. What arrives is its number, in the first and the last 8 bytes of
//! the place where the kernel put it. From there on:
//!
//! | contender | the message arrives in | then |
//! |---|---|---|
//! | `slipring` | a buffer of the pool, which it was received into | the buffer moves; nothing is copied |
//! | `slipring-copy` | a packet buffer | is copied into a buffer of the pool, outside of any lock: the work that `s3` does |
//! | `s3` | a packet buffer | is copied into a buffer of the shared pool, under the queue's lock |
//! | `rtrb`, `crossbeam`, `flume`, `kanal`, `std-mpsc` | a buffer of slipring's class pool | the buffer moves through the library's channel |
//! | `crossbeam-vec`, `flume-vec` | a packet buffer | is copied into a vector from the heap, which moves and is freed by the other thread |
//! | `tokio`, `tokio-parks` | a buffer of slipring's class pool | becomes `Bytes`, which moves |
//! | `tokio-copy` | a packet buffer | is copied into `Bytes` from the heap |
//! | `empty-harness` | nowhere | its number goes through rtrb: what a handover and the check cost |
//!
//! So `slipring` beside `s3` compares designs, and `slipring-copy` beside `s3` the same work. The
//! rivals' channels take our buffers: they are rivals of the queue, not of the pool.
//!
//! # What is the same for all, and what isn't
//! - **Waiting.** A full queue is tried again by the house's patience, an empty one by the
//!   library's `Idle`; nobody parks. Names that end in `parks` wait as their library or design does
//!   it: `slipring-parks` and `tokio-parks` by the blocking calls, `s3-parks` on its condition
//!   variable. `s3` without that is the better side of the design, and what it's held against.
//! - **Bounds.** 256 messages. slipring's queue and S3's bound bytes too; the bound is set where it
//!   never binds first.
//! - **Pinning.** Both threads, to the first two CPUs that the process may use, if the system lets
//!   them.

mod arrival;
mod case;
mod empty_harness;
mod harness;
mod over_channel;
mod s3;
mod slipring;
#[cfg(test)]
mod suite;
mod tokio;

use std::num::NonZero;

use crate::choice::{Timed, Wrong};
use crate::harness::Rounds;
use crate::two_threads::{
    Cpus, Crossbeam, Flume, Kanal, Reader, Rtrb, StdMpsc, Tally, round_trip_ns,
};
use arrival::Arrival;
use case::Case;
use harness::Runner;
use over_channel::{Copied, Over, Pooled};

/// A queue between two threads.
pub trait Queue: Sized + Sync {
    /// The name in results, in lower case with dashes.
    const NAME: &'static str;

    /// Why it can't express the workload by its own means, and what was done about it.
    const EMULATED: Option<&'static str> = None;

    /// Whether it waits in the system: then it gets fewer operations, because each may take
    /// microseconds.
    const PARKS: bool = false;

    type Inlet<'a>: Inlet + Send
    where
        Self: 'a;
    type Outlet<'a>: Outlet + Send
    where
        Self: 'a;

    /// The error says what was refused.
    fn new(case: &Case) -> Result<Self, String>;

    /// Both ends. Called once.
    fn ends(&self) -> Result<(Self::Inlet<'_>, Self::Outlet<'_>), String>;
}

/// Where messages go in. Dropped, it ends the stream.
pub trait Inlet {
    /// Lets message `number` arrive and enqueues it; waits while the queue is full.
    ///
    /// # Errors
    /// What was refused, or that the other end has gone: it never waits for ever.
    fn enqueue(&mut self, number: u64, arrival: &impl Arrival, tally: &Tally)
    -> Result<(), String>;
}

/// Where messages come out.
pub trait Outlet {
    /// Dequeues until the stream ends: `check`s each message, is done with it, and notes that.
    ///
    /// # Errors
    /// The stream ended by an error.
    fn dequeue_all(self, arrival: &impl Arrival, reader: Reader) -> Result<(), String>;
}

/// Every contender, in the order of a round.
fn contenders() -> Vec<Runner> {
    vec![
        Runner::of::<empty_harness::EmptyHarness>(),
        Runner::of::<slipring::Slipring<false>>(),
        Runner::of::<slipring::SlipringCopy>(),
        Runner::of::<s3::S3<false>>(),
        Runner::of::<Over<Crossbeam, Pooled>>(),
        Runner::of::<Over<Flume, Pooled>>(),
        Runner::of::<tokio::Tokio<false>>(),
        Runner::of::<Over<Rtrb, Pooled>>(),
        Runner::of::<Over<Kanal, Pooled>>(),
        Runner::of::<Over<StdMpsc, Pooled>>(),
        Runner::of::<Over<Crossbeam, Copied>>(),
        Runner::of::<Over<Flume, Copied>>(),
        Runner::of::<tokio::TokioCopy>(),
        Runner::of::<slipring::Slipring<true>>(),
        Runner::of::<s3::S3<true>>(),
        Runner::of::<tokio::Tokio<true>>(),
    ]
}

/// The contenders of a quick run, whose figures targets are set for, and the condition variable of
/// S3.
const QUICK: [&str; 7] =
    ["empty-harness", "slipring", "slipring-copy", "s3", "s3-parks", "crossbeam", "flume"];

const ROUNDS_QUICK: Rounds = Rounds { repeats: 7, ops: 1_000_000, verified_ops: 20_000 };
const ROUNDS_FULL: Rounds = Rounds { repeats: 21, ops: 2_000_000, verified_ops: 50_000 };

/// Runs the cases and prints them.
///
/// # Errors
/// An option that can't be, or a contender that lost a message.
pub fn run(options: &Timed) -> Result<(), Wrong> {
    let choice = &options.choice;
    let cases = (case::cases(choice.quick_cases()), Case::name as fn(&Case) -> String);
    let contenders = (contenders(), (|contender| contender.name) as fn(&Runner) -> &'static str);
    let Some((cases, contenders)) = choice.select(cases, contenders, &QUICK)? else {
        return Ok(());
    };
    let (rounds, report) = (choice.rounds(ROUNDS_QUICK, ROUNDS_FULL), choice.report("queue"));
    report.head(&rounds);
    let cpus = match Cpus::pick() {
        Ok(cpus) => cpus,
        Err(why) => {
            report.skipped("two threads", &why);
            return Ok(());
        }
    };
    for case in &cases {
        let name = case.name();
        let wrong = |failure: String| Wrong::Case(format!("{name}: {failure}"));
        let mut rounds = case.rounds(&rounds);
        rounds.ops = options.ops.map_or(rounds.ops, NonZero::get);
        let before_ns = round_trip_ns(cpus).map_err(wrong)?;
        let timings = harness::measure(case, cpus, &contenders, &rounds).map_err(wrong)?;
        let after_ns = round_trip_ns(cpus).map_err(wrong)?;
        report.distance(&name, [before_ns, after_ns]);
        report.results(&name, &timings);
    }
    Ok(())
}
