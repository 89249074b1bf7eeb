//! Memory that moves with the ring: per-thread pools for low-latency ingest over the disruptor.
//!
//! A lane is a pinned thread that owns a ring of memory and a ring of slots. It reserves bytes in
//! its pool, fills them (from a socket, for example), and publishes them to stages, which read them
//! in place. Once every stage has passed them, the memory is free again. No allocator, reference
//! count or lock is involved.
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
//! // The calling thread owns the lane from here on. Ids of requests travel beside the bytes.
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
//!     // Runs inline stages and takes memory back; a loop over sockets does it once a round.
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
//!   sees zeros in their place). Their memory is reused only after the last of these is done with
//!   it, in any order and on any thread.
//! - Reserving and publishing never wait for room, never spin and, after the start, never allocate:
//!   a full pool or ring is a value ([`ring::Full`], and `pipeline::Refused` of a lane) that says
//!   what to do. If a stage sleeps, publishing wakes it, which costs a locked instruction, a lock
//!   held for a few instructions, and a system call. A stage that spins costs none of these.
//! - The working set is the window or what is alive, whichever is larger, however large the pool
//!   is.
//! - A stage that panics releases nothing that it hasn't processed. (Under `PanicPolicy::Detach`
//!   the lane releases those events in its place, and reports it.) A lane that closes reports how
//!   many events each stage has processed.
//! - Every misuse is a compile error, an error value, or documented and tested. Each `unsafe` block
//!   cites an invariant that is written down in `docs/INVARIANTS.md`.
//!
//! # What it doesn't do
//!
//! - Store anything, or talk to a network: that is the service built on it (package
//!   `slipring-ingest`).
//! - Share a lane between producers, or grow one: start more lanes.
//! - Give back single slices: a chunk waits for its last one, so memory released in random order
//!   needs eight to fourteen times the live bytes.
//! - Run on anything but Linux with 64 bits: x86-64 and aarch64 are checked.
//!
//! # By life cycle
//!
//! | step | where |
//! |---|---|
//! | map memory, check the limits first, report what was granted | [`region`] |
//! | reserve, fill, commit, take back | [`ring`] |
//! | pin a thread, publish to stages, wait, drain | `pipeline` |
//! | get and drop buffers in any order, on any thread | [`class`] |
//! | assemble messages in them, pass them between two threads, close | [`queue`] |
//!
//! # Features
//!
//! | feature | what it adds | crates |
//! |---|---|---|
//! | none | regions, ring pools, class pools and receive queues | libc, memmap2 |
//! | `pipeline` (default) | lanes and stages, and how long events take | disruptor, core_affinity, hdrhistogram |
//! | `bytes` | buffers of class pools as `Bytes` | bytes |
//! | `metrics` | what class pools and receive queues have done, for Prometheus | prometheus-client |

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "slipring needs Linux and pointers of 64 bits: it maps memory, reads limits and wakes threads by Linux's own calls"
);

mod barrier;
pub mod class;
#[cfg(feature = "pipeline")]
pub mod latency;
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
