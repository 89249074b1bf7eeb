//! [`Pace`]: how many requests to keep in flight, learnt from the throughput they give.
//!
//! A round is as many ranges as requests may be in flight. As long as a quarter more requests give
//! 5 % more bytes per second, the number grows by a quarter. When they don't, it goes back one step
//! and tries again after some rounds. When a server asks for patience, the number shrinks by a
//! quarter at once. Rounds in which no request waited don't count, nor does the time before a
//! round's first range.
//!
//! It is arithmetic only; the clock is an argument. The rule is the additive increase and
//! multiplicative decrease of congestion control, combined with throughput, because a store at its
//! limit slows down all its answers before it refuses any.

use std::time::{Duration, Instant};

/// Requests in flight at the start.
pub(crate) const START: usize = 32;
/// The most that it goes up to by itself.
pub(crate) const MOST: usize = 128;
/// What a step up must bring.
const GAIN: f64 = 1.05;
/// Rounds until the next trial.
const ROUNDS_HELD: u32 = 16;

#[derive(Debug)]
pub(crate) struct Pace {
    limit: usize,
    /// What a failed trial goes back to.
    limit_before: usize,
    /// Bytes a second with that; none while no trial is on.
    rate_before: Option<f64>,
    rounds_held: u32,
    /// Nobody has waited for a turn since: the next range begins a round and isn't counted.
    idle: bool,
    began: Instant,
    bytes: u64,
    ranges: usize,
    /// Requests sent before were too many, and their refusals say nothing new.
    cut: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            limit: START,
            limit_before: START,
            rate_before: None,
            rounds_held: 0,
            idle: true,
            began: now,
            bytes: 0,
            ranges: 0,
            cut: now,
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// A range arrived; `wanted` says that somebody waited for its turn.
    pub(crate) fn arrived(&mut self, now: Instant, bytes: u64, wanted: bool) {
        if !wanted || self.idle {
            self.idle = !wanted;
            self.start_round(now);
            return;
        }
        self.bytes += bytes;
        self.ranges += 1;
        let elapsed = now.saturating_duration_since(self.began);
        if self.ranges < self.limit || elapsed == Duration::ZERO {
            return;
        }
        let rate = self.bytes as f64 / elapsed.as_secs_f64();
        self.end_round(rate);
        self.start_round(now);
    }

    /// A request that was sent at `sent` was refused for being one too many.
    pub(crate) fn throttled(&mut self, now: Instant, sent: Instant) {
        if sent < self.cut {
            return;
        }
        self.limit = (self.limit * 3 / 4).max(1);
        self.cut = now;
        self.hold();
        self.start_round(now);
    }

    fn start_round(&mut self, now: Instant) {
        (self.began, self.bytes, self.ranges) = (now, 0, 0);
    }

    fn end_round(&mut self, rate: f64) {
        match self.rate_before {
            Some(before) if rate < before * GAIN => {
                self.limit = self.limit_before;
                self.hold();
            }
            None if self.rounds_held > 0 => self.rounds_held -= 1,
            _ => self.step_up(rate),
        }
    }

    fn step_up(&mut self, rate: f64) {
        let more = (self.limit + (self.limit / 4).max(1)).min(MOST);
        if more == self.limit {
            self.hold();
            return;
        }
        (self.limit_before, self.limit, self.rate_before) = (self.limit, more, Some(rate));
    }

    fn hold(&mut self) {
        (self.rate_before, self.rounds_held) = (None, ROUNDS_HELD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store with so many bytes a second for a request and for all, which refuses beyond `most`;
    /// runs `rounds` rounds of equal parts.
    fn run(
        pace: &mut Pace,
        mut now: Instant,
        each: f64,
        all: f64,
        most: usize,
        rounds: usize,
    ) -> (usize, usize) {
        let (mut lowest, mut highest) = (usize::MAX, 0);
        for _ in 0..rounds {
            let in_flight = pace.limit();
            let sent = now;
            let served = in_flight.min(most);
            let rate = (served as f64 * each).min(all);
            now += Duration::from_secs_f64(1e6 * served as f64 / rate);
            (0..in_flight - served).for_each(|_| pace.throttled(now, sent));
            (0..served).for_each(|_| pace.arrived(now, 1_000_000, true));
            (lowest, highest) = (lowest.min(pace.limit()), highest.max(pace.limit()));
        }
        (lowest, highest)
    }

    #[test]
    fn it_rises_while_more_requests_bring_more_bytes() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        run(&mut pace, now, 40e6, 1e12, usize::MAX, 20);
        assert_eq!(pace.limit(), MOST);
    }

    #[test]
    fn it_stays_where_more_requests_bring_nothing() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let (lowest, highest) = run(&mut pace, now, 200e6, 400e6, usize::MAX, 200);
        assert_eq!((lowest, highest), (START, START * 5 / 4));
        let (lowest, highest) = run(&mut pace, now, 40e6, 40e6 * 45.0, usize::MAX, 200);
        assert!(lowest >= START && highest <= 62, "{lowest} to {highest} around 45");
    }

    #[test]
    fn a_store_that_refuses_is_asked_for_less_and_tried_again() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        run(&mut pace, now, 40e6, 1e12, 16, 10);
        assert!(pace.limit() <= 16, "{} of 16", pace.limit());
        let (lowest, highest) =
            run(&mut pace, now + Duration::from_secs(1000), 40e6, 1e12, 16, 200);
        assert!(lowest >= 10 && highest <= 20, "{lowest} to {highest} around 16");
    }

    #[test]
    fn refusals_of_one_burst_count_once_and_one_request_is_always_left() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        (0..20).for_each(|_| pace.throttled(now + Duration::from_secs(1), now));
        assert_eq!(pace.limit(), START * 3 / 4);
        for second in 2..40 {
            let sent = now + Duration::from_secs(second);
            pace.throttled(sent, sent);
        }
        assert_eq!(pace.limit(), 1);
    }

    #[test]
    fn a_pause_is_no_part_of_a_round() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        // A line that is full: more requests bring nothing.
        for burst in 1..20 {
            let start = now + Duration::from_secs(1000 * burst);
            (0..3 * MOST as u64)
                .for_each(|ms| pace.arrived(start + Duration::from_millis(ms), 1 << 20, true));
            pace.arrived(start + Duration::from_secs(1), 1 << 20, false);
            assert!(pace.limit() <= START * 5 / 4, "{} in burst {burst}", pace.limit());
        }
        assert_eq!(pace.limit(), START);
    }

    #[test]
    fn rounds_without_demand_say_nothing() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        for ms in 0..10_000 {
            pace.arrived(now + Duration::from_millis(ms), 1 << 20, ms % 8 != 0);
        }
        assert_eq!(pace.limit(), START);
    }
}
