//! The traits of all contenders of `queue`, the bytes that arrive with a message, and the empty
//! contender.

use std::sync::Mutex;

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::case::Case;
use crate::threads::{Idle, Patience, Reader, Tally};

/// A queue between two threads.
pub trait Queue: Sized + Sync {
    /// The name in results, in lower case with dashes.
    const NAME: &'static str;

    /// Why it can't express the workload by its own means, and what was done about it.
    const EMULATED: Option<&'static str> = None;

    /// Whether it waits by parking its thread: then it gets fewer operations, because each may take
    /// microseconds.
    const PARKS: bool = false;

    type Inlet<'a>: Inlet + Send
    where
        Self: 'a;
    type Outlet<'a>: Outlet + Send
    where
        Self: 'a;

    /// The error says what was refused.
    fn new(case: &Case) -> Result<Self, String>;

    /// Both ends. Called once.
    fn ends(&self) -> Result<(Self::Inlet<'_>, Self::Outlet<'_>), String>;
}

/// The end where messages go in. Dropping it closes the queue.
pub trait Inlet {
    /// Lets message `number` arrive and enqueues it. Waits while the queue is full.
    ///
    /// # Errors
    /// A refusal, or the other end has gone: it never waits for ever.
    fn enqueue(&mut self, number: u64, arrival: &impl Arrival, tally: &Tally)
    -> Result<(), String>;
}

/// The end where messages come out.
pub trait Outlet {
    /// Dequeues until the queue is closed and drained. Checks each message, drops it, and counts
    /// it.
    ///
    /// # Errors
    /// The queue ended with an error.
    fn dequeue_all(self, arrival: &impl Arrival, reader: Reader) -> Result<(), String>;
}

/// How a message is written where it arrives, and checked where it is dequeued: the number in the
/// first and the last word under the clock, and in every word in the verified pass.
pub trait Arrival: Sync {
    fn write(&self, number: u64, message: &mut [u8]);

    fn holds(&self, number: u64, message: &[u8]) -> bool;
}

/// The first and the last 8 bytes.
pub struct Ends;

/// All bytes.
pub struct Whole;

const WORD: usize = size_of::<u64>();

impl Arrival for Ends {
    #[inline(always)]
    fn write(&self, number: u64, message: &mut [u8]) {
        let tail = message.len() - WORD;
        message[..WORD].copy_from_slice(&number.to_le_bytes());
        message[tail..].copy_from_slice(&number.to_le_bytes());
    }

    #[inline(always)]
    fn holds(&self, number: u64, message: &[u8]) -> bool {
        let tail = message.len() - WORD;
        message[..WORD] == number.to_le_bytes() && message[tail..] == number.to_le_bytes()
    }
}

impl Arrival for Whole {
    fn write(&self, number: u64, message: &mut [u8]) {
        message.chunks_mut(WORD).for_each(|word| word.copy_from_slice(&number.to_le_bytes()));
    }

    fn holds(&self, number: u64, message: &[u8]) -> bool {
        message.chunks(WORD).all(|word| *word == number.to_le_bytes())
    }
}

/// `empty-harness`: the cost of a handover and of the check without a message, whose number goes
/// through rtrb.
pub struct EmptyHarness {
    ends: Mutex<Option<(Producer<u64>, Consumer<u64>)>>,
}

impl Queue for EmptyHarness {
    const NAME: &'static str = "empty-harness";

    type Inlet<'a> = Producer<u64>;
    type Outlet<'a> = Consumer<u64>;

    fn new(case: &Case) -> Result<Self, String> {
        Ok(Self { ends: Mutex::new(Some(RingBuffer::new(case.messages))) })
    }

    fn ends(&self) -> Result<(Producer<u64>, Consumer<u64>), String> {
        let ends = self.ends.lock().map_err(|error| error.to_string())?.take();
        ends.ok_or_else(|| "the ends are made once".to_owned())
    }
}

impl Inlet for Producer<u64> {
    #[inline]
    fn enqueue(
        &mut self,
        number: u64,
        _arrival: &impl Arrival,
        tally: &Tally,
    ) -> Result<(), String> {
        let mut patience = Patience::default();
        while let Err(PushError::Full(_)) = self.push(number) {
            patience.round(tally)?;
        }
        Ok(())
    }
}

impl Outlet for Consumer<u64> {
    fn dequeue_all(mut self, _arrival: &impl Arrival, mut reader: Reader) -> Result<(), String> {
        let mut idle = Idle::default();
        loop {
            // Asked first: if the producer has gone, everything that it sent is in the ring by now.
            let is_last = self.is_abandoned();
            match self.pop() {
                Ok(number) => {
                    idle.reset();
                    reader.note(number == reader.number());
                }
                Err(_) if is_last => return Ok(()),
                Err(_) => idle.round(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_end_and_a_foreign_byte_are_seen() {
        let mut message = [0; 64];
        Ends.write(7, &mut message);
        assert!(Ends.holds(7, &message) && !Ends.holds(8, &message) && !Whole.holds(7, &message));
        for wrong in [0, 63] {
            let mut changed = message;
            changed[wrong] ^= 1;
            assert!(!Ends.holds(7, &changed));
        }
        Whole.write(7, &mut message);
        assert!(Whole.holds(7, &message) && Ends.holds(7, &message));
        message[33] ^= 1;
        assert!(!Whole.holds(7, &message) && Ends.holds(7, &message));
    }
}
