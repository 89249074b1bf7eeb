//! What the reader does with a payload, the same for every contender: adds up its words and checks number and sum.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A reader that makes no progress for so long has lost its publisher or is dead.
const STUCK: Duration = Duration::from_secs(20);

/// How far the reader is, for the publisher's thread.
#[derive(Default)]
pub struct Tally {
    read: Line,
    /// Payloads that weren't what was published; the number of the first one, and one, or 0.
    first_wrong: AtomicU64,
}

/// A line of its own: the publisher looks at it only when it has nothing else to do.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Tally {
    /// Waits until `count` payloads were read.
    pub fn wait(&self, count: u64) -> Result<(), String> {
        let (mut rounds, mut seen, mut since) = (0u64, 0, Instant::now());
        loop {
            let read = self.read.0.load(Ordering::Acquire);
            if read >= count {
                break;
            }
            rounds += 1;
            if !rounds.is_multiple_of(1 << 16) {
                spin_loop();
                continue;
            }
            // Once in a while, for a machine where both share a core.
            thread::yield_now();
            if read > seen {
                (seen, since) = (read, Instant::now());
            } else if since.elapsed() > STUCK {
                return Err(format!("the reader has read {read} of {count} payloads and stands still"));
            }
        }
        match self.first_wrong.load(Ordering::Acquire) {
            0 => Ok(()),
            number => Err(format!("payload {} isn't what was published", number - 1)),
        }
    }
}

/// The reader's side of a tally.
pub struct Reader {
    tally: Arc<Tally>,
    read: u64,
    words_behind: Behind,
}

/// What stands behind the first word of a payload.
#[derive(Clone, Copy)]
pub enum Behind {
    /// The payload's number again and again.
    Number,
    /// This word.
    Word(u64),
}

impl Reader {
    pub fn new(words_behind: Behind) -> (Self, Arc<Tally>) {
        let tally = Arc::<Tally>::default();
        (Self { tally: Arc::clone(&tally), read: 0, words_behind }, tally)
    }

    /// Reads the next payload, all of it.
    #[inline]
    pub fn read(&mut self, payload: &[u8]) {
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("a word is 8 bytes"));
        let words = payload.chunks_exact(8);
        let behind = words.len() as u64 - 1;
        let sum = words.map(word).fold(0, u64::wrapping_add);
        let each = match self.words_behind {
            Behind::Number => self.read,
            Behind::Word(word) => word,
        };
        if word(&payload[..8]) != self.read || sum != self.read.wrapping_add(behind.wrapping_mul(each)) {
            self.note_wrong();
        }
        self.read += 1;
        self.tally.read.0.store(self.read, Ordering::Release);
    }

    #[cold]
    fn note_wrong(&self) {
        let _first_wins =
            self.tally.first_wrong.compare_exchange(0, self.read + 1, Ordering::AcqRel, Ordering::Acquire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::{Fill, Pattern};

    #[test]
    fn a_foreign_byte_and_a_lost_payload_are_seen() {
        let payload = |op| {
            let mut bytes = [0; 64];
            Pattern.fill(op, &mut bytes);
            bytes
        };
        let (mut reader, tally) = Reader::new(Behind::Number);
        reader.read(&payload(0));
        reader.read(&payload(1));
        assert_eq!(tally.wait(2), Ok(()));
        let mut spoiled = payload(2);
        spoiled[63] ^= 1;
        reader.read(&spoiled);
        assert!(tally.wait(3).unwrap_err().contains("payload 2"));
        let (mut reader, tally) = Reader::new(Behind::Number);
        reader.read(&payload(1));
        assert!(tally.wait(1).unwrap_err().contains("payload 0"));
    }
}
