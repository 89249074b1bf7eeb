//! How every contender waits: it spins, and once in a while looks whether waiting makes sense.

use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, Instant};

use slipring::pipeline::Wait;

use super::Tally;

/// A reader that makes no progress for so long is lost, whatever became of it. scripts/twins, whose
/// hangs are on purpose, waits less.
const STUCK: Duration =
    Duration::from_secs(if option_env!("SLIPRING_HURRY").is_some() { 5 } else { 20 });
/// Rounds between two looks: more than a wait for a reader that runs ever takes.
const ROUNDS: u64 = 1 << 12;

/// One wait of the publisher for its reader. Made for each wait; it costs nothing until the first
/// look.
#[derive(Default)]
pub struct Patience {
    rounds: u64,
    /// What was read at the last progress, and when that was seen.
    seen: Option<(u64, Instant)>,
}

impl Patience {
    /// One round.
    ///
    /// # Errors
    /// The reader has gone, or has stood still for too long.
    #[inline]
    pub fn round(&mut self, tally: &Tally) -> Result<(), String> {
        self.rounds += 1;
        if !self.rounds.is_multiple_of(ROUNDS) {
            spin_loop();
            return Ok(());
        }
        self.look(tally)
    }

    #[cold]
    fn look(&mut self, tally: &Tally) -> Result<(), String> {
        // For a machine where both share a core.
        thread::yield_now();
        let read = tally.read();
        if tally.reader_has_gone() {
            return Err(format!("the reader has gone after {read} payloads"));
        }
        match self.seen {
            Some((seen, since)) if seen == read && since.elapsed() > STUCK => {
                Err(format!("the reader has read {read} payloads and stands still"))
            }
            Some((seen, _)) if seen == read => Ok(()),
            _ => {
                self.seen = Some((read, Instant::now()));
                Ok(())
            }
        }
    }
}

/// The idleness of a reader; it ends by what its contender tells it. The library's own, for all
/// contenders: how often a reader looks at a line that its writer is about to write decides more at
/// batch 1 than which queue it is.
pub struct Idle {
    idle: slipring::pipeline::Idle,
    rounds: u64,
}

impl Default for Idle {
    fn default() -> Self {
        Self { idle: slipring::pipeline::Idle::new(Wait::Spin), rounds: 0 }
    }
}

impl Idle {
    /// There was something to read.
    #[inline]
    pub fn reset(&mut self) {
        self.idle.reset();
    }

    /// There was nothing.
    #[inline]
    pub fn round(&mut self) {
        // Spinning never ends by itself.
        let _never = self.idle.pass();
        self.yield_sometimes();
    }

    /// There was nothing, for a reader that looks again after one hint.
    #[inline]
    pub fn hint(&mut self) {
        spin_loop();
        self.yield_sometimes();
    }

    #[inline]
    fn yield_sometimes(&mut self) {
        self.rounds += 1;
        if self.rounds.is_multiple_of(ROUNDS) {
            // For a machine where both share a core.
            thread::yield_now();
        }
    }
}
