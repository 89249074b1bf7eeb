//! The command line of the profiling programs, read by hand: the library has no dependency for it.

use super::Ended;

/// Where a pipeline's stage runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stages {
    Thread,
    Inline,
}

/// What to run. A program takes those of them that stand in its [`Taken`].
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Operations that count.
    pub iterations: u64,
    /// Operations before them.
    pub warm_up: u64,
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// Bytes of it that are written and read; all, if nothing else is said.
    pub written_bytes: usize,
    /// Operations that go together.
    pub batch: u64,
    /// Bytes of the pool.
    pub pool_bytes: usize,
    /// Bytes in rotation; None: the library's default.
    pub window_bytes: Option<usize>,
    /// None: on a thread where there are two CPUs.
    pub stages: Option<Stages>,
}

/// A program's name, what one iteration is, the options it takes beside `--iterations` and
/// `--warm-up`, and its largest batch.
pub struct Taken {
    pub name: &'static str,
    pub iteration: &'static str,
    pub flags: &'static [&'static str],
    pub batch_max: u64,
}

/// Every option, what its value is, what it means, and its default.
const HELP: &[(&str, &str, &str)] = &[
    ("--iterations", "N", "iterations that count [default: 100000000]"),
    ("--warm-up", "N", "iterations before them [default: 1000000]"),
    ("--payload", "BYTES", "bytes of a payload, at least 8 [default: 512]"),
    ("--written", "BYTES", "bytes of it that are written and read, at least 8 [default: all]"),
    ("--batch", "N", "iterations that go together [default: 64]"),
    ("--pool", "BYTES", "bytes of the pool [default: 64MiB]"),
    (
        "--window",
        "BYTES",
        "bytes of it in rotation [default: the library's, by the machine's caches]",
    ),
    ("--stages", "WORD", "thread or inline [default: thread, where there are two CPUs]"),
];

impl Taken {
    pub fn help(&self) -> String {
        let takes = |flag: &str| {
            ["--iterations", "--warm-up"].contains(&flag) || self.flags.contains(&flag)
        };
        let lines = HELP.iter().filter(|(flag, ..)| takes(flag));
        let lines = lines
            .map(|(flag, value, text)| format!("  {:<20} {text}\n", format!("{flag} {value}")));
        format!(
            "{}: a long loop for perf and callgrind; an iteration is {}.\n\n{}\nBYTES is 4096, 64KiB, 64MiB or 2GiB; N may have underscores. profiling/README.md has the recipes.",
            self.name,
            self.iteration,
            lines.collect::<String>()
        )
    }
}

impl Options {
    /// Reads pairs of words.
    pub fn parse(words: &[String], program: &Taken) -> Result<Self, Ended> {
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
                return Err(Ended::Usage(format!("{flag:?} is no option")));
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

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Taken = Taken {
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
        let few = Taken { flags: &[], ..ALL };
        assert!(Options::parse(&["--pool".to_owned(), "1MiB".to_owned()], &few).is_err());
    }
}
