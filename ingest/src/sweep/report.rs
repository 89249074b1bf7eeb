//! The result of a sweep: a table and a setting for people, JSON lines for programs.

use std::fmt;

use serde_json::{Value, json};
use slipring::machine::Topology;

use super::options::SweepPlan;
use crate::units::Size;

/// A window is as good as the fastest if it takes at most this much longer: smaller differences are
/// within the spread.
const WITHIN_PERCENT: f64 = 3.0;

/// The repeats of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowTimes {
    /// Bytes in rotation.
    pub window_bytes: usize,
    /// One figure per repeat, in nanoseconds per payload, ascending.
    pub ns_per_event: Vec<f64>,
}

impl WindowTimes {
    pub(super) fn new(window_bytes: usize) -> Self {
        Self { window_bytes, ns_per_event: Vec::new() }
    }

    pub(super) fn add(&mut self, ns: f64) {
        let at = self.ns_per_event.partition_point(|earlier| *earlier <= ns);
        self.ns_per_event.insert(at, ns);
    }

    /// The median.
    #[must_use]
    pub fn median_ns(&self) -> f64 {
        let (n, all) = (self.ns_per_event.len(), &self.ns_per_event);
        if n.is_multiple_of(2) { f64::midpoint(all[n / 2 - 1], all[n / 2]) } else { all[n / 2] }
    }

    fn min_ns(&self) -> f64 {
        self.ns_per_event[0]
    }

    fn max_ns(&self) -> f64 {
        self.ns_per_event[self.ns_per_event.len() - 1]
    }

    /// The middle half of the repeats: without the fastest quarter and the slowest one.
    fn middle_ns(&self) -> std::ops::RangeInclusive<f64> {
        let (n, all) = (self.ns_per_event.len(), &self.ns_per_event);
        all[n / 4]..=all[n - 1 - n / 4]
    }

    fn size(&self) -> Size {
        Size(self.window_bytes as u64)
    }
}

/// A successful sweep: every payload arrived as written.
#[derive(Clone, Debug)]
pub struct SweepReport {
    plan: SweepPlan,
    /// Every window that was tried, ascending.
    pub windows: Vec<WindowTimes>,
    /// The window that a pool of this size has by default, for this stage, on this machine.
    pub default_window_bytes: usize,
    /// The smallest L2 cache of this machine's CPUs, if the kernel reports it.
    pub l2_bytes: Option<usize>,
    /// The smallest L3 cache.
    pub l3_bytes: Option<usize>,
}

impl SweepReport {
    pub(super) fn new(
        plan: &SweepPlan,
        windows: Vec<WindowTimes>,
        default_window_bytes: usize,
    ) -> Self {
        let topology = Topology::read();
        let (l2_bytes, l3_bytes) = (topology.l2_bytes_min(), topology.l3_bytes_min());
        Self { plan: plan.clone(), windows, default_window_bytes, l2_bytes, l3_bytes }
    }

    /// The windows that are as good as the fastest, ascending; at least one.
    fn good(&self) -> impl Iterator<Item = &WindowTimes> {
        let fastest_ns =
            self.windows.iter().map(WindowTimes::median_ns).fold(f64::INFINITY, f64::min);
        let limit_ns = fastest_ns * (1.0 + WITHIN_PERCENT / 100.0);
        self.windows.iter().filter(move |window| window.median_ns() <= limit_ns)
    }

    /// The smallest window that is as good as the fastest.
    ///
    /// # Panics
    /// Never: at least one window was tried, and the fastest is as good as itself.
    #[must_use]
    pub fn best_window_bytes(&self) -> usize {
        self.good().next().map(|window| window.window_bytes).expect("a sweep has a window")
    }

    /// The best window if the repeats can't tell it from one that isn't as good.
    fn noisy(&self) -> Option<&WindowTimes> {
        let good: Vec<usize> = self.good().map(|window| window.window_bytes).collect();
        let best = self.good().next()?;
        let mut others = self.windows.iter().filter(|w| !good.contains(&w.window_bytes));
        others.any(|other| best.middle_ns().contains(&other.median_ns())).then_some(best)
    }

