//! Forked children: a process with a copy of the pool, one thread, and locks that threads held which aren't there.
//!
//! Promises that what a child makes itself works, and that what it has of its parent's never waits for such a lock:
//!
//! | in the child, of a pool that the parent made | |
//! |---|---|
//! | a get | from the thread's bin, whose pages are copied when one of the two writes; else [`GetError::Forked`](super::GetError::Forked) |
//! | a get of a length that no class holds | works, and so does its drop |
//! | a dropped buffer | goes to the thread's bin, or is forgotten |
//! | a future that waits | [`GetError::Forked`](super::GetError::Forked) |
//! | statistics | of the direct buffers; nothing is known of the classes |
//! | warm-up, tick, a ticker's end, the last handle, the end of a thread | do nothing |
//!
//! It knows of forks by libc's `fork` only, which runs handlers: not of a bare `clone` or `_Fork`.
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};

use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// Forks on the way from the process that made the first pool to this one.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// The process in which something was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u64);

impl Process {
    /// This one. Its forks are noticed from now on.
    pub(crate) fn current() -> Self {
        watch();
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Whether this is still the same process, and not a child of it.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        self.0 == FORKS.load(Ordering::Relaxed)
    }
}

/// Without a lock, which a fork in the middle would leave to the child for ever: two threads may install the handler twice, and a fork counts twice then.
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
