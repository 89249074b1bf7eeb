//! Memory that moves with the ring: per-thread pools for low-latency ingest over the disruptor.
//!
//! A lane is a pinned thread that owns a ring of memory and a ring of slots. It reserves bytes in
//! its pool, fills them (from a socket, for example), and publishes them to stages, which read them
//! in place. Once every stage has processed them, the memory is reclaimed. No lock, no locked
//! instruction and no atomic reference count is involved.
//!
//! ```
//! use std::cell::Cell;
//! use std::rc::Rc;
//! use std::time::Duration;
//!
//! use slipring::pipeline::{LaneSpec, Outcome, StageSpec, View};
//! use slipring::ring::RingOptions;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = RingOptions { bytes: 1 << 20, ..RingOptions::default() };
//! let spec = LaneSpec::new(pool, 64).layer([StageSpec::inline("sum")]);
//! // The calling thread owns the lane from here on. Each event carries the id of its request.
//! let mut started = spec.start::<u64>()?;
//! println!("{}", started.report.region);
//!
//! let (sum, total) = (started.stages.remove("sum").expect("it was specified"), Rc::new(Cell::new(0.0)));
//! let sum_total = Rc::clone(&total);
//! started.lane.attach(sum, move |view: View<'_, u64>| match view.as_f32s() {
//!     Ok(components) => {
//!         sum_total.set(sum_total.get() + components.iter().sum::<f32>());
//!         Outcome::Done
//!     }
//!     Err(error) => Outcome::Fail(format!("request {}: {error}", view.meta())),
//! })?;
//!
//! for request in 0..1000 {
//!     let mut claim = started.lane.claim(8)?;
//!     claim[..4].copy_from_slice(&1.5f32.to_ne_bytes());
//!     claim[4..].copy_from_slice(&0.5f32.to_ne_bytes());
//!     claim.publish(request);
//!     // Runs inline stages and reclaims memory. A loop over sockets does this once per round.
//!     started.lane.poll();
//! }
//! assert!(started.lane.close(Duration::from_secs(10)).is_drained());
//! assert_eq!(total.get(), 2000.0);
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - Bytes that a stage, a slice or a retained handle can see are never written (a forked child
//!   sees zeros in their place). Their memory is reused only after the last of these has released
//!   it, in any order and on any thread.
//! - Reserving and publishing never wait for room, never spin and, after the start, never allocate:
//!   a full pool or ring is a value ([`ring::Full`], and `pipeline::Refused` of a lane) that says
//!   what to do. If a stage sleeps, publishing wakes it, which costs a locked instruction, a lock
//!   held for a few instructions, and a system call. A stage that spins costs none of these.
//! - The working set is the window or the live bytes, whichever is larger. The size of the pool
//!   doesn't matter.
//! - A stage that panics releases no event that it hasn't processed. (Under `PanicPolicy::Detach`
//!   the lane releases those events instead, and reports it.) A lane that closes reports how many
//!   events each stage has processed.
//! - Every misuse is a compile error, an error value, or documented and tested. Each `unsafe` block
//!   cites an invariant that is written down in `docs/INVARIANTS.md`.
//!
//! # What it doesn't do
//!
//! - Store anything, or talk to a network: that is the service built on it (package
//!   `slipring-ingest`).
//! - Share a lane between producers, or grow one: start more lanes.
//! - Reclaim single slices: a chunk is reused once its last slice is released. So releasing in
//!   random order needs eight to fourteen times the live bytes.
//! - Run on anything but 64-bit Linux. Checked are x86-64 and aarch64.
//!
//! # By life cycle
//!
//! | step | where |
//! |---|---|
//! | read the caches and the NUMA nodes, pin a thread | [`machine`] |
//! | check the limits, map memory, report what was granted | [`region`] |
//! | reserve, fill, commit, push, release | [`ring`] |
//! | start a lane, push events to its stages, wait, close | `pipeline` |
//! | get and drop buffers in any order, on any thread | [`class`] |
//! | assemble messages in them, pass them between two threads, close | [`queue`] |
//!
//! # Features
//!
//! | feature | what it adds | crates |
//! |---|---|---|
//! | none | the machine, regions, ring pools, class pools and receive queues | libc, memmap2 |
//! | `pipeline` (default) | lanes and stages, latencies, pinning | disruptor, core_affinity, hdrhistogram |
//! | `bytes` | buffers of class pools as `Bytes` | bytes |
//! | `metrics` | what lanes, class pools and receive queues have done, for Prometheus | prometheus-client |

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "slipring needs 64-bit Linux: it maps memory, reads limits and wakes threads with Linux's own system calls"
);

mod barrier;
pub mod class;
#[cfg(feature = "pipeline")]
pub mod latency;
pub mod machine;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "pipeline")]
pub mod pipeline;
mod process;
pub mod queue;
pub mod region;
pub mod ring;
mod sync;
mod wake;

/// The README's examples are compiled and run.
#[cfg(all(doctest, feature = "pipeline"))]
#[doc = include_str!("../README.md")]
pub struct ReadmeExamples;
