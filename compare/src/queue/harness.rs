//! Runs the contenders: verified once, then timed in interleaved repeats (A B C A B C ...), each
//! built anew, with its threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Instant;

use super::arrival::{Arrival, Ends, Whole};
use super::{Case, Inlet, Outlet, Queue};
use crate::class::resident_bytes;
use crate::harness::{Rounds, Timing};
use crate::two_threads::{Behind, Cpus, Reader, Tally};

/// Warm-up before the clock, in laps of the queue's bound.
const WARM_LAPS: u64 = 32;

/// Who waits in the system gets one operation in so many.
const PARKED_OPS_PART: u64 = 16;

/// Nanoseconds for each message.
type Run = fn(&Case, Cpus, u64) -> Result<f64, String>;

/// One contender behind plain functions; inside each of them everything is dispatched statically.
#[derive(Clone, Copy)]
pub struct Runner {
    pub name: &'static str,
    emulated: Option<&'static str>,
    parks: bool,
    verify: Run,
    time: Run,
}

impl Runner {
    pub fn of<Q: Queue>() -> Self {
        let verify: Run = |case, cpus, ops| run::<Q>(case, cpus, 0, ops, &Whole);
        let time: Run =
            |case, cpus, ops| run::<Q>(case, cpus, WARM_LAPS * case.messages as u64, ops, &Ends);
        Self { name: Q::NAME, emulated: Q::EMULATED, parks: Q::PARKS, verify, time }
    }
}

/// All contenders in one case.
pub fn measure(
    case: &Case,
    cpus: Cpus,
    contenders: &[Runner],
    rounds: &Rounds,
) -> Result<Vec<Timing>, String> {
    let named = |runner: &Runner, run: Run, ops: u64| {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(case, cpus, ops)));
        let outcome = outcome.unwrap_or_else(|_| Err("it panicked".to_owned()));
        outcome.map_err(|error| format!("{}: {error}", runner.name))
    };
    for runner in contenders {
        named(runner, runner.verify, rounds.verified_ops)?;
    }
    let timing = |runner: &Runner| Timing { emulated: runner.emulated, ..Timing::new(runner.name) };
    let mut timings: Vec<Timing> = contenders.iter().map(timing).collect();
    for _ in 0..rounds.repeats {
        for (runner, timing) in contenders.iter().zip(&mut timings) {
            let before_bytes = resident_bytes();
            let ns_per_op = named(
                runner,
                runner.time,
                if runner.parks { rounds.ops.div_ceil(PARKED_OPS_PART) } else { rounds.ops },
            )?;
            timing.add(ns_per_op, resident_bytes().saturating_sub(before_bytes));
        }
    }
    Ok(timings)
}

/// Builds a queue, sends `warm_ops` messages, and `ops` under the clock.
fn run<Q: Queue>(
    case: &Case,
    cpus: Cpus,
    warm_ops: u64,
    ops: u64,
    arrival: &impl Arrival,
) -> Result<f64, String> {
    let queue = Q::new(case).map_err(|error| format!("it can't be built: {error}"))?;
    let (inlet, outlet) = queue.ends()?;
    let (reader, tally) = Reader::new(Behind::Number);
    thread::scope(|scope| {
        let receiving = scope.spawn(move || {
            cpus.pin(1)?;
            outlet.dequeue_all(arrival, reader)
        });
        let tally = &tally;
        let sending = scope.spawn(move || {
            cpus.pin(0)?;
            let mut inlet = inlet;
            send(&mut inlet, 0..warm_ops, arrival, tally)?;
            let start = Instant::now();
            send(&mut inlet, warm_ops..warm_ops + ops, arrival, tally)?;
            Ok(start.elapsed().as_secs_f64() * 1e9 / ops as f64)
        });
        let sent = sending.join().unwrap_or_else(|_| Err("it panicked".to_owned()));
        receiving.join().map_err(|_| "the dequeuing thread panicked".to_owned())??;
        sent
    })
}

/// Sends the messages and waits until the other thread is done with the last one.
#[inline(never)]
fn send(
    inlet: &mut impl Inlet,
    numbers: std::ops::Range<u64>,
    arrival: &impl Arrival,
    tally: &Tally,
) -> Result<(), String> {
    let end = numbers.end;
    for number in numbers {
        inlet.enqueue(number, arrival, tally)?;
    }
    tally.wait(end)
}