    /// One line per window, then one with the result.
    #[must_use]
    pub fn to_json(&self) -> Vec<Value> {
        let line = |window: &WindowTimes| {
            json!({
                "bench": "sweep",
                "window_bytes": window.window_bytes,
                "ns_per_event": window.median_ns(),
                "ns_min": window.min_ns(),
                "ns_max": window.max_ns(),
                "repeats": window.ns_per_event.len(),
            })
        };
        let result = json!({
            "bench": "sweep",
            "best_window_bytes": self.best_window_bytes(),
            "too_noisy": self.noisy().is_some(),
            "default_window_bytes": self.default_window_bytes,
            "l2_bytes": self.l2_bytes,
            "l3_bytes": self.l3_bytes,
            "pool_bytes": self.plan.pool_bytes,
            "payload_bytes": self.plan.payload_bytes,
            "batch": self.plan.batch,
            "slots": self.plan.slots,
            "events": self.plan.events,
            "stages": if self.plan.stage_cpu.is_some() { "threads" } else { "inline" },
        });
        self.windows.iter().map(line).chain([result]).collect()
    }

    /// The good windows, as `1MiB-8MiB, 32MiB`: those that are neighbours among the tried ones are
    /// joined.
    fn good_ranges(&self) -> String {
        let good: Vec<usize> = self.good().map(|window| window.window_bytes).collect();
        let runs = self
            .windows
            .chunk_by(|a, b| good.contains(&a.window_bytes) == good.contains(&b.window_bytes));
        let texts = runs.filter(|run| good.contains(&run[0].window_bytes)).map(|run| match run {
            [only] => only.size().to_string(),
            [first, .., last] => format!("{}-{}", first.size(), last.size()),
            [] => String::new(),
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    /// The reason for the default.
    fn default_reason(&self) -> String {
        let (level, bytes) = match self.plan.stage_cpu {
            Some(_) => ("L3", self.l3_bytes),
            None => ("L2", self.l2_bytes),
        };
        match bytes {
            Some(bytes) => {
                format!("half of the {level} cache of {}, 4MiB at most", Size(bytes as u64))
            }
            None => format!("the {level} cache isn't reported"),
        }
    }
}

impl fmt::Display for SweepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        let cpu = |cpu: Option<usize>| {
            cpu.map_or_else(|| "any cpu".to_owned(), |cpu| format!("cpu {cpu}"))
        };
        let reader = if plan.stage_cpu.is_some() {
            cpu(plan.stage_cpu)
        } else {
            "the same, inline".to_owned()
        };
        let (pool, payload) = (Size(plan.pool_bytes as u64), Size(plan.payload_bytes as u64));
        writeln!(
            f,
            "payload {payload}, all written on {} and all read on {reader}",
            cpu(plan.cpu)
        )?;
        writeln!(
            f,
            "pool {pool}, {} slots, batch {}; {} payloads, {} repeats, interleaved",
            plan.slots, plan.batch, plan.events, plan.repeats
        )?;
        writeln!(f, "\n{:>8} {:>12} {:>9} {:>9}", "window", "ns/event", "min", "max")?;
        let (best, good) = (
            self.best_window_bytes(),
            self.good().map(|window| window.window_bytes).collect::<Vec<_>>(),
        );
        for window in &self.windows {
            write!(
                f,
                "{:>8} {:>12.2} {:>9.2} {:>9.2}",
                window.size(),
                window.median_ns(),
                window.min_ns(),
                window.max_ns()
            )?;
            let marks = [
                (window.window_bytes == best, "  best"),
                (window.window_bytes != best && good.contains(&window.window_bytes), "  as good"),
                (window.window_bytes == self.default_window_bytes, "  default"),
            ];
            marks.iter().filter(|(is, _)| *is).try_for_each(|(_, mark)| f.write_str(mark))?;
            writeln!(f)?;
        }
        self.write_advice(f, best, &good)
    }
}

impl SweepReport {
    /// Writes which window to use, and which one is the default.
    fn write_advice(&self, f: &mut fmt::Formatter<'_>, best: usize, good: &[usize]) -> fmt::Result {
        match (self.noisy(), good) {
            (Some(noisy), _) => {
                let (size, middle) = (noisy.size(), noisy.middle_ns());
                write!(
                    f,
                    "\ntoo noisy: nothing is recommended. Half of the repeats of {size} took \
                     {:.2} to {:.2} ns, and so did windows that aren't as good; run it on an idle \
                     machine, or raise --repeats",
                    middle.start(),
                    middle.end()
                )?;
            }
            (None, [only]) => {
                let only = Size(*only as u64);
                write!(f, "\nbest: --window {only}, the fastest by more than {WITHIN_PERCENT} %")?;
            }
            (None, _) => {
                let (best, ranges) = (Size(best as u64), self.good_ranges());
                write!(
                    f,
                    "\nbest: --window {best}, the smallest of those that are within \
                     {WITHIN_PERCENT} % of the fastest: {ranges}"
                )?;
            }
        }
        let default = Size(self.default_window_bytes as u64);
        write!(f, "\ndefault: {default}, {}", self.default_reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(medians: &[f64], stage_cpu: Option<usize>) -> SweepReport {
        let plan = SweepPlan {
            pool_bytes: 1 << 30,
            payload_bytes: 512,
            windows: Vec::new(),
            batch: 8,
            slots: 64,
            repeats: 3,
            events: 100,
            cpu: Some(0),
            stage_cpu,
            notes: Vec::new(),
        };
        let times = |(n, median): (usize, &f64)| {
            let mut times = WindowTimes::new(65536 << n);
            // The outer ones are spikes.
            [2.0, 1.001, 1.0, 0.999, 0.5].into_iter().for_each(|part| times.add(median * part));
            times
        };
        let windows = medians.iter().enumerate().map(times).collect();
        SweepReport {
            plan,
            windows,
            default_window_bytes: 4 << 20,
            l2_bytes: Some(1 << 20),
            l3_bytes: None,
        }
    }

    #[test]
    fn the_smallest_window_that_is_as_good_as_the_fastest_is_best() {
        let found = report(&[20.0, 12.4, 12.3, 15.0, 12.0, 13.0], Some(1));
        assert_eq!(found.best_window_bytes(), 256 << 10, "12.4 is more than 3 % beyond 12.0");
        let text = found.to_string();
        assert!(
            text.contains("best: --window 256KiB, the smallest of those that are within 3 % of the fastest: 256KiB, 1MiB\ndefault: 4MiB, "),
            "{text}"
        );
        let text = report(&[20.0, 12.0, 13.0], Some(1)).to_string();
        assert!(text.contains("best: --window 128KiB, the fastest by more than 3 %\n"), "{text}");
        assert!(text.contains("L3 cache isn't reported"), "{text}");
        let found = report(&[10.1, 10.0, 10.2], None);
        let text = found.to_string();
        assert!(text.contains("--window 64KiB") && text.contains("64KiB-256KiB"), "{text}");
        assert!(text.contains("half of the L2 cache of 1MiB"), "{text}");
    }

    #[test]
    fn what_noise_explains_isnt_recommended() {
        let mut found = report(&[20.0, 12.0, 13.0], Some(1));
        assert!(found.noisy().is_none());
        // Spikes aren't noise, but half of the repeats are.
        for (ns, is_noisy) in [
            ([6.0, 11.9, 12.0, 12.1, 24.0], false),
            ([6.0, 11.0, 12.0, 14.0, 24.0], true),
            ([6.0, 11.0, 12.0, 12.9, 24.0], false),
        ] {
            found.windows[1].ns_per_event = ns.to_vec();
            assert_eq!(found.noisy().is_some(), is_noisy, "{ns:?}");
            let text = found.to_string();
            assert_eq!(text.contains("\nbest: --window 128KiB"), !is_noisy, "{text}");
            assert_eq!(text.contains("too noisy: nothing is recommended"), is_noisy, "{text}");
            let json = found.to_json();
            assert_eq!(json[3]["too_noisy"], is_noisy);
        }
        // One repeat, or as good as each other: nothing to tell apart.
        found.windows.iter_mut().for_each(|window| window.ns_per_event = vec![window.median_ns()]);
        assert!(found.noisy().is_none());
    }

    #[test]
    fn json_has_the_names_that_scripts_rely_on() {
        let lines = report(&[20.0, 12.0], Some(1)).to_json();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[1],
            json!({"bench": "sweep", "window_bytes": 131_072, "ns_per_event": 12.0, "ns_min": 6.0, "ns_max": 24.0, "repeats": 5})
        );
        assert_eq!(
            (&lines[2]["best_window_bytes"], &lines[2]["default_window_bytes"]),
            (&json!(131_072), &json!(4 << 20))
        );
        assert_eq!((&lines[2]["l2_bytes"], &lines[2]["l3_bytes"]), (&json!(1 << 20), &Value::Null));
    }
}
