//! What a run prints: one JSON object for each case and contender, or a table. The machine and the options stand in a line without `case`.

use std::fs;

use serde_json::{Value, json};

use crate::case::SEED;
use crate::harness::{Rounds, Timing};

/// The line that says what the figures were taken on.
pub fn head(rounds: &Rounds, as_json: bool) {
    let machine = machine();
    if as_json {
        let options = json!({ "repeats": rounds.repeats, "ops": rounds.ops, "sizes_seed": SEED });
        println!("{}", json!({ "bench": "ring", "machine": machine, "options": options }));
    } else {
        println!("{} repeats of {} operations on {machine}", rounds.repeats, rounds.ops);
    }
}

pub fn results(case: &str, timings: &[Timing], as_json: bool) {
    if as_json {
        for timing in timings {
            println!("{}", result(case, timing));
        }
        let memory: serde_json::Map<String, Value> =
            timings.iter().map(|timing| (timing.contender.to_owned(), json!(timing.memory_bytes))).collect();
        println!("{}", json!({ "bench": "ring", "memory_bytes_of": case, "memory_bytes": memory }));
    } else {
        println!("\n{}\n{:<18}{:>12}{:>12}{:>14}", case, "contender", "ns/op", "min", "memory KiB");
        for timing in timings {
            let (median, min) = (timing.median_ns(), timing.min_ns());
            println!("{:<18}{median:>12.2}{min:>12.2}{:>14}", timing.contender, timing.memory_bytes >> 10);
        }
    }
}

/// Why some cases weren't run; a line without `case`.
pub fn skipped(cases: &str, why: &str, as_json: bool) {
    if as_json {
        println!("{}", json!({ "bench": "ring", "skipped": cases, "why": why }));
    } else {
        println!("\n{cases}: skipped, {why}");
    }
}

/// The names of these fields are relied on by other programs.
fn result(case: &str, timing: &Timing) -> Value {
    json!({
        "bench": "ring",
        "case": case,
        "contender": timing.contender,
        "ns_per_op": rounded(timing.median_ns()),
        "ns_min": rounded(timing.min_ns()),
        "repeats": timing.ns_per_op.len(),
    })
}

/// Picoseconds are below what the clock and the repeats can tell.
fn rounded(ns: f64) -> f64 {
    (ns * 1000.0).round() / 1000.0
}

fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(": "));
    json!({
        "cpu": model.map_or("unknown", |(_, name)| name),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "thp": read("/sys/kernel/mm/transparent_hugepage/enabled").trim(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::all;

    #[test]
    fn a_result_has_the_promised_fields() {
        let timing = Timing { contender: "a", memory_bytes: 1, ns_per_op: vec![1.0, 2.5, 3.0] };
        let line = result(&all(true)[0].name(), &timing);
        assert_eq!(
            line,
            json!({"bench": "ring", "case": "touch8-mix-16x1024-fit", "contender": "a", "ns_per_op": 2.5, "ns_min": 1.0, "repeats": 3})
        );
    }
}
