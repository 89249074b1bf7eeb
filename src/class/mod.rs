//! Class pools: thread-safe buffers in size classes, for bytes that outlive a ring's order or cross
//! threads.
//!
//! The life of a buffer:
//!
//! 1. **Map.** A class maps slabs when it needs them, on the node of [`ClassOptions::numa`] (by
//!    default that of the thread whose get maps it), after the limits were checked. A slab is cut
//!    into blocks, one per buffer.
//! 2. **Get.** [`ClassPool::get`] finds the smallest class that fits and gets a buffer from the
//!    thread's own *bin*, without a lock or a locked instruction. The bin is filled from the
//!    class's *store*, half a bin at a time.
//! 3. **Use.** [`PooledBuf`] is a slice of bytes, on any thread.
//! 4. **Drop.** The buffer goes to the bin of the thread that drops it. A thread that only drops
//!    passes half a bin at a time to the store, where a thread that only gets finds it. So memory
//!    doesn't pile up on one thread.
//! 5. **Wait.** At a class's [`Limit`], a getter first empties the bins of other threads. Then it
//!    waits, is refused or gets a direct buffer, as [`AtLimit`] says. Buffers that a thread merely
//!    keeps never starve a getter that waits. A getter that doesn't wait may be refused while
//!    buffers are briefly in transit ([`GetError::Exhausted`]). If a system call filter refuses
//!    `membarrier(2)` after the pool was made, each look at other threads' bins takes a
//!    millisecond.
//! 6. **Shrink.** Buffers that haven't been needed for a while give their pages back, in
//!    [`ClassPool::tick`].
//!
//! A forked child makes its own pools, also the one of the plain functions. Its copies of its
//! parent's pools never wait for a lock that another thread of the parent held at the fork:
//!
//! | in the child, of a pool of the parent | |
//! |---|---|
//! | a get | from the thread's bin, whose pages are copied when one of the two processes writes; otherwise [`GetError::Forked`] |
//! | a get of a length that no class holds | works, and so does the drop |
//! | a dropped buffer | goes to the thread's bin, or is forgotten. If it is to be zeroed, that happens first, in the child's copy |
//! | a future that waits | [`GetError::Forked`] |
//! | statistics | of the direct buffers only. Those of the classes are unknown |
//! | warm-up | [`ClassError::Forked`] |
//! | tick, a ticker's end, the last handle, the end of a thread | do nothing |
//!
//! Forks are noticed through libc's `fork` only, which runs handlers, and not through a bare
//! `clone` or `_Fork`.
//!
//! Waste: the unused end of a buffer (see [`ClassTable`]), what threads keep (at most
//! [`ClassOptions::cache_bytes`] per class and thread), and the part of a slab that hasn't been
//! used yet, which has no pages.

mod bin;
mod buffer;
mod get;
mod global;
mod load_test;
mod memory;
mod options;
mod pool;
mod put;
mod shared;
mod shrink;
mod stats;
mod store;
mod threads;

#[cfg(all(test, not(loom)))]
mod tests;

pub use buffer::{LenError, PooledBuf};
pub use get::{Get, GetError};
pub use global::{default_pool, get, print_stats, put_zeroed, reset_stats, stats, warm_up};
pub use load_test::{LoadTest, LoadTestError, LoadTestReport};
pub use options::{AtLimit, ClassError, ClassOptions, ClassTable, Limit};
pub use pool::ClassPool;
pub use shrink::Ticker;
pub use stats::{ClassPoolStats, ClassStats, ClassWarmUp, DirectStats, WarmUp};
