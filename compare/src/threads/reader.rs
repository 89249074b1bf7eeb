//! The reader of a run on two threads, its tally, and how both sides wait: by spinning, without
//! ever sleeping.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use slipring::pipeline::Wait;

/// The reader's progress, for the publisher's thread.
#[derive(Default)]
pub struct Tally {
    read: Line,
    /// One more than the number of the first payload that wasn't what was published; 0 if there is
    /// none.
    first_wrong: AtomicU64,
    /// Its thread has ended or panicked.
    has_gone: AtomicBool,
}

/// A cache line of its own, which the publisher reads only while it waits.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Tally {
    /// The number of payloads read.
    pub fn read(&self) -> u64 {
        self.read.0.load(Ordering::Acquire)
    }

    /// Whether the reader has ended.
    pub fn reader_has_gone(&self) -> bool {
        self.has_gone.load(Ordering::Acquire)
    }

    /// Waits until `count` payloads were read.
    pub fn wait(&self, count: u64) -> Result<(), String> {
        let mut patience = Patience::default();
        while self.read() < count {
            patience.round(self)?;
        }
        match self.first_wrong.load(Ordering::Acquire) {
            0 => Ok(()),
            number => Err(format!("payload {} isn't what was published", number - 1)),
        }
    }
}

/// The reader: it adds up a payload's words and checks number and sum, the same for every
/// contender. When dropped, it marks its tally as ended.
pub struct Reader {
    tally: Arc<Tally>,
    read: u64,
    words: Words,
}

/// The words of a payload after the first one, which is its number.
#[derive(Clone, Copy)]
pub enum Words {
    /// All of them are the payload's number.
    Number,
    /// All of them are this word.
    Word(u64),
}

impl Reader {
    pub fn new(words: Words) -> (Self, Arc<Tally>) {
        let tally = Arc::<Tally>::default();
        (Self { tally: Arc::clone(&tally), read: 0, words }, tally)
    }

    /// The tally, for the publisher.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Reads the next payload, all of it.
    #[inline]
    pub fn read(&mut self, payload: &[u8]) {
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("a word is 8 bytes"));
        let all = payload.chunks_exact(8);
        let after_first = all.len() as u64 - 1;
        let sum = all.map(word).fold(0, u64::wrapping_add);
        let each = match self.words {
            Words::Number => self.read,
            Words::Word(word) => word,
        };
        let is_right = word(&payload[..8]) == self.read
            && sum == self.read.wrapping_add(after_first.wrapping_mul(each));
        self.note(is_right);
    }

    /// The number of the next payload.
    #[inline]
    pub fn number(&self) -> u64 {
        self.read
    }

    /// Counts the next payload as read, for a caller that has checked it.
    #[inline]
    pub fn note(&mut self, is_right: bool) {
        if !is_right {
            self.note_wrong();
        }
        self.read += 1;
        self.tally.read.0.store(self.read, Ordering::Release);
    }

    #[cold]
    fn note_wrong(&self) {
        let _first_wins = self.tally.first_wrong.compare_exchange(
            0,
            self.read + 1,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.tally.has_gone.store(true, Ordering::Release);
    }
}

/// A reader without progress for this long has stalled. scripts/twins, whose hangs are on purpose,
/// waits less.
const STALLED: Duration =
    Duration::from_secs(if option_env!("SLIPRING_HURRY").is_some() { 5 } else { 20 });
/// Rounds between two looks: more than any wait for a running reader takes.
const ROUNDS: u64 = 1 << 12;

/// One wait of the publisher for its reader: it spins, and looks from time to time whether the
/// reader still makes progress. Made for each wait; it costs nothing until the first look.
#[derive(Default)]
pub struct Patience {
    rounds: u64,
    /// The count of payloads read at the last progress, and the time when it was seen.
    seen: Option<(u64, Instant)>,
}

impl Patience {
    /// One round.
    ///
    /// # Errors
    /// The reader has gone, or has made no progress for too long.
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
            Some((seen, since)) if seen == read && since.elapsed() > STALLED => {
                Err(format!("the reader has read {read} payloads and makes no progress"))
            }
            Some((seen, _)) if seen == read => Ok(()),
            _ => {
                self.seen = Some((read, Instant::now()));
                Ok(())
            }
        }
    }
}

/// An idle reader's wait. It is the library's own, for all contenders: at batch 1, how often a
/// reader looks at a line that its writer is about to write matters more than which queue it is.
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
    /// The reader has found something.
    #[inline]
    pub fn reset(&mut self) {
        self.idle.reset();
    }

    /// The reader has found nothing.
    #[inline]
    pub fn round(&mut self) {
        // Spinning never ends by itself.
        let _never = self.idle.pass();
        self.yield_sometimes();
    }

    /// The reader has found nothing and looks again after one spin hint.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Fill, Pattern};

    fn payload(op: u64) -> [u8; 64] {
        let mut bytes = [0; 64];
        Pattern.fill(op, &mut bytes);
        bytes
    }

    #[test]
    fn a_foreign_byte_and_a_lost_payload_are_seen() {
        let (mut reader, tally) = Reader::new(Words::Number);
        reader.read(&payload(0));
        reader.read(&payload(1));
        assert_eq!(tally.wait(2), Ok(()));
        let mut changed = payload(2);
        changed[63] ^= 1;
        reader.read(&changed);
        assert!(tally.wait(3).unwrap_err().contains("payload 2"));
        let (mut reader, tally) = Reader::new(Words::Number);
        reader.read(&payload(1));
        assert!(tally.wait(1).unwrap_err().contains("payload 0"));
    }

    #[test]
    fn a_reader_that_has_gone_is_not_waited_for() {
        let (mut reader, tally) = Reader::new(Words::Number);
        reader.read(&payload(0));
        drop(reader);
        assert_eq!(tally.wait(1), Ok(()), "what it read counts");
        assert!(tally.wait(2).unwrap_err().contains("gone after 1"));
    }
}
