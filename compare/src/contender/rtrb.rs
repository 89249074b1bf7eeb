//! The crate rtrb, a ring of elements for one producer and one consumer, with bytes as elements;
//! here one thread is both.
//!
//! What is emulated: a payload in one piece (where the end of the ring would part it, what is left
//! there is committed as padding) and holding on to committed bytes (an entry keeps their number
//! and their place in the stream of bytes, and its replacement releases the oldest by their
//! number).

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use rtrb::chunks::ChunkError;
use rtrb::{Consumer, Producer, RingBuffer};

use super::memory::advise_huge;
use super::{Contender, Exhausted, Fill};
use crate::case::Plan;

/// An entry is a place in the stream of bytes.
pub struct Rtrb {
    producer: Producer<u8>,
    consumer: Consumer<u8>,
    /// Bytes ever committed and ever released, padding included.
    written: u64,
    released: u64,
    entries: Vec<Option<Held>>,
}

#[derive(Clone, Copy)]
struct Held {
    start: u64,
    bytes: usize,
    padding: usize,
}

impl Rtrb {
    /// Commits the next payload, and the padding before it: the place where its bytes begin in the
    /// stream.
    #[inline(always)]
    fn push(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Held, ChunkError> {
        let mut padding = 0;
        let mut chunk = self.producer.write_chunk_uninit(bytes)?;
        let (whole, rest) = chunk.as_mut_slices();
        if !rest.is_empty() {
            padding = whole.len();
            chunk = self.producer.write_chunk_uninit(padding + bytes)?;
        }
        let (before, after) = chunk.as_mut_slices();
        let payload = if padding == 0 { before } else { after };
        // SAFETY: I88. The ring's bytes were all written once, and a byte that was read stays
        // initialized.
        fill.fill(op, unsafe { payload.assume_init_mut() });
        // SAFETY: I88. As above, for the padding too.
        unsafe { chunk.commit_all() };
        let start = self.written + padding as u64;
        self.written = start + bytes as u64;
        Ok(Held { start, bytes, padding })
    }
}

impl Contender for Rtrb {
    const NAME: &'static str = "rtrb";
    const EMULATED: Option<&'static str> = Some(
        "one thread is producer and consumer; padding keeps payloads whole, and entries keep places in the stream",
    );

    fn new(plan: &Plan) -> Result<Self, String> {
        let (mut producer, mut consumer) = RingBuffer::new(plan.pool_bytes);
        let mut all =
            producer.write_chunk_uninit(plan.pool_bytes).map_err(|error| error.to_string())?;
        let (ring, _) = all.as_mut_slices();
        advise_huge(ring.as_ptr().cast(), ring.len());
        ring.fill(MaybeUninit::new(0));
        // SAFETY: I88. Each of these bytes has just been written.
        unsafe { all.commit_all() };
        consumer.read_chunk(plan.pool_bytes).map_err(|error| error.to_string())?.commit_all();
        Ok(Self { producer, consumer, written: 0, released: 0, entries: vec![None; plan.slots] })
    }

    fn memory_bytes(&self) -> usize {
        self.producer.buffer().capacity()
    }

    #[inline(always)]
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        let held = self.push(op, bytes, fill).map_err(|_| Exhausted)?;
        if let Some(old) = self.entries[entry].replace(held) {
            let released = old.padding + old.bytes;
            self.consumer
                .read_chunk(released)
                .expect("what an entry holds is in the ring")
                .commit_all();
            self.released += released as u64;
        }
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        let held = self.entries[entry].expect("the entry has been put");
        let all = self.consumer.read_chunk(self.consumer.slots()).expect("so many are there");
        let (first, second) = all.as_slices();
        let at = (held.start - self.released) as usize;
        let part = if at < first.len() { &first[at..] } else { &second[at - first.len()..] };
        check(&part[..held.bytes])
    }
}
