//! The options of `slipring sweep`, and the plan made of them: checked before anything is mapped,
//! with CPUs and windows filled in.

use std::fmt;
use std::str::FromStr;

use slipring::machine::CpuMask;
use slipring::pipeline::{LaneError, SLOTS_MAX};
use slipring::ring::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, RingError};

use crate::server::StagesWord;
use crate::units::{CpuIds, Size, figure, whole};

const WINDOWS_DEFAULT: (u64, u64) = (64 << 10, 32 << 20);

const EVENTS_MAX: u64 = 1 << 48;
const REPEATS_MAX: u32 = 1 << 16;

/// What a sweep runs, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct SweepOptions {
    /// Size of the ring pool
    #[arg(long, default_value = "1GiB", value_name = "SIZE")]
    pub pool: Size,
    /// Size of each payload, all of which is written and read
    #[arg(long, default_value = "512", value_name = "SIZE")]
    pub payload: Size,
    /// Windows to try: a list like 64KiB,1MiB, or a range like 64KiB-32MiB, of which each window is
    /// twice the one before [default: 64KiB-32MiB, as far as pool and payload allow]
    #[arg(long, value_name = "LIST")]
    pub windows: Option<WindowList>,
    /// Number of payloads published together, at most --slots
    #[arg(long, default_value_t = 64, value_parser = whole(1, SLOTS_MAX as u64))]
    pub batch: u64,
    /// Number of slots in the ring: a power of two, 2 to 16777216
    #[arg(long, default_value_t = 4096, value_parser = whole(2, SLOTS_MAX))]
    pub slots: usize,
    /// Number of payloads per repeat
    #[arg(long, default_value_t = 2_000_000, value_parser = whole(1, EVENTS_MAX))]
    pub events: u64,
    /// Number of repeats per window; the windows take turns
    #[arg(long, default_value_t = 5, value_parser = whole(1, REPEATS_MAX))]
    pub repeats: u32,
    /// Where the reading stage runs: on the lane's own thread (inline), or on another one (threads)
    /// [default: threads if there are two CPUs, else inline]
    #[arg(long, value_enum)]
    pub stages: Option<StagesWord>,
    /// CPUs of the lane and of its stage, for example 0,1 [default: the first CPUs that the process
    /// may use]
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<CpuIds>,
    /// Print JSON: one line per window and one with the result
    #[arg(long)]
    pub json: bool,
}

/// Windows in bytes, ascending, none of them 0: `64KiB,1MiB`, or `64KiB-32MiB`, which doubles from
/// the first to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowList(Vec<u64>);

impl WindowList {
    /// The windows in bytes, ascending.
    #[must_use]
    pub fn bytes(&self) -> &[u64] {
        &self.0
    }
}

impl FromStr for WindowList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut windows = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (Size, Size) = (first.parse()?, last.parse()?);
            if first.0 == 0 {
                return Err("a window of 0 bytes holds nothing: say 64KiB or more".to_owned());
            }
            if first.0 > last.0 {
                return Err(format!("{part}: the first window is larger than the last"));
            }
            let doubled = |window: &u64| window.checked_mul(2);
            windows.extend(
                std::iter::successors(Some(first.0), doubled)
                    .take_while(|&window| window <= last.0),
            );
        }
        windows.sort_unstable();
        windows.dedup();
        Ok(Self(windows))
    }
}

/// A sweep that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SweepPlan {
    pub(super) pool_bytes: usize,
    pub(super) payload_bytes: usize,
    pub(super) windows: Vec<usize>,
    pub(super) batch: u64,
    pub(super) slots: usize,
    pub(super) repeats: u32,
    pub(super) events: u64,
    /// The lane's CPU; None if the system doesn't report CPUs.
    pub(super) cpu: Option<usize>,
    /// Where the stage's thread runs; None: the stage is inline.
    pub(super) stage_cpu: Option<usize>,
    /// Notices for the user, before the sweep starts.
    pub(super) notes: Vec<String>,
}

impl SweepPlan {
    pub(super) fn new(options: &SweepOptions) -> Result<Self, SweepError> {
        Self::on(options, CpuMask::read().cpus())
    }

    /// As [`SweepPlan::new`], for a process that may use these CPUs.
    fn on(options: &SweepOptions, mask: &[usize]) -> Result<Self, SweepError> {
        within("--pool", options.pool, Size(1), Size(u64::MAX >> 1))?;
        within("--payload", options.payload, Size(1), Size((CHUNK_BYTES_MAX / 2) as u64))?;
        within("--slots", options.slots, 2, SLOTS_MAX)?;
        within("--batch", options.batch, 1, options.slots as u64)?;
        within("--events", options.events, 1, EVENTS_MAX)?;
        within("--repeats", options.repeats, 1, REPEATS_MAX)?;
        let (cpu, stage_cpu, notes) = choose_cpus(options, mask)?;
        Ok(Self {
            pool_bytes: options.pool.bytes(),
            payload_bytes: options.payload.bytes(),
            windows: windows(options)?,
            batch: options.batch,
            slots: options.slots,
            repeats: options.repeats,
            events: options.events,
            cpu,
            stage_cpu,
            notes,
        })
    }
}

