//! What the command `queue` runs: the contenders, the rounds, and the loop over the cases.

use std::num::NonZero;

use super::case::{Case, cases};
use super::channels::{OnHeap, Over, Pooled, Tokio, TokioCopy};
use super::contender::EmptyHarness;
use super::harness::{Runner, Setting, runner};
use super::mutex_queue::MutexQueue;
use super::slipring::{Slipring, SlipringCopy};
use crate::choice::{Timed, Wrong};
use crate::measure::{Rounds, measure};
use crate::threads::{Cpus, Crossbeam, Flume, Kanal, Rtrb, StdMpsc};

/// Every contender, in the order of a round.
pub fn contenders() -> Vec<Runner> {
    vec![
        runner::<EmptyHarness>(),
        runner::<Slipring<false>>(),
        runner::<SlipringCopy>(),
        runner::<MutexQueue<false>>(),
        runner::<Over<Crossbeam, Pooled>>(),
        runner::<Over<Flume, Pooled>>(),
        runner::<Tokio<false>>(),
        runner::<Over<Rtrb, Pooled>>(),
        runner::<Over<Kanal, Pooled>>(),
        runner::<Over<StdMpsc, Pooled>>(),
        runner::<Over<Crossbeam, OnHeap>>(),
        runner::<Over<Flume, OnHeap>>(),
        runner::<TokioCopy>(),
        runner::<Slipring<true>>(),
        runner::<MutexQueue<true>>(),
        runner::<Tokio<true>>(),
    ]
}

/// The contenders of a quick run, which have targets or are in one, and `mutex-queue` with its
/// condition variable.
pub const QUICK: [&str; 7] = [
    "empty-harness",
    "slipring",
    "slipring-copy",
    "mutex-queue",
    "mutex-queue-parks",
    "crossbeam",
    "flume",
];

const ROUNDS_QUICK: Rounds = Rounds { repeats: 7, ops: 1_000_000, verified_ops: 20_000 };
const ROUNDS_FULL: Rounds = Rounds { repeats: 21, ops: 2_000_000, verified_ops: 50_000 };

/// Measures the cases and prints their figures; skips them on a machine of one CPU.
///
/// # Errors
/// An option is invalid, or a contender lost a message.
pub fn run(options: &Timed) -> Result<(), Wrong> {
    let choice = &options.choice;
    let cases = (cases(choice.quick_cases()), Case::name as fn(&Case) -> String);
    let contenders = (contenders(), (|contender| contender.name) as fn(&Runner) -> &'static str);
    let Some((cases, contenders)) = choice.select(cases, contenders, &QUICK)? else {
        return Ok(());
    };
    let (rounds, report) = (choice.rounds(ROUNDS_QUICK, ROUNDS_FULL), choice.report("queue"));
    report.head(&rounds);
    let cpus = match Cpus::pick() {
        Ok(cpus) => cpus,
        Err(why) => {
            report.skipped("two threads", &why);
            return Ok(());
        }
    };
    for case in cases {
        let mut rounds = case.rounds(&rounds);
        rounds.ops = options.ops.map_or(rounds.ops, NonZero::get);
        let setting = Setting { case, cpus };
        report.two_threads(&case.name(), cpus, || measure(&setting, &contenders, &rounds))?;
    }
    Ok(())
}
