//! What a thread does while there is nothing to do.
#![forbid(unsafe_code)]

use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, Instant};

use super::spec::Wait;

/// How long `Park` spins before it sleeps.
const SPIN: Duration = Duration::from_micros(30);
/// How long `Backoff` spins and yields before it sleeps.
const YIELD: Duration = Duration::from_millis(1);
/// Rounds of `Backoff` that spin before it yields.
const SPIN_ROUNDS: u32 = 64;
/// Right after work, the next event is about to be written, and every look takes the cache line
/// away from its writer. So the first rounds spin longer between looks. (`seed-arc` and
/// `seed-arc-patient` in compare/ differ only in this; see the table for batch 1 in
/// PERFORMANCE.md.)
const PATIENT_ROUNDS: u32 = 4;
const PATIENT_PAUSES: u32 = 16;
/// Rounds between two looks at the clock, which cost more than a round.
const CLOCK_ROUNDS: u32 = 16;

/// How one thread idles: call [`Idle::pass`] when there is nothing to do, and [`Idle::reset`] when
/// there was work.
#[derive(Debug)]
pub struct Idle {
    wait: Wait,
    shares_cpu: bool,
    rounds: u32,
    since: Option<Instant>,
}

impl Idle {
    /// For a thread with this waiting strategy.
    #[must_use]
    pub fn new(wait: Wait) -> Self {
        Self { wait, shares_cpu: false, rounds: 0, since: None }
    }

    /// For a thread that shares its CPU with the thread that it waits for: it never spins, because
    /// the other can't run meanwhile. `Park` sleeps at once and `Backoff` yields at once.
    #[must_use]
    pub fn on_shared_cpu(wait: Wait) -> Self {
        Self { shares_cpu: true, ..Self::new(wait) }
    }

    /// There was work.
    #[inline]
    pub fn reset(&mut self) {
        (self.rounds, self.since) = (0, None);
    }

    /// Spins or yields for a moment. Returns true once it has idled long enough to sleep.
    pub fn pass(&mut self) -> bool {
        self.rounds = self.rounds.saturating_add(1);
        let patience = match self.wait {
            Wait::Spin => {
                self.spin();
                return false;
            }
            Wait::Park if self.shares_cpu => return true,
            Wait::Park => SPIN,
            Wait::Backoff => YIELD,
        };
        if self.wait == Wait::Backoff && (self.shares_cpu || self.rounds > SPIN_ROUNDS) {
            thread::yield_now();
        } else {
            self.spin();
        }
        if !self.rounds.is_multiple_of(CLOCK_ROUNDS) {
            return false;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() >= patience
    }

    #[inline]
    fn spin(&self) {
        if cfg!(miri) {
            // Without preemption, a thread that only spins would keep all others from running.
            return thread::yield_now();
        }
        let pauses = if self.rounds <= PATIENT_ROUNDS { PATIENT_PAUSES } else { 1 };
        (0..pauses).for_each(|_| spin_loop());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(mut idle: Idle, rounds: u32) -> bool {
        (0..rounds).any(|_| idle.pass())
    }

    #[test]
    fn a_thread_on_a_shared_cpu_sleeps_at_once() {
        assert!(passes(Idle::on_shared_cpu(Wait::Park), 1));
        assert!(!passes(Idle::new(Wait::Park), CLOCK_ROUNDS - 1));
        // It yields before it sleeps, because the other thread may need no more than that.
        assert!(!passes(Idle::on_shared_cpu(Wait::Backoff), CLOCK_ROUNDS - 1));
        assert!(!passes(Idle::on_shared_cpu(Wait::Spin), 10 * CLOCK_ROUNDS));
    }
}
