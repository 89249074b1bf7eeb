//! What the command `class` runs: the contenders, the rounds, and the loop over the cases.

use std::num::NonZero;

use super::allocators::{Glibc, GrowableVec, Jemalloc, Mimalloc};
use super::case::{Case, cases};
use super::contender::EmptyHarness;
use super::crates::{LockfreeObjectPool, ObjectPool, Opool, ShardedSlab};
use super::go_pool::ClassedGoPool;
use super::harness::{Runner, Setting, runner};
use super::lists::{FreeList, MutexPool, TlsVec};
use super::slipring::Slipring;
use crate::choice::{Timed, Wrong};
use crate::measure::{Rounds, measure};
use crate::threads::Cpus;

/// Every contender, in the order of a round.
pub fn contenders() -> Vec<Runner> {
    vec![
        runner::<EmptyHarness>(),
        runner::<Slipring>(),
        runner::<ClassedGoPool>(),
        runner::<TlsVec>(),
        runner::<Glibc>(),
        runner::<Mimalloc>(),
        runner::<Jemalloc>(),
        runner::<GrowableVec>(),
        runner::<FreeList>(),
        runner::<MutexPool>(),
        runner::<ObjectPool>(),
        runner::<Opool>(),
        runner::<LockfreeObjectPool>(),
        runner::<ShardedSlab>(),
    ]
}

/// The contenders of a quick run, which have targets or are in one.
pub const QUICK: [&str; 7] =
    ["empty-harness", "slipring", "go-pool", "tls-vec", "glibc", "mimalloc", "jemalloc"];

const ROUNDS_QUICK: Rounds = Rounds { repeats: 7, ops: 1_000_000, verified_ops: 20_000 };
const ROUNDS_FULL: Rounds = Rounds { repeats: 21, ops: 2_000_000, verified_ops: 50_000 };

/// Measures the cases and prints their figures.
///
/// # Errors
/// An option is invalid, or a contender lost a payload.
pub fn run(options: &Timed) -> Result<(), Wrong> {
    let choice = &options.choice;
    let cases = (cases(choice.quick_cases()), Case::name as fn(&Case) -> String);
    let contenders = (contenders(), (|contender| contender.name) as fn(&Runner) -> &'static str);
    let Some((cases, contenders)) = choice.select(cases, contenders, &QUICK)? else {
        return Ok(());
    };
    let (rounds, report) = (choice.rounds(ROUNDS_QUICK, ROUNDS_FULL), choice.report("class"));
    report.head(&rounds);
    for case in cases {
        let name = case.name();
        let cpus = match Cpus::pick() {
            Ok(cpus) => cpus,
            Err(_) if case.threads() == 1 => Cpus::one(),
            Err(why) => {
                report.skipped(&name, &why);
                continue;
            }
        };
        let setting = Setting { case, cpus };
        let (able, unable): (Vec<Runner>, Vec<Runner>) =
            contenders.iter().partition(|runner| (runner.takes_part)(&setting));
        for runner in unable {
            let what = format!("{name} of {}", runner.name);
            report.skipped(&what, "its design can't express the case");
        }
        if able.is_empty() {
            continue;
        }
        let mut rounds = case.rounds(&rounds);
        rounds.ops = options.ops.map_or(rounds.ops, NonZero::get);
        let measured = || measure(&setting, &able, &rounds);
        if case.threads() == 2 {
            report.two_threads(&name, cpus, measured)?;
        } else {
            let timings =
                measured().map_err(|failure| Wrong::Case(format!("{name}: {failure}")))?;
            report.results(&name, &timings);
        }
    }
    Ok(())
}
