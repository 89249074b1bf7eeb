//! Size-class pools beside their rivals: get and drop on one thread, on two threads with buffers of
//! their own, and across threads.
//!
//! ```text
//!   get-drop-…-1t   core A:  get ──▶ write 8 bytes ──▶ drop
//!   get-drop-…-2t   core A and core B each the same, over one pool; ns = wall time / operations of both
//!   cross-drop-…    core A:  get ──▶ write 8 bytes ──▶ ring of 256 (rtrb) ──▶ core B: check the 8 bytes ──▶ drop
//! ```
//!
//! In a case named `untouched` nothing is written; in `whole` the payload is copied in from a warm
//! buffer; in `held16` the newest 16 buffers are kept and the oldest is dropped; and for `mix`
//! lengths are drawn before the clock: each class equally likely, and each length of the class too.
//! Every contender gets the same lengths in the same order.
//!
//! Payloads are verified: whole ones in a pass before the clock, with several held, so that two
//! owners of one buffer show; and after the clock those that are still held. In `cross-drop` the
//! other thread checks each payload, also while the clock runs. `memory_bytes` is the growth of the
//! process from before a contender was built to the end of its last repeat. `growth_bytes` of
//! `cross-drop` is the growth between the warm-up and the end, in the worst repeat; it is zero if
//! memory is flat.
//!
//! # Who takes part
//! | contender | a get | a drop |
//! |---|---|---|
//! | `slipring` | the thread's cache of the class | the same, or the path back to its class from another thread |
//! | `go-pool` | a pool as Go programs build it from `sync.Pool`: a slot of the thread or a list, and four shared counters | a boxed header, one shared counter |
//! | `tls-vec` | the thread's vector of the class | pushed to the dropping thread's vector, up to 64 |
//! | `free-list` | the caller's own vector of the class: no guard, no thread-local lookup, and it can't cross threads | pushed by the caller |
//! | `glibc`, `mimalloc`, `jemalloc` | a block of the length, by an explicit call | freed by the same allocator |
//! | `growable-vec` | a vector that grows as it is written, so only where payloads are written whole | freed |
//! | `mutex-pool`, `object-pool` | popped under a lock of the class (the standard library's, parking_lot's) | pushed under it |
//! | `opool` | popped from a bounded lock-free queue of the class | pushed |
//! | `lockfree-object-pool` | a bit of a linked list of pages of 32 or 64 objects | the bit is reset |
//! | `sharded-slab` | a slot of the thread's shard, found by its key | cleared by its key |
//!
//! # What is the same for all, and what isn't
//! - Pools with classes have those of the wire table (2 to 64 KiB); direct allocations have the
//!   exact length.
//! - Pinning: the first thread is pinned to the first CPU that the process may use, the second to
//!   the next, if the system allows it.
//! - A pool's buffers are initialised memory, as a network buffer must be. A direct allocation
//!   initialises nothing, and only written bytes are read. That favours the allocators.
//! - In `cross-drop` all contenders hand over by the same ring and wait in the same way, by the
//!   library's `Idle`.

mod allocators;
mod case;
mod contender;
mod crates;
mod go_pool;
mod harness;
mod lists;
mod load;
mod run;
mod slipring;
#[cfg(test)]
mod suite;
mod work;

pub use go_pool::{GoPool, Shard, lock_spinning};
pub use load::{LoadOptions, run as load};
pub use run::run;
