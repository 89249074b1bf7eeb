//! What a variant came to: its repeats, the median of each figure, and the line that other programs
//! read.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// All repeats of one contender in one case.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Of each name a value a repeat, sorted.
    by_name: BTreeMap<String, Vec<f64>>,
}

impl Figures {
    /// Takes one repeat: a line of numbers.
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

    /// Quartile 0 is the least repeat, 2 the median, 4 the largest; between two repeats by their
    /// distance. None without such a figure.
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

    /// The first fields are those of every bench; all others are medians.
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

/// Whole where it is; else with as many digits as repeats agree in.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 || value.abs() >= 1e6 {
        json!(value.round() as i64)
    } else {
        json!((value * 1000.0).round() / 1000.0)
    }
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
}
