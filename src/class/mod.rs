//! Class pools: thread-safe buffers in size classes, for what outlives the ring's order or crosses
//! threads.
//!
//! The life of a buffer:
//!
//! 1. **Map.** A class maps slabs when it needs them, on the pool's NUMA node, after the limits
//!    were checked.
//! 2. **Get.** [`ClassPool::get`] finds the smallest class that fits and takes a buffer from the
//!    thread's own bin, without a lock or a locked instruction; the bin is filled from the class's
//!    store, half a bin at a time.
//! 3. **Use.** [`PooledBuf`] is a slice of bytes, on any thread.
//! 4. **Drop.** It goes to the bin of the thread that drops it, so a thread that only drops hands
//!    half a bin on to the store at a time, from where a thread that only gets takes it: memory
//!    doesn't drift.
//! 5. **Wait.** At a class's [`Limit`], a getter first takes back what other threads keep in their
//!    bins, then waits in line, is refused or gets a direct buffer, as [`AtLimit`] says. Nothing
//!    that a thread merely keeps can starve another that waits; one that doesn't may be refused
//!    while buffers are on their way for a moment ([`GetError::Exhausted`]). (A filter of system
//!    calls that refuses `membarrier(2)` later costs each look at what others keep a millisecond.)
//! 6. **Shrink.** What nobody needed for a while gives its pages back, by [`ClassPool::tick`].
//!
//! A forked child makes pools of its own, also the one behind the plain functions. What it has of
//! its parent's never waits for a lock that another thread of the parent held at the fork:
//!
//! | in the child, of a pool that the parent made | |
//! |---|---|
//! | a get | from the thread's bin, whose pages are copied when one of the two writes; else [`GetError::Forked`] |
//! | a get of a length that no class holds | works, and so does its drop |
//! | a dropped buffer | goes to the thread's bin, or is forgotten; zeroed before, if it is to be, in the child's copy |
//! | a future that waits | [`GetError::Forked`] |
//! | statistics | of the direct buffers; nothing is known of the classes |
//! | warm-up, tick, a ticker's end, the last handle, the end of a thread | do nothing |
//!
//! It knows of forks by libc's `fork` only, which runs handlers: not of a bare `clone` or `_Fork`.
//!
//! Waste: the rest of the class behind the payload (see [`ClassTable`]), what threads keep
//! ([`ClassOptions::cache_bytes`] for each class and thread, at most), and the part of a slab that
//! wasn't used yet, which holds no pages.

mod bin;
mod block;
mod buffer;
mod direct;
mod error;
mod global;
mod home;
mod idle;
mod line;
mod load_test;
mod local;
mod memory;
mod number;
mod options;
mod pool;
mod shared;
mod stats;
mod store;
mod table;
mod wait;
mod warm_up;

#[cfg(all(test, not(loom)))]
mod tests;

pub use buffer::PooledBuf;
pub use error::{ClassError, GetError, LenError};
pub use global::{default_pool, get, print_stats, put_zeroed, reset_stats, stats, warm_up};
pub use idle::Ticker;
pub use load_test::{LoadTest, LoadTestError, LoadTestReport};
pub use options::{AtLimit, ClassOptions, Limit};
pub use pool::{ClassPool, Get};
pub use stats::{ClassStats, ClassWarmUp, DirectStats, PoolStats, WarmUp};
pub use table::ClassTable;
