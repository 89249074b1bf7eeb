//! A long run of a lane with one stage, for perf and callgrind (profiling/README.md has the
//! recipes).
//!
//! ```text
//!   lane's thread   publish_batch:  batch x { reserve ─▶ write the payload, its number first ─▶ push }, flush
//!   stage's thread  read_payload:   the sum of all words that were written          (--stages inline: on the lane's thread)
//! ```
//! One iteration is one payload. The sum over all payloads is compared with the expected one.

mod long_run;

use std::hint::spin_loop;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use long_run::{Ended, Options, Program, Progress, Stages, run};
use slipring::machine::{CpuMask, PinPolicy};
use slipring::pipeline::{
    Lane, LaneError, LaneSpec, Outcome, StageSpec, StageThread, Started, View, Wait,
};
use slipring::ring::{RingError, RingOptions};

const SLOTS: usize = 4096;
const CLOSE_WITHIN: Duration = Duration::from_secs(60);

const PIPELINE: Program = Program {
    name: "pipeline",
    iteration: "one payload published by a lane and read by its stage",
    flags: &["--payload", "--written", "--batch", "--pool", "--window", "--stages"],
    batch_max: SLOTS as u64,
};

fn main() -> ExitCode {
    run(&PIPELINE, whole_run)
}

/// A lane, and the sum that its stage computes.
struct Loop {
    lane: Lane<()>,
    /// None: the stage is inline.
    stage: Option<StageThread>,
    sum: Arc<AtomicU64>,
    source: Vec<u8>,
    payload_bytes: usize,
    next: u64,
    batch: u64,
}

fn whole_run(options: &Options) -> Result<String, Ended> {
    let mut this = Loop::start(options)?;
    this.go(options.warm_up)?;
    let mut progress = Progress::start(PIPELINE.name, options.iterations, options.batch);
    while let Some(step) = progress.next() {
        this.go(step)?;
    }
    let (ns, stats) = (progress.ns_per_iteration(), this.lane.stats());
    let place = if this.stage.is_some() { "on a thread" } else { "inline" };
    this.verified(options.warm_up + options.iterations)?;
    Ok(format!(
        "{} iterations verified, {} bytes read in each, {place}; window {} bytes, high water {}; {ns:.2} ns per iteration",
        options.iterations,
        options.written_bytes,
        stats.pool.window_bytes,
        stats.pool.high_water_bytes
    ))
}

impl Loop {
    fn start(options: &Options) -> Result<Self, Ended> {
        let cpus = CpuMask::read().cpus();
        let default = if cpus.len() >= 2 { Stages::Thread } else { Stages::Inline };
        let stage = match (options.stages.unwrap_or(default), cpus) {
            (Stages::Inline, _) => StageSpec::inline("read"),
            (Stages::Thread, [_, cpu, ..]) => StageSpec::thread("read").cpu(*cpu).wait(Wait::Spin),
            (Stages::Thread, _) => StageSpec::thread("read").wait(Wait::Backoff),
        };
        let pool = RingOptions {
            bytes: options.pool_bytes,
            max_slice_bytes: options.payload_bytes,
            window_bytes: options.window_bytes,
            pinned_chunks_max: Some(0),
            ..RingOptions::default()
        };
        let mut spec = LaneSpec::new(pool, SLOTS).layer([stage]);
        if let Some(cpu) = cpus.first() {
            spec = spec.cpu(*cpu, PinPolicy::Prefer);
        }
        let Started { mut lane, mut stages, report } =
            spec.start::<()>().map_err(|error| match error {
                LaneError::Pool(RingError::Option { .. }) => {
                    Ended::Usage(format!("--pool, --window, --payload: {error}"))
                }
                other => Ended::failed(other),
            })?;
        eprintln!("pipeline: {}", report.pin);
        report.downgrades.iter().for_each(|downgrade| eprintln!("pipeline: {downgrade}"));
        let stage = stages.remove("read").ok_or_else(|| Ended::failed("the stage is missing"))?;
        let (sum, written) = (Arc::new(AtomicU64::new(0)), options.written_bytes);
        let (published, mut total) = (Arc::clone(&sum), 0u64);
        let read = move |view: View<'_, ()>| {
            total = total.wrapping_add(read_payload(&view.bytes()[..written]));
            // One thread writes the sum; it is read at the end.
            published.store(total, Ordering::Release);
            Outcome::Done
        };
        let stage = if options.stages.unwrap_or(default) == Stages::Thread {
            Some(stage.spawn(read).map_err(Ended::failed)?)
        } else {
            lane.attach(stage, read).map_err(Ended::failed)?;
            None
        };
        let source = (0..options.written_bytes).map(|at| at as u8).collect();
        Ok(Self {
            lane,
            stage,
            sum,
            source,
            payload_bytes: options.payload_bytes,
            next: 0,
            batch: options.batch,
        })
    }

    /// Publishes payloads and waits until the last one is read.
    fn go(&mut self, iterations: u64) -> Result<(), Ended> {
        let until = self.next + iterations;
        while self.next < until {
            self.publish_batch(self.batch.min(until - self.next))?;
        }
        while self.lane.slots_in_use() > 0 {
            self.pass()?;
        }
        Ok(())
    }

    #[inline(never)]
    fn publish_batch(&mut self, count: u64) -> Result<(), Ended> {
        while (self.lane.free_slots() as u64) < count {
            self.pass()?;
        }
        let until = self.next + count;
        while self.next < until {
            match self.lane.reserve(self.payload_bytes) {
                Ok(mut grant) => {
                    grant[..self.source.len()].copy_from_slice(&self.source);
                    grant[..8].copy_from_slice(&self.next.to_le_bytes());
                    let slice = grant.commit_all();
                    if let Err(refused) = self.lane.push(slice, ()) {
                        return Err(self.failure(refused));
                    }
                    self.next += 1;
                }
                // The pool is smaller than the ring. The refused call published what was pushed.
                Err(refused) if refused.is_full() => self.pass()?,
                Err(refused) => return Err(self.failure(refused)),
            }
        }
        self.lane.flush();
        if self.stage.is_none() {
            self.lane.poll();
        }
        Ok(())
    }

    /// Runs an inline stage, and reclaims what was read.
    fn pass(&mut self) -> Result<(), Ended> {
        if self.lane.poll().is_idle() {
            if self.lane.has_failed() {
                return Err(self.failure("the stage failed"));
            }
            spin_loop();
        }
        Ok(())
    }

    fn failure(&self, otherwise: impl ToString) -> Ended {
        Ended::Failed(
            self.lane
                .failure()
                .map_or_else(|| otherwise.to_string(), |failure| failure.to_string()),
        )
    }

    /// Closes the lane and compares the sum over all payloads with the expected one.
    fn verified(self, all: u64) -> Result<(), Ended> {
        let report = self.lane.close(CLOSE_WITHIN);
        if let Some(error) = self.stage.and_then(|stage| stage.join().error) {
            return Err(Ended::failed(error));
        }
        if !report.is_drained() {
            return Err(Ended::failed(format!("the lane wasn't drained: {report:?}")));
        }
        let constant = read_payload(&self.source).wrapping_sub(read_payload(&self.source[..8]));
        let numbers = (u128::from(all) * u128::from(all.saturating_sub(1)) / 2) as u64;
        let (found, expected) =
            (self.sum.load(Ordering::Acquire), constant.wrapping_mul(all).wrapping_add(numbers));
        if found == expected {
            return Ok(());
        }
        Err(Ended::failed(format!(
            "the sum over {all} payloads is {found:#x}, it must be {expected:#x}"
        )))
    }
}

