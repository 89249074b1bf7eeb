//! How the owner of a lane waits: for work, in its own poll call or here; for room; and for the end
//! of the stages.
#![forbid(unsafe_code)]

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::error::Refused;
use super::event_ring::StagePoller;
use super::lane::Lane;
use super::policy::{Meta, PanicPolicy, StagePlacement};
use super::state::StageState;
use super::stats::{CloseReport, StageEnd};
use super::syscalls::wait_readable;
use super::wait::{ASLEEP, ASLEEP_FULL, Idle, after};
use crate::wake::{Announced, NAP, shielded};

/// The longest sleep of a closing thread before it looks again at inline stages, and at stages that
/// others poll.
const LOOK: Duration = Duration::from_millis(5);

impl<M: Meta> Lane<M> {
    /// Readable when the IO thread should wake. Add it to the descriptors that the thread polls.
    /// Between [`Lane::prepare_sleep`] and [`Lane::awake`], a stage's release, a failure or the end
    /// makes it readable.
    #[must_use]
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        let fd = self.ring.shared.io.fd();
        fd.unwrap_or_else(|| unreachable!("the IO thread sleeps on an eventfd"))
    }

    /// Announces a sleep. Returns true if the thread may block on [`Lane::wake_fd`] now, false if
    /// there is work. `full`: it waits for room as well, so anything to reclaim wakes it.
    /// Everything pushed is published first, because nothing would publish it during the sleep. In
    /// both cases call [`Lane::awake`] before anything else.
    ///
    /// If a system call filter forbids `membarrier(2)` after the process has registered for it, no
    /// wake-up is reliable. Then this call naps for up to a millisecond and returns false, so a
    /// caller in a loop notices work up to a millisecond late. The same happens while an attached
    /// stage returns `Retry`: it is shown the event again after the nap.
    #[must_use]
    pub fn prepare_sleep(&mut self, full: bool) -> bool {
        self.flush();
        if self.retries() && !self.can_free(full) {
            wait_readable(self.wake_fd(), NAP);
            return false;
        }
        match self.announce(full, || self.is_ready(full)) {
            Announced::Asleep => true,
            Announced::Ready => false,
            Announced::Unheard => {
                wait_readable(self.wake_fd(), NAP);
                false
            }
        }
    }

    /// Withdraws the announcement.
    pub fn awake(&mut self) {
        self.ring.shared.io.awake();
    }

    /// For a lane without sockets: waits until there may be something to do, with the lane's
    /// strategy and for at most `timeout`. `full`, and what happens to pushed events, are as in
    /// [`Lane::prepare_sleep`].
    pub fn wait(&mut self, full: bool, timeout: Duration) {
        self.flush();
        if self.retries() && !self.can_free(full) {
            return wait_readable(self.wake_fd(), timeout.min(NAP));
        }
        self.wait_until(full, after(timeout), |lane| lane.is_ready(full));
    }

    /// Whether an attached stage returned `Retry` in the last round. That is work, but not work to
    /// spin for.
    fn retries(&self) -> bool {
        self.ring.inline.iter().any(|stage| stage.retries())
    }

    /// For a lane without sockets: polls and waits until a claim of `len` bytes finds room. Then
    /// the next [`Lane::claim`] of that length is refused only if a stage fails in between.
    ///
    /// # Errors
    /// Those of a claim: immediately if the lane is poisoned or closed, or if `len` is too large;
    /// [`Refused::Ring`] or [`Refused::Pool`] after `timeout`.
    pub fn wait_for_room(&mut self, len: usize, timeout: Duration) -> Result<(), Refused> {
        let (until, refusals) = (after(timeout), self.ring.refused_ring);
        loop {
            // The whole wait counts as one refusal.
            self.ring.refused_ring = self.ring.refused_ring.min(refusals);
            let refused = match self.claim(len) {
                // A claim that is dropped uses up nothing.
                Ok(_) => return Ok(()),
                Err(refused) => refused,
            };
            if !refused.is_full() || Instant::now() >= until {
                return Err(refused);
            }
            if self.poll().is_idle() {
                // Inline stages needn't be waited for: the round has just polled them.
                self.wait_until(true, until.min(after(LOOK)), |lane| lane.can_free(true));
            }
        }
    }

    fn wait_until(&mut self, full: bool, until: Instant, ready: impl Fn(&Self) -> bool) {
        let mut idle = Idle::new(self.wait);
        while !ready(self) {
            // However short the time is, this lets other threads run, so a caller in a loop doesn't
            // starve them.
            let may_sleep = idle.pass();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if may_sleep {
                match self.announce(full, || ready(self)) {
                    Announced::Asleep => wait_readable(self.wake_fd(), left),
                    Announced::Ready => (),
                    Announced::Unheard => wait_readable(self.wake_fd(), left.min(NAP)),
                }
                return self.awake();
            }
        }
    }

    fn announce(&self, full: bool, ready: impl Fn() -> bool) -> Announced {
        let level = if full { ASLEEP_FULL } else { ASLEEP };
        self.ring.shared.io.prepare(self.ring.shared.barrier, level, ready)
    }

    /// Whether there is something for this thread to do. `full`: it waits for room as well.
    fn is_ready(&self, full: bool) -> bool {
        let shared = &self.ring.shared;
        let has_events = |stage: &StageState| {
            stage.placement == StagePlacement::Inline
                && !stage.is_dead()
                && shared.available(stage.layer) > stage.progress()
        };
        shared.stages.iter().any(has_events)
            || shared.poisoned().is_some()
            || shared.figures.are_requested()
            || self.can_free(full)
    }

    /// Whether there is something to reclaim (only checked if `full`) or to pump.
    fn can_free(&self, full: bool) -> bool {
        let shared = &self.ring.shared;
        (full && shared.consumed() > self.ring.reclaimed)
            || (shared.has_failed() && self.can_pump())
    }

    /// Whether a dead stage blocks others and can be pumped.
    fn can_pump(&self) -> bool {
        let shared = &self.ring.shared;
        let has_events = |(stage, _): &(u32, StagePoller<M>)| {
            let stage = &shared.stages[*stage as usize];
            stage.helds() == 0 && shared.available(stage.layer) > stage.progress()
        };
        shared.policy == PanicPolicy::Detach
            && (shared.has_pollers_to_pump() || self.detached.iter().any(has_events))
    }

    /// Publishes what is pushed and ends the stream after it: nothing more goes in, and each stage
    /// ends when it gets there. A caller that polls inline stages itself continues to poll them,
    /// and then calls [`Lane::close`].
    pub fn begin_close(&mut self) {
        if !self.ring.closing {
            self.ring.close();
        }
    }

    /// Closes the lane and waits until every stage has ended, or until the deadline. Late stages
    /// are named in the report, and continue on their own. Attached inline stages are polled from
    /// here; a poisoned lane ends as soon as its threads do.
    #[must_use]
    pub fn close(mut self, deadline: Duration) -> CloseReport {
        self.begin_close();
        let until = after(deadline);
        loop {
            let progress = self.poll();
            debug_assert!(self.ring.closing);
            let late = self.late();
            if late.is_empty() || Instant::now() >= until {
                self.reclaim();
                let published = (self.ring.published + 1) as u64;
                let stages: Vec<_> = self.ring.shared.stages.iter().map(StageEnd::of).collect();
                let consumed =
                    stages.iter().map(|stage| stage.processed).min().unwrap_or(published);
                return CloseReport { published, consumed, stages, late, failure: self.failure() };
            }
            if progress.is_idle() {
                // Neither inline stages nor a poisoned lane are waited for: the round found nothing
                // that it could do about them.
                self.wait_until(true, until.min(after(LOOK)), |lane| lane.can_free(true));
            }
        }
    }

    /// The stages that haven't ended, haven't died with everything before their death released, and
    /// haven't seen all that an earlier dead stage had processed.
    fn late(&self) -> Vec<String> {
        let shared = &self.ring.shared;
        // A dead stage may be about to release what it had processed. Then the position of its
        // death is ahead of its progress for a moment.
        let is_over = |stage: &StageState| {
            stage.has_ended()
                || stage.progress() + 1 >= stage.died_at().min(shared.cut_off_at(stage.layer))
        };
        let is_being_pumped = |stage: &StageState| {
            shared.poisoned().is_none() && stage.is_dead() && stage.progress() < self.ring.published
        };
        let late = shared.stages.iter().filter(|stage| !is_over(stage) || is_being_pumped(stage));
        late.map(|stage| stage.name.clone()).collect()
    }
}

impl<M: Meta> Drop for Lane<M> {
    /// Doesn't wait: what is pushed is published, stages continue to the end, and the region stays
    /// mapped for them. Attached stages that haven't processed everything are late, not dead, so no
    /// panic policy applies.
    fn drop(&mut self) {
        self.begin_close();
        self.reclaim();
        self.ring.shared.figures.publish_last(self.owner_stats());
        // Before the attached stages are dropped, so that their own drop records them as late.
        self.ring.shared.set_gone();
        // If a handler panics in its drop, the panic hook has reported it, and the other stages are
        // still dropped.
        self.ring.inline.drain(..).for_each(|stage| shielded(|| drop(stage)));
    }
}
