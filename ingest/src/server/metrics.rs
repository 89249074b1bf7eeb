//! The content of `/metrics`: lanes and class pools, from the library's collectors, and the
//! counters and times of the IO threads.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use slipring::metrics::{Lanes, Pools, encode_latencies};

use crate::io::{Activity, Counter, IoWatch};
use crate::log::{FolderProgress, LogFigures, LogProgress, LogState};
use crate::wire::frames::Status;

/// How long a scrape waits for figures that only an IO thread has.
const PATIENCE: Duration = Duration::from_millis(50);

/// All figures of a service, as text.
#[derive(Debug)]
pub(super) struct Exporter(Registry);

impl Exporter {
    pub(super) fn new(
        lanes: &[IoWatch],
        logs: &[LogProgress],
        folder: Option<&FolderProgress>,
    ) -> Self {
        let named: Vec<(String, IoWatch)> = lanes
            .iter()
            .enumerate()
            .map(|(number, lane)| (number.to_string(), lane.clone()))
            .collect();
        let (mut of_lanes, mut of_pools) = (Lanes::new(PATIENCE), Pools::default());
        for (name, lane) in &named {
            of_lanes = of_lanes.with(name, &lane.lane);
            of_pools = of_pools.with(&format!("lane {name}"), &lane.classes);
        }
        let mut registry = Registry::default();
        registry.register_collector(Box::new(of_lanes));
        registry.register_collector(Box::new(of_pools));
        registry.register_collector(Box::new(IoCollector(named)));
        registry.register_collector(Box::new(LogCollector(logs.to_vec())));
        if let Some(folder) = folder {
            registry.register_collector(Box::new(FolderCollector(folder.clone())));
        }
        Self(registry)
    }

    /// The text; None if it couldn't be written completely.
    pub(super) fn text(&self) -> Option<String> {
        let mut text = String::new();
        encode(&mut text, &self.0).ok().map(|()| text)
    }
}

/// The collector of the IO threads: each with the number of its lane.
#[derive(Debug)]
struct IoCollector(Vec<(String, IoWatch)>);

impl Collector for IoCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let counts: Vec<_> =
            self.0.iter().map(|(name, lane)| (name.as_str(), lane.counters.counts())).collect();
        for counter in Counter::ALL {
            let (name, unit) = match counter.label().strip_suffix("_bytes") {
                Some(name) => (name, Some(&Unit::Bytes)),
                None => (counter.label(), None),
            };
            let name = format!("slipring_io_{name}");
            let mut family =
                encoder.encode_descriptor(&name, counter.help(), unit, MetricType::Counter)?;
            for (lane, counts) in &counts {
                let labels = [("lane", *lane)];
                let mut sample = family.encode_family(&labels)?;
                sample.encode_counter::<[(&str, &str); 0], _, u64>(&counts[*counter], None)?;
            }
        }
        let help = "Answers by their status";
        let mut family =
            encoder.encode_descriptor("slipring_io_answers", help, None, MetricType::Counter)?;
        for (lane, counts) in &counts {
            for status in Status::ALL {
                let labels = [("lane", *lane), ("status", status.label())];
                let mut sample = family.encode_family(&labels)?;
                sample
                    .encode_counter::<[(&str, &str); 0], _, u64>(&counts.answers(status), None)?;
            }
        }
        self.times(&mut encoder)
    }
}

type FigureOf<T> = fn(&LogFigures) -> T;

/// The collector of the logs, lane by lane.
#[derive(Debug)]
struct LogCollector(Vec<LogProgress>);