fn within<T: PartialOrd + fmt::Display>(
    flag: &str,
    given: T,
    least: T,
    most: T,
) -> Result<(), SweepError> {
    if given < least || given > most {
        return Err(SweepError::Option(format!(
            "{flag} is {given}: it must be from {least} to {most}"
        )));
    }
    Ok(())
}

/// The windows. Each has room for two chunks of two payloads, and fits into the pool.
fn windows(options: &SweepOptions) -> Result<Vec<usize>, SweepError> {
    let least = 2
        * (2 * options.payload.0.next_multiple_of(64))
            .next_power_of_two()
            .max(CHUNK_BYTES_MIN as u64);
    let (payload, pool, least_text) = (options.payload, options.pool, Size(least));
    if pool.0 < least {
        let text = format!(
            "--pool is {pool}: payloads of {payload} need at least {least_text}, two chunks of two payloads"
        );
        return Err(SweepError::Option(text));
    }
    let Some(list) = &options.windows else {
        let (first, last) = WINDOWS_DEFAULT;
        let first = first.max(least).min(pool.0);
        let fits = |window: &u64| *window <= last.min(pool.0);
        let all: Vec<u64> = std::iter::successors(Some(first), |window| window.checked_mul(2))
            .take_while(fits)
            .collect();
        // With large payloads, even the smallest possible window is larger than the usual ones.
        let all = if all.is_empty() { vec![first] } else { all };
        return Ok(all.into_iter().map(|window| Size(window).bytes()).collect());
    };
    for &window in list.bytes() {
        let window = Size(window);
        if window.0 < least {
            return Err(SweepError::Option(format!(
                "--windows: {window} is too small for payloads of {payload}: at least {least_text}, two chunks of two payloads"
            )));
        }
        if window.0 > pool.0 {
            return Err(SweepError::Option(format!(
                "--windows: {window} is larger than --pool {pool}: raise the pool or leave the window out"
            )));
        }
    }
    Ok(list.bytes().iter().map(|&window| Size(window).bytes()).collect())
}

/// The lane's CPU, the stage's (None: inline), and notices about them.
type SweepCpus = (Option<usize>, Option<usize>, Vec<String>);

/// Chooses the CPUs of the lane and of its stage.
fn choose_cpus(options: &SweepOptions, mask: &[usize]) -> Result<SweepCpus, SweepError> {
    let asked = options.cpus.as_ref().map(|CpuIds(ids)| ids.as_slice());
    if let Some(cpu) = asked.unwrap_or_default().iter().find(|cpu| !mask.contains(cpu)) {
        let known = CpuMask::read();
        return Err(SweepError::Option(format!(
            "--cpus: there is no CPU {cpu} for this process; it may use {known}"
        )));
    }
    let cpus = asked.unwrap_or(mask);
    match (options.stages, cpus) {
        (Some(StagesWord::Inline), _) if asked.is_some_and(|ids| ids.len() != 1) => {
            Err(SweepError::Option(format!(
                "--cpus names {} CPUs: --stages inline runs on one",
                cpus.len()
            )))
        }
        (Some(StagesWord::Inline), _) => Ok((cpus.first().copied(), None, Vec::new())),
        (_, [lane, stage, ..]) if asked.is_some_and(|ids| ids.len() != 2) || lane == stage => {
            Err(SweepError::Option(format!(
                "--cpus: name two different CPUs, one for the lane and one for the stage, not {cpus:?}"
            )))
        }
        (_, [lane, stage, ..]) => Ok((Some(*lane), Some(*stage), Vec::new())),
        (Some(StagesWord::Threads), _) => Err(SweepError::Option(format!(
            "--stages threads needs two CPUs, here there is {}: allow or name another, or say --stages inline",
            cpus.len()
        ))),
        (None, _) => {
            let note = "one CPU only: the stage runs inline, so the window is the best for lanes with inline stages";
            Ok((cpus.first().copied(), None, vec![note.to_owned()]))
        }
    }
}

/// Errors of a sweep. Each text has the option, the figure and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SweepError {
    /// An option is invalid: a usage error.
    Option(String),
    /// The system refused, or a payload didn't arrive as written.
    Failed(String),
}

