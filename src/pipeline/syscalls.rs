//! The system calls of lanes: the eventfd that the IO thread sleeps on, the poll call that waits
//! for it, and the last line of a process that aborts.
#![allow(unsafe_code)]

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

#[cfg(loom)]
pub(crate) use model::EventFd;

#[cfg(not(loom))]
pub(crate) use real::EventFd;

/// How long [`abort_with`] waits for a full pipe to be read, in milliseconds.
#[cfg(not(miri))]
const FULL_PIPE_WAIT_MS: libc::c_int = 100;

#[cfg(not(loom))]
mod real {
    use std::io::{Error, ErrorKind};
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

    use crate::pipeline::error::LaneError;
    use crate::process::Process;

    /// A descriptor that is readable while it is set. A forked child inherits the descriptor and
    /// must not touch it, because it would consume its parent's wake-ups.
    #[derive(Debug)]
    pub(crate) struct EventFd {
        fd: OwnedFd,
        process: Process,
    }

    impl EventFd {
        pub(crate) fn new() -> Result<Self, LaneError> {
            // SAFETY: I47. The call takes two integers and touches no memory of ours.
            let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
            if fd < 0 {
                return Err(LaneError::Os { what: "eventfd", error: Error::last_os_error() });
            }
            // SAFETY: I48. The descriptor is new, and nothing else owns it.
            Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, process: Process::current() })
        }

        pub(crate) fn set(&self) {
            if !self.process.is_current() {
                return;
            }
            let one = 1u64.to_ne_bytes();
            // SAFETY: I47. Eight bytes, which outlive the call, and a descriptor that we own.
            let written =
                unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
            // A full counter is already readable, which is enough. No other error is possible on
            // our own eventfd; if one occurred, a stage's thread would be no place to panic.
            debug_assert!(
                written == 8 || would_block(),
                "a wake-up was lost: {}",
                Error::last_os_error()
            );
        }

        pub(crate) fn clear(&self) {
            if !self.process.is_current() {
                return;
            }
            let mut count = [0u8; 8];
            // SAFETY: I47. Eight bytes, which outlive the call, and a descriptor that we own.
            let read =
                unsafe { libc::read(self.fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
            debug_assert!(
                read == 8 || would_block(),
                "the eventfd can't be cleared: {}",
                Error::last_os_error()
            );
        }

        pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
            Some(self.fd.as_fd())
        }
    }

    /// Whether the call that has just failed would have blocked.
    fn would_block() -> bool {
        Error::last_os_error().kind() == ErrorKind::WouldBlock
    }
}

/// Replaces the eventfd under loom, which models no system calls: a flag, and a poll call that
/// waits for it.
#[cfg(loom)]
mod model {
    use std::os::fd::BorrowedFd;

    use crate::pipeline::error::LaneError;
    use crate::sync::{Condvar, Mutex};

    #[derive(Debug)]
    pub(crate) struct EventFd {
        is_set: Mutex<bool>,
        changed: Condvar,
    }

    impl EventFd {
        pub(crate) fn new() -> Result<Self, LaneError> {
            Ok(Self { is_set: Mutex::new(false), changed: Condvar::new() })
        }

        pub(crate) fn set(&self) {
            *self.is_set.lock().expect("no test panics here") = true;
            self.changed.notify_one();
        }

        pub(crate) fn clear(&self) {
            *self.is_set.lock().expect("no test panics here") = false;
        }

        /// None, because there is no descriptor to wait for. Tests call `poll` instead.
        pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
            None
        }

        #[cfg(test)]
        pub(crate) fn is_set(&self) -> bool {
            *self.is_set.lock().expect("no test panics here")
        }

        /// Blocks until the flag is set, as `poll(2)` does on the descriptor.
        #[cfg(test)]
        pub(crate) fn poll(&self) {
            let mut is_set = self.is_set.lock().expect("no test panics here");
            while !*is_set {
                is_set = self.changed.wait(is_set).expect("no test panics here");
            }
        }
    }
}

/// Blocks until the descriptor is readable or the timeout has passed.
pub(super) fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let millis = timeout.as_millis().clamp(1, 60_000) as libc::c_int;
    if cfg!(miri) {
        // Miri has no poll(2). The caller's loop looks again.
        return std::thread::yield_now();
    }
    // SAFETY: I47. One entry, which outlives the call. An interrupted call is a spurious wake-up,
    // which callers expect.
    unsafe { libc::poll(&raw mut entry, 1, millis) };
}

/// Writes the reason to standard error if possible, and aborts the process in any case.
///
/// Standard error may be closed, full, or locked by a thread that waits for a reader. So the line
/// is written by one system call, and only if standard error accepts it now or soon. Nothing here
/// panics.
#[cold]
pub(super) fn abort_with(reason: fmt::Arguments<'_>) -> ! {
    write_to_stderr(&format!("slipring: {reason}\n"));
    std::process::abort()
}

#[cfg(not(miri))]
fn write_to_stderr(line: &str) {
    // A pipe that is ready accepts this much in one call.
    let line = &line.as_bytes()[..line.len().min(libc::PIPE_BUF)];
    let mut entry = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: I47. One entry, which outlives the call.
    let ready = unsafe { libc::poll(&raw mut entry, 1, FULL_PIPE_WAIT_MS) };
    if ready == 1 && entry.revents == libc::POLLOUT {
        // SAFETY: I47. The pointer and the length are those of a slice that outlives the call. The
        // result is ignored because there is nowhere to report it.
        unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
    }
}

#[cfg(miri)]
fn write_to_stderr(line: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}
