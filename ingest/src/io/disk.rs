//! A lane's log as its IO thread sees it: how far it is, what it has lost, whether it takes rows;
//! and the call that wakes the IO thread if it sleeps and waits for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use super::marks::DurableRows;
use super::poller::Bell;
use crate::log::{LogProgress, LogState};

/// Wakes a lane's IO thread from the thread that commits, if it sleeps and waits for the disk.
#[derive(Clone, Debug)]
pub struct DiskCall {
    bell: Bell,
    is_awaited: Arc<AtomicBool>,
}

impl DiskCall {
    /// A call that rings this bell.
    #[must_use]
    pub fn new(bell: Bell) -> Self {
        Self { bell, is_awaited: Arc::default() }
    }

    /// The log is further than before. A lane that waits for nothing isn't woken.
    pub fn call(&self) {
        // Either this sees that the lane waits, or the lane, which looks once more, sees the log:
        // the other fence is in `LaneDisk::is_behind`.
        fence(Ordering::SeqCst);
        if self.is_awaited.load(Ordering::Relaxed) {
            self.bell.ring();
        }
    }
}

/// A lane's log, for its IO thread.
#[derive(Debug)]
pub(super) struct LaneDisk {
    progress: LogProgress,
    call: DiskCall,
    /// What the last look found.
    state: LogState,
    seen: u64,
    /// What follows from it. Of a log that has ended, no row is awaited.
    rows: DurableRows,
    losses: u64,
}

impl LaneDisk {
    pub(super) fn new(progress: LogProgress, call: DiskCall) -> Self {
        let seen = progress.durable_through();
        let rows = DurableRows { through: seen, lost: Vec::new() };
        Self { progress, call, state: LogState::Open, seen, rows, losses: 0 }
    }

    /// Looks how far the log is.
    #[inline]
    pub(super) fn look(&mut self) {
        // The state first: a log that has ended gets no further.
        let state = self.progress.state();
        let durable = self.progress.durable_through();
        if durable != self.seen || state != self.state {
            self.get_on(durable, state);
        }
    }

    #[cold]
    fn get_on(&mut self, durable: u64, state: LogState) {
        (self.state, self.seen, self.rows.through) = (state, durable, durable);
        // A loss is noted before the watermark passes it.
        let losses = self.progress.losses();
        if losses != self.losses {
            (self.losses, self.rows.lost) = (losses, self.progress.lost_rows());
        }
        if state == LogState::Ended {
            // What it didn't get before is in no log.
            self.rows.lost.push(durable..u64::MAX);
            self.rows.through = u64::MAX;
        }
    }

    /// The rows that it had at the last look.
    #[inline]
    pub(super) fn rows(&self) -> &DurableRows {
        &self.rows
    }

    /// Whether the disk is full, so that the log takes no rows.
    pub(super) fn is_full(&self) -> bool {
        self.state == LogState::NoSpace
    }

    /// The lane is about to sleep: it is called when the log gets on. Returns whether it may sleep,
    /// because the log is no further than at the last look.
    pub(super) fn is_behind(&self) -> bool {
        self.call.is_awaited.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.progress.durable_through() == self.seen && self.progress.state() == self.state
    }

    /// The lane is awake.
    pub(super) fn awake(&self) {
        self.call.is_awaited.store(false, Ordering::Relaxed);
    }
}
