//! Class pools and receive queues as collectors: [`Pools`], [`Queues`]; and [`text`], which needs
//! no registry.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::table::{CLASS, DIRECT, QUEUE};
use crate::class::{ClassPool, ClassPoolStats, ClassStats};
use crate::queue::{Closer, QueueStats};

/// The metrics of these pools, by name, as text. A complete text ends with the line `# EOF`.
/// Scrapers refuse others.
#[must_use]
pub fn text(pools: &[(&str, &ClassPool)]) -> String {
    let mut all = Pools::default();
    for &(name, pool) in pools {
        all = all.with(name, pool);
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(all));
    let mut text = String::new();
    // Writing into a String can't fail. If it did, the end would be missing, rather than the scrape
    // panic.
    let _is_complete = encode(&mut text, &registry).is_ok();
    text
}

/// Class pools by name, which is the label `pool`. It holds a handle of each, so the pools live as
/// long as it does.
///
/// All pools of a registry belong in one collector, because a text has the head of each metric only
/// once.
///
/// ```
/// use prometheus_client::registry::Registry;
/// use slipring::metrics::Pools;
///
/// let mut registry = Registry::default();
/// registry.register_collector(Box::new(Pools::default().with("process", slipring::class::default_pool())));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Pools {
    pools: Vec<(String, ClassPool)>,
}

impl Pools {
    /// Adds one. If another has its name, a number is added to the name: `name-2`.
    #[must_use]
    pub fn with(mut self, name: &str, pool: &ClassPool) -> Self {
        let name = distinct(name, self.pools.iter().map(|(name, _)| name.as_str()));
        self.pools.push((name, pool.clone()));
        self
    }
}

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        // Each pool is read once, so that its figures fit each other.
        let pools: Vec<(&str, ClassPoolStats)> =
            self.pools.iter().map(|(name, pool)| (name.as_str(), pool.stats())).collect();
        let all = pools
            .iter()
            .flat_map(|(name, stats)| stats.classes.iter().map(move |class| (*name, *class)));
        let classes: Vec<(&str, String, ClassStats)> =
            all.map(|(name, class)| (name, class.class_bytes.to_string(), class)).collect();
        for metric in CLASS {
            let labels = |name, bytes| [("pool", name), ("class_bytes", bytes)];
            let samples =
                classes.iter().map(|(name, bytes, class)| (labels(*name, bytes.as_str()), *class));
            metric.encode(&mut encoder, samples)?;
        }
        for metric in DIRECT {
            metric.encode(
                &mut encoder,
                pools.iter().map(|(name, stats)| ([("pool", *name)], stats.direct)),
            )?;
        }
        Ok(())
    }
}

/// Receive queues by name, which is the label `queue`. It holds a [`Closer`] of each, which
/// outlives both ends.
///
/// ```
/// use prometheus_client::registry::Registry;
/// use slipring::metrics::Queues;
/// use slipring::queue::{QueueOptions, queue};
///
/// let (enqueuer, _dequeuer) = queue(slipring::class::default_pool(), QueueOptions::default())?;
/// let mut registry = Registry::default();
/// registry.register_collector(Box::new(Queues::default().with("stream 1", &enqueuer.closer())));
/// # Ok::<(), slipring::queue::QueueError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Queues {
    queues: Vec<(String, Closer)>,
}

impl Queues {
    /// Adds one. If another has its name, a number is added to the name: `name-2`.
    #[must_use]
    pub fn with(mut self, name: &str, queue: &Closer) -> Self {
        let name = distinct(name, self.queues.iter().map(|(name, _)| name.as_str()));
        self.queues.push((name, queue.clone()));
        self
    }
}

impl Collector for Queues {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let queues: Vec<(&str, QueueStats)> =
            self.queues.iter().map(|(name, queue)| (name.as_str(), queue.stats())).collect();
        for metric in QUEUE {
            metric.encode(
                &mut encoder,
                queues.iter().map(|(name, stats)| ([("queue", *name)], *stats)),
            )?;
        }
        Ok(())
    }
}

/// The name, with a number after it if another has it: a text must not have two series of one name.
pub(super) fn distinct<'a>(name: &str, others: impl Iterator<Item = &'a str> + Clone) -> String {
    let mut distinct = name.to_owned();
    let mut number = 2_u64;
    while others.clone().any(|other| other == distinct) {
        distinct = format!("{name}-{number}");
        number += 1;
    }
    distinct
}
