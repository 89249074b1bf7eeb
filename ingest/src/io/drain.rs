//! The end of a driver, within one deadline.
//!
//! ```text
//! told to stop     half of the time           deadline
//!   |-- requests ----|                            |      whole frames that were received are taken and answered
//!   |-- answers, and clients that end their side -|      whoever doesn't read holds this up, and nothing else
//!           |-- stages, sink, last segment -------|      from the last request on: at half of the time at the latest
//! ```
//! Nothing more is read from clients. What isn't done by the deadline is given up and counted.

use std::time::Instant;

use slipring::pipeline::CloseReport;

use super::conn::Phase;
use super::counters::{ClassUse, Counter, Counts, IoReport, PoolUse};
use super::driver::{Driver, SLEEP_UNRECLAIMED};

impl Driver {
    /// Drains, and returns the sink's deadline.
    pub(super) fn drain(mut self, mut failure: Option<String>) -> (IoReport, CloseReport, Instant) {
        let start = Instant::now();
        let (requests_until, until) = (start + self.drain_time / 2, start + self.drain_time);
        self.draining = true;
        self.poller.forget_bell(&self.bell);
        self.stop_accepting();
        self.end_drained(false);
        while failure.is_none() && self.table.len() > 0 && Instant::now() < until {
            let busy = self.round();
            self.end_drained(Instant::now() >= requests_until);
            failure = self.rest(busy);
        }
        let left = self.unanswered();
        self.counters.add(Counter::Broken, left as u64);
        let pool = PoolUse { stats: self.lane.stats().pool, right_size: self.lane.right_size() };
        let (counts, classes, close) = self.close_lane(until);
        let failure = failure.or(close.failure.as_ref().map(ToString::to_string));
        (IoReport { counts, left, failure, pool: Some(pool), classes: Some(classes) }, close, until)
    }

    /// A connection ends once the complete frames received from it are taken; with `all`, every
    /// connection ends now. When the last one has ended, the stream ends, so that stages and sink
    /// finish while clients still read.
    fn end_drained(&mut self, all: bool) {
        if all {
            self.stalled = None;
        }
        let stalled = self.stalled.as_ref().map(|&(id, ..)| id);
        let mut open = false;
        for id in self.table.ids() {
            let Some(conn) = self.table.get_mut(id).filter(|conn| conn.phase == Phase::Open) else {
                continue;
            };
            if !all && (Some(id) == stalled || self.limits.holds_whole_frame(conn)) {
                open = true;
            } else {
                self.end_requests(id);
            }
        }
        if !open && self.stalled.is_none() {
            self.lane.begin_close();
        }
    }

    /// Connections that are still owed answers.
    fn unanswered(&mut self) -> usize {
        let mut ids = self.table.ids();
        ids.retain(|&id| self.table.get_mut(id).is_some_and(|conn| conn.phase != Phase::Lingering));
        ids.len()
    }

    /// Ends the stream and drains it, including answers. The sink has until the deadline.
    fn close_lane(mut self, until: Instant) -> (Counts, ClassUse, CloseReport) {
        self.stalled = None;
        self.lane.begin_close();
        // Also if the lane has failed: the answering stage reaches the end, or finds that it waits
        // for a dead stage.
        while !self.answers.has_ended() && Instant::now() < until {
            let progress = self.lane.poll();
            if !self.drain_answers() && progress.is_idle() && !self.answers.has_ended() {
                let pause = SLEEP_UNRECLAIMED.min(until.saturating_duration_since(Instant::now()));
                if self.classes.take_short() {
                    std::thread::sleep(pause)
                } else {
                    self.lane.wait(true, pause)
                }
            }
        }
        // The answering stage is dropped last: dropped before the end, it would count as failed,
        // not as late.
        let Self { lane, mut counters, answers, classes, .. } = self;
        counters.set(Counter::MemoryRefusals, classes.refusals());
        let close = lane.close(until.saturating_duration_since(Instant::now()));
        drop(answers);
        (counters.reader().counts(), ClassUse(classes.stats()), close)
    }
}
