//! Size-class pools beside their rivals: get and drop on one thread, on two threads with buffers of
//! their own, and across threads.
//!
//! ```text
//!   get-drop-…-1t   core A:  get ──▶ write 8 bytes ──▶ drop
//!   get-drop-…-2t   core A and core B each the same, over one pool; ns = wall time / operations of both
//!   cross-drop-…    core A:  get ──▶ write 8 bytes ──▶ ring of 256 (rtrb) ──▶ core B: check the 8 bytes ──▶ drop
//! ```
//!
//! A name that ends in `untouched` writes nothing, `whole` copies the whole payload in from a warm
//! buffer, `held16` keeps the newest 16 buffers and drops the oldest, and `mix` draws lengths
//! before the clock: each class with the same chance, each length of the class too. Every contender
//! takes the same lengths in the same order.
//!
//! Payloads are verified: in a pass before the clock whole ones with several held, so that two
//! owners of one buffer show, and after the clock what is still held. In `cross-drop` the other
//! thread checks each payload, also while the clock runs. `memory_bytes` is what the process has
//! grown by from before a contender was built to the end of its last repeat, and `growth_bytes` of
//! `cross-drop` what it grew by between the warm-up and the end, in the worst repeat: flat memory
//! is nothing there.
//!
//! # Who takes part
//! | contender | a get | a drop |
//! |---|---|---|
//! | `slipring` | the thread's cache of the class | the same, or the way home on another thread |
//! | `s2` | the seed's: a slot of the thread or a list, four shared counters | a boxed header, one shared counter |
//! | `tls-vec` | the thread's vector of the class | pushed to the dropping thread's vector, 64 at most |
//! | `free-list` | the caller's own vector of the class: no guard, no thread-local lookup, and it can't cross threads | pushed by the caller |
//! | `glibc`, `mimalloc`, `jemalloc` | a block of the length, by an explicit call | freed by the same |
//! | `growable-vec` | a vector that grows as it is written, so only where payloads are written whole | freed |
//! | `mutex-pool`, `object-pool` | popped under a lock of the class (the standard library's, parking_lot's) | pushed under it |
//! | `opool` | popped from a bounded lock-free queue of the class | pushed |
//! | `lockfree-object-pool` | a bit of a linked list of pages of 32 or 64 objects | the bit is set back |
//! | `sharded-slab` | a slot of the thread's shard, kept by its key | cleared by its key |
//!
//! # What is the same for all, and what isn't
//! - Pools with classes have those of the wire table (2 to 64 KiB); direct allocations have the
//!   exact length.
//! - Pinning: one thread on the first CPU that the process may use, the second on the next, if the
//!   system lets them.
//! - A pool's buffers lie in initialised memory, as a network buffer must; a direct allocation
//!   doesn't initialise anything, and only what was written is read. That favours the allocators.
//! - In `cross-drop` all contenders hand over by the same ring and wait alike, by the library's
//!   `Idle`.

mod case;
mod cross;
mod direct;
mod empty_harness;
mod free_list;
mod growable_vec;
mod harness;
pub mod load;
mod lockfree_object_pool;
mod mutex_pool;
mod object_pool;
mod opool;
mod own;
mod payload;
mod resident;
mod s2;
mod sharded_slab;
mod slipring;
#[cfg(test)]
mod suite;
pub mod sync_pool;
mod table;
mod tls_vec;

use std::num::NonZero;

use crate::choice::{Timed, Wrong};
use crate::contender::{Exhausted, Fill};
use crate::harness::Rounds;
use crate::two_threads::{Cpus, round_trip_ns};
use case::Case;
use harness::Runner;

pub use resident::{peak_resident_bytes, resident_bytes};

/// A pool that hands out buffers to several threads, each through a view of its own.
pub trait Pool: Sized + Sync {
    /// The name in results, in lower case with dashes.
    const NAME: &'static str;

    /// Whether a buffer may be dropped on another thread than the one that got it.
    const CROSSES: bool = true;

    /// Whether a buffer has its length without being written.
    const HAS_LENGTH: bool = true;

    /// False for what keeps only the first 8 bytes of a payload.
    const KEEPS_PAYLOAD: bool = true;

    /// Why it can't express the workload by its own means, and what was done about it.
    const EMULATED: Option<&'static str> = None;

    type Local<'a>: Local
    where
        Self: 'a;

    /// The error says what was refused.
    fn new() -> Result<Self, String>;

