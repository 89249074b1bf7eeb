//! What a load test came to: [`LoadTestReport`].
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use crate::class::ClassPoolStats;

/// What a load test came to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoadTestReport {
    /// Threads that ran.
    pub workers: usize,
    /// Gets whose buffers were written; each payload was verified before its buffer went back.
    pub operations: u64,
    /// From the counters' begin to the end of the last worker.
    pub elapsed: Duration,
    /// What was asked for: [`LoadTest::min_hit_rate`](super::LoadTest::min_hit_rate).
    pub min_hit_rate: f64,
    /// What the pool counted in that time; its gauges are those of the end.
    pub stats: ClassPoolStats,
}

impl LoadTestReport {
    /// Hits of all gets, from 0 to 1: a hit is a get that found a buffer with pages.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        self.stats.hit_rate()
    }

    /// Operations of all workers in a second.
    #[must_use]
    pub fn operations_per_second(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl fmt::Display for LoadTestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, operations, elapsed, min_hit_rate, stats } = self;
        let rate = self.operations_per_second();
        writeln!(
            f,
            "{workers} workers in {elapsed:.1?}: {operations} operations, {rate:.0} a second, every payload verified"
        )?;
        write!(f, "{stats}; {:.3} % are asked for", 100.0 * min_hit_rate)
    }
}
