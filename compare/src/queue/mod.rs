//! Receive queues beside their rivals: one thread receives messages and enqueues them, another one
//! dequeues, checks and drops them.
//!
//! ```text
//!   core A:  a message arrives ──▶ enqueue ──▶ 256 messages at most ──▶ core B: dequeue ──▶ check number at head and tail ──▶ drop
//! ```
//!
//! An operation is one message, from its arrival until its buffer is back in its pool. The clock
//! stops when the other thread has dropped the last one. Every message is checked, also while the
//! clock runs; in a pass before it, every byte is.
//!
//! # Which bytes are written by whom
//! A message arrives when the kernel writes it somewhere. That write costs every design the same
//! and isn't part of the figure. Here only its number arrives, in the first and the last 8 bytes of
//! the place where the kernel would have put it. From there on:
//!
//! | contender | the message arrives in | then |
//! |---|---|---|
//! | `slipring` | a buffer of the pool, which it was received into | the buffer moves; nothing is copied |
//! | `slipring-copy` | a packet buffer | is copied into a buffer of the pool, outside of any lock: the same work as `mutex-queue` |
//! | `mutex-queue` | a packet buffer | is copied into a buffer of a shared pool, under the queue's lock |
//! | `rtrb`, `crossbeam`, `flume`, `kanal`, `std-mpsc` | a buffer of slipring's class pool | the buffer moves through the library's channel |
//! | `crossbeam-vec`, `flume-vec` | a packet buffer | is copied into a vector from the heap, which moves and is freed by the other thread |
//! | `tokio`, `tokio-parks` | a buffer of slipring's class pool | becomes `Bytes`, which moves |
//! | `tokio-copy` | a packet buffer | is copied into `Bytes` from the heap |
//! | `empty-harness` | nowhere | its number goes through rtrb: the cost of a handover and of the check |
//!
//! So `slipring` beside `mutex-queue` compares designs, and `slipring-copy` beside `mutex-queue`
//! the same work. The rivals' channels carry our buffers: they are rivals of the queue, not of the
//! pool.
//!
//! # What is the same for all, and what isn't
//! - **Waiting.** A full queue is tried again after spinning, an empty one by the library's `Idle`;
//!   no thread parks. Contenders named `...-parks` wait as their library or design does:
//!   `slipring-parks` and `tokio-parks` by the blocking calls, `mutex-queue-parks` on its condition
//!   variable. `mutex-queue` without that is the faster side of the design, and the one that
//!   targets compare with.
//! - **Bounds.** 256 messages. slipring's queue and `mutex-queue` bound bytes too; that bound is
//!   set so that the number of messages always binds first.
//! - **Pinning.** Both threads are pinned to the first two CPUs that the process may use, if the
//!   system allows it.

mod case;
mod channels;
mod contender;
mod harness;
mod mutex_queue;
mod run;
mod slipring;
#[cfg(test)]
mod suite;

pub use run::run;
