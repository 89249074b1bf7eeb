//! How every contender waits: it spins, and once in a while looks whether waiting makes sense.

use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, Instant};

use super::Tally;

/// A reader that makes no progress for so long is lost, whatever became of it.
const STUCK: Duration = Duration::from_secs(20);
/// Rounds between two looks: more than a wait for a reader that runs ever takes.
const ROUNDS: u64 = 1 << 12;

/// One wait of the publisher for its reader. Made for each wait; it costs nothing until the first look.
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

/// One idle round of a reader; it ends by what its contender tells it.
#[derive(Default)]
pub struct Idle {
    rounds: u64,
}

impl Idle {
    #[inline]
    pub fn round(&mut self) {
        self.rounds += 1;
        if self.rounds.is_multiple_of(ROUNDS) {
            thread::yield_now();
        } else {
            spin_loop();
        }
    }
}
