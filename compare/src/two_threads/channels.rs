//! Channels of other crates, with payloads in our chunks or in heap vectors.

use std::marker::PhantomData;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::case::Case;
use super::chunks::{Chunks, Span, chunks};
use super::contender::TwoThreads;
use crate::payload::Fill;
use crate::threads::{Channel, Cpus, Reader, Tally, join};

/// A channel of spans: the payload is in the ring pool of the publisher, and a span travels.
pub struct OverChunks<C: Channel> {
    sender: C::Sender<Span>,
    chunks: Chunks,
    reader: JoinHandle<()>,
    tally: Arc<Tally>,
}

impl<C: Channel> TwoThreads for OverChunks<C> {
    const NAME: &'static str = C::NAME;

    fn start(case: &Case, cpus: Cpus, mut reader: Reader) -> Result<Self, String> {
        cpus.pin_publisher()?;
        let (chunks, mut spans) = chunks(case)?;
        let (sender, receiver) = C::bounded(case.slots);
        let tally = reader.tally();
        let reader = cpus.spawn_reader(move || {
            C::receive(receiver, |span| spans.read(span, |bytes| reader.read(bytes)));
        });
        Ok(Self { sender, chunks, reader, tally })
    }

    fn memory_bytes(&self) -> usize {
        self.chunks.memory_bytes()
    }

    #[inline]
    fn publish(&mut self, first: u64, count: usize, fill: &impl Fill) -> Result<(), String> {
        let (chunks, tally) = (&mut self.chunks, &*self.tally);
        C::send(
            &mut self.sender,
            first..first + count as u64,
            |op| chunks.put(op, fill, tally),
            tally,
        )
    }

    fn close(self) -> Result<(), String> {
        drop(self.sender);
        join(self.reader)
    }
}

/// A channel of heap vectors: the publisher allocates one for each payload, the reader frees it.
///
/// The allocator is the program's, glibc's. Freeing memory on another thread than the allocating
/// one is its slow case, and the usual case of a program that sends vectors.
pub struct OverVecs<C: Channel> {
    sender: C::Sender<Vec<u8>>,
    reader: JoinHandle<()>,
    tally: Arc<Tally>,
    payload_bytes: usize,
    slots: usize,
    channel: PhantomData<C>,
}

impl<C: Channel> TwoThreads for OverVecs<C> {
    const NAME: &'static str = C::NAME_VEC;

    fn start(case: &Case, cpus: Cpus, mut reader: Reader) -> Result<Self, String> {
        cpus.pin_publisher()?;
        let (sender, receiver) = C::bounded::<Vec<u8>>(case.slots);
        let tally = reader.tally();
        let reader =
            cpus.spawn_reader(move || C::receive(receiver, |payload| reader.read(&payload)));
        let (payload_bytes, slots) = (case.payload_bytes, case.slots);
        Ok(Self { sender, reader, tally, payload_bytes, slots, channel: PhantomData })
    }

    /// Nothing is reserved: the bytes that a full channel holds.
    fn memory_bytes(&self) -> usize {
        self.slots * self.payload_bytes
    }

    #[inline]
    fn publish(&mut self, first: u64, count: usize, fill: &impl Fill) -> Result<(), String> {
        let bytes = self.payload_bytes;
        let make = |op| {
            let mut payload = Vec::with_capacity(bytes);
            fill.append(op, bytes, &mut payload);
            Ok(payload)
        };
        C::send(&mut self.sender, first..first + count as u64, make, &self.tally)
    }

    fn close(self) -> Result<(), String> {
        drop(self.sender);
        join(self.reader)
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::cases;
    use super::super::slipring::Slipring;
    use super::*;
    use crate::threads::Words;

    #[test]
    fn chunk_and_window_are_those_of_the_lane() {
        let cpus = Cpus::pick().unwrap_or_else(|_| Cpus::one());
        for case in cases(false).into_iter().filter(|case| case.batch == 1) {
            let case = Case { pool_bytes: case.pool_bytes.min(64 << 20), ..case };
            let lane = Slipring::start(&case, cpus, Reader::new(Words::Number).0).unwrap();
            let (of_lane, ours) = (lane.pool_stats(), chunks(&case).unwrap().0.pool_stats());
            assert_eq!(
                (ours.chunk_bytes, ours.window_bytes, ours.pool_bytes),
                (of_lane.chunk_bytes, of_lane.window_bytes, of_lane.pool_bytes),
                "{}",
                case.name()
            );
            lane.close().unwrap();
        }
    }
}
