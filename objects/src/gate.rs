//! [`Gate`]: admits requests in order of arrival, and bounds how many are in flight: by the
//! engine's `concurrency`, or by [`Pace`], which learns a number from the throughput.
//!
//! A round of the pace is as many ranges as requests may be in flight. As long as a quarter more
//! requests give 5 % more bytes per second, the number grows by a quarter. When they don't, it goes
//! back one step and tries again after some rounds. When a server refuses a request for being one
//! too many, the number shrinks by a quarter. Rounds in which no request waited don't count, nor
//! does the time before a round's first range.
//!
//! The pace is arithmetic only; the clock is an argument. The rule is the additive increase and
//! multiplicative decrease of congestion control, combined with throughput, because a store at its
//! limit slows down all its answers before it refuses any.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time;

use crate::progress::MOVED_BYTES;

/// Admits requests.
///
/// `limit == free turns + turns in use - debt`: a limit that falls below the turns in use is
/// reached as they end.
#[derive(Debug)]
pub(crate) struct Gate {
    turns: Semaphore,
    debt: AtomicUsize,
    waiting: AtomicUsize,
    most: usize,
    pace: Option<Mutex<Pace>>,
    /// Bytes per second of one request, a moving average; 0 before the first.
    bytes_per_second: AtomicU64,
}

/// One request's turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    gate: &'a Gate,
    permit: Option<SemaphorePermit<'a>>,
    since: Instant,
}

/// Counts a waiting request, also if it gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// Admits `concurrency` requests, or as many as the pace finds best.
    pub(crate) fn new(concurrency: Option<usize>) -> Self {
        Self {
            turns: Semaphore::new(concurrency.unwrap_or(START)),
            debt: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            most: concurrency.unwrap_or(MOST),
            pace: concurrency.is_none().then(|| Mutex::new(Pace::new(now()))),
            bytes_per_second: AtomicU64::new(0),
        }
    }

    pub(crate) async fn turn(&self) -> Turn<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        let permit = self.turns.acquire().await.expect("it is never closed");
        drop(waiting);
        Turn { gate: self, permit: Some(permit), since: now() }
    }

    /// The largest number of turns in use at the same time.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Turns that no request uses or waits for.
    pub(crate) fn idle(&self) -> usize {
        self.turns.available_permits().saturating_sub(self.waiting.load(Ordering::Relaxed))
    }

    /// Notes the speed of a request whose turn began at `since` and that received `bytes`. Requests
    /// with very few bytes are ignored: they show errors, not speed.
    pub(crate) fn note_speed(&self, bytes: u64, since: Instant) {
        if bytes < MOVED_BYTES {
            return;
        }
        let seconds = now().saturating_duration_since(since).as_secs_f64();
        let rate = (bytes as f64 / seconds.max(1e-6)) as u64;
        let before = self.bytes_per_second.load(Ordering::Relaxed);
        // A lost update is harmless: this is a moving average.
        self.bytes_per_second.store(
            if before == 0 { rate } else { before - before / 4 + rate / 4 }.max(1),
            Ordering::Relaxed,
        );
    }

    /// Bytes per second of one request, by the most recent ones.
    pub(crate) fn bytes_per_second(&self) -> Option<u64> {
        Some(self.bytes_per_second.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// A range of `bytes` bytes arrived.
    pub(crate) fn arrived(&self, bytes: u64) {
        let wanted = self.waiting.load(Ordering::Relaxed) > 0;
        self.adjust(|pace| pace.arrived(now(), bytes, wanted));
    }

    /// A server refused a request because there were too many; its turn began at `since`.
    pub(crate) fn throttled(&self, since: Instant) {
        self.adjust(|pace| pace.throttled(now(), since));
    }

    fn adjust(&self, change: impl FnOnce(&mut Pace)) {
        let Some(pace) = &self.pace else { return };
        let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
        let before = pace.limit();
        change(&mut pace);
        // Under the lock, so that two changes are applied in their order.
        for _ in before..pace.limit() {
            if !self.pay_debt() {
                self.turns.add_permits(1);
            }
        }
        let fewer = before.saturating_sub(pace.limit());
        let taken = fewer - self.turns.forget_permits(fewer);
        self.debt.fetch_add(taken, Ordering::Relaxed);
    }

    /// Whether the debt was above zero and is now lower by one turn.
    fn pay_debt(&self) -> bool {
        self.debt
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |debt| debt.checked_sub(1))
            .is_ok()
    }
}

/// The runtime's clock, which a test or a simulated store may pause.
fn now() -> Instant {
    time::Instant::now().into_std()
}

