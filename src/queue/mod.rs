//! Receive queues: bounded queues of pooled messages between two threads, over a class pool that a
//! connection owns and all of its streams share.
//!
//! The life of a message:
//!
//! 1. **Assemble.** An [`Assembler`] receives the frames of one stream straight into a buffer of
//!    the pool, whatever their number and the length of the message.
//! 2. **Enqueue.** [`Enqueuer::enqueue`] moves the buffer in; [`Enqueuer::enqueue_copy`] gets one
//!    and copies into it, outside of any lock.
//! 3. **Dequeue.** [`Dequeuer::dequeue`] frees the slot at once and gives the [`Message`].
//! 4. **Done.** Dropping the message gives the buffer back to the pool: on any thread, in any
//!    order, also after the queue is gone.
//! 5. **End.** [`Enqueuer::finish`] is the clean end; [`Closer::close`] ends it with an error,
//!    behind what is queued.
//!
//! It promises: moving a message in and out takes no lock, no read-modify-write and no copy;
//! messages come out in order and once; what isn't dequeued is handed back or returned to the pool;
//! an enqueue that was answered with `Ok` before the end is dequeued, unless the dequeuer is
//! dropped; closing waits for no message and for neither end, and a queue that is closed and
//! drained counts nothing; no wake-up is lost, and a future that is dropped takes none with it. A
//! waker that panics costs its own task a wake-up and nobody else anything; a future that is
//! forgotten (`std::mem::forget`) keeps its waker and its buffer until its end is used for another,
//! or is dropped.
//!
//! A process may forbid itself `membarrier(2)` while queues exist. They go on, more slowly: a
//! waiting thread sleeps for a millisecond at most and looks again, and a waiting task blocks its
//! thread for a tenth of that at each poll and wakes itself. So allow the call in a filter, or
//! install the filter before the first queue.
//!
//! A queue belongs to the process that made it. In a forked child, no call on its ends and no drop
//! of them waits for the parent's threads: a call that would wait reports that the queue was
//! closed, with [`Forked`]. No message crosses between the two processes.
//!
//! It doesn't: serve two enqueuers or two dequeuers at a time, count the messages that are held
//! (see [`QueueStats`]), or bound them: the pool's limit does. A pool at its limit may wait for
//! messages that a dequeuer holds, so code that fills and empties a queue on one thread must use
//! the calls that don't wait.
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
//! enqueuer.finish();
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
//! # let (enqueuer, mut dequeuer) = queue(slipring::class::default_pool(), QueueOptions::default()).unwrap();
//! std::thread::scope(|scope| {
//!     scope.spawn(|| enqueuer.stats());
//! });
//! ```
//!
//! ```compile_fail,E0599
//! # use slipring::queue::{QueueOptions, queue};
//! # let (enqueuer, mut dequeuer) = queue(slipring::class::default_pool(), QueueOptions::default()).unwrap();
//! let second = dequeuer.clone();
//! ```
//!
//! A buffer used after it was enqueued:
//!
//! ```compile_fail,E0382
//! # use slipring::queue::{QueueOptions, queue};
//! # let (mut enqueuer, dequeuer) = queue(slipring::class::default_pool(), QueueOptions::default()).unwrap();
//! let buf = slipring::class::get(10).unwrap();
//! enqueuer.try_enqueue(buf).unwrap();
//! assert_eq!(buf.len(), 10);
//! ```

mod assembler;
mod closer;
mod dequeue;
mod end;
mod enqueue;
mod error;
mod inlet;
mod message;
mod options;
mod outlet;
mod ring;
mod shared;
mod stats;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub use assembler::{AssembleError, Assembler, AssemblerStats, Length};
pub use closer::Closer;
pub use dequeue::{Dequeue, Dequeuer};
pub use end::{CloseError, End, EnqueuerPanicked, Forked};
pub use enqueue::{Enqueue, Enqueuer};
pub use error::{Closed, CopyError, DequeueError, EnqueueError};
pub use message::Message;
pub use options::{QueueError, QueueOptions};
pub use ring::Bound;
pub use stats::QueueStats;

use crate::class::ClassPool;

/// Makes the two ends of a queue over a connection's pool, which many queues may share. They keep
/// the pool alive, and otherwise need it only for copies.
///
/// # Errors
/// [`QueueError`] names the option that doesn't fit.
pub fn queue(pool: &ClassPool, options: QueueOptions) -> Result<(Enqueuer, Dequeuer), QueueError> {
    options.check()?;
    let (inlet, outlet) = inlet::ends(options.messages, options.bytes);
    Ok((Enqueuer::new(inlet, pool.clone()), Dequeuer::new(outlet)))
}
