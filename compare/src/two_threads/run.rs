//! The contenders on two threads, and the loop over their cases, which is a part of the command
//! `ring`.

use super::arc_ring::ArcRing;
use super::case::Case;
use super::channels::{OverChunks, OverVecs};
use super::harness::{Runner, measure, runner};
use super::slipring::{Slipring, SlipringOverwrite, SlipringSlices};
use crate::choice::Wrong;
use crate::measure::Rounds;
use crate::report::Report;
use crate::threads::{Cpus, Crossbeam, Flume, Kanal, Rtrb, StdMpsc};

/// The contenders in the order of a round; the quick ones are those that targets are measured
/// against.
pub fn contenders(quick: bool) -> Vec<Runner> {
    if quick {
        return vec![
            runner::<Slipring>(),
            runner::<ArcRing<false>>(),
            runner::<OverChunks<Rtrb>>(),
        ];
    }
    vec![
        runner::<Slipring>(),
        runner::<SlipringOverwrite>(),
        runner::<SlipringSlices>(),
        runner::<ArcRing<false>>(),
        runner::<ArcRing<true>>(),
        runner::<OverChunks<Rtrb>>(),
        runner::<OverChunks<Crossbeam>>(),
        runner::<OverChunks<StdMpsc>>(),
        runner::<OverChunks<Flume>>(),
        runner::<OverChunks<Kanal>>(),
        runner::<OverVecs<Rtrb>>(),
        runner::<OverVecs<Crossbeam>>(),
        runner::<OverVecs<StdMpsc>>(),
        runner::<OverVecs<Flume>>(),
        runner::<OverVecs<Kanal>>(),
    ]
}

/// Measures the cases and prints their figures; skips them on a machine of one CPU.
///
/// # Errors
/// A contender lost a payload.
pub fn run(
    cases: &[Case],
    contenders: &[Runner],
    rounds: &Rounds,
    report: Report,
) -> Result<(), Wrong> {
    if cases.is_empty() || contenders.is_empty() {
        return Ok(());
    }
    let cpus = match Cpus::pick() {
        Ok(cpus) => cpus,
        Err(why) => {
            report.skipped("two threads", &why);
            return Ok(());
        }
    };
    for case in cases {
        report.two_threads(&case.name(), cpus, || measure(case, cpus, contenders, rounds))?;
    }
    Ok(())
}
