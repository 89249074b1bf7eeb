//! Running a check in a forked child.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the child found, as its exit status. A child that waits for what isn't there is ended by
/// its alarm, which is a status too.
pub fn in_child(check: impl FnOnce()) -> i32 {
    // SAFETY: I92. The child runs `check` and ends; it never returns into the test.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no process for a child");
    if child == 0 {
        // SAFETY: I92. An integer; the signal ends the child.
        unsafe { libc::alarm(if option_env!("SLIPRING_HURRY").is_some() { 5 } else { 20 }) };
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
