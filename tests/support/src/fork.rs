//! A check in a forked child.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::patience;

/// Runs `check` in a forked child and returns the child's exit status: 0 if the check passed. A
/// child that waits for something that never comes is ended by its alarm, which is another status.
pub fn in_child(check: impl FnOnce()) -> i32 {
    let seconds = patience(20).as_secs() as libc::c_uint;
    // SAFETY: I92. The child runs `check` and ends; it never returns into the test.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no process for a child");
    if child == 0 {
        // SAFETY: I92. An integer; the signal ends the child.
        unsafe { libc::alarm(seconds) };
        let status = i32::from(catch_unwind(AssertUnwindSafe(check)).is_err());
        // SAFETY: I92. The child ends here. Destructors of its thread run, and are part of the
        // check.
        unsafe { libc::exit(status) };
    }
    let mut status = 0;
    // SAFETY: I92. The status is a local integer.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    status
}
