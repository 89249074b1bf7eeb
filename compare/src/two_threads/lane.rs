//! Our lane as it is, under both reclaim policies: the pool's defaults, one stage on a thread that
//! spins.

use std::sync::Arc;
use std::time::Duration;

use slipring::machine::PinPolicy;
use slipring::pipeline::{
    Lane, LaneSpec, Outcome, Reclaim, Refused, StageSpec, StageThread, View, Wait,
};
use slipring::ring::RingOptions;

use super::{Case, Cpus, Patience, Reader, Tally, TwoThreads};
use crate::contender::Fill;

const CLOSE_WITHIN: Duration = Duration::from_secs(20);

/// Memory comes back when the stage has passed it.
pub type Slipring = RealLane<false>;

/// Memory comes back when its slot is published over, a ring's length later.
pub type SlipringOverwrite = RealLane<true>;

pub struct RealLane<const ON_OVERWRITE: bool> {
    lane: Lane<()>,
    stage: StageThread,
    tally: Arc<Tally>,
    payload_bytes: usize,
    memory_bytes: usize,
}

impl<const ON_OVERWRITE: bool> RealLane<ON_OVERWRITE> {
    /// Waits, spinning, until the ring has room for the batch.
    #[inline]
    fn wait_for_slots(&mut self, count: usize) -> Result<(), String> {
        let mut patience = Patience::default();
        while self.lane.free_slots() < count {
            if self.lane.reclaim() == 0 {
                patience.round(&self.tally)?;
            }
        }
        Ok(())
    }

    /// Waits, spinning, until the pool has room for a payload: only where it is smaller than the
    /// ring.
    #[cold]
    fn wait_for_room(&mut self, refused: Refused) -> Result<(), String> {
        let (mut patience, mut refused) = (Patience::default(), refused);
        while refused.is_full() {
            patience.round(&self.tally)?;
            match self.lane.reserve(self.payload_bytes) {
                Ok(_given_back) => return Ok(()),
                Err(again) => refused = again,
            }
        }
        Err(refused.to_string())
    }
}

impl<const ON_OVERWRITE: bool> TwoThreads for RealLane<ON_OVERWRITE> {
    const NAME: &'static str = if ON_OVERWRITE { "slipring-overwrite" } else { "slipring" };

    fn start(case: &Case, cpus: Cpus, mut reader: Reader) -> Result<Self, String> {
        let pool = RingOptions {
            bytes: case.pool_bytes,
            max_slice_bytes: case.payload_bytes,
            ..RingOptions::default()
        };
        let spec = LaneSpec::new(pool, case.slots)
            .cpu(cpus.publisher, PinPolicy::Prefer)
            .reclaim(if ON_OVERWRITE { Reclaim::OnOverwrite } else { Reclaim::OnConsume })
            .layer([StageSpec::thread("read").cpu(cpus.reader).wait(Wait::Spin)]);
        let mut started = spec.start::<()>().map_err(|error| error.to_string())?;
        let stage = started.stages.remove("read").ok_or("the stage is missing")?;
        let tally = reader.tally();
        let handler = move |view: View<'_, ()>| {
            reader.read(view.bytes());
            Outcome::Done
        };
        let stage = stage.spawn(handler).map_err(|error| error.to_string())?;
        let memory_bytes = started.report.region.mapped_bytes;
        Ok(Self {
            lane: started.lane,
            stage,
            tally,
            payload_bytes: case.payload_bytes,
            memory_bytes,
        })
    }

    fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    #[inline]
    fn publish(&mut self, first: u64, count: usize, fill: &impl Fill) -> Result<(), String> {
        self.wait_for_slots(count)?;
        for op in first..first + count as u64 {
            let mut claim = match self.lane.claim(self.payload_bytes) {
                Ok(claim) => claim,
                Err(full) => {
                    self.wait_for_room(full)?;
                    self.lane.claim(self.payload_bytes).map_err(|full| full.to_string())?
                }
            };
            fill.fill(op, &mut claim);
            if count == 1 {
                claim.publish(());
            } else {
                claim.push(());
            }
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

#[cfg(test)]
impl Slipring {
    pub fn pool_stats(&self) -> slipring::ring::RingStats {
        self.lane.stats().pool
    }
}
