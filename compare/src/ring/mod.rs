//! Ring pools beside their rivals, on one thread: allocate, write, keep `slots` payloads, release
//! the oldest or any.
//!
//! ```text
//!   sizes drawn before the clock:   288 64 512 128 ...
//!                                     │ next
//!                                     ▼
//!   op i:  allocate ──▶ write 8 bytes or all ──▶ entry i mod slots ──▶ its previous payload is released
//! ```
//!
//! Every contender runs the same operations, and payloads are verified: whole ones in a pass before
//! the clock, and the number of the operation after each timed pass.
//!
//! # Who takes part
//! | contender | what it is |
//! |---|---|
//! | `empty-harness` | the loop itself: nothing is allocated |
//! | `slipring` | our ring pool by the slot path, as a lane uses it |
//! | `slipring-raii` | our ring pool with slices that release themselves when dropped |
//! | `arc-ring` | a ring whose slices hold an `Arc` of the read cursor, which each drop advances atomically |
//! | `static-ring` | the same ring with the read cursor in a static of the thread, so no slice holds an `Arc` |
//! | `free-list` | buffers of the largest size, and a stack of the free ones |
//! | `inline-slots` | slots with a buffer of the largest size inside |
//! | `bump-two-arenas` | two bumpalo arenas, each reset as a whole after a lap |
//! | `glibc`, `mimalloc`, `jemalloc` | a block per payload from an allocator |
//! | `bytes` | parts split off a `BytesMut` and frozen |
//! | `bbqueue`, `rtrb`, `ringbuf` | rings of bytes from crates; keeping entries is emulated |

mod allocators;
mod arc_ring;
mod byte_rings;
mod case;
mod contender;
mod fixed_size;
mod free_list;
mod harness;
mod ladder;
mod pretouch;
mod run;
mod slipring;
#[cfg(test)]
mod suite;

pub use fixed_size::run as fixed_size;
pub use pretouch::run as pretouch;
pub use run::{Options, ladder, run};
