//! [`Gate`]: admits requests in order of arrival, up to the engine's concurrency or its [`Pace`] at
//! once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time;

use crate::pace::{self, Pace};
use crate::retry::MOVED_BYTES;

/// What lets requests through.
///
/// `limit == free turns + turns taken - debt`: a limit that falls below the turns that are taken is
/// reached as they end.
#[derive(Debug)]
pub(crate) struct Gate {
    turns: Semaphore,
    debt: AtomicUsize,
    waiting: AtomicUsize,
    most: usize,
    pace: Option<Mutex<Pace>>,
    /// Bytes a second that a request brings, a mean of the last ones; 0 before the first.
    each: AtomicU64,
}

/// One request's turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    gate: &'a Gate,
    permit: Option<SemaphorePermit<'a>>,
    since: Instant,
}

/// Counts those who wait, also when one gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// For so many, or for as many as pays.
    pub(crate) fn new(concurrency: Option<usize>) -> Self {
        Self {
            turns: Semaphore::new(concurrency.unwrap_or(pace::START)),
            debt: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            most: concurrency.unwrap_or(pace::MOST),
            pace: concurrency.is_none().then(|| Mutex::new(Pace::new(now()))),
            each: AtomicU64::new(0),
        }
    }

    pub(crate) async fn turn(&self) -> Turn<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        let permit = self.turns.acquire().await.expect("nobody closes it");
        drop(waiting);
        Turn { gate: self, permit: Some(permit), since: now() }
    }

    /// The most turns that there may ever be at once.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Turns that nobody has or waits for.
    pub(crate) fn idle(&self) -> usize {
        self.turns.available_permits().saturating_sub(self.waiting.load(Ordering::Relaxed))
    }

    /// A request whose turn began at `since` is over, and brought so many bytes. Those that brought
    /// next to nothing tell of errors, not of speed.
    pub(crate) fn took(&self, bytes: u64, since: Instant) {
        if bytes < MOVED_BYTES {
            return;
        }
        let seconds = now().saturating_duration_since(since).as_secs_f64();
        let rate = (bytes as f64 / seconds.max(1e-6)) as u64;
        let before = self.each.load(Ordering::Relaxed);
        // Of two at a time one may be lost: it is a mean.
        self.each.store(
            if before == 0 { rate } else { before - before / 4 + rate / 4 }.max(1),
            Ordering::Relaxed,
        );
    }

    /// Bytes a second of one request, as those of late were.
    pub(crate) fn each(&self) -> Option<u64> {
        Some(self.each.load(Ordering::Relaxed)).filter(|each| *each > 0)
    }

    /// A range of so many bytes arrived.
    pub(crate) fn arrived(&self, bytes: u64) {
        let wanted = self.waiting.load(Ordering::Relaxed) > 0;
        self.adjust(|pace| pace.arrived(now(), bytes, wanted));
    }

    /// A request was refused for being one too many; its turn began at `since`.
    pub(crate) fn throttled(&self, since: Instant) {
        self.adjust(|pace| pace.throttled(now(), since));
    }

    fn adjust(&self, change: impl FnOnce(&mut Pace)) {
        let Some(pace) = &self.pace else { return };
        let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
        let before = pace.limit();
        change(&mut pace);
        // Under the lock, so that two changes can't pass each other.
        for _ in before..pace.limit() {
            if !self.pay() {
                self.turns.add_permits(1);
            }
        }
        let fewer = before.saturating_sub(pace.limit());
        let taken = fewer - self.turns.forget_permits(fewer);
        self.debt.fetch_add(taken, Ordering::Relaxed);
    }

    /// Whether a turn that ends, or is to be added, was owed.
    fn pay(&self) -> bool {
        self.debt
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |debt| debt.checked_sub(1))
            .is_ok()
    }
}

/// By the runtime's clock, which a test or a simulated store may pause.
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
        if self.gate.pay()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::time::Duration;

    fn take(gate: &Gate) -> Vec<Turn<'_>> {
        std::iter::from_fn(|| gate.turn().now_or_never()).collect()
    }

    #[test]
    fn a_fixed_gate_stays_as_it_is() {
        let gate = Gate::new(Some(3));
        let turns = take(&gate);
        assert_eq!((turns.len(), gate.idle(), gate.most()), (3, 0, 3));
        gate.throttled(Instant::now());
        drop(turns);
        assert_eq!(take(&gate).len(), 3);
        assert_eq!(gate.idle(), 3);
    }

    #[test]
    fn a_limit_that_falls_below_what_is_taken_is_reached_as_turns_end() {
        let gate = Gate::new(None);
        let mut turns = take(&gate);
        assert_eq!(turns.len(), pace::START);
        gate.throttled(Instant::now() + Duration::from_secs(1));
        let limit = pace::START * 3 / 4;
        turns.truncate(limit);
        assert_eq!(take(&gate).len(), 0, "those that ended were one too many");
        drop(turns);
        assert_eq!(take(&gate).len(), limit);
        assert_eq!(gate.idle(), limit);
    }

    #[test]
    fn a_limit_that_rises_again_pays_what_is_owed_first() {
        let gate = Gate::new(None);
        let turns = take(&gate);
        gate.throttled(Instant::now() + Duration::from_secs(1));
        assert_eq!(gate.debt.load(Ordering::Relaxed), pace::START / 4);
        let limit = || gate.pace.as_ref().unwrap().lock().unwrap().limit();
        let (mut waits, cut) = (Box::pin(gate.turn()), limit());
        assert!((&mut waits).now_or_never().is_none(), "somebody waits, so that rounds count");
        while limit() == cut {
            gate.arrived(1 << 20);
            std::thread::sleep(Duration::from_micros(1));
        }
        assert_eq!(
            gate.debt.load(Ordering::Relaxed),
            pace::START - limit(),
            "all turns are taken still"
        );
        drop((waits, turns));
        assert_eq!(take(&gate).len(), limit());
    }

    #[test]
    fn what_a_request_brings_is_a_mean_of_the_last_ones() {
        let gate = Gate::new(Some(1));
        let ago = |seconds| now().checked_sub(Duration::from_secs(seconds)).unwrap();
        gate.took(MOVED_BYTES - 1, ago(1));
        assert_eq!(gate.each(), None);
        gate.took(10 << 20, ago(10));
        let first = gate.each().unwrap();
        assert!((1000 << 10..=1 << 20).contains(&first), "{first}");
        (0..40).for_each(|_| gate.took(10 << 20, ago(100)));
        let later = gate.each().unwrap();
        assert!((100 << 10..110 << 10).contains(&later), "{later}");
    }

    #[test]
    fn whoever_gives_up_waiting_is_not_counted() {
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
}
