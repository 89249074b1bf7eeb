//! What a handover and the check cost without a message: its number goes through rtrb.

use std::sync::Mutex;

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::{Arrival, Case, Inlet, Outlet, Queue};
use crate::two_threads::{Idle, Patience, Reader, Tally};

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
        ends.ok_or_else(|| "the ends are taken once".to_owned())
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
            // Asked first: what the producer sent before it went is there when this says that it
            // has gone.
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
