//! What a run of `objects` prints: a line of JSON for each case and contender, or tables with the
//! ratios that targets are set for.

use serde_json::json;

use super::figures::Figures;
use super::options::Plan;
use crate::payload::Size;
use crate::report::machine;

/// Where results go.
pub struct Report {
    pub as_json: bool,
}

/// One contender's name and figures.
pub type Result = (&'static str, Figures);

/// A ratio of one of ours to another contender's figure, and its bound.
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
    /// The line that says what the figures were taken on.
    pub fn head(&self, plan: &Plan, objects: usize, repeats: usize) {
        let Plan { object_size, part_size, parallel, concurrency } = *plan;
        if self.as_json {
            let options = json!({ "objects": objects, "warm_up_objects": parallel, "object_bytes": object_size, "part_bytes": part_size,
                "parallel": parallel, "concurrency": concurrency, "repeats_max": repeats });
            println!("{}", json!({ "bench": "objects", "machine": machine(), "options": options }));
        } else {
            let (object, part) = (Size(object_size), Size(part_size));
            println!(
                "{objects} objects of {object} behind {parallel} that warm up, {parallel} at once, parts of {part}, {concurrency} requests in flight; up to {repeats} repeats, on {}",
                machine()
            );
        }
    }

    pub fn results(&self, case: &str, results: &[Result]) {
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

/// A contender's cells; `-` where there is no figure.
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

/// A line a target that both contenders have a figure for.
fn ratios(results: &[Result]) -> Vec<String> {
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
