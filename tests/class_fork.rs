//! A forked child has a copy of the pool, and one thread of it: its calls answer, whatever locks other threads held.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use slipring::class::{ClassError, ClassOptions, ClassPool, GetError};

/// What the child found, as its exit status.
fn in_child(check: impl FnOnce()) -> i32 {
    // SAFETY: I92. The child runs `check` and ends; it returns to no code of the test's.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no process for a child");
    if child == 0 {
        let status = i32::from(catch_unwind(AssertUnwindSafe(check)).is_err());
        // SAFETY: I92. As above.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: I92. The status is a local integer.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    status
}

#[test]
fn a_forked_child_has_copies_and_gets_no_more() {
    let pool = ClassPool::new(&ClassOptions::default()).unwrap();
    let mut held = pool.get(100).unwrap();
    held.fill(1);
    drop(pool.get(100).unwrap());
    let status = in_child(|| {
        held.fill(2);
        let mut kept = pool.get(100).expect("one is in the thread's bin");
        kept.fill(3);
        assert_eq!(pool.get(3000).unwrap_err(), GetError::Forked);
        assert_eq!(
            pool.get_timeout(1 << 20, std::time::Duration::MAX).map(drop),
            Ok(()),
            "direct ones need no pool's lock"
        );
        assert_eq!(pool.warm_up(1).unwrap_err(), ClassError::Forked);
        assert_eq!(pool.tick(std::time::Instant::now()), 0);
        // More than a bin holds: the rest is forgotten.
        drop(kept);
    });
    assert_eq!(status, 0, "the child's checks failed");
    assert!(held.iter().all(|&byte| byte == 1), "the child wrote into the parent's buffer");
    // The parent goes on.
    drop(held);
    assert_eq!(pool.get(3000).unwrap().len(), 3000);
    assert_eq!(pool.stats().classes[0].in_use, 0);
}
