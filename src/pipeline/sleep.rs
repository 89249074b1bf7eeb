//! The IO thread's sleep: in its own poll call, or here.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::close::LOOK;
use super::error::Refused;
use super::idle::Idle;
use super::lane::Lane;
use super::slot::Meta;
use super::wake::{ASLEEP, ASLEEP_FULL};
use crate::wake::{Announced, NAP};

impl<M: Meta> Lane<M> {
    /// Readable when the IO thread should wake. Add it to the descriptors that the thread polls.
    /// Between [`Lane::prepare_sleep`] and [`Lane::awake`], a stage's release, a failure or the end
    /// makes it readable.
    #[must_use]
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.shared.io.fd().unwrap_or_else(|| unreachable!("the IO thread sleeps on an eventfd"))
    }

    /// Announces a sleep. Returns true if the thread may block on [`Lane::wake_fd`] now, false if
    /// there is work. `full`: it waits for room as well, so anything to reclaim wakes it.
    /// Everything pushed is published first, because nothing would publish it during the sleep. In
    /// both cases call [`Lane::awake`] before anything else.
    ///
    /// If a system call filter forbids `membarrier(2)` after the process has registered for it, no
    /// wake-up can be relied on. Then this call naps for up to a millisecond and returns false, so
    /// a caller in a loop learns of work a millisecond late. The same happens while an attached
    /// stage says `Retry`: it is asked again after the nap.
    #[must_use]
    pub fn prepare_sleep(&mut self, full: bool) -> bool {
        self.flush();
        if self.retries() && !self.can_free(full) {
            poll_fd(self.wake_fd(), NAP);
            return false;
        }
        match self.announce(full, || self.is_ready(full)) {
            Announced::Asleep => true,
            Announced::Ready => false,
            Announced::Unheard => {
                poll_fd(self.wake_fd(), NAP);
                false
            }
        }
    }

    /// Withdraws the announcement.
    pub fn awake(&mut self) {
        self.shared.io.awake();
    }

    /// For a lane without sockets: waits until there may be something to do, with the lane's
    /// strategy and for at most `timeout`. `full`, and what happens to pushed events, are as in
    /// [`Lane::prepare_sleep`].
    pub fn wait(&mut self, full: bool, timeout: Duration) {
        self.flush();
        if self.retries() && !self.can_free(full) {
            return poll_fd(self.wake_fd(), timeout.min(NAP));
        }
        self.wait_until(full, after(timeout), |lane| lane.is_ready(full));
    }

    /// Whether an attached stage said `Retry` in the last round. That is work, but not work to spin
    /// for.
    fn retries(&self) -> bool {
        self.inline.iter().any(|stage| stage.retries())
    }

    /// For a lane without sockets: polls and waits until a claim of `len` bytes finds room, so that
    /// the next [`Lane::claim`] of that many is refused only if a stage fails in between.
    ///
    /// # Errors
    /// Those of a claim: at once if the lane is poisoned or closed, or too much was asked for;
    /// [`Refused::Ring`] or [`Refused::Pool`] after `timeout`.
    pub fn wait_for_room(&mut self, len: usize, timeout: Duration) -> Result<(), Refused> {
        let (until, refusals) = (after(timeout), self.refused_ring);
        loop {
            // It counts as one refusal, however often it looks.
            self.refused_ring = self.refused_ring.min(refusals);
            let refused = match self.claim(len) {
                // Dropping the grant takes nothing.
                Ok(_) => return Ok(()),
                Err(refused) => refused,
            };
            if !refused.is_full() || Instant::now() >= until {
                return Err(refused);
            }
            if self.poll().is_idle() {
                // Not for inline stages: the round has just polled them.
                self.wait_until(true, until.min(after(LOOK)), |lane| lane.can_free(true));
            }
        }
    }

    pub(super) fn wait_until(&mut self, full: bool, until: Instant, ready: impl Fn(&Self) -> bool) {
        let mut idle = Idle::new(self.wait);
        while !ready(self) {
            // However short the time is, other threads get to run: a caller in a loop doesn't keep
            // a CPU from them.
            let may_sleep = idle.pass();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if may_sleep {
                match self.announce(full, || ready(self)) {
                    Announced::Asleep => poll_fd(self.wake_fd(), left),
                    Announced::Ready => (),
                    Announced::Unheard => poll_fd(self.wake_fd(), left.min(NAP)),
                }
                return self.awake();
            }
        }
    }

    fn announce(&self, full: bool, ready: impl Fn() -> bool) -> Announced {
        let level = if full { ASLEEP_FULL } else { ASLEEP };
        self.shared.io.prepare(self.shared.barrier, level, ready)
    }
}

/// The end of a duration that starts now; a century from now if it doesn't fit.
pub(super) fn after(timeout: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    Instant::now() + timeout.min(CENTURY)
}

/// Blocks until the descriptor is readable or the time is over.
fn poll_fd(fd: BorrowedFd<'_>, timeout: Duration) {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let millis = timeout.as_millis().clamp(1, 60_000) as libc::c_int;
    if cfg!(miri) {
        // Miri has no poll(2): the caller's loop looks again.
        return std::thread::yield_now();
    }
    // SAFETY: I47. One entry, which outlives the call. An interrupted call is a spurious wake-up,
    // which callers expect.
    unsafe { libc::poll(&raw mut entry, 1, millis) };
}
