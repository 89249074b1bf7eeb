//! What a run of `objects` measures and prints: the figures of all repeats. They are printed as one
//! line of JSON per case and contender, or as tables with the targets.

use std::collections::BTreeMap;

use super::options::Plan;
use serde_json::{Value, json};

use crate::payload::Size;
use crate::report::machine;

/// All repeats of one contender in one case.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// For each name one value per repeat, sorted.
    by_name: BTreeMap<String, Vec<f64>>,
}

impl Figures {
    /// Adds one repeat: a line of numbers.
    ///
    /// # Errors
    /// It isn't an object of numbers.
    pub fn add(&mut self, line: &str) -> Result<(), String> {
        let odd = || format!("it printed {line:?} instead of its figures");
        let parsed: Value = serde_json::from_str(line).map_err(|_| odd())?;
        for (name, value) in parsed.as_object().ok_or_else(odd)? {
            let value = value.as_f64().ok_or_else(odd)?;
            let values = self.by_name.entry(name.clone()).or_default();
            values.insert(values.partition_point(|other| *other <= value), value);
        }
        if self.repeats() == 0 { Err(odd()) } else { Ok(()) }
    }

    pub fn repeats(&self) -> usize {
        self.by_name.get("ns_per_op").map_or(0, Vec::len)
    }

    /// Quartile 0 is the smallest repeat, 2 the median, 4 the largest; values between two repeats
    /// are interpolated. None if there is no such figure.
    pub fn quartile(&self, name: &str, quartile: usize) -> Option<f64> {
        let values = self.by_name.get(name)?;
        let last = values.len().checked_sub(1)?;
        let (at, part) = (last * quartile / 4, (last * quartile % 4) as f64 / 4.0);
        let (low, high) = (values[at], values[last.min(at + 1)]);
        Some(low + (high - low) * part)
    }

    pub fn median(&self, name: &str) -> Option<f64> {
        self.quartile(name, 2)
    }

    /// The line of JSON. Its first fields are those of every bench; all others are medians.
    pub fn line(&self, bench: &str, case: &str, contender: &str) -> Value {
        let mut line = json!({ "bench": bench, "case": case, "contender": contender });
        for (field, quartile) in
            [("ns_per_op", 2), ("ns_min", 0), ("ns_q1", 1), ("ns_q3", 3), ("ns_max", 4)]
        {
            line[field] = json!(self.quartile("ns_per_op", quartile).map(|ns| ns.round() as u64));
        }
        line["repeats"] = json!(self.repeats());
        for name in self.by_name.keys().filter(|name| *name != "ns_per_op") {
            line[name] = number(self.median(name).unwrap_or_default());
        }
        line
    }
}

/// An integer if the value is whole or large, else rounded to three digits.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 || value.abs() >= 1e6 {
        json!(value.round() as i64)
    } else {
        json!((value * 1000.0).round() / 1000.0)
    }
}

/// Where results go.
pub struct Report {
    pub as_json: bool,
}

