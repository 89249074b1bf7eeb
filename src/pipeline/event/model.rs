//! What stands for the eventfd under loom, which models no system call: a flag, and a poll call
//! that waits for it.
#![forbid(unsafe_code)]

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

    /// There is no descriptor to wait for: see `poll`.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    #[cfg(test)]
    pub(crate) fn is_set(&self) -> bool {
        *self.is_set.lock().expect("no test panics here")
    }

    /// Blocks until it is set, as `poll(2)` does on the descriptor.
    #[cfg(test)]
    pub(crate) fn poll(&self) {
        let mut is_set = self.is_set.lock().expect("no test panics here");
        while !*is_set {
            is_set = self.changed.wait(is_set).expect("no test panics here");
        }
    }
}
