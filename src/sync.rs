//! The only file that names atomics. They are loom's under `cfg(loom)`, and the standard library's
//! otherwise.
//!
//! Every memory ordering in the crate has a name, which is cited at both of its ends:
//!
//! | name | store (Release) | load (Acquire) | what becomes visible |
//! |---|---|---|---|
//! | SYNC S1 | last drop of a retained handle (`ring/pins.rs`) | the owner's look at a chunk's pins | all reads through the handle are over |
//! | SYNC S2 | a release of a batch, by a stage or by a reader of a `SliceRing`: the disruptor's cursor | a later stage's poll; the reclaimer's poll and the disruptor's look for a free event | all reads of the batch, and its pins, are over |
//! | SYNC S3 | a stage's progress (`pipeline/state.rs`), behind its cursor | the lane's reclaiming, an inline stage's look, a sleeper's second look | the same, and what the stage wrote; that there is work |
//! | SYNC S4 | a stage's death (`pipeline/flow.rs`), and the number of the first that failed | every look at a stage, every idle loop | who failed and why |
//! | SYNC S5 | close; the lane's going | every idle loop | where the stream ends; who was left behind |
//! | SYNC S6 | a waker's clearing of a sleep word | the sleeper | why it was woken |
//! | SYNC S7 | drop of a `Held` (`pipeline/held.rs`) | the pump of a dead stage | all reads through the `Held` are over |
//! | SYNC S8 | a thread leaves its bin (`class/bin.rs`) | an emptying thread's look at the bin | what the bin holds, and the bytes of it |
//! | SYNC S9 | an emptying thread lets the owner in again | the owner's next entry | that it is empty |
//! | SYNC S10 | a buffer granted to a waiter (`class/store.rs`) | the waiter's look | the buffer, and its bytes |
//! | SYNC S11 | the enqueuer's count (`stream/ring.rs`) | the dequeuer's look for messages | what the slots hold, and the bytes of it |
//! | SYNC S12 | the dequeuer's count (`stream/ring.rs`) | the enqueuer's look for room | all reads of the slots are over |
//! | SYNC S13 | the end of a queue (`stream/end.rs`) | both ends | how it ended, and every message before a clean end |
//! | SYNC S14 | the process's own class pool (`class/global.rs`) | a call of a plain function | the pool |
//! | SYNC S15 | the process's mask of CPUs (`pipeline/pin.rs`) | a reading of it | the mask |
//! | SYNC S16 | a stage's rejection (`pipeline/state.rs`) | a snapshot's look at the count | the first reason |
//! | SYNC S17 | a worker of a load test that is warm (`class/load_test/workers.rs`) | the first look at the counters | what it had counted |
//! | SYNC S18 | the bytes of either count (`stream/ring.rs`) | a look from outside at both counts | the other end's count, as this end had seen it |

use core::num::NonZeroU32;

use crate::process::Process;

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

/// No value is left half changed under a lock, so a panic elsewhere doesn't affect later users.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A number for a pool or lane, never used twice in a process. After four billion of them, the
/// process aborts.
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

    /// Parks for at most a second; returns true if it was that long. Nothing depends on the bound:
    /// a wake-up that comes only by it is counted as lost.
    pub(crate) fn park() -> bool {
        const NET: std::time::Duration = std::time::Duration::from_secs(1);
        let start = std::time::Instant::now();
        std::thread::park_timeout(NET);
        start.elapsed() >= NET
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

    /// A thread's token. loom's own `unpark` lets go also of a thread that waits for a lock or a
    /// join.
    #[derive(Clone, Debug)]
    pub(crate) struct Thread(std::sync::Arc<(Mutex<bool>, Condvar)>);

    impl Thread {
        pub(crate) fn unpark(&self) {
            *self.0.0.lock().expect("nobody panics with a token") = true;
            self.0.1.notify_one();
        }
    }

    pub(crate) fn current_thread() -> Thread {
        CURRENT.with(Thread::clone)
    }

    /// loom models no compiler fence: the fallback is what is modelled.
    pub(crate) fn compiler_fence(_: super::Ordering) {}

    pub(crate) fn pause(_: u32) {
        yield_now();
    }

    /// loom has no clock: it parks until somebody unparks.
    pub(crate) fn park_for(_: std::time::Duration) {
        park();
    }

    /// Parks until somebody unparks.
    pub(crate) fn park() -> bool {
        let Thread(token) = current_thread();
        let mut is_there = token.0.lock().expect("nobody panics with a token");
        while !*is_there {
            is_there = token.1.wait(is_there).expect("nobody panics with a token");
        }
        *is_there = false;
        false
    }
}

/// What the loom tests are made of.
#[cfg(all(test, loom))]
pub(crate) mod model {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::{model, thread};
}

/// A lock that is held for a few instructions, and that a forked child doesn't wait for: the holder
/// may be a thread that the child doesn't have.
#[derive(Debug)]
pub(crate) struct ForkLock<T> {
    mutex: Mutex<T>,
    made_by: Process,
}

impl<T> ForkLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { mutex: Mutex::new(value), made_by: Process::current() }
    }

    /// As one that was made before this process was forked.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn forked(value: T) -> Self {
        Self { mutex: Mutex::new(value), made_by: Process::other() }
    }

    /// None if it is held.
    #[cfg(feature = "pipeline")]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.mutex.try_lock() {
            Ok(guard) => Some(guard),
            // Nobody leaves a value half changed.
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    /// None in a forked child, if somebody held it at the fork.
    pub(crate) fn lock(&self) -> Option<MutexGuard<'_, T>> {
        /// A thread of the child's own has let go of it before that many tries.
        const TRIES_MAX: u32 = 1000;
        let mut tries = 0;
        // loom looks at each try as at a lock of its own.
        while !cfg!(loom) && tries < TRIES_MAX {
            match self.mutex.try_lock() {
                Ok(guard) => return Some(guard),
                Err(_) if self.made_by.is_surely_current() => break,
                Err(_) => yield_now(),
            }
            tries += 1;
        }
        (tries < TRIES_MAX).then(|| lock(&self.mutex))
    }
}

/// Alone on two cache lines, because the prefetcher loads lines in pairs.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(crate) struct Padded<T>(pub(crate) T);
