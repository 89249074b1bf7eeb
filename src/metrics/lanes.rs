//! [`Lanes`]: lanes as a collector.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::table::{LANE, STAGE};
use super::{distinct, encode_latencies, family};
use crate::pipeline::{LaneStats, LaneWatch, StageActivity, StageTiming};

/// Lanes under names, which are the label `lane`; the label `stage` is the stage's name. It holds a
/// watch of each, which keeps no lane: one that has gone is left out.
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
    patience: Duration,
    lanes: Vec<(String, LaneWatch)>,
}

/// One lane at the moment of a scrape.
struct Seen<'a> {
    name: &'a str,
    stats: LaneStats,
    timings: Vec<StageTiming>,
}

impl Lanes {
    /// No lane yet. A scrape waits as long as `patience` for each lane's own figures, then takes
    /// the ones before: see [`LaneWatch::stats`].
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self { patience, lanes: Vec::new() }
    }

    /// These and one more. Where its name is taken, a number is added to it: `name-2`.
    #[must_use]
    pub fn with(mut self, name: &str, lane: &LaneWatch) -> Self {
        let name = distinct(name, self.lanes.iter().map(|(name, _)| name.as_str()));
        self.lanes.push((name, lane.clone()));
        self
    }

    fn seen(&self) -> Vec<Seen<'_>> {
        let mut all = Vec::new();
        for (name, watch) in &self.lanes {
            if let Some(timings) = watch.timings()
                && let Some(stats) = watch.stats(self.patience)
            {
                all.push(Seen { name, stats, timings });
            }
        }
        all
    }
}

impl Collector for Lanes {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let lanes = self.seen();
        for metric in LANE {
            family(
                &mut encoder,
                metric,
                lanes.iter().map(|lane| ([("lane", lane.name)], lane.stats.clone())),
            )?;
        }
        let labels = |lane, stage| [("lane", lane), ("stage", stage)];
        for metric in STAGE {
            let stages = lanes
                .iter()
                .flat_map(|lane| lane.stats.stages.iter().map(move |stage| (lane.name, stage)));
            family(
                &mut encoder,
                metric,
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
            // An inline stage's time is its lane's.
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
