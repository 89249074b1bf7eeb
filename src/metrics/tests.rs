//! The text, parsed as a scraper parses it: heads, types, units, and every figure against the
//! snapshots.

use std::collections::{BTreeMap, BTreeSet};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::table::{self, Kind, Metric};
use super::*;
use crate::class::{AtLimit, ClassOptions, ClassPool, ClassTable, Limit};
use crate::queue::{QueueOptions, queue};

/// A text's samples by name and labels. Checks the heads.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut helps, mut units, mut samples) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    let lines = text.strip_suffix("# EOF\n").expect("an end").lines();
    for line in lines {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                assert!(helps.insert(name) && !help.is_empty(), "a second help: {line}")
            }
            ["#", "TYPE", name, kind] => {
                assert!(types.insert(name, kind).is_none(), "a second type: {line}")
            }
            ["#", "UNIT", name, unit] => {
                assert!(units.insert(name, unit).is_none(), "a second unit: {line}")
            }
            _ => {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                let (name, _) = series.split_once('{').expect("labels");
                let family = name.strip_suffix("_total").unwrap_or(name);
                let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
                assert!(
                    types.get(family) == Some(&kind) && helps.contains(family),
                    "without its head: {line}"
                );
                assert_eq!(units.contains_key(family), family.ends_with("_bytes"), "{line}");
                assert!(
                    samples.insert(series.to_owned(), value.parse().expect("a figure")).is_none(),
                    "twice: {line}"
                );
            }
        }
    }
    assert_eq!(types.len(), helps.len());
    samples
}

/// What `read` of each metric says, under the names that a scraper sees.
fn expected<S>(
    metrics: &[Metric<S>],
    labels: &str,
    stats: &S,
    samples: &mut BTreeMap<String, u64>,
) {
    for metric in metrics {
        let unit = if metric.is_bytes { "_bytes" } else { "" };
        let total = if metric.kind == Kind::Counter { "_total" } else { "" };
        let before = samples
            .insert(format!("{}{unit}{total}{{{labels}}}", metric.name), (metric.read)(stats));
        assert!(before.is_none(), "two metrics of one name: {}", metric.name);
    }
}

/// A pool of which every counter has moved.
fn busy() -> ClassPool {
    let table = ClassTable::new(&[4096, 8192]).unwrap();
    let options = ClassOptions {
        table,
        limit: Limit::buffers(2),
        at_limit: AtLimit::Fresh,
        ..ClassOptions::default()
    };
    let pool = ClassPool::new(&options).unwrap();
    let held = [5000, 5000, 5000, 9000].map(|len| pool.get(len).unwrap());
    drop(pool.get(1).unwrap());
    drop(pool.get(1).unwrap());
    drop(held);
    pool
}

#[test]
fn every_figure_of_every_pool_is_there_once() {
    let (one, other) = (busy(), ClassPool::new(&ClassOptions::default()).unwrap());
    let kept = one.get(100).unwrap();
    let mut samples = BTreeMap::new();
    for (name, pool) in [("one", &one), ("other", &other)] {
        let stats = pool.stats();
        for class in &stats.classes {
            let labels = format!("pool=\"{name}\",class_bytes=\"{}\"", class.class_bytes);
            expected(table::CLASS, &labels, class, &mut samples);
        }
        expected(table::DIRECT, &format!("pool=\"{name}\""), &stats.direct, &mut samples);
    }
    let text = text(&[("one", &one), ("other", &other)]);
    assert_eq!(parse(&text), samples);
    let of = |series: &str| samples[series];
    assert_eq!(of("slipring_class_gets_total{pool=\"one\",class_bytes=\"8192\"}"), 3);
    assert_eq!(of("slipring_class_fresh_total{pool=\"one\",class_bytes=\"8192\"}"), 1);
    assert_eq!(of("slipring_class_in_use_buffers{pool=\"one\",class_bytes=\"4096\"}"), 1);
    assert_eq!(of("slipring_direct_allocated_bytes_total{pool=\"one\"}"), 14_000);
    drop(kept);
}

/// A figure that is added to a snapshot has to be added to the tables. The fields of the snapshot's
/// debug text are counted.
#[test]
fn the_tables_leave_no_figure_out() {
    let stats = busy().stats();
    let fields = |debug: String| debug.matches(": ").count();
    assert_eq!(
        table::CLASS.len(),
        fields(format!("{:?}", stats.classes[0])) - 1,
        "class_bytes is a label"
    );
    assert_eq!(table::DIRECT.len(), fields(format!("{:?}", stats.direct)));
    assert_eq!(table::QUEUE.len(), fields(format!("{:?}", crate::queue::QueueStats::default())));
}

