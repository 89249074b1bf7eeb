//! Latencies as a Prometheus histogram, in seconds.

use std::fmt;

use hdrhistogram::Histogram;
use prometheus_client::encoding::{EncodeLabelSet, MetricEncoder};

use crate::latency::Latencies;

/// The first bucket ends at 1 us, and each further one at twice the time before: the last at 16.8
/// s, and one holds what is longer.
const BUCKETS: u32 = 25;

/// One sample of a family that is a histogram with unit seconds: for collectors of yours beside
/// [`Lanes`](super::Lanes).
///
/// # Errors
/// The encoder's own.
pub fn encode_latencies(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    latencies: &Latencies,
) -> fmt::Result {
    let (sum, histogram) = (latencies.sum().as_secs_f64(), latencies.histogram());
    let mut sample = family.encode_family(labels)?;
    sample.encode_histogram::<[(&str, &str); 0]>(sum, histogram.len(), &buckets(&histogram), None)
}

/// How many latencies end in each bucket: the upper ends in seconds, and the counts of each alone,
/// which the encoder adds up.
fn buckets(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    let end_ns = |bucket: u32| 1000u64 << bucket;
    let mut below = 0;
    let mut buckets: Vec<(f64, u64)> = (0..BUCKETS)
        .map(|bucket| {
            let through = histogram.count_between(0, end_ns(bucket));
            let count = through - below;
            below = through;
            (end_ns(bucket) as f64 / 1e9, count)
        })
        .collect();
    buckets.push((f64::INFINITY, histogram.len() - below));
    buckets
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_in_one_bucket() {
        let mut histogram = Histogram::new_with_bounds(1, 1 << 40, 2).unwrap();
        for (ns, count) in
            [(1, 1), (1000, 2), (1500, 4), (2000, 8), (16_777_216_000, 16), (30_000_000_000, 32)]
        {
            histogram.record_n(ns, count).unwrap();
        }
        let buckets = buckets(&histogram);
        assert_eq!((buckets[0], buckets[1], buckets[2].1), ((1e-6, 3), (2e-6, 12), 0));
        assert_eq!(buckets[24..], [(16.777216, 16), (f64::INFINITY, 32)]);
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 63);
    }
}
