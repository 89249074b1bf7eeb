//! Forked children: a process with a copy of the pool, one thread, and locks that threads held which aren't there.
//!
//! Promises that a child's calls never wait for such a lock: a get says [`GetError::Forked`](super::GetError::Forked) once the thread's bin is empty, and
//! a dropped buffer, which is a copy, is forgotten when the bin is full. What the bin holds works: pages are copied when one of the two writes.
#![allow(unsafe_code)]

use std::sync::Once;

use crate::sync::{AtomicBool, Ordering};

static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// Notes forks from now on.
pub(crate) fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        if cfg!(miri) {
            // Miri neither forks nor knows the call.
            return;
        }
        // SAFETY: I104. The handler stores into a static, which is allowed after a fork.
        let refused = unsafe { libc::pthread_atfork(None, None, Some(note_child)) };
        assert_eq!(refused, 0, "there is memory for one handler");
    });
}

extern "C" fn note_child() {
    IS_CHILD.store(true, Ordering::Relaxed);
}

/// Whether this process was forked after a pool was made.
pub(crate) fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}
