//! The eventfd that the IO thread sleeps on. While it is set, the thread's poll call returns.
#![allow(unsafe_code)]

#[cfg(loom)]
mod model;

#[cfg(loom)]
pub(crate) use model::EventFd;

#[cfg(not(loom))]
pub(crate) use real::EventFd;

#[cfg(not(loom))]
mod real {
    use std::io::{Error, ErrorKind};
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

    use crate::pipeline::error::LaneError;
    use crate::process::Process;

    /// A descriptor that is readable while the event is set. A forked child has it too, and leaves
    /// it alone: it would take its parent's wake-ups.
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
            // SAFETY: I48. The descriptor is new and nobody else owns it.
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
            // A full counter is readable already, which is all that is wanted. Nothing else can
            // fail on an eventfd of ours; were it so, a stage's thread is no place to panic.
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
                "the event can't be cleared: {}",
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
