//! A rival's channel with our chunks: the payload lies in the ring pool of the publisher, a span
//! travels.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::channel::Channel;
use super::chunks::{Chunks, Span, chunks};
use super::cpus::join;
use super::{Case, Cpus, Reader, Tally, TwoThreads};
use crate::contender::Fill;

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

    fn finish(self) -> Result<(), String> {
        drop(self.sender);
        join(self.reader)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases;
    use super::super::lane::Slipring;
    use super::super::reader::Behind;
    use super::*;

    #[test]
    fn chunk_and_window_are_those_of_the_lane() {
        let cpus = Cpus::pick().unwrap_or_else(|_| Cpus::one());
        for case in cases(false).into_iter().filter(|case| case.batch == 1) {
            let case = Case { pool_bytes: case.pool_bytes.min(64 << 20), ..case };
            let lane = Slipring::start(&case, cpus, Reader::new(Behind::Number).0).unwrap();
            let (of_lane, ours) = (lane.pool_stats(), chunks(&case).unwrap().0.pool_stats());
            assert_eq!(
                (ours.chunk_bytes, ours.window_bytes, ours.pool_bytes),
                (of_lane.chunk_bytes, of_lane.window_bytes, of_lane.pool_bytes),
                "{}",
                case.name()
            );
            lane.finish().unwrap();
        }
    }
}
