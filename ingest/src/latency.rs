//! Latencies in the form that every report shows: p50 to p99.99 and the maximum, in microseconds,
//! in columns of equal width.

use std::fmt;

use hdrhistogram::Histogram;

/// The columns: the name and the quantile of each.
const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];

/// The quantiles of a histogram of nanoseconds. Its `Display` is a row of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Number of latencies measured.
    pub count: u64,
    /// None if nothing was measured.
    us: Option<[f64; QUANTILES.len()]>,
}

impl Latency {
    /// Nothing was measured.
    pub const NONE: Self = Self { count: 0, us: None };

    /// The quantiles of a histogram of nanoseconds.
    #[must_use]
    pub fn of(histogram_ns: &Histogram<u64>) -> Self {
        let us = |(_, quantile)| histogram_ns.value_at_quantile(quantile) as f64 / 1e3;
        let is_measured = !histogram_ns.is_empty();
        Self { count: histogram_ns.len(), us: is_measured.then(|| QUANTILES.map(us)) }
    }

    /// The 99th percentile in microseconds; None if nothing was measured.
    #[must_use]
    pub fn p99_us(&self) -> Option<f64> {
        self.columns().find_map(|(name, us)| if name == "p99" { us } else { None })
    }

    /// The names of the columns, as the head of a table.
    #[must_use]
    pub fn head() -> String {
        QUANTILES.map(|(name, _)| format!(" {name:>10}")).concat()
    }

    /// The name and the microseconds of each column, in ascending order; None if nothing was
    /// measured.
    pub fn columns(&self) -> impl Iterator<Item = (&'static str, Option<f64>)> {
        let us = self.us;
        let columns = QUANTILES.into_iter().enumerate();
        columns.map(move |(at, (name, _))| (name, us.map(|us| us[at])))
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.columns().try_for_each(|(_, us)| match us {
            Some(us) => write!(f, " {us:>10.1}"),
            None => write!(f, " {:>10}", "-"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_below_their_names() {
        let mut histogram = Histogram::new_with_bounds(1, 1 << 40, 3).unwrap();
        (1..=1000).for_each(|us| histogram.record(us * 1000).unwrap());
        let latency = Latency::of(&histogram);
        assert_eq!((latency.to_string().len(), latency.count), (Latency::head().len(), 1000));
        for ((name, us), expected) in
            latency.columns().zip([500.0, 900.0, 990.0, 999.0, 1000.0, 1000.0])
        {
            assert!((us.unwrap() / expected - 1.0).abs() < 0.002, "{name} is {us:?}");
        }
        assert_eq!(latency.p99_us(), latency.columns().nth(2).unwrap().1);
    }

    #[test]
    fn what_wasnt_measured_isnt_zero() {
        let latency = Latency::of(&Histogram::new(3).unwrap());
        assert!(latency.count == 0 && latency.columns().all(|(_, us)| us.is_none()));
        let text = latency.to_string();
        assert_eq!(
            (text.len(), text.split_whitespace().collect()),
            (Latency::head().len(), vec!["-"; 6])
        );
    }
}
