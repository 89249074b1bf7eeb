//! One repeat of one window: its own lane on its own thread, so that its pinning affects nothing
//! else.

use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, Instant};

use slipring::machine::PinPolicy;
use slipring::pipeline::{Lane, LaneSpec, Outcome, StageSpec, StageThread, Started, View, Wait};
use slipring::ring::RingOptions;

use super::error::SweepError;
use super::payload::Payload;
use super::plan::Plan;

/// The longest wait for the last published payloads to be read.
const CLOSE_WITHIN: Duration = Duration::from_secs(60);

/// The result of a repeat.
#[derive(Debug)]
pub(super) struct Repeat {
    pub(super) ns_per_event: f64,
    /// The window that the pool has, which is the default if none was asked for.
    pub(super) window_bytes: usize,
    /// What wasn't granted.
    pub(super) downgrades: Vec<String>,
}

/// Runs `events` payloads through a lane with this window.
pub(super) fn repeat(
    plan: &Plan,
    window_bytes: Option<usize>,
    events: u64,
) -> Result<Repeat, SweepError> {
    let run = || {
        let mut run = Run::start(plan, window_bytes)?;
        let window_bytes = run.lane.stats().pool.window_bytes;
        // Some laps around the ring, and once around the window.
        run.publish((2 * plan.slots + window_bytes / plan.payload_bytes) as u64)?;
        let start = Instant::now();
        run.publish(events)?;
        let ns_per_event = start.elapsed().as_secs_f64() * 1e9 / events as f64;
        let downgrades = run.downgrades.clone();
        run.finish()?;
        Ok(Repeat { ns_per_event, window_bytes, downgrades })
    };
    let panicked = |_| Err(SweepError::Failed("a thread of the sweep panicked".to_owned()));
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(panicked)
}

struct Run {
    lane: Lane<()>,
    /// None: the stage is inline.
    stage: Option<StageThread>,
    payload: Payload,
    batch: u64,
    published: u64,
    downgrades: Vec<String>,
}

impl Run {
    fn start(plan: &Plan, window_bytes: Option<usize>) -> Result<Self, SweepError> {
        let pool = RingOptions {
            bytes: plan.pool_bytes,
            max_slice_bytes: plan.payload_bytes,
            window_bytes,
            pinned_chunks_max: Some(0),
            ..RingOptions::default()
        };
        let stage = match plan.stage_cpu {
            Some(cpu) => StageSpec::thread("read").cpu(cpu).wait(Wait::Spin),
            None => StageSpec::inline("read"),
        };
        let spec = LaneSpec::new(pool, plan.slots).layer([stage]);
        let spec = match plan.cpu {
            Some(cpu) => spec.cpu(cpu, PinPolicy::Prefer),
            None => spec,
        };
        let Started { mut lane, mut stages, report } =
            spec.start::<()>().map_err(SweepError::lane)?;
        let Some(stage) = stages.take("read") else { return Err(failed("the stage is missing")) };
        let (payload, mut number) = (Payload::new(plan.payload_bytes), 0);
        let expected = payload.clone();
        let read = move |view: View<'_, ()>| {
            if !expected.is_intact(number, view.bytes()) {
                return Outcome::Fail(format!("payload {number} didn't arrive as it was written"));
            }
            number += 1;
            Outcome::Done
        };
        let stage = match plan.stage_cpu {
            Some(_) => Some(stage.spawn(read).map_err(failed)?),
            None => {
                lane.attach(stage, read).map_err(failed)?;
                None
            }
        };
        let mut downgrades = report.downgrades;
        downgrades.extend(report.region.downgrades.iter().map(ToString::to_string));
        Ok(Self { lane, stage, payload, batch: plan.batch, published: 0, downgrades })
    }

    /// Publishes as many payloads, in batches, and waits until the last one is read.
    #[inline(never)]
    fn publish(&mut self, events: u64) -> Result<(), SweepError> {
        let until = self.published + events;
        while self.published < until {
            let batch_until = until.min(self.published + self.batch);
            while (self.lane.free_slots() as u64) < batch_until - self.published {
                self.pass()?;
            }
            while self.published < batch_until {
                match self.lane.reserve(self.payload.bytes()) {
                    Ok(mut grant) => {
                        self.payload.write(self.published, &mut grant);
                        let slice = grant.commit_all();
                        self.lane.push(slice, ()).map_err(failed)?;
                        self.published += 1;
                    }
                    // A pool smaller than the ring; what is pushed was published by the refusal.
                    Err(refused) if refused.is_full() => self.pass()?,
                    Err(refused) => return Err(self.failure(refused)),
                }
            }
            self.lane.flush();
            if self.stage.is_none() {
                self.lane.poll();
            }
        }
        while self.lane.slots_in_use() > 0 {
            self.pass()?;
        }
        Ok(())
    }

    /// Runs the stage if it is inline, and reclaims what was read. Spins if there was nothing.
    fn pass(&mut self) -> Result<(), SweepError> {
        if !self.lane.poll().is_idle() {
            return Ok(());
        }
        if self.lane.has_failed() {
            return Err(self.failure("the stage failed"));
        }
        spin_loop();
        Ok(())
    }

    fn failure(&self, otherwise: impl ToString) -> SweepError {
        SweepError::Failed(
            self.lane
                .failure()
                .map_or_else(|| otherwise.to_string(), |failure| failure.to_string()),
        )
    }

    fn finish(self) -> Result<(), SweepError> {
        let report = self.lane.close(CLOSE_WITHIN);
        let ended = self.stage.map(StageThread::join);
        if let Some(error) = ended.as_ref().and_then(|ended| ended.error.as_ref()) {
            return Err(failed(error));
        }
        let all_read = ended.is_none_or(|ended| ended.processed == self.published);
        if report.is_drained() && all_read {
            Ok(())
        } else {
            Err(failed(format!("the lane wasn't drained: {report:?}")))
        }
    }
}

fn failed(why: impl ToString) -> SweepError {
    SweepError::Failed(why.to_string())
}
