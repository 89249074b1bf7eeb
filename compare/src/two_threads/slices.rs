//! Our slices in the events of a disruptor: the RAII form of `slipring-overwrite`. The slice moves
//! into the event, and publishing over it a ring later drops it. Events are published one by one,
//! which is the only way that it has.

use std::sync::Arc;
use std::thread::JoinHandle;

use slipring::pipeline::{Polled, PublishRefusal, SliceReader, SliceRing};
use slipring::ring::RingOptions;

use super::cpus::join;
use super::{Case, Cpus, Idle, Patience, Reader, Tally, TwoThreads};
use crate::contender::Fill;

/// Events that the reader releases by one store, as a stage of a lane does.
const BATCH_MAX: usize = 256;

pub struct Slices {
    ring: SliceRing<()>,
    reader: JoinHandle<()>,
    tally: Arc<Tally>,
    payload_bytes: usize,
}

fn read_all(mut slices: SliceReader<()>, mut reader: Reader) {
    let mut idle = Idle::default();
    loop {
        match slices.poll(BATCH_MAX, |view| reader.read(view.bytes())) {
            Polled::Ended => return,
            Polled::Idle => idle.round(),
            _ => idle.reset(),
        }
    }
}

impl TwoThreads for Slices {
    const NAME: &'static str = "slipring-slices";

    fn start(case: &Case, cpus: Cpus, reader: Reader) -> Result<Self, String> {
        cpus.pin_publisher()?;
        let pool = RingOptions {
            bytes: case.pool_bytes,
            max_slice_bytes: case.payload_bytes,
            ..RingOptions::default()
        };
        let (ring, mut readers) =
            SliceRing::new(&pool, case.slots, 1).map_err(|error| error.to_string())?;
        let slices = readers.pop().ok_or("the reader is missing")?;
        let tally = reader.tally();
        let reader = cpus.spawn_reader(move || read_all(slices, reader));
        Ok(Self { ring, reader, tally, payload_bytes: case.payload_bytes })
    }

    fn memory_bytes(&self) -> usize {
        self.ring.region_report().mapped_bytes
    }

    #[inline]
    fn publish(&mut self, first: u64, count: usize, fill: &impl Fill) -> Result<(), String> {
        for op in first..first + count as u64 {
            let mut grant =
                self.ring.reserve(self.payload_bytes).map_err(|full| full.to_string())?;
            fill.fill(op, &mut grant);
            let (mut slice, mut patience) = (grant.commit_all(), Patience::default());
            while let Err(refused) = self.ring.publish(slice, ()) {
                if !matches!(refused.why, PublishRefusal::Full { .. }) {
                    return Err(refused.to_string());
                }
                patience.round(&self.tally)?;
                slice = refused.slice;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(), String> {
        drop(self.ring);
        join(self.reader)
    }
}
