//! What the profiling programs share: their command line, their reports, and their exit codes.
//!
//! By life cycle: [`Options`] are read. A line says whether the machine has hardware counters. The
//! loop warms up, then runs in twenty steps and reports each ([`Progress`]). The result is verified
//! before any figure is printed ([`run`]).
//!
//! Exit codes: 0 verified, 1 failed or wrong, 2 bad usage.
#![allow(dead_code, unused_imports, reason = "each program uses its own part")]

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Why a program ends without a result.
#[derive(Debug, PartialEq)]
pub enum Ended {
    /// Bad usage: the option, its value, and the values that are allowed.
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

/// Runs `program` with the words of the process's command line. `body` returns the line that says
/// what was verified.
pub fn run(program: &Program, body: impl FnOnce(&Options) -> Result<String, Ended>) -> ExitCode {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let words: Vec<String> = words.collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{}", program.help());
        return ExitCode::SUCCESS;
    }
    let name = program.name;
    eprintln!("{name}: {}", counters_line(Path::new("/sys/bus/event_source/devices")));
    let outcome = Options::parse(&words, program).and_then(|options| body(&options));
    ended(
        name,
        outcome.map_err(|why| match why {
            Ended::Usage(text) => Ended::Usage(format!("{text}; {name} --help lists the options")),
            failed => failed,
        }),
    )
}

/// Prints what was verified, or the error, and returns the exit code.
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

/// Where a pipeline's stage runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stages {
    Thread,
    Inline,
}

/// What to run. A program has the options that its [`Program`] lists. They are read by hand,
/// because the library has no dependency for that.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Operations that are measured.
    pub iterations: u64,
    /// Operations before them.
    pub warm_up: u64,
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// Bytes of it that are written and read; by default all.
    pub written_bytes: usize,
    /// Operations per batch.
    pub batch: u64,
    /// Bytes of the pool.
    pub pool_bytes: usize,
    /// Bytes in rotation. None: the library's default.
    pub window_bytes: Option<usize>,
    /// None: on a thread if there are two CPUs.
    pub stages: Option<Stages>,
}

/// A program: its name, what one iteration is, its options beside `--iterations` and `--warm-up`,
/// and its largest batch.
pub struct Program {
    pub name: &'static str,
    pub iteration: &'static str,
    pub flags: &'static [&'static str],
    pub batch_max: u64,
}

/// Every option with its value, its meaning and its default.
const HELP: &[(&str, &str, &str)] = &[
    ("--iterations", "N", "iterations that are measured [default: 100000000]"),
    ("--warm-up", "N", "iterations before those [default: 1000000]"),
    ("--payload", "BYTES", "bytes of a payload, at least 8 [default: 512]"),
    ("--written", "BYTES", "bytes of it that are written and read, at least 8 [default: all]"),
    ("--batch", "N", "iterations per batch [default: 64]"),
    ("--pool", "BYTES", "bytes of the pool [default: 64MiB]"),
    (
        "--window",
        "BYTES",
        "bytes of it in rotation [default: the library's, by the machine's caches]",
    ),
    ("--stages", "WORD", "thread or inline [default: thread, if there are two CPUs]"),
];

impl Program {
    pub fn help(&self) -> String {
        let takes = |flag: &str| {
            ["--iterations", "--warm-up"].contains(&flag) || self.flags.contains(&flag)
        };
        let lines = HELP.iter().filter(|(flag, ..)| takes(flag));
        let lines = lines
            .map(|(flag, value, text)| format!("  {:<20} {text}\n", format!("{flag} {value}")));
        format!(
            "{}: a long loop for perf and callgrind; one iteration is {}.\n\n{}\nBYTES is a number such as 4096, 64KiB, 64MiB or 2GiB; N may have underscores. profiling/README.md has the recipes.",
            self.name,
            self.iteration,
            lines.collect::<String>()
        )
    }
}

