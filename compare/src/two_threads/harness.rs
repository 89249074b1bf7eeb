//! Runs the contenders of two threads: verified once, then timed in interleaved repeats, each built anew on a thread of its own, so that its pinning
//! stays there.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::reader::Behind;
use super::{Case, Cpus, RING_SLOTS, Reader, Tally, TwoThreads};
use crate::contender::{Copied, Fill, Pattern};
use crate::harness::{Rounds, Timing};

/// Warm-up before the clock, in laps of the ring.
const WARM_LAPS: usize = 8;

/// Nanoseconds for each operation, and the bytes of the contender's memory.
type Repeat = Result<(f64, usize), String>;

/// One contender behind plain functions.
pub struct Runner {
    pub name: &'static str,
    verify: fn(&Case, Cpus, u64) -> Result<(), String>,
    time: fn(&Case, Cpus, u64) -> Repeat,
}

impl Runner {
    pub fn of<C: TwoThreads>() -> Self {
        Self { name: C::NAME, verify: verify::<C>, time: time::<C> }
    }
}

/// All contenders in one case, interleaved.
pub fn measure(case: &Case, cpus: Cpus, contenders: &[Runner], rounds: &Rounds) -> Result<Vec<Timing>, String> {
    let on_a_thread = |runner: &Runner, run: &(dyn Fn() -> Repeat + Sync)| {
        let outcome = thread::scope(|scope| scope.spawn(run).join());
        let panicked = |_| Err("it panicked".to_owned());
        outcome.unwrap_or_else(panicked).map_err(|error| format!("{}: {error}", runner.name))
    };
    for runner in contenders {
        on_a_thread(runner, &|| (runner.verify)(case, cpus, rounds.verified_ops).map(|()| (0.0, 0)))?;
    }
    let mut timings: Vec<Timing> = contenders.iter().map(|runner| Timing::new(runner.name)).collect();
    for _ in 0..rounds.repeats {
        for (runner, timing) in contenders.iter().zip(&mut timings) {
            let (ns_per_op, memory_bytes) = on_a_thread(runner, &|| (runner.time)(case, cpus, rounds.ops))?;
            timing.add(ns_per_op, memory_bytes);
        }
    }
    Ok(timings)
}

/// A contender with its reader, and how many payloads were published.
struct Run<C> {
    contender: C,
    tally: Arc<Tally>,
    published: u64,
    batch: usize,
}

impl<C: TwoThreads> Run<C> {
    fn start(case: &Case, cpus: Cpus, behind: Behind) -> Result<Self, String> {
        let (reader, tally) = Reader::new(behind);
        Ok(Self { contender: C::start(case, cpus, reader)?, tally, published: 0, batch: case.batch })
    }

    /// Publishes `ops` payloads, rounded up to whole batches, and waits until the last one is read.
    #[inline(never)]
    fn publish(&mut self, ops: u64, fill: &impl Fill) -> Result<(), String> {
        let until = self.published + ops;
        while self.published < until {
            self.contender.publish(self.published, self.batch, fill)?;
            self.published += self.batch as u64;
        }
        self.tally.wait(self.published)
    }
}

fn verify<C: TwoThreads>(case: &Case, cpus: Cpus, ops: u64) -> Result<(), String> {
    let mut run = Run::<C>::start(case, cpus, Behind::Number)?;
    let published = run.publish(ops, &Pattern);
    run.contender.finish()?;
    published
}

fn time<C: TwoThreads>(case: &Case, cpus: Cpus, ops: u64) -> Repeat {
    let fill = Copied::new(case.payload_bytes);
    let mut run = Run::<C>::start(case, cpus, Behind::Word(fill.word()))?;
    run.publish((WARM_LAPS * RING_SLOTS) as u64, &fill)?;
    let (before, start) = (run.published, Instant::now());
    let published = run.publish(ops, &fill);
    let ns_per_op = start.elapsed().as_secs_f64() * 1e9 / (run.published - before) as f64;
    let memory_bytes = run.contender.memory_bytes();
    run.contender.finish()?;
    published.map(|()| (ns_per_op, memory_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::two_threads::{cases, contenders};

    #[test]
    fn every_contender_brings_every_payload_to_its_reader() {
        // On a machine of one CPU both share it: slow, and as correct.
        let cpus = Cpus::pick().unwrap_or(Cpus { publisher: 0, reader: 0 });
        let rounds = Rounds { repeats: 2, ops: 20_000, verified_ops: 20_000 };
        for batch in [1, 7, 64] {
            // A pool that wraps within a ring's length by bytes, never by events.
            let case = Case { payload_bytes: 520, batch, pool_bytes: 4 << 20 };
            let timings = measure(&case, cpus, &contenders(), &rounds).unwrap();
            assert!(timings.iter().all(|timing| timing.ns_per_op.len() == 2 && timing.min_ns() > 0.0));
        }
    }

    #[test]
    fn names_are_those_that_others_rely_on() {
        assert_eq!(cases().map(|case| case.name()), ["two-512B-b1", "two-512B-b64"]);
        assert_eq!(contenders().iter().map(|runner| runner.name).collect::<Vec<_>>(), ["slipring", "seed-arc"]);
    }

    #[test]
    fn a_pool_smaller_than_the_ring_is_an_error_of_the_seed() {
        let cpus = Cpus::pick().unwrap_or(Cpus { publisher: 0, reader: 0 });
        let case = Case { payload_bytes: 512, batch: 1, pool_bytes: 64 << 10 };
        let refused = verify::<crate::two_threads::seed_arc::SeedArc>(&case, cpus, 20_000);
        assert!(refused.is_err_and(|error| error.contains("smaller than a ring")));
    }
}