    /// The calling thread's view.
    fn local(&self) -> Self::Local<'_>;
}

/// One thread's view of a pool.
pub trait Local {
    type Buffer: Buffer;

    /// Gets `bytes`, 64 KiB at most, and writes them by `fill`. Mark it `#[inline(always)]`, as
    /// `put`, so that no contender pays for a call that another doesn't.
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Self::Buffer, Exhausted>;

    /// Gives it back, whoever got it.
    fn put(&mut self, buffer: Self::Buffer);
}

/// What a pool has handed out.
pub trait Buffer: Send {
    /// Shows the payload, as far as it was written where nothing else is there.
    fn read<R>(&self, check: impl FnOnce(&[u8]) -> R) -> R;

    /// Makes the compiler believe that the payload is looked at, by [`std::hint::black_box`] on a
    /// pointer or a key. Not on the buffer itself: that would force it into memory, and a guard of
    /// three words would pay for what one of a single word doesn't.
    fn be_seen(&self);
}

/// Every contender, in the order of a round.
pub fn contenders() -> Vec<Runner> {
    vec![
        Runner::of::<empty_harness::EmptyHarness>(),
        Runner::of::<slipring::Slipring>(),
        Runner::of::<s2::S2>(),
        Runner::of::<tls_vec::TlsVec>(),
        Runner::of::<direct::Glibc>(),
        Runner::of::<direct::Mimalloc>(),
        Runner::of::<direct::Jemalloc>(),
        Runner::of::<growable_vec::GrowableVec>(),
        Runner::of::<free_list::FreeList>(),
        Runner::of::<mutex_pool::MutexPool>(),
        Runner::of::<object_pool::ObjectPool>(),
        Runner::of::<opool::Opool>(),
        Runner::of::<lockfree_object_pool::LockfreeObjectPool>(),
        Runner::of::<sharded_slab::ShardedSlab>(),
    ]
}

/// The contenders of a quick run, whose figures targets are set for.
const QUICK: [&str; 7] =
    ["empty-harness", "slipring", "s2", "tls-vec", "glibc", "mimalloc", "jemalloc"];

const ROUNDS_QUICK: Rounds = Rounds { repeats: 7, ops: 1_000_000, verified_ops: 20_000 };
const ROUNDS_FULL: Rounds = Rounds { repeats: 21, ops: 2_000_000, verified_ops: 50_000 };

/// Runs the cases and prints them.
///
/// # Errors
/// An option that can't be, or a contender that lost a payload.
pub fn run(options: &Timed) -> Result<(), Wrong> {
    let choice = &options.choice;
    let cases = (case::cases(choice.quick_cases()), Case::name as fn(&Case) -> String);
    let contenders = (contenders(), (|contender| contender.name) as fn(&Runner) -> &'static str);
    let Some((cases, contenders)) = choice.select(cases, contenders, &QUICK)? else {
        return Ok(());
    };
    let (rounds, report) = (choice.rounds(ROUNDS_QUICK, ROUNDS_FULL), choice.report("class"));
    report.head(&rounds);
    for case in &cases {
        let name = case.name();
        let cpus = match Cpus::pick() {
            Ok(cpus) => cpus,
            Err(_) if case.threads() == 1 => Cpus::one(),
            Err(why) => {
                report.skipped(&name, &why);
                continue;
            }
        };
        for runner in contenders.iter().filter(|runner| !runner.takes_part(case)) {
            report.skipped(
                &format!("{name} of {}", runner.name),
                "its design can't express the case",
            );
        }
        if !contenders.iter().any(|runner| runner.takes_part(case)) {
            continue;
        }
        let ops = options.ops.map_or(case.ops(rounds.ops), NonZero::get);
        let rounds = Rounds { ops, verified_ops: case.verified_ops(rounds.verified_ops), ..rounds };
        let wrong = |failure: String| Wrong::Case(format!("{name}: {failure}"));
        let trip = || if case.threads() == 1 { Ok(None) } else { round_trip_ns(cpus).map(Some) };
        let before_ns = trip().map_err(wrong)?;
        let timings = harness::measure(case, cpus, &contenders, &rounds).map_err(wrong)?;
        if let (Some(before_ns), Some(after_ns)) = (before_ns, trip().map_err(wrong)?) {
            report.distance(&name, [before_ns, after_ns]);
        }
        report.results(&name, &timings);
    }
    Ok(())
}
