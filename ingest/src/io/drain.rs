//! How a lane's IO thread runs until it is stopped, and how it ends.
//!
//! It ends within one deadline:
//!
//! ```text
//! asked to stop    half of the time           deadline
//!   |-- requests ----|                            |      complete frames that were received are accepted and answered
//!   |-- answers, and clients that end their side -|      a client that doesn't read holds up this, and nothing else
//!           |-- stages, sink, last segment -------|      from the last request on: at half of the time at the latest
//! ```
//! Nothing more is read from clients. What isn't done by the deadline is given up and counted: so
//! are the answers that wait for a disk which doesn't take their vectors by then.

use std::sync::atomic::Ordering;
use std::time::Instant;

use slipring::pipeline::CloseReport;

use super::conn::ConnPhase;
use super::counters::{Counter, Counts};
use super::driver::{Driver, SLEEP_UNRECLAIMED};
use super::linger::part;
use super::watch::{ClassUse, IoReport, PoolUse};

impl Driver {
    /// Serves until it is stopped or its lane fails, then drains, and returns the sink's deadline.
    pub fn run(mut self) -> (IoReport, CloseReport, Instant) {
        let mut failure = None;
        while !self.stop.load(Ordering::Acquire) && failure.is_none() {
            failure = self.turn();
        }
        self.drain(failure)
    }

    /// Drains, and returns the sink's deadline.
    fn drain(mut self, mut failure: Option<String>) -> (IoReport, CloseReport, Instant) {
        let start = Instant::now();
        let (requests_until, until) = (start + self.drain_time / 2, start + self.drain_time);
        self.intake.close();
        self.seat.close();
        self.listeners.remove_all(&self.poller);
        self.end_drained(false);
        while failure.is_none() && self.table.len() > 0 && Instant::now() < until {
            let is_busy = self.round();
            self.end_drained(Instant::now() >= requests_until);
            failure = self.wait(is_busy);
        }
        let left = self.table.iter_mut().filter(|conn| conn.phase != ConnPhase::Lingering).count();
        self.meters.counters.add(Counter::Broken, left as u64);
        let pool = PoolUse { stats: self.lane.stats().pool, right_size: self.lane.right_size() };
        let (counts, classes, close) = self.close_lane(until);
        let failure = failure.or(close.failure.as_ref().map(ToString::to_string));
        (IoReport { counts, left, failure, pool: Some(pool), classes: Some(classes) }, close, until)
    }

    /// A connection ends once the complete frames received from it are accepted; with `all`, every
    /// connection ends now. When the last one has ended, the stream ends, so that stages and sink
    /// complete their work while clients still read.
    fn end_drained(&mut self, all: bool) {
        if all {
            self.intake.take_stalled();
        }
        let Self { table, intake, parser, .. } = self;
        let stalled = intake.stalled_conn();
        let (mut open, mut ending) = (false, Vec::new());
        for conn in table.iter_mut().filter(|conn| conn.phase == ConnPhase::Open) {
            let holds_frame = Some(conn.id) == stalled || parser.has_carried_frame(conn);
            if holds_frame && !all {
                open = true;
            } else {
                ending.push(conn.id);
            }
        }
        ending.into_iter().for_each(|id| self.end_requests(id));
        if !open && self.intake.stalled_conn().is_none() {
            self.lane.begin_close();
        }
    }

    /// Whether answers may come: the stages haven't ended, or the disk is awaited.
    fn awaits_answers(&mut self) -> bool {
        !self.answers.has_ended() || self.answers.acks().is_some_and(|acks| acks.has_held())
    }

    /// Ends the stream and drains it, including answers. The sink has until the deadline.
    fn close_lane(mut self, until: Instant) -> (Counts, ClassUse, CloseReport) {
        self.intake.take_stalled();
        self.lane.begin_close();
        // Also if the lane has failed: the answering stage reaches the end, or finds that it waits
        // for a dead stage.
        while self.awaits_answers() && Instant::now() < until {
            let progress = self.lane.poll();
            let moved = self.encode_answers() | self.release_answers();
            if !moved && progress.is_idle() && self.awaits_answers() {
                let pause = SLEEP_UNRECLAIMED.min(until.saturating_duration_since(Instant::now()));
                if self.buffers.take_short() {
                    std::thread::sleep(pause)
                } else {
                    self.lane.wait(true, pause)
                }
            }
        }
        // Clients that are given up get what can be sent without waiting.
        self.send();
        self.table.iter_mut().for_each(part);
        // The answering stage is dropped last: dropped before the end, it would count as failed,
        // not as late.
        let Self { lane, mut meters, mut answers, buffers, .. } = self;
        let given_up = answers.acks().map_or(0, |acks| acks.left());
        meters.counters.add(Counter::GivenUp, given_up);
        meters.counters.set(Counter::MemoryRefusals, buffers.refusals());
        let close = lane.close(until.saturating_duration_since(Instant::now()));
        drop(answers);
        (meters.counters.reader().counts(), ClassUse(buffers.stats()), close)
    }
}
