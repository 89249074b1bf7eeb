//! Receive queues: bounded queues of pooled messages between two threads, over a class pool that a
//! connection owns and all of its streams share.
//!
//! The life of a message:
//!
//! 1. **Assemble.** An [`Assembler`] receives the frames of one stream straight into a buffer of
//!    the pool, whatever their number and the length of the message.
//! 2. **Enqueue.** [`Enqueuer::enqueue`] moves the buffer in; [`Enqueuer::enqueue_copy`] gets one
//!    and copies into it, outside of any lock.
//! 3. **Dequeue.** [`Dequeuer::dequeue`] frees the slot immediately and returns the [`Message`].
//! 4. **Return.** Dropping the message returns the buffer to the pool: on any thread, in any order,
//!    also after the queue was dropped.
//! 5. **Close.** Nothing more goes in, and what is in still comes out: see below.
//!
//! # How a queue ends
//!
//! - *To close* a queue: nothing more goes in; what is in still comes out. [`Enqueuer::close`]
//!   closes it cleanly, and so does the drop of the enqueuer. [`Closer::close_with`] closes it with
//!   an error, from any thread.
//! - *To drain* a queue: to dequeue everything that is in.
//! - [`End`]: how it ended. It is clean, or it is an error, or the dequeuer was dropped
//!   ([`End::Abandoned`]; what was queued returns to the pool). A queue ends once: the first end
//!   wins.
//! - [`Closed`]: what a dequeue returns when the queue was closed with an error and is drained. At
//!   a clean end a dequeue returns `None`.
//! - [`EnqueuerPanicked`]: the error if a panic dropped the enqueuer.
//! - [`Forked`]: the error in a forked child, for a call that would wait for the parent's threads.
//!
//! # What it promises
//!
//! - Moving a message in and out needs no lock, no read-modify-write and no copy.
//! - Messages come out in order and once. A message that isn't dequeued is handed back or returned
//!   to the pool. A message whose enqueue returned `Ok` before the end is dequeued, unless the
//!   dequeuer is dropped.
//! - Closing waits for no message and for neither end. A queue that is closed and drained counts
//!   nothing.
//! - No wake-up is lost, and a dropped future consumes none. A waker that panics costs its own task
//!   a wake-up and has no other effect. A future that is forgotten (`std::mem::forget`) holds its
//!   waker and its buffer until its end of the queue is used again or dropped.
//! - A queue belongs to the process that made it. In a forked child no call on its ends and no drop
//!   of them waits for the parent's threads, and no message crosses between the two processes.
//!
//! A process may forbid itself `membarrier(2)` while queues exist. They go on, more slowly: a
//! waiting thread sleeps for a millisecond at most and checks again, and a waiting task blocks its
//! thread for a tenth of that at each poll and wakes itself. So allow the call in a filter, or
//! install the filter before the first queue.
//!
//! # What it doesn't
//!
//! - Serve two enqueuers or two dequeuers at a time.
//! - Count the messages that are held (see [`QueueStats`]), or bound them: the pool's limit does. A
//!   pool at its limit may wait for messages that a dequeuer holds, so code that enqueues and
//!   dequeues on one thread must use the calls that don't wait.
//!
//! ```
//! use slipring::class::{ClassOptions, ClassPool};
//! use slipring::queue::{QueueOptions, queue};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = ClassPool::new(&ClassOptions::default())?;
//! let (mut enqueuer, mut dequeuer) = queue(&pool, QueueOptions { messages: 64, bytes: 1 << 20 })?;
//! let reader = std::thread::spawn(move || {
//!     let mut bytes = 0;
//!     while let Some(message) = dequeuer.dequeue()? {
//!         bytes += message.len();
//!     }
//!     Ok::<_, slipring::queue::Closed>(bytes)
//! });
//! let mut buf = pool.get(1000)?;
//! buf.fill(7);
//! enqueuer.enqueue(buf)?;
//! enqueuer.enqueue_copy(b"copied")?;
//! enqueuer.close();
//! assert_eq!(reader.join().expect("the reader ends")?, 1006);
//! # Ok(())
//! # }
//! ```
//!
//! # What doesn't compile
//!
//! Two threads at one end:
//!
//! ```compile_fail,E0277
//! # use slipring::queue::{QueueOptions, queue};
//! # let pool = slipring::class::default_pool();
//! # let (enqueuer, mut dequeuer) = queue(pool, QueueOptions::default()).unwrap();
//! std::thread::scope(|scope| {
//!     scope.spawn(|| enqueuer.stats());
//! });
//! ```
//!
//! ```compile_fail,E0599
//! # use slipring::queue::{QueueOptions, queue};
//! # let pool = slipring::class::default_pool();
//! # let (enqueuer, mut dequeuer) = queue(pool, QueueOptions::default()).unwrap();
//! let second = dequeuer.clone();
//! ```
//!
//! A buffer used after it was enqueued:
//!
//! ```compile_fail,E0382
//! # use slipring::queue::{QueueOptions, queue};
//! # let pool = slipring::class::default_pool();
//! # let (mut enqueuer, dequeuer) = queue(pool, QueueOptions::default()).unwrap();
//! let buf = slipring::class::get(10).unwrap();
//! enqueuer.try_enqueue(buf).unwrap();
//! assert_eq!(buf.len(), 10);
//! ```

mod assembler;
mod dequeue;
mod enqueue;
mod error;
mod options;
mod ring;
mod shared;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub use assembler::{Assembler, AssemblerStats, Length};
pub use dequeue::{Dequeue, Dequeuer, Message};
pub use enqueue::{Enqueue, Enqueuer};
pub use error::{AssembleError, Closed, CopyError, DequeueError, EnqueueError};
pub use options::{Bound, QueueError, QueueOptions};
pub use ring::QueueStats;
pub use shared::{CloseError, Closer, End, EnqueuerPanicked, Forked};

use crate::class::ClassPool;

/// Makes the two ends of a queue over a connection's pool, which many queues may share. The
/// enqueuer holds the pool, for copies.
///
/// # Errors
/// [`QueueError`] names the option that is out of range.
pub fn queue(pool: &ClassPool, options: QueueOptions) -> Result<(Enqueuer, Dequeuer), QueueError> {
    options.check()?;
    let (inlet, outlet) = enqueue::ends(options.messages, options.bytes);
    Ok((Enqueuer::new(inlet, pool.clone()), Dequeuer::new(outlet)))
}
