//! [`Queues`]: receive queues as a collector.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::table::QUEUE;
use super::{distinct, family};
use crate::queue::{Closer, QueueStats};

/// Receive queues under names, which are the label `queue`. It holds a [`Closer`] of each, which
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
    /// These and one more. Where its name is taken, a number is added to it: `name-2`.
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
            family(
                &mut encoder,
                metric,
                queues.iter().map(|(name, stats)| ([("queue", *name)], *stats)),
            )?;
        }
        Ok(())
    }
}
