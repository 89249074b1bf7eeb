//! [`Pools`]: class pools as a collector.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::table::{CLASS, DIRECT};
use super::{distinct, family};
use crate::class::{ClassPool, ClassPoolStats, ClassStats};

/// Class pools under names, which are the label `pool`. It holds a handle of each, so the pools
/// live as long as it does.
///
/// All pools of a registry belong in one collector, because a text has each metric's header only
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
    /// These and one more. Where its name is taken, a number is added to it: `name-2`.
    #[must_use]
    pub fn with(mut self, name: &str, pool: &ClassPool) -> Self {
        let name = distinct(name, self.pools.iter().map(|(name, _)| name.as_str()));
        self.pools.push((name, pool.clone()));
        self
    }
}

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        // Each is looked at once: its figures fit each other.
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
            family(&mut encoder, metric, samples)?;
        }
        for metric in DIRECT {
            family(
                &mut encoder,
                metric,
                pools.iter().map(|(name, stats)| ([("pool", *name)], stats.direct)),
            )?;
        }
        Ok(())
    }
}
