//! Rivals of slipring's ring pool behind one trait, measured in one run.
//!
//! ```text
//!   sizes drawn before the clock:   288 64 512 128 ...
//!                                     │ next
//!                                     ▼
//!   op i:  allocate ──▶ write 8 bytes or all ──▶ entry i mod slots ──▶ what stood there is released
//! ```
//!
//! Every contender runs the same operations on one thread, repeats are interleaved (A B C A B C
//! ...), and payloads are verified: whole ones in a pass before the clock, the number of the
//! operation after each timed pass. `empty-harness` is what the loop itself costs. The cases of two
//! threads have a picture of their own in [`two_threads`]. All nanoseconds are only good beside
//! each other, and on a machine that does nothing else.

mod allocations;
mod case;
mod catalog;
mod choice;
mod class;
mod contender;
mod harness;
mod lanes;
mod objects;
mod pace;
mod position;
mod pretouch;
mod queue;
mod report;
mod seed_table;
mod two_threads;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::case::Case;
use crate::catalog::Sweep;
use crate::choice::{Choice, Timed, Wrong};
use crate::report::Report;

#[derive(Parser)]
#[command(about = "Rivals of slipring behind one trait, measured in one run")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Allocate, write, keep `slots` payloads, release the oldest: on one thread, and with a reader
    /// on a second core
    Ring(Options),
    /// What each ingredient of an operation costs: a bump ring and one ingredient more on each rung
    Ladder(Small),
    /// The seed's own table with its own operation: 8 vectors of 128, one f32 stored, pools of 32
    /// KiB to 2 GiB
    SeedTable(Small),
    /// Touched and untouched pools of 2 MiB to 2 GiB: the first lap through one, and those behind
    /// it
    Pretouch(Small),
    /// Lanes on 1, 2, 4, 8 and 16 cores, as far as there are so many, with inline readers and with
    /// readers on further cores
    Lanes(Small),
    /// Size-class pools: get and drop on one thread, on two, and across them
    Class(Timed),
    /// Many threads on one class pool, every payload verified: exits with 3 below a hit rate
    ClassLoad(class::load::Options),
    /// Receive queues: enqueue, dequeue and done, on two threads
    Queue(Timed),
    /// Objects of a store, each in one piece of memory: with pooled buffers, without, and by
    /// object_store alone
    Objects(objects::Options),
    /// Fixed part sizes and concurrencies beside those that the range engine chooses, against
    /// stores of four shapes
    ObjectsPace(pace::Options),
    /// One variant of `objects` in this process
    #[command(name = objects::VARIANT, hide = true)]
    ObjectsVariant(objects::Variant),
    /// The server of `objects`
    #[command(name = objects::SERVER, hide = true)]
    ObjectsServer(objects::server::Options),
}

/// What a run of one fixed list may choose.
#[derive(Args)]
struct Small {
    /// Fewer and shorter repeats
    #[arg(long)]
    quick: bool,
    /// One JSON object a line instead of a table; lines that aren't results carry no `case`
    #[arg(long)]
    json: bool,
}

/// What a run of `ring` may choose.
#[derive(Args)]
struct Options {
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
            Some(sweep) => catalog::sweep(sweep),
            None if self.choice.quick => catalog::quick(),
            None => catalog::all(),
        };
        cases.retain(|case| self.choice.takes_case(&case.name()));
        cases
    }

    /// The contenders of one thread: with `--quick` the quick ones, unless others are asked for by
    /// name.
    fn contenders(&self) -> Vec<harness::Runner> {
        let quick =
            |name: &str| !self.choice.quick_contenders() || contender::QUICK.contains(&name);
        let mut contenders = contender::all();
        contenders.retain(|contender| {
            self.choice.takes_contender(contender.name) && quick(contender.name)
        });
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
        contenders.retain(|contender| self.choice.takes_contender(contender.name));
        contenders
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().bench {
        Bench::Ring(options) if options.choice.list => list(&options),
        Bench::Ring(options) => run(&options),
        Bench::Ladder(options) => ladder(&options),
        Bench::SeedTable(options) => {
            seed_table::run(options.quick, options.json).map_err(Wrong::Case)
        }
        Bench::Pretouch(options) => pretouch::run(options.quick, options.json).map_err(Wrong::Case),
        Bench::Lanes(options) => lanes::run(options.quick, options.json).map_err(Wrong::Case),
        Bench::Class(options) => class::run(&options),
        Bench::ClassLoad(options) => class::load::run(&options),
        Bench::Queue(options) => queue::run(&options),
        Bench::Objects(options) => objects::run(&options),
        Bench::ObjectsPace(options) => pace::run(&options),
        Bench::ObjectsVariant(variant) => objects::variant::run(&variant),
        Bench::ObjectsServer(options) => objects::server::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("error: {}", wrong.text());
            wrong.exit_code()
        }
    }
}