impl Options {
    /// Reads pairs of words.
    pub fn parse(words: &[String], program: &Program) -> Result<Self, Ended> {
        let mut options = Self {
            iterations: 100_000_000,
            warm_up: 1_000_000,
            payload_bytes: 512,
            written_bytes: usize::MAX,
            batch: 64,
            pool_bytes: 64 << 20,
            window_bytes: None,
            stages: None,
        };
        let mut words = words.iter();
        while let Some(flag) = words.next() {
            let flag = flag.as_str();
            if !["--iterations", "--warm-up"].contains(&flag) && !program.flags.contains(&flag) {
                return Err(Ended::Usage(format!("{flag:?} isn't an option")));
            }
            let Some(value) = words.next() else {
                return Err(Ended::Usage(format!("{flag} has no value")));
            };
            match flag {
                "--iterations" => options.iterations = count(flag, value, 1, 1 << 48)?,
                "--warm-up" => options.warm_up = count(flag, value, 0, 1 << 48)?,
                "--payload" => options.payload_bytes = bytes(flag, value, 8, 1 << 29)?,
                "--written" => options.written_bytes = bytes(flag, value, 8, 1 << 29)?,
                "--batch" => options.batch = count(flag, value, 1, program.batch_max)?,
                "--pool" => options.pool_bytes = bytes(flag, value, 1, 1 << 46)?,
                "--window" => options.window_bytes = Some(bytes(flag, value, 1, 1 << 46)?),
                _ => options.stages = Some(stages(flag, value)?),
            }
        }
        if options.written_bytes == usize::MAX {
            options.written_bytes = options.payload_bytes;
        } else if options.written_bytes > options.payload_bytes {
            let text = format!(
                "--written is {}: --payload is only {}",
                options.written_bytes, options.payload_bytes
            );
            return Err(Ended::Usage(text));
        }
        Ok(options)
    }
}

fn count(flag: &str, text: &str, least: u64, most: u64) -> Result<u64, Ended> {
    let given: Option<u64> = text.replace('_', "").parse().ok();
    given
        .filter(|given| (least..=most).contains(given))
        .ok_or_else(|| out_of_range(flag, text, least, most))
}

