//! Rivals of slipring behind one trait per family, measured in one run.
//!
//! The contenders are in families: [`ring`] on one thread and on [`two_threads`], [`class`] and
//! [`queue`]. A family is a folder of the same shape: `case.rs` says what is measured,
//! `contender.rs` has the trait of its contenders, `harness.rs` verifies and times one of them,
//! `run.rs` lists them and runs the cases, and `suite.rs` checks that every contender gives the
//! right result and that defective ones don't pass. [`measure`] interleaves the repeats of all of
//! them (A B C A B C ...). In every family `empty-harness` is the cost of the loop itself.
//!
//! Nanoseconds are comparable only within one run, and only on a machine that does nothing else.

mod choice;
mod class;
mod heap;
mod lanes;
mod launch;
mod measure;
mod memory;
mod objects;
mod pace;
mod payload;
mod queue;
mod report;
mod ring;
mod threads;
mod two_threads;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::choice::{Timed, Wrong};

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
    Ring(ring::Options),
    /// The cost of each ingredient of an operation: a plain ring, and one ingredient more on each
    /// rung
    Ladder(Small),
    /// Payloads of one size in pools of 32 KiB to 2 GiB: 8 vectors of 128, one f32 stored in each
    FixedSize(Small),
    /// Touched and untouched pools of 2 MiB to 2 GiB: the first lap through a pool, and the
    /// following ones
    Pretouch(Small),
    /// Lanes on 1, 2, 4, 8 and 16 cores, as far as the machine has them, with inline readers and
    /// with readers on further cores
    Lanes(Small),
    /// Size-class pools: get and drop on one thread, on two, and across them
    Class(Timed),
    /// Many threads on one class pool, every payload verified: exits with 3 below a hit rate
    ClassLoad(class::LoadOptions),
    /// Receive queues: enqueue and dequeue, on two threads
    Queue(Timed),
    /// Objects of a store, each in one piece of memory: with pooled buffers, without, and by
    /// object_store alone
    Objects(objects::Options),
    /// Fixed part sizes and concurrencies beside those that the range engine chooses, against
    /// simulated stores of four shapes
    ObjectsPace(pace::Options),
    /// Objects of a server into files, by object_store alone: a rival of `slipring get -o`
    ///
    /// One get per object, whose body is written to its file as it arrives. Endpoint, region and
    /// keys come from the environment: AWS_ENDPOINT, AWS_ALLOW_HTTP, AWS_REGION,
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.
    ObjectsFiles(objects::files::FilesOptions),
    /// Runs a program and prints its seconds, its processor seconds and its peak of memory
    ///
    /// What it starts itself and waits for counts too. Its output is discarded, its errors are
    /// shown.
    Launch(launch::LaunchOptions),
    /// One variant of `objects` in this process
    #[command(name = objects::VARIANT, hide = true)]
    ObjectsVariant(objects::Variant),
    /// The server of `objects`
    #[command(name = objects::SERVER, hide = true)]
    ObjectsServer(objects::server::Options),
}

/// The options of a command with a fixed list of cases.
#[derive(Args)]
struct Small {
    /// Fewer and shorter repeats
    #[arg(long)]
    quick: bool,
    /// One JSON object per line instead of a table; lines that aren't results carry no `case`
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().bench {
        Bench::Ring(options) => ring::run(&options),
        Bench::Ladder(options) => ring::ladder(options.quick, options.json),
        Bench::FixedSize(options) => {
            ring::fixed_size(options.quick, options.json).map_err(Wrong::Case)
        }
        Bench::Pretouch(options) => {
            ring::pretouch(options.quick, options.json).map_err(Wrong::Case)
        }
        Bench::Lanes(options) => lanes::run(options.quick, options.json).map_err(Wrong::Case),
        Bench::Class(options) => class::run(&options),
        Bench::ClassLoad(options) => class::load(&options),
        Bench::Queue(options) => queue::run(&options),
        Bench::Objects(options) => objects::run(&options),
        Bench::ObjectsPace(options) => pace::run(&options),
        Bench::ObjectsFiles(options) => objects::files::run(&options),
        Bench::Launch(options) => launch::run(&options),
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
