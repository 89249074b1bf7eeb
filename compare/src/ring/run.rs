//! What the commands `ring` and `ladder` run: the contenders, the rounds, and the loop over the
//! cases. `ring` runs the cases of [`crate::two_threads`] too.

use clap::Args;
use serde_json::json;

use super::allocators::{BumpTwoArenas, BytesBlocks, Glibc, Jemalloc, Mimalloc};
use super::arc_ring::{ArcRing, StaticRing};
use super::byte_rings::{BbQueue, Ringbuf, Rtrb};
use super::case::{Case, Order, Sweep, all, quick, swept};
use super::contender::EmptyHarness;
use super::free_list::{FreeList, InlineSlots};
use super::harness::{Runner, Setting, measure, runner};
use super::ladder::rungs;
use super::slipring::{Slipring, SlipringRaii};
use crate::choice::{Choice, Wrong};
use crate::measure::Rounds;
use crate::memory::shortage;
use crate::payload::Size;
use crate::report::{self, Report};
use crate::two_threads;

const ROUNDS_QUICK: Rounds = Rounds { repeats: 7, ops: 2_000_000, verified_ops: 200_000 };
const ROUNDS_FULL: Rounds = Rounds { repeats: 21, ops: 2_000_000, verified_ops: 500_000 };

/// Every contender, in the order of a round.
pub fn contenders() -> Vec<Runner> {
    vec![
        runner::<EmptyHarness>(),
        runner::<Slipring>(),
        // The slot path can't release in any order. There the name `slipring` means the pool with
        // kept slices, so these figures have both names.
        Runner {
            name: "slipring",
            takes_part: |setting| setting.case.order == Order::Random,
            ..runner::<SlipringRaii>()
        },
        runner::<SlipringRaii>(),
        runner::<ArcRing>(),
        runner::<StaticRing>(),
        runner::<FreeList>(),
        runner::<InlineSlots>(),
        runner::<BumpTwoArenas>(),
        runner::<Glibc>(),
        runner::<Mimalloc>(),
        runner::<Jemalloc>(),
        runner::<BytesBlocks>(),
        runner::<BbQueue>(),
        runner::<Rtrb>(),
        runner::<Ringbuf>(),
    ]
}

/// The contenders of a quick run, which have targets or are in one.
const QUICK: [&str; 7] = [
    "empty-harness",
    "slipring",
    "slipring-raii",
    "arc-ring",
    "free-list",
    "bump-two-arenas",
    "glibc",
];

/// The options of `ring`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    choice: Choice,
    /// The cases of a sweep instead, on one thread only
    #[arg(long)]
    sweep: Option<Sweep>,
}

impl Options {
    /// The cases of one thread.
    fn cases(&self) -> Vec<Case> {
        let mut cases = match self.sweep {
            Some(sweep) => swept(sweep),
            None if self.choice.quick => quick(),
            None => all(),
        };
        cases.retain(|case| self.choice.takes_case(&case.name()));
        cases
    }

    /// The contenders of one thread: with `--quick` the quick ones, unless others are chosen by
    /// name.
    fn contenders(&self) -> Vec<Runner> {
        let quick = |name: &str| !self.choice.quick_contenders() || QUICK.contains(&name);
        let mut contenders = contenders();
        contenders.retain(|runner| self.choice.takes_contender(runner.name) && quick(runner.name));
        contenders
    }

    /// The cases of two threads: none in a sweep.
    fn two_threads_cases(&self) -> Vec<two_threads::Case> {
        let mut cases = two_threads::cases(self.choice.quick_cases());
        cases.retain(|case| self.sweep.is_none() && self.choice.takes_case(&case.name()));
        cases
    }

    fn two_threads_contenders(&self) -> Vec<two_threads::Runner> {
        let mut contenders = two_threads::contenders(self.choice.quick_contenders());
        contenders.retain(|runner| self.choice.takes_contender(runner.name));
        contenders
    }
}

/// Measures the cases and prints their figures, or lists them.
///
/// # Errors
/// An option is invalid, or a contender lost a payload.
pub fn run(options: &Options) -> Result<(), Wrong> {
    let (choice, cases) = (&options.choice, options.cases());
    let (contenders, two_cases) = (options.contenders(), options.two_threads_cases());
    let two_contenders = options.two_threads_contenders();
    if choice.list {
        list(&cases, &contenders, &two_cases, &two_contenders);
        return Ok(());
    }
    choice.check(cases.len() + two_cases.len(), contenders.len() + two_contenders.len())?;
    let (rounds, report) = (choice.rounds(ROUNDS_QUICK, ROUNDS_FULL), choice.report("ring"));
    report.head(&rounds);
    for case in &cases {
        let setting = Setting::of(case);
        let plan = case.plan();
        // A contender may hold one payload more than the pool.
        if let Some(why) = shortage(plan.pool_bytes + plan.largest_bytes, plan.pages) {
            report.skipped(&case.name(), &why);
        } else if !contenders.iter().any(|runner| (runner.takes_part)(&setting)) {
            let why = "none of the chosen contenders releases in this order, or has these pages";
            report.skipped(&case.name(), why);
        } else {
            report_case(case, &contenders, &rounds, report)?;
        }
    }
    two_threads::run(&two_cases, &two_contenders, &rounds, report)
}

/// Measures the ladder. It has one case, so that each rung differs from the one below only by its
/// ingredient.
///
/// # Errors
/// A contender lost a payload.
pub fn ladder(quick: bool, as_json: bool) -> Result<(), Wrong> {
    let rounds = if quick { ROUNDS_QUICK } else { ROUNDS_FULL };
    let report = Report { bench: "ring", as_json };
    report.head(&rounds);
    report_case(&Case::FIT, &rungs(), &rounds, report)
}

fn report_case(
    case: &Case,
    contenders: &[Runner],
    rounds: &Rounds,
    report: Report,
) -> Result<(), Wrong> {
    let (name, plan, ops) = (case.name(), case.plan(), case.rounds(rounds).ops);
    if report.as_json {
        let order = if case.order == Order::Oldest { "oldest first" } else { "random" };
        let plan = json!({ "pool_bytes": plan.pool_bytes, "slots": plan.slots,
            "largest_bytes": plan.largest_bytes, "pages": plan.pages.to_string(),
            "releases": order, "ops": ops });
        report.plan(&name, &plan);
    } else {
        let (pool, largest) = (Size(plan.pool_bytes), Size(plan.largest_bytes));
        let (pages, slots) = (plan.pages, plan.slots);
        println!(
            "\na pool of {pool} on {pages}, {slots} slots of up to {largest}, {ops} operations per repeat"
        );
    }
    let timings = measure(case, contenders, rounds)
        .map_err(|failure| Wrong::Case(format!("{name}: {failure}")))?;
    report.results(&name, &timings);
    Ok(())
}

fn list(
    cases: &[Case],
    contenders: &[Runner],
    two_cases: &[two_threads::Case],
    two_contenders: &[two_threads::Runner],
) {
    let names = cases.iter().map(Case::name);
    let names = names.chain(two_cases.iter().map(two_threads::Case::name));
    report::list("cases", &names.collect::<Vec<_>>());
    let mut names: Vec<&str> = contenders.iter().map(|runner| runner.name).collect();
    names.dedup();
    report::list("contenders of one thread", &names);
    let names: Vec<&str> = two_contenders.iter().map(|runner| runner.name).collect();
    report::list("contenders of two threads", &names);
}