/// The sum of all words. The last one is padded with zeros.
#[inline(never)]
fn read_payload(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    words
        .iter()
        .fold(u64::from_le_bytes(last), |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &str) -> Result<Options, Ended> {
        let words = format!("--iterations 5000 --warm-up 100 --pool 256KiB {words}");
        Options::parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), &PIPELINE)
    }

    #[test]
    fn a_small_run_is_verified() {
        for stages in ["inline", "thread"] {
            for words in [
                "",
                "--batch 1",
                "--written 8",
                "--payload 9",
                "--payload 3000 --written 2999 --batch 4096",
            ] {
                let said = whole_run(&options(&format!("{words} --stages {stages}")).unwrap());
                assert!(
                    said.as_ref().is_ok_and(|said| said.starts_with("5000 iterations verified")),
                    "{words}: {said:?}"
                );
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_usage() {
        for words in ["--pool 100", "--window 10", "--payload 1MiB"] {
            let name = words.split(' ').next().unwrap_or_default();
            let ended = options(words).and_then(|options| whole_run(&options));
            assert!(matches!(ended, Err(Ended::Usage(text)) if text.contains(name)), "{words}");
        }
    }

    #[test]
    fn a_stage_that_fails_ends_the_run() {
        for inline in [true, false] {
            let stage = if inline { StageSpec::inline("read") } else { StageSpec::thread("read") };
            let pool =
                RingOptions { bytes: 256 << 10, max_slice_bytes: 512, ..RingOptions::default() };
            let Started { mut lane, mut stages, .. } =
                LaneSpec::new(pool, 64).layer([stage]).start::<()>().unwrap();
            let fails = |view: View<'_, ()>| match view.sequence() {
                1000 => Outcome::Fail("by design".to_owned()),
                _ => Outcome::Done,
            };
            let stage = stages.remove("read").unwrap();
            let stage = if inline {
                lane.attach(stage, fails).unwrap();
                None
            } else {
                Some(stage.spawn(fails).unwrap())
            };
            let sum = Arc::new(AtomicU64::new(0));
            let mut this = Loop {
                lane,
                stage,
                sum,
                source: vec![1; 8],
                payload_bytes: 512,
                next: 0,
                batch: 8,
            };
            let ended = this.go(5000);
            assert!(
                matches!(ended, Err(Ended::Failed(text)) if text.contains("failed at sequence 1000")),
                "{inline}"
            );
            assert!(this.verified(5000).is_err());
        }
    }

    #[test]
    fn a_wrong_sum_fails() {
        let mut this = Loop::start(&options("--stages inline").unwrap()).unwrap();
        this.go(100).unwrap();
        assert!(
            matches!(this.verified(101), Err(Ended::Failed(text)) if text.contains("the sum over 101"))
        );
    }
}
