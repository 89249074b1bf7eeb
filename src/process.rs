//! Identifies the current process. A forked child has a copy of everything its parent made, but
//! none of the parent's other threads.
//!
//! A handler of libc's `fork` counts forks, so a check costs one load. A child made by the bare
//! system call doesn't run the handler. Where mistaking it for the parent would be unsound, the
//! process id is compared as well ([`Process::is_surely_current`]).
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};

use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, lock, yield_now};

/// The number of forks between the process that asked first and this one.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// The process in which something was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    forks: u64,
    id: u32,
}

impl Process {
    /// The current process. From this call on, its forks are counted.
    pub(crate) fn current() -> Self {
        watch();
        Self { forks: FORKS.load(Ordering::Relaxed), id: std::process::id() }
    }

    /// Another process, such as the parent of this one.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn other() -> Self {
        Self { forks: u64::MAX, id: 0 }
    }

    /// Whether this is still the same process, and not a child made by libc's `fork`.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        self.forks == FORKS.load(Ordering::Relaxed)
    }

    /// Whether this is still the same process, however a child may have been made. Costs a system
    /// call.
    pub(crate) fn is_surely_current(self) -> bool {
        self.is_current() && self.id == std::process::id()
    }
}

/// Installs the handler. There is no lock, because a child forked while a thread holds one would
/// never see it released. So two threads may install the handler twice; then a fork counts twice.
fn watch() {
    static IS_WATCHED: AtomicBool = AtomicBool::new(false);
    // Miri neither forks nor knows the call.
    if cfg!(miri) || IS_WATCHED.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: I104. The handler adds to a static, which is allowed after a fork.
    let refused = unsafe { libc::pthread_atfork(None, None, Some(note_child)) };
    if refused != 0 {
        // The only reason is that there is no memory for an entry of a list.
        handle_alloc_error(Layout::new::<[usize; 4]>());
    }
    IS_WATCHED.store(true, Ordering::Relaxed);
}

extern "C" fn note_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A lock that is held for a few instructions only. A forked child doesn't wait for it for ever:
/// the holder may be a thread that the child doesn't have.
#[derive(Debug)]
pub(crate) struct ForkLock<T> {
    mutex: Mutex<T>,
    made_by: Process,
}

impl<T> ForkLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { mutex: Mutex::new(value), made_by: Process::current() }
    }

    /// As if it had been made before this process was forked.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn forked(value: T) -> Self {
        Self { mutex: Mutex::new(value), made_by: Process::other() }
    }

    /// The value, or None if the lock is held.
    #[cfg(feature = "pipeline")]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.mutex.try_lock() {
            Ok(guard) => Some(guard),
            // No holder leaves a value half changed.
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    /// The value. None in a forked child, if the lock was held at the fork.
    pub(crate) fn lock(&self) -> Option<MutexGuard<'_, T>> {
        /// A thread of the child releases the lock within this many tries.
        const TRIES_MAX: u32 = 1000;
        let mut tries = 0;
        // loom counts each try as a lock of its own.
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
