//! Our lane as it is: the pool's defaults, one stage on a thread that spins, memory released when the stage has passed it.

use std::hint::spin_loop;
use std::time::Duration;

use slipring::pipeline::{Lane, LaneSpec, Outcome, PinPolicy, StageSpec, StageThread, View, Wait};
use slipring::ring::PoolOptions;

use super::{Case, Cpus, RING_SLOTS, Reader, TwoThreads};
use crate::contender::Fill;

const CLOSE_WITHIN: Duration = Duration::from_secs(20);

pub struct RealLane {
    lane: Lane<()>,
    stage: StageThread,
    payload_bytes: usize,
    memory_bytes: usize,
}

impl TwoThreads for RealLane {
    const NAME: &'static str = "slipring";

    fn start(case: &Case, cpus: Cpus, mut reader: Reader) -> Result<Self, String> {
        let pool =
            PoolOptions { bytes: case.pool_bytes, max_slice_bytes: case.payload_bytes, ..PoolOptions::default() };
        let spec =
            LaneSpec::new(pool, RING_SLOTS)
                .cpu(cpus.publisher, PinPolicy::Prefer)
                .layer([StageSpec::thread("read").cpu(cpus.reader).wait(Wait::Spin)]);
        let mut started = spec.start::<()>().map_err(|error| error.to_string())?;
        let stage = started.stages.take("read").ok_or("the stage is missing")?;
        let handler = move |view: View<'_, ()>| {
            reader.read(view.bytes());
            Outcome::Done
        };
        let stage = stage.spawn(handler).map_err(|error| error.to_string())?;
        let memory_bytes = started.report.region.mapped_bytes;
        Ok(Self { lane: started.lane, stage, payload_bytes: case.payload_bytes, memory_bytes })
    }

    fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    #[inline]
    fn publish(&mut self, first: u64, count: usize, fill: &impl Fill) -> Result<(), String> {
        while self.lane.free_slots() < count {
            if self.lane.reclaim() == 0 {
                spin_loop();
            }
        }
        for op in first..first + count as u64 {
            let mut claim = self.lane.claim(self.payload_bytes).map_err(|full| full.to_string())?;
            fill.fill(op, &mut claim);
            claim.stage(());
        }
        self.lane.flush();
        Ok(())
    }

    fn finish(self) -> Result<(), String> {
        let report = self.lane.close(CLOSE_WITHIN);
        let stage = self.stage.join();
        match stage.error {
            None if report.is_drained() => Ok(()),
            error => Err(format!("the lane wasn't drained: {report:?}, {error:?}")),
        }
    }
}
