//! What the profiling programs share: their command line, what they say while they run, and how
//! they end.
//!
//! By life cycle: words are read ([`Options`]), a line says whether the machine counts in hardware
//! ([`counters`]), the loop warms up and then runs in twenty steps, each of which is reported
//! ([`Progress`]), and the result is verified before a figure is printed ([`run`]).
//!
//! Exit codes: 0 verified, 1 failed or wrong, 2 bad usage.
#![allow(dead_code, unused_imports, reason = "each program uses its own part")]

mod counters;
mod options;
mod progress;

use std::path::Path;
use std::process::ExitCode;

pub use options::{Options, Stages, Taken};
pub use progress::Progress;

/// Why a program ends without a result.
#[derive(Debug, PartialEq)]
pub enum Ended {
    /// Bad usage: the option, the figure and what it has to be.
    Usage(String),
    /// The machine refused, or the result is wrong.
    Failed(String),
}

impl Ended {
    /// An error that isn't the user's.
    pub fn failed(error: impl ToString) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs `program` with the process's words. `body` returns the line that says what was verified.
pub fn run(program: &Taken, body: impl FnOnce(&Options) -> Result<String, Ended>) -> ExitCode {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let words: Vec<String> = words.collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{}", program.help());
        return ExitCode::SUCCESS;
    }
    let name = program.name;
    eprintln!("{name}: {}", counters::line(Path::new("/sys/bus/event_source/devices")));
    let outcome = Options::parse(&words, program).and_then(|options| body(&options));
    ended(
        name,
        outcome.map_err(|why| match why {
            Ended::Usage(text) => Ended::Usage(format!("{text}; {name} --help lists the options")),
            failed => failed,
        }),
    )
}

/// Prints what was verified, or why not, and says how the process ends.
pub fn ended(name: &str, outcome: Result<String, Ended>) -> ExitCode {
    match outcome {
        Ok(verified) => {
            println!("{name}: {verified}");
            ExitCode::SUCCESS
        }
        Err(Ended::Usage(text)) => {
            eprintln!("{name}: {text}");
            ExitCode::from(2)
        }
        Err(Ended::Failed(text)) => {
            eprintln!("{name}: {text}");
            ExitCode::FAILURE
        }
    }
}
