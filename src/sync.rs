//! The only file that names atomics. They are loom's under `cfg(loom)`, and the standard library's
//! otherwise.
//!
//! Every memory ordering that an invariant or a wake-up relies on has a name, which is cited at
//! both of its ends. Orderings without a name serve figures and hints.
//!
//! | name | store (Release) | load (Acquire) | what becomes visible |
//! |---|---|---|---|
//! | SYNC S1 | last drop of a retained handle (`ring/pins.rs`) | the owner's look at a chunk's pins | all reads through the handle are over |
//! | SYNC S2 | a release of a batch, by a stage or by a reader of a `SliceRing`: the disruptor's cursor | a later stage's poll; the reclaimer's poll and the disruptor's look for a free event | all reads of the batch, and its pins, are over |
//! | SYNC S3 | a stage's progress (`pipeline/state.rs`), after its cursor; what the lane published (`pipeline/flow.rs`) | the lane's reclaiming, an inline stage's look, a sleeper's second look | the same, and what the stage wrote; that there is work |
//! | SYNC S4 | a stage's death (`pipeline/state.rs`), and the number of the first that failed (`pipeline/flow.rs`) | every look at a stage, every idle loop | who failed and why |
//! | SYNC S5 | close; the end of the lane itself | every idle loop | after how many events the lane ends; which stages are dead |
//! | SYNC S6 | a waker's clearing of a sleep word | the sleeper | why it was woken |
//! | SYNC S7 | drop of a `Held` (`pipeline/view.rs`) | the pump of a dead stage | all reads through the `Held` are over |
//! | SYNC S8 | a thread leaves its bin (`class/bin.rs`) | an emptying thread's look at the bin | what the bin holds, and the bytes of it |
//! | SYNC S9 | an emptying thread lets the owner in again | the owner's next entry | that it is empty |
//! | SYNC S10 | a buffer granted to a waiter (`class/store.rs`) | the waiter's look | the buffer, and its bytes |
//! | SYNC S11 | the enqueuer's count (`queue/ring.rs`) | the dequeuer's look for messages | what the slots hold, and the bytes of it |
//! | SYNC S12 | the dequeuer's count (`queue/ring.rs`) | the enqueuer's look for room | all reads of the slots are over |
//! | SYNC S13 | the end of a queue (`queue/shared.rs`) | both ends | how it ended, and every message before a clean end |
//! | SYNC S14 | the process's own class pool (`class/global.rs`) | a call of a plain function | the pool |
//! | SYNC S15 | the process's mask of CPUs (`machine/pin.rs`) | a reading of it | the mask |
//! | SYNC S16 | a stage's rejection (`pipeline/state.rs`) | a snapshot's look at the count | the first reason |
//! | SYNC S17 | a worker of a load test that is warm (`class/load_test/workers.rs`) | the first look at the counters | what it had counted |
//! | SYNC S18 | the bytes of either count (`queue/ring.rs`) | a look from outside at both counts | the other end's count, as this end had seen it |

use core::num::NonZeroU32;
use std::time::Duration;

#[cfg(all(feature = "pipeline", not(loom)))]
pub(crate) use std::sync::atomic::AtomicI64;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

#[cfg(all(feature = "pipeline", loom))]
pub(crate) use loom::sync::atomic::AtomicI64;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// For statics, which loom's can't be.
pub(crate) use std::sync::atomic::AtomicPtr as StaticPtr;

/// Never modelled by loom: gauges, which meet loom's atomics in no test.
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};

/// The longest park without a time limit. Then the sleeper looks again, in case a wake-up was lost.
pub(crate) const PARK_MAX: Duration = Duration::from_secs(1);

/// Locks a mutex, poisoned or not: no holder leaves a value half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A number for a pool or lane, never used twice in a process. The process aborts after four
/// billion of them.
pub(crate) fn pool_id() -> NonZeroU32 {
    static LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let id = LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
    u32::try_from(id).ok().and_then(NonZeroU32::new).unwrap_or_else(|| std::process::abort())
}

#[cfg(not(loom))]
pub(crate) use self::threads::*;

#[cfg(not(loom))]
mod threads {
    pub(crate) use std::sync::atomic::{compiler_fence, fence};
    pub(crate) use std::sync::{Arc, Mutex, MutexGuard};
    pub(crate) use std::thread::{Thread, current as current_thread, yield_now};

    /// A cell with loom's interface, so that loom checks accesses to it.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// For reading.
        #[inline]
        pub(crate) fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
            look(self.0.get())
        }

        /// For writing.
        #[inline]
        pub(crate) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
            change(self.0.get())
        }
    }

    /// Parks for at most [`PARK_MAX`](super::PARK_MAX); returns true if it took that long. Nothing
    /// depends on the bound: a wake-up that it replaces is counted as lost.
    pub(crate) fn park() -> bool {
        let start = std::time::Instant::now();
        std::thread::park_timeout(super::PARK_MAX);
        start.elapsed() >= super::PARK_MAX
    }

    /// Parks for at most this long.
    pub(crate) fn park_for(timeout: std::time::Duration) {
        std::thread::park_timeout(timeout);
    }

    /// Pauses between two looks at something that another thread does in a few instructions, unless
    /// it loses its CPU. It sleeps rather than yields, because a real-time thread that yields
    /// doesn't give its CPU to a lower priority.
    pub(crate) fn pause(look: u32) {
        if look < 2 {
            yield_now();
        } else {
            std::thread::sleep(std::time::Duration::from_micros(25 << look.min(6)));
        }
    }
}

#[cfg(loom)]
pub(crate) use self::threads::*;

#[cfg(loom)]
mod threads {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::fence;
    pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(crate) use loom::thread::yield_now;

    loom::thread_local! {
        static CURRENT: Thread = Thread(std::sync::Arc::new((Mutex::new(false), Condvar::new())));
    }

    /// A thread's token. loom's own `unpark` also releases a thread that waits for a lock or a
    /// join.
    #[derive(Clone, Debug)]
    pub(crate) struct Thread(std::sync::Arc<(Mutex<bool>, Condvar)>);

    impl Thread {
        pub(crate) fn unpark(&self) {
            *self.0.0.lock().expect("no thread panics while it holds a token") = true;
            self.0.1.notify_one();
        }
    }

    pub(crate) fn current_thread() -> Thread {
        CURRENT.with(Thread::clone)
    }

    /// loom doesn't model compiler fences. The models use the fallback, full fences.
    pub(crate) fn compiler_fence(_: super::Ordering) {}

    pub(crate) fn pause(_: u32) {
        yield_now();
    }

    /// loom has no clock, so this parks until another thread unparks it.
    pub(crate) fn park_for(_: std::time::Duration) {
        park();
    }

    /// Parks until another thread unparks it.
    pub(crate) fn park() -> bool {
        let Thread(token) = current_thread();
        let mut is_there = token.0.lock().expect("no thread panics while it holds a token");
        while !*is_there {
            is_there = token.1.wait(is_there).expect("no thread panics while it holds a token");
        }
        *is_there = false;
        false
    }
}

/// What loom tests use beside the types above.
#[cfg(all(test, loom))]
pub(crate) mod model {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::{model, thread};
}

/// Alone on two cache lines, because the prefetcher loads lines in pairs.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(crate) struct Padded<T>(pub(crate) T);