/// One contender's name and figures.
pub type Named = (&'static str, Figures);

/// A bound for the ratio of our figure to another contender's.
struct Target {
    what: &'static str,
    figure: &'static str,
    ours: &'static str,
    beside: &'static str,
    is_least: bool,
    bound: f64,
}

const OURS: &str = "slipring";
const UNPOOLED: &str = "slipring-unpooled";
const PLAIN: &str = "object_store";

impl Target {
    const fn most(what: &'static str, figure: &'static str, bound: f64) -> Self {
        Self { what, figure, ours: OURS, beside: PLAIN, is_least: false, bound }
    }
}

const TARGETS: [Target; 6] = [
    Target { is_least: true, ..Target::most("throughput", "bytes_per_second", 1.05) },
    Target::most("processor seconds", "cpu_seconds", 0.95),
    Target::most("peak resident", "peak_rss_bytes", 0.7),
    Target::most("large allocations after the warm-up", "large_allocations", 0.02),
    Target::most("large allocations with the warm-up", "large_allocations_total", 0.02),
    Target { beside: UNPOOLED, ..Target::most("page faults", "faults_per_object", 0.01) },
];

impl Report {
    /// Prints the machine and the sizes.
    pub fn head(&self, plan: &Plan, objects: usize, repeats: usize) {
        let Plan { object_size, part_size, parallel, concurrency } = *plan;
        if self.as_json {
            let options = json!({ "objects": objects, "warm_up_objects": parallel, "object_bytes": object_size, "part_bytes": part_size,
                "parallel": parallel, "concurrency": concurrency, "repeats_max": repeats });
            println!("{}", json!({ "bench": "objects", "machine": machine(), "options": options }));
        } else {
            let (object, part) = (Size(object_size), Size(part_size));
            println!(
                "{objects} objects of {object} after {parallel} that warm up, {parallel} concurrently, parts of {part}, {concurrency} requests in flight; up to {repeats} repeats, on {}",
                machine()
            );
        }
    }

    pub fn results(&self, case: &str, results: &[Named]) {
        if self.as_json {
            results.iter().for_each(|(contender, figures)| {
                println!("{}", figures.line("objects", case, contender))
            });
            return;
        }
        let repeats = results.first().map_or(0, |(_, figures)| figures.repeats());
        println!("\n{case}, medians of {repeats} repeats");
        let heads = [
            "MB/s",
            "from",
            "to",
            "cpu s",
            "server s",
            "peak MiB",
            "warm-up's",
            "large",
            "warm-up's",
            "faults",
            "retries",
        ];
        println!("{:<20}{}", "contender", heads.map(|head| format!("{head:>11}")).concat());
        for (contender, figures) in results {
            println!("{contender:<20}{}", row(figures).map(|cell| format!("{cell:>11}")).concat());
        }
        ratios(results).iter().for_each(|line| println!("{line}"));
    }
}

/// A contender's cells; `-` if there is no figure.
fn row(figures: &Figures) -> [String; 11] {
    let of = |name: &str, quartile: usize, unit: f64, digits: usize| {
        figures
            .quartile(name, quartile)
            .map_or("-".to_owned(), |value| format!("{:.digits$}", value / unit))
    };
    let large = |name: &str| figures.median(name).unwrap_or_default();
    let mib = (1 << 20) as f64;
    [
        of("bytes_per_second", 2, 1e6, 0),
        of("bytes_per_second", 0, 1e6, 0),
        of("bytes_per_second", 4, 1e6, 0),
        of("cpu_seconds", 2, 1.0, 2),
        of("server_cpu_seconds", 2, 1.0, 2),
        of("peak_rss_bytes", 2, mib, 0),
        of("warm_peak_rss_bytes", 2, mib, 0),
        of("large_allocations_total", 2, 1.0, 0),
        format!("{:.0}", large("large_allocations_total") - large("large_allocations")),
        of("faults_per_object", 2, 1.0, 1),
        of("retries", 2, 1.0, 0),
    ]
}

/// One line for each target for which both contenders have a figure.
fn ratios(results: &[Named]) -> Vec<String> {
    let median = |contender: &str, figure: &str| {
        results
            .iter()
            .find(|(name, _)| *name == contender)
            .and_then(|(_, figures)| figures.median(figure))
    };
    let line = |target: &Target| {
        let (ours, theirs) =
            (median(target.ours, target.figure)?, median(target.beside, target.figure)?);
        let ratio = ours / theirs;
        let is_met = if target.is_least { ratio >= target.bound } else { ratio <= target.bound };
        let (sign, verdict) =
            (if target.is_least { "≥" } else { "≤" }, if is_met { "met" } else { "missed" });
        let Target { what, ours: who, beside, bound, .. } = *target;
        Some(format!("  {what}, {who} / {beside}: {ratio:.3}x, target {sign} {bound}x: {verdict}"))
    };
    TARGETS.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_median_of_each_figure() {
        let mut figures = Figures::default();
        for (ns, peak) in [(3e6, 30), (1e6, 10), (2e6, 50)] {
            figures
                .add(&format!(
                    r#"{{"ns_per_op":{ns},"peak_rss_bytes":{peak},"cpu_seconds":0.12345}}"#
                ))
                .unwrap();
        }
        assert_eq!(
            figures.line("objects", "s3-64MiB-x32", "slipring"),
            json!({"bench": "objects", "case": "s3-64MiB-x32", "contender": "slipring", "ns_per_op": 2_000_000,
                "ns_min": 1_000_000, "ns_q1": 1_500_000, "ns_q3": 2_500_000, "ns_max": 3_000_000, "repeats": 3, "peak_rss_bytes": 30, "cpu_seconds": 0.123})
        );
        assert_eq!((figures.median("none"), figures.repeats()), (None, 3));
    }

    #[test]
    fn what_are_no_figures_is_refused() {
        for odd in ["", "ready", "[1]", "{}", r#"{"ns_per_op":"1"}"#, r#"{"other":1}"#] {
            assert!(
                Figures::default()
                    .add(odd)
                    .is_err_and(|text| text.contains("instead of its figures")),
                "{odd}"
            );
        }
    }

    #[test]
    fn ratios_are_held_against_their_bounds() {
        let of = |bytes_per_second: u64, faults: u64| {
            let mut figures = Figures::default();
            let line = json!({ "ns_per_op": 1, "bytes_per_second": bytes_per_second, "faults_per_object": faults });
            figures.add(&line.to_string()).unwrap();
            figures
        };
        let results = [(OURS, of(210, 1)), (UNPOOLED, of(205, 50)), (PLAIN, of(200, 100))];
        assert_eq!(
            ratios(&results),
            [
                "  throughput, slipring / object_store: 1.050x, target ≥ 1.05x: met",
                "  page faults, slipring / slipring-unpooled: 0.020x, target ≤ 0.01x: missed",
            ]
        );
        assert!(ratios(&results[1..]).is_empty());
        assert_eq!(row(&results[0].1)[..2], ["0", "0"]);
    }
}