fn bytes(flag: &str, text: &str, least: u64, most: u64) -> Result<usize, Ended> {
    let (digits, unit) = [("KiB", 1u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
        .into_iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
        .unwrap_or((text, 1));
    let given = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    let given = given
        .filter(|given| (least..=most).contains(given))
        .and_then(|given| usize::try_from(given).ok());
    given.ok_or_else(|| out_of_range(flag, text, least, most))
}

fn stages(flag: &str, text: &str) -> Result<Stages, Ended> {
    match text {
        "thread" => Ok(Stages::Thread),
        "inline" => Ok(Stages::Inline),
        _ => Err(Ended::Usage(format!("{flag} is {text:?}: it must be thread or inline"))),
    }
}

fn out_of_range(flag: &str, text: &str, least: u64, most: u64) -> Ended {
    Ended::Usage(format!("{flag} is {text:?}: it must be a number from {least} to {most}"))
}

/// The line that says whether perf can count cycles, instructions and cache misses here, or only
/// read a clock. `devices` is the kernel's folder of event sources.
fn counters_line(devices: &Path) -> &'static str {
    if has_hardware_counters(devices) {
        "hardware counters: yes; perf record counts cycles by default"
    } else {
        "hardware counters: none (perf stat says <not supported>, as in most virtual machines): use perf record -e cpu-clock, or callgrind"
    }
}

/// The CPU's own event source is `cpu` on x86-64, `cpu_core` beside `cpu_atom` if there are two
/// kinds of cores, and `armv8_...` on ARM.
fn has_hardware_counters(devices: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(devices) else { return false };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.into_iter().any(|name| name == "cpu" || name == "cpu_core" || name.starts_with("armv8_"))
}

const STEPS: u64 = 20;

/// The iterations of a run, in steps, with reports on standard error. The clock is read about
/// twenty times per run, so it costs the loop nothing.
pub struct Progress {
    name: &'static str,
    iterations: u64,
    batch: u64,
    start: Instant,
    done: u64,
}

impl Progress {
    /// All steps but the last have whole batches.
    pub fn start(name: &'static str, iterations: u64, batch: u64) -> Self {
        Self { name, iterations, batch, start: Instant::now(), done: 0 }
    }

    /// Reports the iterations that have run. Returns the number to run next, or None at the end.
    pub fn next(&mut self) -> Option<u64> {
        if self.done > 0 {
            let (done, all) = (self.done, self.iterations);
            eprintln!(
                "{}: {done} of {all}, {:.2} ns per iteration so far",
                self.name,
                self.ns_per_iteration()
            );
        }
        let step = self
            .iterations
            .div_ceil(STEPS)
            .next_multiple_of(self.batch)
            .min(self.iterations - self.done);
        self.done += step;
        (step > 0).then_some(step)
    }

    /// The time per iteration, over all that `next` has returned. They must have run.
    pub fn ns_per_iteration(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * 1e9 / self.done.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Program = Program {
        name: "all",
        iteration: "nothing",
        flags: &["--payload", "--written", "--batch", "--pool", "--window", "--stages"],
        batch_max: 256,
    };

    fn parse(words: &str) -> Result<Options, Ended> {
        Options::parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), &ALL)
    }

    #[test]
    fn words_are_read() {
        let options = parse("").unwrap();
        assert_eq!(
            (options.iterations, options.payload_bytes, options.written_bytes),
            (100_000_000, 512, 512)
        );
        let options = parse(
            "--iterations 2_000 --warm-up 0 --payload 4KiB --written 8 --batch 256 --pool 1GiB --window 96KiB --stages inline",
        );
        let expected = Options {
            iterations: 2000,
            warm_up: 0,
            payload_bytes: 4096,
            written_bytes: 8,
            batch: 256,
            pool_bytes: 1 << 30,
            window_bytes: Some(96 << 10),
            stages: Some(Stages::Inline),
        };
        assert_eq!(options, Ok(expected));
        assert!(HELP.iter().all(|(flag, ..)| ALL.help().contains(flag)));
    }

    #[test]
    fn bad_usage_names_the_option() {
        for wrong in [
            "--iterations 0",
            "--iterations many",
            "--payload 7",
            "--payload 1TiB",
            "--written 600",
            "--batch 257",
            "--pool 99999999999999999999GiB",
            "--stages both",
            "--window",
            "--nonsense 1",
        ] {
            let flag = wrong.split(' ').next().unwrap_or_default();
            assert!(
                matches!(parse(wrong), Err(Ended::Usage(text)) if text.contains(flag)),
                "{wrong}"
            );
        }
        let few = Program { flags: &[], ..ALL };
        assert!(Options::parse(&["--pool".to_owned(), "1MiB".to_owned()], &few).is_err());
    }

    #[test]
    fn a_machine_without_counters_gets_advice() {
        let folder = std::env::temp_dir().join(format!("slipring-counters-{}", std::process::id()));
        for (name, counts) in [("software", false), ("cpu_atom_of_old", false), ("cpu", true)] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
            assert_eq!(has_hardware_counters(&folder), counts, "{name}");
            assert_eq!(counters_line(&folder).contains("cpu-clock"), !counts);
        }
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(!has_hardware_counters(&folder), "hidden by a container");
    }

    #[test]
    fn steps_add_up_and_are_whole_batches() {
        for (iterations, batch) in
            [(1, 64), (64, 64), (1000, 1), (1000, 7), (100_000, 64), (12_345, 100)]
        {
            let mut progress = Progress::start("test", iterations, batch);
            let steps: Vec<u64> = std::iter::from_fn(|| progress.next()).collect();
            assert_eq!(steps.iter().sum::<u64>(), iterations);
            assert!(
                steps.len() <= 20
                    && steps[..steps.len() - 1].iter().all(|step| step.is_multiple_of(batch))
            );
        }
    }
}
