//! The end of the process under `PanicPolicy::Abort`: a line on standard error if possible, and the
//! abort in any case.
#![allow(unsafe_code)]

use std::fmt;

/// How long a full pipe may take to be read, in milliseconds.
#[cfg(not(miri))]
const PATIENCE_MS: libc::c_int = 100;

/// Says why and aborts. Standard error may be closed, full, or locked by a thread that waits for a
/// reader: so it is written to by one system call, if it takes the line at once or soon, and
/// nothing here panics.
#[cold]
pub(super) fn abort_with(why: fmt::Arguments<'_>) -> ! {
    say(&format!("slipring: {why}\n"));
    std::process::abort()
}

#[cfg(not(miri))]
fn say(line: &str) {
    // A pipe that is ready takes this much at once.
    let line = &line.as_bytes()[..line.len().min(libc::PIPE_BUF)];
    let mut entry = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: I47. One entry, which outlives the call.
    let ready = unsafe { libc::poll(&raw mut entry, 1, PATIENCE_MS) };
    if ready == 1 && entry.revents == libc::POLLOUT {
        // SAFETY: I47. The pointer and the length are those of a slice that outlives the call. Its
        // result is ignored: there is nowhere to report it.
        unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
    }
}

#[cfg(miri)]
fn say(line: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}
