//! Identifies the current process. A forked child has a copy of everything its parent made, but
//! none of the parent's other threads.
//!
//! A handler of libc's `fork` counts forks, so a check costs one load. A child made by the bare
//! system call doesn't run the handler. Where mistaking it for the parent would be unsound, the
//! process id is compared as well ([`Process::is_surely_current`]).
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};

use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// The number of forks between the process that asked first and this one.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// The process in which something was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    forks: u64,
    id: u32,
}

impl Process {
    /// The current process. From now on its forks are noticed.
    pub(crate) fn current() -> Self {
        watch();
        Self { forks: FORKS.load(Ordering::Relaxed), id: std::process::id() }
    }

    /// One that this process was forked from, say.
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

/// Without a lock, which a fork in the middle would leave to the child for ever: two threads may
/// install the handler twice, and a fork counts twice then.
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
