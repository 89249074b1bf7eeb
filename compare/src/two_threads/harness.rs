//! Runs the contenders of two threads: verified once, then timed in interleaved repeats, each built
//! anew on a thread of its own, so that its pinning stays there.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::reader::Behind;
use super::{Case, Cpus, Reader, Tally, TwoThreads};
use crate::contender::{Copied, Fill, Pattern, Touch8};
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
pub fn measure(
    case: &Case,
    cpus: Cpus,
    contenders: &[Runner],
    rounds: &Rounds,
) -> Result<Vec<Timing>, String> {
    case.check()?;
    let on_a_thread = |runner: &Runner, run: &(dyn Fn() -> Repeat + Sync)| {
        let outcome = thread::scope(|scope| scope.spawn(run).join());
        let panicked = |_| Err("it panicked".to_owned());
        outcome.unwrap_or_else(panicked).map_err(|error| format!("{}: {error}", runner.name))
    };
    for runner in contenders {
        on_a_thread(runner, &|| {
            (runner.verify)(case, cpus, rounds.verified_ops).map(|()| (0.0, 0))
        })?;
    }
    let mut timings: Vec<Timing> =
        contenders.iter().map(|runner| Timing::new(runner.name)).collect();
    for _ in 0..rounds.repeats {
        for (runner, timing) in contenders.iter().zip(&mut timings) {
            let (ns_per_op, memory_bytes) =
                on_a_thread(runner, &|| (runner.time)(case, cpus, rounds.ops))?;
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
        Ok(Self {
            contender: C::start(case, cpus, reader)?,
            tally,
            published: 0,
            batch: case.batch,
        })
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
    run.publish(ops, &Pattern)?;
    run.contender.finish()
}

/// A payload that is its number and nothing else is stored, without the call that copies a longer
/// one.
fn time<C: TwoThreads>(case: &Case, cpus: Cpus, ops: u64) -> Repeat {
    let copied = Copied::new(case.payload_bytes);
    let behind = Behind::Word(copied.word());
    if case.payload_bytes == size_of::<u64>() {
        time_filled::<C>(case, cpus, ops, behind, &Touch8)
    } else {
        time_filled::<C>(case, cpus, ops, behind, &copied)
    }
}

fn time_filled<C: TwoThreads>(
    case: &Case,
    cpus: Cpus,
    ops: u64,
    behind: Behind,
    fill: &impl Fill,
) -> Repeat {
    let mut run = Run::<C>::start(case, cpus, behind)?;
    run.publish((WARM_LAPS * case.slots) as u64, fill)?;
    let (before, start) = (run.published, Instant::now());
    run.publish(ops, fill)?;
    let ns_per_op = start.elapsed().as_secs_f64() * 1e9 / (run.published - before) as f64;
    let memory_bytes = run.contender.memory_bytes();
    run.contender.finish()?;
    Ok((ns_per_op, memory_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::two_threads::contenders;

    const ROUNDS: Rounds = Rounds { repeats: 1, ops: 3000, verified_ops: 3000 };

    /// On a machine of one CPU both share it: slow, and as correct.
    fn cpus() -> Cpus {
        Cpus::pick().unwrap_or_else(|_| Cpus::one())
    }

    #[test]
    fn every_contender_brings_every_payload_to_its_reader() {
        // Pools that wrap within a few laps of a ring that is full all the time; a stride that is a
        // multiple of nothing, and 8 bytes alone.
        for (payload_bytes, batch) in [(520, 1), (520, 7), (520, 64), (8, 1), (8, 64)] {
            let case = Case { payload_bytes, batch, pool_bytes: 128 << 10, slots: 64 };
            let timings = measure(&case, cpus(), &contenders(false), &ROUNDS).unwrap();
            assert!(
                timings.iter().all(|timing| timing.ns_per_op.len() == 1 && timing.min_ns() > 0.0)
            );
        }
    }

    #[test]
    fn names_are_those_that_others_rely_on() {
        let names = |quick| contenders(quick).iter().map(|runner| runner.name).collect::<Vec<_>>();
        assert_eq!(names(true), ["slipring", "seed-arc", "rtrb"]);
        let ours =
            ["slipring", "slipring-overwrite", "slipring-slices", "seed-arc", "seed-arc-patient"];
        let chunks = ["rtrb", "crossbeam", "std-mpsc", "flume", "kanal"];
        assert_eq!(
            names(false),
            [&ours[..], &chunks, &chunks.map(|name| format!("{name}-vec").leak() as &str)].concat()
        );
    }

    #[test]
    fn a_dead_reader_is_an_error_of_every_contender() {
        // The reader panics over payloads that don't hold their number.
        let case = Case { payload_bytes: 4, batch: 1, pool_bytes: 128 << 10, slots: 64 };
        for runner in contenders(false) {
            let name = runner.name;
            let failure = measure(&case, cpus(), &[runner], &ROUNDS).err().unwrap_or_default();
            assert!(failure.starts_with(&format!("{name}: ")), "{name}: {failure}");
            let why = ["gone after 0", "stage `read`", "reader 0, which has gone"];
            assert!(why.iter().any(|why| failure.contains(why)), "{failure}");
        }
    }

    #[test]
    fn a_pool_smaller_than_the_ring_is_an_error_where_it_must_be() {
        let case = Case { payload_bytes: 512, batch: 1, pool_bytes: 64 << 10, slots: 4096 };
        for runner in contenders(false) {
            let outcome = (runner.verify)(&case, cpus(), 20_000);
            match runner.name {
                "seed-arc" | "seed-arc-patient" => {
                    assert!(outcome.is_err_and(|error| error.contains("smaller than a ring")))
                }
                "slipring-overwrite" | "slipring-slices" => {
                    assert!(outcome.is_err_and(|error| error.contains("pool.bytes")))
                }
                // What is released as it is read waits for its reader.
                name => assert_eq!(outcome, Ok(()), "{name}"),
            }
        }
    }
}
