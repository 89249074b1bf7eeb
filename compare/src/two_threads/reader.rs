//! What the reader does with a payload, the same for every contender: adds up its words and checks
//! number and sum.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Patience;

/// How far the reader is, for the publisher's thread.
#[derive(Default)]
pub struct Tally {
    read: Line,
    /// Payloads that weren't what was published; the number of the first one, and one, or 0.
    first_wrong: AtomicU64,
    /// Its thread has ended or panicked.
    has_gone: AtomicBool,
}

/// A line of its own: the publisher looks at it only when it has nothing else to do.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Tally {
    /// Payloads that were read.
    pub fn read(&self) -> u64 {
        self.read.0.load(Ordering::Acquire)
    }

    /// Whether nobody will ever read on.
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

/// The reader's side of a tally. Dropped, it says that nobody reads on.
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

    /// For the publisher, whose waits ask it.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
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
        let is_right = word(&payload[..8]) == self.read
            && sum == self.read.wrapping_add(behind.wrapping_mul(each));
        self.note(is_right);
    }

    /// The number of the next payload.
    #[inline]
    pub fn number(&self) -> u64 {
        self.read
    }

    /// The next payload was read, by whoever knows what it should hold.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::{Fill, Pattern};

    fn payload(op: u64) -> [u8; 64] {
        let mut bytes = [0; 64];
        Pattern.fill(op, &mut bytes);
        bytes
    }

    #[test]
    fn a_foreign_byte_and_a_lost_payload_are_seen() {
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

    #[test]
    fn a_reader_that_has_gone_is_not_waited_for() {
        let (mut reader, tally) = Reader::new(Behind::Number);
        reader.read(&payload(0));
        drop(reader);
        assert_eq!(tally.wait(1), Ok(()), "what it read counts");
        assert!(tally.wait(2).unwrap_err().contains("gone after 1"));
    }
}
