//! Two threads: the publisher allocates, writes and publishes payloads; a reader pinned to a second
//! core polls for them and reads every byte.
//!
//! ```text
//!   core A:  allocate ──▶ write 512 B ──▶ publish a batch ──▶ ring of 4096 ──▶ core B: read 512 B, check, release
//! ```
//!
//! The clock stops when the reader has read the last payload. The reader checks each payload, in
//! the timed passes too: its number and the sum of its words. The distance between the two cores
//! matters as much as the contender, so figures are comparable only within one run.
//!
//! # Who takes part
//! | contender | the payload is in | what travels | a batch of n is published |
//! |---|---|---|---|
//! | `slipring` | the lane's pool, released when it is read | a slot of the disruptor | together |
//! | `slipring-overwrite` | the same, released when its slot is overwritten | the same | together |
//! | `slipring-slices` | a ring pool, dropped when its event is overwritten | the slice, in an event of the disruptor | one by one |
//! | `arc-ring`, `arc-ring-patient` | a ring whose slices hold an `Arc` of the read cursor | the slice, in a slot of the disruptor | together |
//! | `rtrb` | a ring pool with the lane's chunk and window | a span of 16 bytes | together |
//! | `crossbeam`, `std-mpsc`, `flume`, `kanal` | the same | the same | one by one: they have no other way |
//! | `rtrb-vec`, `crossbeam-vec`, ... | a vector from the heap | the vector | as its library does |
//!
//! # What is the same for all, and what isn't
//! - **Full.** Every ring and channel is bounded to the case's slots. A full one is tried again in
//!   a spin loop, and no thread parks: the libraries' blocking calls would park and pay for system
//!   calls, so `try_send` and `try_recv` are their faster side. flume and kanal lock for each try,
//!   even of an empty channel; crossbeam, the standard library and rtrb only read. The lane,
//!   `arc-ring` and rtrb wait for the room of a whole batch.
//! - **Reading.** A stage of the lane reads up to 256 slots and releases them by one store, and so
//!   does rtrb's reader; the disruptor gives `arc-ring`'s reader all that there are. The others
//!   receive one by one.
//! - **Waiting.** An idle reader waits by the library's `Idle`: at batch 1, how often it looks at a
//!   line that its writer is about to write matters more than which queue it is. Only `arc-ring`'s
//!   reader waits as its disruptor does; `arc-ring-patient` is the same contender with our waiting.
//! - **Allocating.** All memory of the lane, of `arc-ring` and of the chunks is mapped and touched
//!   before the clock, on the publisher's pinned thread; channels are built with their full
//!   capacity. Vectors come from the program's allocator (glibc's) on the publisher and are freed
//!   on the reader.
//! - **Releasing.** The lane learns what was read from the position that its stage publishes, on a
//!   line of its own. A foreign channel has no such position, so the chunks' reader counts what it
//!   has read on a cache line of its own: a plain store per payload, which the publisher loads once
//!   per chunk.
//! - **Pinning.** Publisher and reader are pinned to the first two CPUs that the process may use,
//!   in every contender, if the system allows it.
//! - **Only a lane** isolates panics, wakes sleeping threads, keeps counters, allows several
//!   stages, and bounds what is pushed. Its figures include this; the rivals with chunks don't have
//!   it.

mod arc_ring;
mod case;
mod channels;
mod chunks;
mod contender;
mod harness;
mod run;
mod slipring;
#[cfg(test)]
mod suite;

pub use case::{Case, cases};
pub use harness::Runner;
pub use run::{contenders, run};
