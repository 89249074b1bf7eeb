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
/// Looks at the clock are this many rounds apart: one costs about 22 ns.
const CLOCK_ROUNDS: u32 = 16;

/// The idleness of one thread: [`Idle::pass`] whenever it finds nothing, [`Idle::reset`] whenever it finds work.
#[derive(Debug)]
pub struct Idle {
    wait: Wait,
    rounds: u32,
    since: Option<Instant>,
}

impl Idle {
    /// For one thread that waits like this.
    #[must_use]
    pub fn new(wait: Wait) -> Self {
        Self { wait, rounds: 0, since: None }
    }

    #[inline]
    /// There was work.
    pub fn reset(&mut self) {
        (self.rounds, self.since) = (0, None);
    }

    /// Passes a moment: spins or yields. True: it has been idle long enough to sleep.
    pub fn pass(&mut self) -> bool {
        self.rounds = self.rounds.saturating_add(1);
        let patience = match self.wait {
            Wait::Spin => {
                spin_loop();
                return false;
            }
            Wait::Park => SPIN,
            Wait::Backoff => YIELD,
        };
        if self.wait == Wait::Backoff && self.rounds > SPIN_ROUNDS {
            thread::yield_now();
        } else {
            spin_loop();
        }
        if !self.rounds.is_multiple_of(CLOCK_ROUNDS) {
            return false;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() >= patience
    }
}
