//! Runs the contenders: verified once, then timed in interleaved repeats (A B C A B C ...), each
//! built anew, with its threads.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::case::{Case, Work, Written};
use super::payload::{Marked, Untouched};
use super::resident::resident_bytes;
use super::{Pool, cross, own};
use crate::contender::{Copied, Pattern, Touch8};
use crate::harness::{Rounds, Timing};
use crate::two_threads::Cpus;

/// Warm-up before the clock, in operations of each thread.
const WARM_OPS: u64 = 20_000;

/// What a run of a pool's threads is.
pub struct Turn<'a, F> {
    pub case: &'a Case,
    pub cpus: Cpus,
    /// The lengths, used in turn.
    pub drawn: &'a [u32],
    /// How payloads are written.
    pub fill: &'a F,
    /// Operations of each thread before the clock, all of them looked at.
    pub warm_ops: u64,
    /// Operations of all threads under the clock.
    pub ops: u64,
}

/// What one came to.
pub struct Repeat {
    pub ns_per_op: f64,
    /// What the process grew by between the warm-up and the end.
    pub growth_bytes: Option<usize>,
}

/// One repeat, and what the process grew by with the pool.
type Time = fn(&Case, Cpus, &Rounds) -> Result<(Repeat, usize), String>;

/// One contender behind plain functions; inside each of them everything is dispatched statically.
#[derive(Clone, Copy)]
pub struct Runner {
    pub name: &'static str,
    emulated: Option<&'static str>,
    crosses: bool,
    has_length: bool,
    verify: fn(&Case, Cpus, u64) -> Result<(), String>,
    time: Time,
}

impl Runner {
    pub fn of<C: Pool>() -> Self {
        Self {
            name: C::NAME,
            emulated: C::EMULATED,
            crosses: C::CROSSES,
            has_length: C::HAS_LENGTH,
            verify: verify::<C>,
            time: time::<C>,
        }
    }

    /// Whether the contender's design can express the case.
    pub fn takes_part(&self, case: &Case) -> bool {
        (self.crosses || case.work != Work::Cross)
            && (self.has_length || case.written == Written::Whole)
    }
}

/// All contenders that take part in one case.
pub fn measure(
    case: &Case,
    cpus: Cpus,
    contenders: &[Runner],
    rounds: &Rounds,
) -> Result<Vec<Timing>, String> {
    let contenders: Vec<Runner> =
        contenders.iter().copied().filter(|runner| runner.takes_part(case)).collect();
    for runner in &contenders {
        named(runner, || (runner.verify)(case, cpus, rounds.verified_ops))?;
    }
    let timing = |runner: &Runner| Timing { emulated: runner.emulated, ..Timing::new(runner.name) };
    let mut timings: Vec<Timing> = contenders.iter().map(timing).collect();
    for _ in 0..rounds.repeats {
        for (runner, timing) in contenders.iter().zip(&mut timings) {
            let (repeat, memory_bytes) = named(runner, || (runner.time)(case, cpus, rounds))?;
            timing.add(repeat.ns_per_op, memory_bytes);
            timing.growth_bytes = timing.growth_bytes.max(repeat.growth_bytes);
        }
    }
    Ok(timings)
}

/// A contender that panics has failed, and its name is told.
fn named<R>(runner: &Runner, run: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    let outcome =
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("it panicked".to_owned()));
    outcome.map_err(|error| format!("{}: {error}", runner.name))
}

fn verify<C: Pool>(case: &Case, cpus: Cpus, ops: u64) -> Result<(), String> {
    // Several are held, so that two owners of one buffer show.
    let case = &Case { held: case.held.max(4), ..*case };
    let drawn = case.drawn();
    let turn = Turn { case, cpus, drawn: &drawn, fill: &Pattern, warm_ops: ops, ops: 0 };
    run::<C, Pattern>(&turn).map(drop)
}

fn time<C: Pool>(case: &Case, cpus: Cpus, rounds: &Rounds) -> Result<(Repeat, usize), String> {
    let drawn = case.drawn();
    let warm_ops = WARM_OPS.min(rounds.ops);
    match case.written {
        Written::Nothing => run::<C, _>(&Turn {
            case,
            cpus,
            drawn: &drawn,
            fill: &Untouched,
            warm_ops,
            ops: rounds.ops,
        }),
        Written::Touch8 => run::<C, _>(&Turn {
            case,
            cpus,
            drawn: &drawn,
            fill: &Touch8,
            warm_ops,
            ops: rounds.ops,
        }),
        Written::Whole => {
            let fill = &Copied::new(case.longest_bytes());
            run::<C, _>(&Turn { case, cpus, drawn: &drawn, fill, warm_ops, ops: rounds.ops })
        }
    }
}

/// Builds the pool, runs its threads, and says what the process grew by with it.
fn run<C: Pool, F: Marked>(turn: &Turn<'_, F>) -> Result<(Repeat, usize), String> {
    let before_bytes = resident_bytes();
    let pool = C::new().map_err(|error| format!("it can't be built: {error}"))?;
    let repeat = match turn.case.work {
        Work::Own(threads) => own::run(&pool, turn, threads),
        Work::Cross => cross::run(&pool, turn),
    }?;
    Ok((repeat, resident_bytes().saturating_sub(before_bytes)))
}
