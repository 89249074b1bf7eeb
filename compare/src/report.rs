//! What a run prints: one JSON object per case and contender, or a table. The machine and the
//! options are in a line without `case`. And how a run ends early.

use std::fmt::Display;
use std::fs;
use std::process::{Command, ExitCode};

use serde_json::{Value, json};

use crate::measure::{Rounds, Timing};
use crate::payload::SEED;
use crate::threads::{Cpus, round_trip_ns};

/// Why a run ended early or missed a bound.
#[derive(Debug)]
pub enum Wrong {
    /// An option is invalid.
    Option(String),
    /// A contender lost a payload or couldn't be built.
    Case(String),
    /// The run completed, and a figure is below its minimum.
    Below(String),
}

impl Wrong {
    /// 2, 1 and 3: other programs rely on them.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Case(_) => 1,
            Self::Option(_) => 2,
            Self::Below(_) => 3,
        })
    }

    pub fn text(&self) -> &str {
        match self {
            Self::Option(text) | Self::Case(text) | Self::Below(text) => text,
        }
    }
}

/// The form and the name of a run's results.
#[derive(Clone, Copy)]
pub struct Report {
    /// The subcommand, which is in every line of JSON.
    pub bench: &'static str,
    pub as_json: bool,
}

impl Report {
    /// The line about the machine and the options.
    pub fn head(&self, rounds: &Rounds) {
        let machine = machine();
        if self.as_json {
            let options =
                json!({ "repeats": rounds.repeats, "ops": rounds.ops, "sizes_seed": SEED });
            println!("{}", json!({ "bench": self.bench, "machine": machine, "options": options }));
        } else {
            println!("{} repeats of {} operations on {machine}", rounds.repeats, rounds.ops);
        }
    }

    /// The plan of a case, in JSON only: a line without `case`.
    pub fn plan(&self, case: &str, plan: &Value) {
        println!("{}", json!({ "bench": self.bench, "plan_of": case, "plan": plan }));
    }

    pub fn results(&self, case: &str, timings: &[Timing]) {
        if self.as_json {
            for timing in timings {
                println!("{}", self.result(case, timing));
            }
            let memory: serde_json::Map<String, Value> = timings
                .iter()
                .map(|timing| (timing.contender.to_owned(), json!(timing.memory_bytes)))
                .collect();
            println!(
                "{}",
                json!({ "bench": self.bench, "memory_bytes_of": case, "memory_bytes": memory })
            );
            let grown =
                |timing: &Timing| Some((timing.contender.to_owned(), json!(timing.growth_bytes?)));
            let growth: serde_json::Map<String, Value> = timings.iter().filter_map(grown).collect();
            if !growth.is_empty() {
                println!(
                    "{}",
                    json!({ "bench": self.bench, "growth_bytes_of": case, "growth_bytes": growth })
                );
            }
        } else {
            let head =
                ["ns/op", "min", "q1", "q3", "max"].map(|name| format!("{name:>10}")).concat();
            println!("{case}\n{:<22}{head}{:>14}", "contender", "memory KiB");
            for timing in timings {
                let name = format!(
                    "{}{}",
                    timing.contender,
                    if timing.emulated.is_some() { "*" } else { "" }
                );
                let figures = [2, 0, 1, 3, 4]
                    .map(|quartile| format!("{:>10.2}", timing.quartile_ns(quartile)))
                    .concat();
                println!("{name:<22}{figures}{:>14}", timing.memory_bytes >> 10);
            }
            for (timing, why) in
                timings.iter().filter_map(|timing| timing.emulated.map(|why| (timing, why)))
            {
                println!("* {} is emulated: {why}", timing.contender);
            }
        }
    }

    /// Measures and reports a case of two threads, with the distance of the two CPUs before and
    /// after it.
    ///
    /// # Errors
    /// The measurement failed; the text names the case.
    pub fn two_threads(
        &self,
        case: &str,
        cpus: Cpus,
        measure: impl FnOnce() -> Result<Vec<Timing>, String>,
    ) -> Result<(), Wrong> {
        let measured = || {
            let before_ns = round_trip_ns(cpus)?;
            let timings = measure()?;
            Ok((timings, [before_ns, round_trip_ns(cpus)?]))
        };
        let (timings, round_trip_ns) =
            measured().map_err(|failure: String| Wrong::Case(format!("{case}: {failure}")))?;
        self.distance(case, round_trip_ns);
        self.results(case, &timings);
        Ok(())
    }

    fn distance(&self, case: &str, round_trip_ns: [f64; 2]) {
        let [before, after] = round_trip_ns.map(f64::round);
        if self.as_json {
            println!(
                "{}",
                json!({ "bench": self.bench, "round_trip_ns": { "of": case, "before": before, "after": after } })
            );
        } else {
            println!("\na round trip between the two CPUs: {before} ns before, {after} ns after");
        }
    }

    /// The reason why some cases weren't run; a line without `case`.
    pub fn skipped(&self, cases: &str, why: &str) {
        if self.as_json {
            println!("{}", json!({ "bench": self.bench, "skipped": cases, "why": why }));
        } else {
            println!("\n{cases}: skipped, {why}");
        }
    }

    /// Other programs rely on the names of these fields.
    fn result(&self, case: &str, timing: &Timing) -> Value {
        let mut line = json!({
            "bench": self.bench,
            "case": case,
            "contender": timing.contender,
            "ns_per_op": rounded(timing.median_ns()),
            "ns_min": rounded(timing.min_ns()),
            "ns_q1": rounded(timing.quartile_ns(1)),
            "ns_q3": rounded(timing.quartile_ns(3)),
            "ns_max": rounded(timing.quartile_ns(4)),
            "repeats": timing.ns_per_op.len(),
        });
        if let Some(why) = timing.emulated {
            line["emulated"] = json!(why);
        }
        line
    }
}

/// Prints names, which `--case` and `--only` choose from.
pub fn list(what: &str, names: &[impl Display]) {
    println!("{what}:");
    names.iter().for_each(|name| println!("  {name}"));
}

/// Rounded to picoseconds, which are below the precision of the clock and the repeats.
fn rounded(ns: f64) -> f64 {
    (ns * 1000.0).round() / 1000.0
}

/// The content of a line about the machine.
pub fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(": "));
    json!({
        "cpu": model.map_or("unknown", |(_, name)| name),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "thp": read("/sys/kernel/mm/transparent_hugepage/enabled").trim(),
        "compiler": env!("COMPILER_VERSION"),
        "commit": commit(),
    })
}

/// The commit of the working directory, with `-dirty` where files differ from it; none outside of a
/// checkout.
fn commit() -> Option<String> {
    let describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"];
    let output = Command::new("git")
        .args(describe)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_has_the_promised_fields() {
        let mut timing = Timing::new("a");
        [3.0, 1.0, 2.5].into_iter().for_each(|ns| timing.add(ns, 1));
        let report = Report { bench: "ring", as_json: true };
        let line = report.result("touch8-mix-16x1024-fit", &timing);
        assert_eq!(
            line,
            json!({"bench": "ring", "case": "touch8-mix-16x1024-fit", "contender": "a", "ns_per_op": 2.5, "ns_min": 1.0,
                "ns_q1": 1.75, "ns_q3": 2.75, "ns_max": 3.0, "repeats": 3})
        );
        timing.emulated = Some("why");
        assert_eq!(report.result("case", &timing)["emulated"], "why");
    }

    #[test]
    fn the_machine_line_names_its_compiler() {
        assert!(
            machine()["compiler"].as_str().is_some_and(|version| version.starts_with("rustc "))
        );
    }
}