#[test]
fn queues_and_pools_share_a_registry() {
    let pool = ClassPool::new(&ClassOptions::default()).unwrap();
    let (mut enqueuer, mut dequeuer) =
        queue(&pool, QueueOptions { messages: 4, bytes: 1 << 20 }).unwrap();
    enqueuer.try_enqueue_copy(b"first").unwrap();
    enqueuer.try_enqueue_copy(b"second").unwrap();
    drop(dequeuer.try_dequeue().unwrap());
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Pools::default().with("p", &pool)));
    registry.register_collector(Box::new(Queues::default().with("q", &enqueuer.closer())));
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let samples = parse(&text);
    let mut of_queue = BTreeMap::new();
    expected(table::QUEUE, "queue=\"q\"", &enqueuer.stats(), &mut of_queue);
    assert!(of_queue.iter().all(|(series, value)| samples.get(series) == Some(value)), "{text}");
    assert_eq!(samples["slipring_queue_messages{queue=\"q\"}"], 1);
    assert_eq!(samples["slipring_queue_bytes{queue=\"q\"}"], 6);
    assert_eq!(samples["slipring_queue_enqueued_bytes_total{queue=\"q\"}"], 11);
    assert_eq!(samples["slipring_class_in_use_buffers{pool=\"p\",class_bytes=\"2048\"}"], 1);
}

#[test]
fn equal_names_are_numbered_and_names_are_escaped() {
    let pool = ClassPool::new(&ClassOptions::default()).unwrap();
    let text = text(&[("a", &pool), ("a-2", &pool), ("a", &pool), ("say \"a\"\n\\", &pool)]);
    let samples = parse(&text);
    for name in ["a", "a-2", "a-3", r#"say \"a\"\n\\"#] {
        assert!(
            samples.contains_key(&format!("slipring_direct_gets_total{{pool=\"{name}\"}}")),
            "{name} in {text}"
        );
    }
}

#[test]
fn no_pool_is_a_text_too() {
    assert!(parse(&text(&[])).is_empty());
}

#[cfg(feature = "pipeline")]
mod lanes {
    use std::time::Duration;

    use super::*;
    use crate::latency::Clock;
    use crate::pipeline::{LaneSpec, Outcome, StageSpec, View};
    use crate::ring::RingOptions;

    #[test]
    fn every_figure_of_a_lane_is_there_once() {
        let pool = RingOptions { bytes: 1 << 20, max_slice_bytes: 64, ..RingOptions::default() };
        let spec =
            LaneSpec::new(pool, 8).layer([StageSpec::inline("a")]).layer([StageSpec::inline("b")]);
        let mut started = spec.timed(Clock::start()).start::<()>().unwrap();
        let fails = |view: View<'_, ()>| match view.sequence() {
            1 => Outcome::Reject("by design".to_owned()),
            _ => Outcome::Done,
        };
        let a = started.stages.remove("a").unwrap();
        started.lane.attach(a, fails).unwrap();
        for _ in 0..5 {
            started.lane.claim(8).unwrap().publish(());
        }
        started.lane.poll();
        // The lane's own thread scrapes here, so no other thread answers.
        let stats = started.lane.stats();
        let watch = started.lane.watch();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(
            Lanes::new(Duration::ZERO).with("x", &watch).with("x", &watch),
        ));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let mut samples = BTreeMap::new();
        for lane in ["x", "x-2"] {
            expected(table::LANE, &format!("lane=\"{lane}\""), &stats, &mut samples);
            for stage in &stats.stages {
                let labels = format!("lane=\"{lane}\",stage=\"{}\"", stage.name);
                expected(table::STAGE, &labels, stage, &mut samples);
            }
        }
        let is_timing = |line: &&str| {
            line.contains("slipring_stage_latency") || line.contains("slipring_stage_time")
        };
        let (timings, counts): (Vec<&str>, Vec<&str>) = text.lines().partition(is_timing);
        assert_eq!(parse(&(counts.join("\n") + "\n")), samples);
        for (stage, events) in [("a", 5), ("b", 0)] {
            let count = format!(
                "slipring_stage_latency_seconds_count{{lane=\"x\",stage=\"{stage}\"}} {events}"
            );
            let all = format!(
                "slipring_stage_latency_seconds_bucket{{le=\"+Inf\",lane=\"x\",stage=\"{stage}\"}} {events}"
            );
            for sample in [count, all] {
                assert!(timings.contains(&sample.as_str()), "{sample} in {timings:?}");
            }
        }
        assert!(!text.contains("slipring_stage_time_seconds_total{"), "no stage has a thread");
        drop(started);
        let mut gone = String::new();
        encode(&mut gone, &registry).unwrap();
        assert!(!gone.contains("lane=\"x\""), "a lane that is gone is left out");
    }

    /// As `the_tables_leave_no_figure_out`. A lane's table includes the figures of its pool; its
    /// stages have a table of their own.
    #[test]
    fn the_tables_of_lanes_leave_no_figure_out() {
        let pool = RingOptions { bytes: 1 << 20, ..RingOptions::default() };
        let started = LaneSpec::new(pool, 8).layer([StageSpec::inline("a")]).start::<()>().unwrap();
        let stats = started.lane.stats();
        let fields = |debug: String| debug.matches(": ").count();
        let stage = fields(format!("{:?}", stats.stages[0]));
        // The name is a label, and the first rejection a text.
        assert_eq!(table::STAGE.len(), stage - 2);
        // `pool` and `stages` aren't figures.
        assert_eq!(table::LANE.len(), fields(format!("{stats:?}")) - stage - 2);
    }
}
