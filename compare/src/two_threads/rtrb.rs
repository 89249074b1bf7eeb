//! rtrb: a wait-free ring for one producer and one consumer, the only rival that publishes a batch
//! at once.
//!
//! Batch 1 is a `push`. A larger batch waits until the ring has room for all of it, is written into
//! a chunk of the ring and shown by one store. The reader takes what there is, at most 256 as a
//! stage does, and gives the slots back by one store.

use std::iter;
use std::ops::Range;

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::channel::{Channel, Refused, send_one_by_one};
use super::{Idle, Patience, Tally};

/// Messages that the reader takes at once: what a stage does by default.
const TAKEN_MAX: usize = slipring::pipeline::BATCH_DEFAULT;

pub struct Rtrb;

impl Channel for Rtrb {
    const NAME: &'static str = "rtrb";
    const NAME_VEC: &'static str = "rtrb-vec";

    type Sender<T: Send + 'static> = Producer<T>;
    type Receiver<T: Send + 'static> = Consumer<T>;

    fn bounded<T: Send + 'static>(slots: usize) -> (Producer<T>, Consumer<T>) {
        RingBuffer::new(slots)
    }

    #[inline]
    fn send<T: Send + 'static>(
        producer: &mut Producer<T>,
        numbers: Range<u64>,
        mut make: impl FnMut(u64) -> Result<T, String>,
        tally: &Tally,
    ) -> Result<(), String> {
        let count = (numbers.end - numbers.start) as usize;
        if count == 1 {
            let push = |message| {
                producer.push(message).map_err(|PushError::Full(back)| Refused::Full(back))
            };
            return send_one_by_one(numbers, make, tally, push);
        }
        let (mut numbers, mut refused, mut patience) = (numbers, None, Patience::default());
        let messages = iter::from_fn(|| match make(numbers.next()?) {
            Ok(message) => Some(message),
            Err(why) => {
                refused = Some(why);
                None
            }
        });
        loop {
            // It looks at the reader's position only when the one it remembers isn't enough; asking
            // for the free slots first would do so every time.
            match producer.write_chunk_uninit(count) {
                Ok(chunk) => {
                    chunk.fill_from_iter(messages);
                    return refused.map_or(Ok(()), Err);
                }
                Err(_full) => patience.round(tally)?,
            }
        }
    }

    fn receive<T: Send + 'static>(mut consumer: Consumer<T>, mut each: impl FnMut(T)) {
        let mut idle = Idle::default();
        loop {
            // Asked first: what the producer sent before it went is there when this says that it
            // has gone.
            let is_last = consumer.is_abandoned();
            let ready = consumer.slots().min(TAKEN_MAX);
            match consumer.read_chunk(ready) {
                Ok(chunk) if ready > 0 => {
                    idle.reset();
                    chunk.into_iter().for_each(&mut each);
                }
                _ if is_last => return,
                _ => idle.round(),
            }
        }
    }
}
