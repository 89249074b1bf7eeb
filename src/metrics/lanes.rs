//! Lanes as a collector: [`Lanes`]; and latencies as a histogram: [`encode_latencies`].

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::collectors::distinct;
use super::table::{LANE, STAGE};
use crate::latency::Latencies;
use crate::pipeline::{LaneStats, LaneWatch, StageActivity, StageTiming};

/// Lanes by name, which is the label `lane`. The label `stage` is the stage's name. It holds a
/// [`LaneWatch`] of each, which doesn't keep the lane alive. A lane that is gone is left out.
///
/// ```
/// use std::time::Duration;
/// use prometheus_client::registry::Registry;
/// use slipring::latency::Clock;
/// use slipring::metrics::Lanes;
/// use slipring::pipeline::{LaneSpec, StageSpec};
/// use slipring::ring::RingOptions;
///
/// let pool = RingOptions { bytes: 1 << 20, ..RingOptions::default() };
/// let started = LaneSpec::new(pool, 64).layer([StageSpec::inline("sum")]).timed(Clock::start()).start::<()>()?;
/// let mut registry = Registry::default();
/// let lanes = Lanes::new(Duration::from_millis(100)).with("0", &started.lane.watch());
/// registry.register_collector(Box::new(lanes));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lanes {
    timeout: Duration,
    lanes: Vec<(String, LaneWatch)>,
}

/// One lane at the moment of a scrape.
struct LaneSnapshot<'a> {
    name: &'a str,
    stats: LaneStats,
    timings: Vec<StageTiming>,
}

impl Lanes {
    /// Without a lane. A scrape waits up to `timeout` for each lane's own figures, and then reads
    /// the previous ones: see [`LaneWatch::stats`].
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, lanes: Vec::new() }
    }

    /// Adds one. If another has its name, a number is added to the name: `name-2`.
    #[must_use]
    pub fn with(mut self, name: &str, lane: &LaneWatch) -> Self {
        let name = distinct(name, self.lanes.iter().map(|(name, _)| name.as_str()));
        self.lanes.push((name, lane.clone()));
        self
    }

    fn snapshots(&self) -> Vec<LaneSnapshot<'_>> {
        let mut all = Vec::new();
        for (name, watch) in &self.lanes {
            if let Some(timings) = watch.timings()
                && let Some(stats) = watch.stats(self.timeout)
            {
                all.push(LaneSnapshot { name, stats, timings });
            }
        }
        all
    }
}

impl Collector for Lanes {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let lanes = self.snapshots();
        for metric in LANE {
            metric.encode(
                &mut encoder,
                lanes.iter().map(|lane| ([("lane", lane.name)], lane.stats.clone())),
            )?;
        }
        let labels = |lane, stage| [("lane", lane), ("stage", stage)];
        for metric in STAGE {
            let stages = lanes
                .iter()
                .flat_map(|lane| lane.stats.stages.iter().map(move |stage| (lane.name, stage)));
            metric.encode(
                &mut encoder,
                stages.map(|(lane, stage)| (labels(lane, stage.name.as_str()), stage.clone())),
            )?;
        }
        let help = "From the flush of an event to its release by the stage";
        let (name, unit) = ("slipring_stage_latency", Some(&Unit::Seconds));
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for lane in &lanes {
            for StageTiming { stage, latencies, .. } in &lane.timings {
                encode_latencies(&mut family, &labels(lane.name, stage.as_str()), latencies)?;
            }
        }
        let help = "What the thread of a stage spends its time on";
        let mut family =
            encoder.encode_descriptor("slipring_stage_time", help, unit, MetricType::Counter)?;
        for lane in &lanes {
            // An inline stage has no thread of its own.
            for StageTiming { stage, thread, .. } in
                lane.timings.iter().filter(|stage| stage.thread.has_run())
            {
                for activity in StageActivity::ALL {
                    let [lane, stage] = labels(lane.name, stage.as_str());
                    let labels = [lane, stage, ("activity", activity.label())];
                    let mut sample = family.encode_family(&labels)?;
                    let seconds = thread.spent(activity).as_secs_f64();
                    sample.encode_counter::<[(&str, &str); 0], _, u64>(&seconds, None)?;
                }
            }
        }
        Ok(())
    }
}

/// The first bucket ends at 1 us, and each further one at twice the time of the one before: the
/// last at 16.8 s. One more bucket holds what is longer.
const BUCKETS: u32 = 25;

/// Encodes one sample of a family that is a histogram in seconds. It is for your own collectors.
///
/// # Errors
/// The encoder's error.
pub fn encode_latencies(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    latencies: &Latencies,
) -> fmt::Result {
    let (sum, histogram) = (latencies.sum().as_secs_f64(), latencies.histogram());
    let mut sample = family.encode_family(labels)?;
    sample.encode_histogram::<[(&str, &str); 0]>(sum, histogram.len(), &buckets(&histogram), None)
}

/// The upper end of each bucket in seconds, and the number of latencies in that bucket alone. The
/// encoder adds the numbers up.
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