impl SweepError {
    /// An error of a lane, with the names of options instead of the library's fields.
    pub(super) fn lane(error: LaneError) -> Self {
        match error {
            LaneError::Option { field, given, must } => {
                let given = figure(field, given);
                Self::Option(format!("{} is {given}: it must be {must}", flag(field)))
            }
            LaneError::Pool(RingError::Option { field, given, must, limit }) => {
                let (given, limit) = (figure(field, given), figure(field, limit));
                Self::Option(format!("{} is {given}: it must be {must} {limit}", flag(field)))
            }
            other => Self::Failed(other.to_string()),
        }
    }

    /// 2 for usage, 1 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Option(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

/// The option that sets a field of the lane or its pool.
fn flag(field: &'static str) -> &'static str {
    match field {
        "bytes" | "pool.bytes" => "--pool",
        "window_bytes" => "--windows",
        "slots" => "--slots",
        "max_slice_bytes" => "--payload",
        other => other,
    }
}

impl fmt::Display for SweepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for SweepError {}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn windows_are_read() {
        let list = |text: &str| {
            text.parse::<WindowList>().map(|list| list.0.iter().map(|bytes| bytes >> 10).collect())
        };
        assert_eq!(list("64KiB-1MiB"), Ok(vec![64, 128, 256, 512, 1024]));
        assert_eq!(list("1MiB,64KiB,1MiB"), Ok(vec![64, 1024]));
        assert_eq!(list("64KiB-100KiB,3MiB"), Ok(vec![64, 3072]));
        for wrong in ["", "0", "0-1MiB", "1MiB,", "2MiB-1MiB", "x", "1MiB-", "-", "1.5MiB"] {
            assert!(wrong.parse::<WindowList>().is_err(), "{wrong:?}");
        }
        // The next doubling wouldn't fit 64 bits.
        assert_eq!("8GiB-17179869183GiB".parse::<WindowList>().map(|list| list.0.len()), Ok(31));
    }

    #[derive(Parser)]
    struct SweepCommandLine {
        #[command(flatten)]
        options: SweepOptions,
    }

    fn plan(words: &str, mask: &[usize]) -> Result<SweepPlan, SweepError> {
        let options =
            SweepCommandLine::try_parse_from(["sweep"].into_iter().chain(words.split_whitespace()))
                .unwrap()
                .options;
        SweepPlan::on(&options, mask)
    }

    #[test]
    fn default_windows_fit_pool_and_payload() {
        let kib = |words: &str| -> Vec<usize> {
            plan(words, &[0, 1]).unwrap().windows.into_iter().map(|window| window >> 10).collect()
        };
        assert_eq!(kib(""), [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768]);
        assert_eq!(kib("--pool 200KiB"), [64, 128]);
        assert_eq!(kib("--pool 32KiB"), [32]);
        assert_eq!(kib("--payload 256KiB --pool 8MiB"), [1024, 2048, 4096, 8192]);
        assert_eq!(kib("--payload 32MiB"), [128 << 10], "one, larger than the usual ones");
        assert_eq!(kib("--windows 96KiB,64KiB --pool 96KiB"), [64, 96]);
    }

    #[test]
    fn cpus_follow_the_mask_and_the_options() {
        let cpus = |words: &str, mask: &[usize]| {
            plan(words, mask).map(|plan| (plan.cpu, plan.stage_cpu, plan.notes.len()))
        };
        assert_eq!(cpus("", &[2, 5, 7]), Ok((Some(2), Some(5), 0)));
        assert_eq!(cpus("--cpus 7,2", &[2, 5, 7]), Ok((Some(7), Some(2), 0)));
        assert_eq!(cpus("--stages inline", &[2, 5]), Ok((Some(2), None, 0)));
        assert_eq!(cpus("--stages inline --cpus 5", &[2, 5]), Ok((Some(5), None, 0)));
        assert_eq!(cpus("", &[3]), Ok((Some(3), None, 1)), "one CPU: inline, and it says so");
        assert_eq!(cpus("--cpus 5", &[2, 5]), Ok((Some(5), None, 1)));
        assert_eq!(cpus("", &[]), Ok((None, None, 1)));
        let refused = [
            ("--stages threads", &[3][..], "--stages threads needs two CPUs"),
            ("--cpus 0,9", &[0, 1], "no CPU 9"),
            ("--cpus 0,0", &[0, 1], "two different CPUs"),
            ("--cpus 0,1,2", &[0, 1, 2], "two different CPUs"),
            ("--stages inline --cpus 0,1", &[0, 1], "--stages inline runs on one"),
        ];
        for (words, mask, text) in refused {
            let error = plan(words, mask).unwrap_err();
            assert!(error.to_string().contains(text) && error.exit_code() == 2, "{words}: {error}");
        }
    }
}
