//! Metrics: what lanes, class pools and receive queues have done, as Prometheus and its kin read
//! it.
//!
//! [`Pools`], [`Queues`] and `Lanes` plug into a [`Registry`] of the crate prometheus-client,
//! beside whatever else it holds; [`text`] is for who has none. The text is OpenMetrics
//! (`application/openmetrics-text; version=1.0.0`), which Prometheus scrapes.
//!
//! It promises: every figure of [`ClassStats`](crate::class::ClassStats),
//! [`DirectStats`](crate::class::DirectStats), [`QueueStats`](crate::queue::QueueStats) and, with
//! feature `pipeline`, of lanes and their stages, each with its help and unit; names, units and
//! types that never change within a version; no two series of one name, also where two pools are
//! given the same. It doesn't serve HTTP, and it keeps no history: a scrape takes a snapshot of
//! each pool, which takes the pool's locks for some dozens of loads and stops nobody's get or drop
//! from a thread's own bin.
//!
//! The rate of hits isn't exported, because it is made of two that are:
//! `rate(slipring_class_hits_total[1m]) / rate(slipring_class_gets_total[1m])`.
//!
//! ```
//! use slipring::class::{ClassOptions, ClassPool};
//!
//! let pool = ClassPool::new(&ClassOptions::default())?;
//! drop(pool.get(3000)?);
//! let text = slipring::metrics::text(&[("answers", &pool)]);
//! assert!(text.contains("slipring_class_gets_total{pool=\"answers\",class_bytes=\"4096\"} 1\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "pipeline")]
mod lanes;
#[cfg(feature = "pipeline")]
mod latencies;
mod pools;
mod queues;
mod table;

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(feature = "pipeline")]
pub use lanes::Lanes;
#[cfg(feature = "pipeline")]
pub use latencies::encode_latencies;
pub use pools::Pools;
pub use queues::Queues;

use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::registry::{Registry, Unit};

use crate::class::ClassPool;
use table::{Kind, Metric};

/// The metrics of these pools, by name, as text. It is complete where it ends with the line
/// `# EOF`, and scrapers refuse one that isn't.
#[must_use]
pub fn text(pools: &[(&str, &ClassPool)]) -> String {
    let mut all = Pools::default();
    for &(name, pool) in pools {
        all = all.with(name, pool);
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(all));
    let mut text = String::new();
    // A String takes everything. Were it not so, the end would be missing: a scrape is no reason to
    // panic.
    let _is_complete = encode(&mut text, &registry).is_ok();
    text
}

/// One metric: its head, and a sample for each set of labels.
fn family<S, L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder,
    metric: &Metric<S>,
    samples: impl Iterator<Item = (L, S)>,
) -> fmt::Result {
    let unit = metric.is_bytes.then_some(&Unit::Bytes);
    let mut family =
        encoder.encode_descriptor(metric.name, metric.help, unit, metric.kind.into())?;
    for (labels, stats) in samples {
        let mut sample = family.encode_family(&labels)?;
        let value = (metric.read)(&stats);
        match metric.kind {
            Kind::Counter => sample.encode_counter::<[(&str, &str); 0], _, u64>(&value, None)?,
            Kind::Gauge => sample.encode_gauge(&value)?,
        }
    }
    Ok(())
}

/// This name, or with a number behind it where it is taken: two series of one name would be no
/// series.
fn distinct<'a>(name: &str, taken: impl Iterator<Item = &'a str> + Clone) -> String {
    let mut distinct = name.to_owned();
    let mut number = 2_u64;
    while taken.clone().any(|other| other == distinct) {
        distinct = format!("{name}-{number}");
        number += 1;
    }
    distinct
}