impl Collector for LogCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let logs: Vec<(String, LogFigures)> = self
            .0
            .iter()
            .enumerate()
            .map(|(lane, log)| (lane.to_string(), log.figures()))
            .collect();
        let counters: [(&str, &str, FigureOf<u64>); 5] = [
            ("syncs", "Syncs of a log", |f| f.syncs),
            ("sealed_segments", "Segments sealed since the start", |f| f.sealed_segments),
            ("sealed_vectors", "Vectors in these segments", |f| f.sealed_rows),
            ("merged_segments", "Sealed segments whose small batches were merged", |f| {
                f.merged_segments
            }),
            ("lost_vectors", "Vectors that were taken and are lost", |f| f.lost_rows),
        ];
        for (name, help, value) in counters {
            let name = format!("slipring_log_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            for (lane, figures) in &logs {
                let labels = [("lane", lane.as_str())];
                let mut sample = family.encode_family(&labels)?;
                sample.encode_counter::<[(&str, &str); 0], _, u64>(&value(figures), None)?;
            }
        }
        let gauges: [(&str, &str, Option<&Unit>, FigureOf<f64>); 4] = [
            ("durable_sequence", "Vectors before it are on the disk", None, |f| {
                f.durable_through as f64
            }),
            ("unsynced_vectors", "Vectors taken and not yet on the disk", None, |f| {
                f.unsynced_rows() as f64
            }),
            ("last_sync", "How long the last sync took", Some(&Unit::Seconds), |f| {
                f.last_sync.as_secs_f64()
            }),
            ("direct", "1 if records are written past the page cache", None, |f| {
                f64::from(f.is_direct)
            }),
        ];
        for (name, help, unit, value) in gauges {
            let name = format!("slipring_log_{name}");
            let mut family = encoder.encode_descriptor(&name, help, unit, MetricType::Gauge)?;
            for (lane, figures) in &logs {
                let labels = [("lane", lane.as_str())];
                family.encode_family(&labels)?.encode_gauge(&value(figures))?;
            }
        }
        let help = "1 for the state that a log is in";
        let mut family =
            encoder.encode_descriptor("slipring_log_state", help, None, MetricType::Gauge)?;
        for (lane, figures) in &logs {
            for state in LogState::ALL {
                let labels = [("lane", lane.as_str()), ("state", state.label())];
                let is_in = u64::from(figures.state == state);
                family.encode_family(&labels)?.encode_gauge(&is_in)?;
            }
        }
        Ok(())
    }
}

/// The collector of the data folder.
#[derive(Debug)]
struct FolderCollector(FolderProgress);

impl Collector for FolderCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let figures = self.0.figures();
        let bytes = Some(&Unit::Bytes);
        for (name, help, unit, value) in [
            ("removed_segments", "Old segments removed", None, figures.removed_segments),
            ("removed", "Bytes of these segments", bytes, figures.removed_bytes),
        ] {
            let name = format!("slipring_log_{name}");
            encoder
                .encode_descriptor(&name, help, unit, MetricType::Counter)?
                .encode_counter::<[(&str, &str); 0], _, u64>(&value, None)?;
        }
        let help = "Bytes free on the log's disk when something was last written";
        encoder
            .encode_descriptor("slipring_log_free", help, bytes, MetricType::Gauge)?
            .encode_gauge(&figures.free_bytes)
    }
}

impl IoCollector {
    fn times(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let seconds = Some(&Unit::Seconds);
        let help = "How an IO thread spends its time";
        let mut family =
            encoder.encode_descriptor("slipring_io_time", help, seconds, MetricType::Counter)?;
        for (lane, watch) in &self.0 {
            for activity in Activity::ALL {
                let labels = [("lane", lane.as_str()), ("activity", activity.label())];
                let mut sample = family.encode_family(&labels)?;
                let time = watch.duty.time(activity).as_secs_f64();
                sample.encode_counter::<[(&str, &str); 0], _, u64>(&time, None)?;
            }
        }
        let help = "The longest round of an IO thread since its start, without sleep";
        let mut family = encoder.encode_descriptor(
            "slipring_io_longest_round",
            help,
            seconds,
            MetricType::Gauge,
        )?;
        for (lane, watch) in &self.0 {
            let labels = [("lane", lane.as_str())];
            let mut sample = family.encode_family(&labels)?;
            sample.encode_gauge(&watch.duty.longest_round().as_secs_f64())?;
        }
        let help = "From the receive that completed a request to its flush, and to the sending of \
            its answer";
        let mut family = encoder.encode_descriptor(
            "slipring_request_latency",
            help,
            seconds,
            MetricType::Histogram,
        )?;
        for (lane, watch) in &self.0 {
            for (until, latencies) in
                [("flush", &watch.duty.to_flush), ("sent", &watch.duty.to_sent)]
            {
                encode_latencies(
                    &mut family,
                    &[("lane", lane.as_str()), ("until", until)],
                    latencies,
                )?;
            }
        }
        Ok(())
    }
}
