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
    us: [f64; QUANTILES.len()],
}

impl Latency {
    /// The quantiles of `histogram_ns`; all zeros if nothing was measured.
    #[must_use]
    pub fn of(histogram_ns: &Histogram<u64>) -> Self {
        let us = |(_, quantile)| {
            let ns =
                if histogram_ns.is_empty() { 0 } else { histogram_ns.value_at_quantile(quantile) };
            ns as f64 / 1e3
        };
        Self { count: histogram_ns.len(), us: QUANTILES.map(us) }
    }

    /// The names of the columns, as the head of a table.
    #[must_use]
    pub fn head() -> String {
        QUANTILES.map(|(name, _)| format!(" {name:>10}")).concat()
    }

    /// The name and the microseconds of each column, in ascending order.
    pub fn columns(&self) -> impl Iterator<Item = (&'static str, f64)> {
        QUANTILES.into_iter().zip(self.us).map(|((name, _), us)| (name, us))
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.us.iter().try_for_each(|us| write!(f, " {us:>10.1}"))
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
            assert!((us / expected - 1.0).abs() < 0.002, "{name} is {us}");
        }
    }

    #[test]
    fn nothing_measured_is_zeros() {
        let latency = Latency::of(&Histogram::new(3).unwrap());
        assert!(latency.count == 0 && latency.columns().all(|(_, us)| us == 0.0));
    }
}