impl Turn<'_> {
    pub(crate) fn since(&self) -> Instant {
        self.since
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.gate.pay_debt()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

/// Requests in flight at the start.
pub(crate) const START: usize = 32;
/// The largest number that the pace chooses.
pub(crate) const MOST: usize = 128;
/// How much faster a step up must be to stay.
const GAIN: f64 = 1.05;
/// Rounds until the next trial.
const ROUNDS_HELD: u32 = 16;

#[derive(Debug)]
pub(crate) struct Pace {
    limit: usize,
    /// The limit that a failed trial returns to.
    limit_before: usize,
    /// Bytes per second with that limit; `None` while there is no trial.
    rate_before: Option<f64>,
    rounds_held: u32,
    /// No request has waited for a turn since: the next range begins a round and isn't counted.
    idle: bool,
    began: Instant,
    bytes: u64,
    ranges: usize,
    /// When the limit was last cut. Refusals of requests that were sent before it say nothing new.
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

    /// A range arrived; `wanted` says whether another request waited for a turn.
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

    /// A request that was sent at `sent` was refused because there were too many.
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
    use futures_util::FutureExt;
    use std::time::Duration;

    fn take_turns(gate: &Gate) -> Vec<Turn<'_>> {
        std::iter::from_fn(|| gate.turn().now_or_never()).collect()
    }

    #[test]
    fn a_fixed_gate_stays_as_it_is() {
        let gate = Gate::new(Some(3));
        let turns = take_turns(&gate);
        assert_eq!((turns.len(), gate.idle(), gate.most()), (3, 0, 3));
        gate.throttled(Instant::now());
        drop(turns);
        assert_eq!(take_turns(&gate).len(), 3);
        assert_eq!(gate.idle(), 3);
    }

    #[test]
    fn a_limit_that_falls_below_what_is_taken_is_reached_as_turns_end() {
        let gate = Gate::new(None);
        let mut turns = take_turns(&gate);
        assert_eq!(turns.len(), START);
        gate.throttled(Instant::now() + Duration::from_secs(1));
        let limit = START * 3 / 4;
        turns.truncate(limit);
        assert_eq!(take_turns(&gate).len(), 0, "those that ended were one too many");
        drop(turns);
        assert_eq!(take_turns(&gate).len(), limit);
        assert_eq!(gate.idle(), limit);
    }

    #[test]
    fn a_limit_that_rises_again_pays_its_debt_first() {
        let gate = Gate::new(None);
        let turns = take_turns(&gate);
        gate.throttled(Instant::now() + Duration::from_secs(1));
        assert_eq!(gate.debt.load(Ordering::Relaxed), START / 4);
        let limit = || gate.pace.as_ref().unwrap().lock().unwrap().limit();
        let (mut waits, cut) = (Box::pin(gate.turn()), limit());
        assert!((&mut waits).now_or_never().is_none(), "a request waits, so that rounds count");
        while limit() == cut {
            gate.arrived(1 << 20);
            std::thread::sleep(Duration::from_micros(1));
        }
        assert_eq!(
            gate.debt.load(Ordering::Relaxed),
            START - limit(),
            "all turns are still in use"
        );
        drop((waits, turns));
        assert_eq!(take_turns(&gate).len(), limit());
    }

    #[test]
    fn the_speed_of_a_request_is_a_moving_average() {
        let gate = Gate::new(Some(1));
        let ago = |seconds| now().checked_sub(Duration::from_secs(seconds)).unwrap();
        gate.note_speed(MOVED_BYTES - 1, ago(1));
        assert_eq!(gate.bytes_per_second(), None);
        gate.note_speed(10 << 20, ago(10));
        let first = gate.bytes_per_second().unwrap();
        assert!((1000 << 10..=1 << 20).contains(&first), "{first}");
        (0..40).for_each(|_| gate.note_speed(10 << 20, ago(100)));
        let later = gate.bytes_per_second().unwrap();
        assert!((100 << 10..110 << 10).contains(&later), "{later}");
    }

    #[test]
    fn a_request_that_gives_up_waiting_is_not_counted() {
        let gate = Gate::new(Some(1));
        let turn = gate.turn().now_or_never().unwrap();
        {
            let mut waits = Box::pin(gate.turn());
            assert!((&mut waits).now_or_never().is_none());
            assert_eq!(gate.waiting.load(Ordering::Relaxed), 1);
        }
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 0);
        drop(turn);
        assert_eq!(gate.idle(), 1);
    }

    /// Runs `rounds` rounds of equal parts against a store that serves `each` bytes per second per
    /// request and `all` in total, and refuses requests above `most`.
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