fn list(options: &Options) -> Result<(), Wrong> {
    let (cases, of_two_threads) = (options.cases(), options.two_threads_cases());
    let names =
        cases.iter().map(Case::name).chain(of_two_threads.iter().map(two_threads::Case::name));
    report::list("cases", &names.collect::<Vec<_>>());
    let mut names: Vec<&str> =
        options.contenders().iter().map(|contender| contender.name).collect();
    names.dedup();
    report::list("contenders of one thread", &names);
    let names: Vec<&str> =
        options.two_threads_contenders().iter().map(|contender| contender.name).collect();
    report::list("contenders of two threads", &names);
    Ok(())
}

fn run(options: &Options) -> Result<(), Wrong> {
    let (cases, of_two_threads) = (options.cases(), options.two_threads_cases());
    let (contenders, two_threads_contenders) =
        (options.contenders(), options.two_threads_contenders());
    let choice = &options.choice;
    choice.check(
        cases.len() + of_two_threads.len(),
        contenders.len() + two_threads_contenders.len(),
    )?;
    let (rounds, report) = (choice.rounds(harness::QUICK, harness::FULL), choice.report("ring"));
    report.head(&rounds);
    for case in &cases {
        if let Some(why) = contender::shortage(&case.plan()) {
            report.skipped(&case.name(), &why);
            continue;
        }
        if !contenders.iter().any(|contender| contender.takes_part(case)) {
            let why =
                "none of the chosen contenders releases in this order, or lies on these pages";
            report.skipped(&case.name(), why);
            continue;
        }
        report.plan(case, &rounds);
        let results = harness::measure(case, &contenders, &rounds)
            .map_err(|failure| failed(&case.name(), &failure))?;
        report.results(&case.name(), &results);
    }
    if of_two_threads.is_empty() || two_threads_contenders.is_empty() {
        return Ok(());
    }
    let cpus = match two_threads::Cpus::pick() {
        Ok(cpus) => cpus,
        Err(why) => {
            report.skipped("two threads", &why);
            return Ok(());
        }
    };
    for case in &of_two_threads {
        let wrong = |failure: String| failed(&case.name(), &failure);
        let before_ns = two_threads::round_trip_ns(cpus).map_err(wrong)?;
        let results =
            two_threads::measure(case, cpus, &two_threads_contenders, &rounds).map_err(wrong)?;
        let after_ns = two_threads::round_trip_ns(cpus).map_err(wrong)?;
        report.distance(&case.name(), [before_ns, after_ns]);
        report.results(&case.name(), &results);
    }
    Ok(())
}

/// The ladder stands on one case, so that each rung differs from the one below by its ingredient
/// only.
fn ladder(options: &Small) -> Result<(), Wrong> {
    let (case, rounds) = (Case::FIT, if options.quick { harness::QUICK } else { harness::FULL });
    let report = Report { bench: "ring", as_json: options.json };
    report.head(&rounds);
    report.plan(&case, &rounds);
    let results = harness::measure(&case, &contender::ladder(), &rounds)
        .map_err(|failure| failed(&case.name(), &failure))?;
    report.results(&case.name(), &results);
    Ok(())
}

fn failed(case: &str, failure: &str) -> Wrong {
    Wrong::Case(format!("{case}: {failure}"))
}
