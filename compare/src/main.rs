//! Rivals of slipring's ring pool behind one trait, measured in one run.
//!
//! ```text
//!   sizes drawn before the clock:   288 64 512 128 ...
//!                                     │ next
//!                                     ▼
//!   op i:  allocate ──▶ write 8 bytes or all ──▶ entry i mod slots ──▶ what stood there is released
//! ```
//!
//! Every contender runs the same operations on one thread, repeats are interleaved (A B C A B C ...), and payloads are verified: whole ones in
//! a pass before the clock, the number of the operation after each timed pass. `empty-harness` is what the loop itself costs. The cases of two threads
//! have a picture of their own in [`two_threads`]. All nanoseconds are only good beside each other, and on a machine that does nothing else.

mod case;
mod contender;
mod harness;
mod report;
mod two_threads;

use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Rivals of slipring behind one trait, measured in one run")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Allocate, write, keep `slots` payloads, release the oldest: on one thread, and with a reader on a second core
    Ring(Options),
}

/// What a run may choose.
#[derive(Args)]
struct Options {
    /// On one thread only the cases that write 8 bytes of each payload; in under a minute
    #[arg(long)]
    quick: bool,
    /// One JSON object a line instead of a table; lines that aren't results carry no `case`
    #[arg(long)]
    json: bool,
    /// Only contenders whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> ExitCode {
    let Bench::Ring(options) = Cli::parse().bench;
    let rounds = if options.quick { harness::QUICK } else { harness::FULL };
    let mut contenders = contender::all();
    contenders.retain(|contender| contender.name.contains(&options.only));
    let mut of_two_threads = two_threads::contenders(options.quick && options.only.is_empty());
    of_two_threads.retain(|contender| contender.name.contains(&options.only));
    if contenders.is_empty() && of_two_threads.is_empty() {
        eprintln!("error: no contender's name contains {:?}; leave --only out to see all", options.only);
        return ExitCode::from(2);
    }
    report::head(&rounds, options.json);
    for case in case::all(options.quick) {
        match harness::measure(&case, &contenders, &rounds) {
            Ok(results) => report::results(&case.name(), &results, options.json),
            Err(failure) => return failed(&case.name(), &failure),
        }
    }
    let cpus = match two_threads::Cpus::pick() {
        Ok(cpus) => cpus,
        Err(why) => {
            report::skipped("two threads", &why, options.json);
            return ExitCode::SUCCESS;
        }
    };
    for case in two_threads::cases(options.quick).iter().filter(|_| !of_two_threads.is_empty()) {
        match two_threads::measure(case, cpus, &of_two_threads, &rounds) {
            Ok(results) => report::results(&case.name(), &results, options.json),
            Err(failure) => return failed(&case.name(), &failure),
        }
    }
    ExitCode::SUCCESS
}

fn failed(case: &str, failure: &str) -> ExitCode {
    eprintln!("error: {case}: {failure}");
    ExitCode::FAILURE
}
