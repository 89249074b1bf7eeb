//! Metrics: what lanes, class pools and receive queues count, for Prometheus and scrapers like it.
//!
//! [`Pools`], [`Queues`] and `Lanes` are collectors for a
//! [`Registry`](prometheus_client::registry::Registry) of the crate prometheus-client, beside what
//! else it holds. [`text`] is for programs without a registry. The text is OpenMetrics
//! (`application/openmetrics-text; version=1.0.0`), which Prometheus scrapes.
//!
//! Promises
//! - every figure of [`ClassStats`](crate::class::ClassStats),
//!   [`DirectStats`](crate::class::DirectStats), [`QueueStats`](crate::queue::QueueStats) and, with
//!   feature `pipeline`, of lanes and their stages, each with its help and unit;
//! - names, units and types that don't change within a version;
//! - no two series of one name, even if two pools are given the same name.
//!
//! It doesn't serve HTTP, and it has no history: a scrape reads a snapshot of each pool. That takes
//! the pool's locks for some dozens of loads, and stops no get or drop from a thread's own bin.
//!
//! The hit rate isn't exported, because it follows from two metrics that are:
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

mod collectors;
#[cfg(feature = "pipeline")]
mod lanes;
mod table;

#[cfg(all(test, not(loom)))]
mod tests;

pub use collectors::{Pools, Queues, text};
#[cfg(feature = "pipeline")]
pub use lanes::{Lanes, encode_latencies};
