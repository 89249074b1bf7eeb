//! What is asked of a load test: [`LoadTest`], checked in one place.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use super::error::LoadTestError;
use crate::class::ClassTable;

/// Buffers that a worker holds.
pub(super) const HELD: usize = 4;
/// The most threads of one test.
const WORKERS_MAX: usize = 10_000;

/// What a load test does. Every field has a default; [`LoadTest::run`] checks them all.
///
/// ```
/// use std::time::Duration;
/// use slipring::class::{ClassOptions, ClassPool, LoadTest};
///
/// let pool = ClassPool::new(&ClassOptions::default())?;
/// let test = LoadTest { workers: 2, duration: Duration::from_millis(20), ..LoadTest::default() };
/// pool.warm_up(test.buffers_max())?;
/// let report = test.run(&pool)?;
/// assert!(report.hit_rate() >= 0.95);
/// println!("{report}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LoadTest {
    /// How long the counters run, more than nothing. Default 10 s.
    pub duration: Duration,
    /// Threads that get and drop, 1 to 10,000. Default 100.
    pub workers: usize,
    /// Bytes that are asked for: each operation draws one of these sizes, and then a length of the
    /// size's class up to it. Each fits into a class of the pool. Default those of
    /// [`ClassTable::wire`].
    pub sizes: Vec<usize>,
    /// How often each payload is verified before its buffer goes back, at least once. Default 1.
    pub operations_per_buffer: u32,
    /// The least hit rate that passes, from 0 to 1. Default 0.95.
    pub min_hit_rate: f64,
    /// Operations of each worker before the counters begin. Default 2000; with 0 the first gets
    /// count.
    pub warm_up_operations: u32,
}

impl Default for LoadTest {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(10),
            workers: 100,
            sizes: ClassTable::wire().sizes().to_vec(),
            operations_per_buffer: 1,
            min_hit_rate: 0.95,
            warm_up_operations: 2000,
        }
    }
}

impl LoadTest {
    /// Most buffers of one class that the workers have at once: what to warm up, and the limit from
    /// which on nobody waits.
    #[must_use]
    pub fn buffers_max(&self) -> usize {
        // What each holds, one in its hand, and one that its neighbour left for it.
        self.workers.saturating_mul(HELD + 2)
    }

    pub(super) fn check(&self, table: &ClassTable) -> Result<(), LoadTestError> {
        let refused = |field, value: &dyn fmt::Debug, limit: String| {
            Err(LoadTestError::Field { field, value: format!("{value:?}"), limit })
        };
        if self.duration.is_zero() {
            return refused("duration", &self.duration, "more than nothing".to_owned());
        }
        if !(1..=WORKERS_MAX).contains(&self.workers) {
            return refused("workers", &self.workers, format!("1 to {WORKERS_MAX}"));
        }
        let largest_bytes = table.sizes()[table.sizes().len() - 1];
        let fits = |size: usize| size > 0 && table.class_of(size).is_some();
        if self.sizes.is_empty() {
            return refused(
                "sizes",
                &self.sizes,
                format!("one size or more, of 1 to {largest_bytes} bytes"),
            );
        }
        if let Some(size) = self.sizes.iter().find(|&&size| !fits(size)) {
            return refused(
                "sizes",
                size,
                format!("1 to {largest_bytes} bytes, the pool's largest class"),
            );
        }
        if self.operations_per_buffer == 0 {
            return refused(
                "operations_per_buffer",
                &self.operations_per_buffer,
                "1 or more".to_owned(),
            );
        }
        if !(0.0..=1.0).contains(&self.min_hit_rate) {
            return refused("min_hit_rate", &self.min_hit_rate, "0 to 1".to_owned());
        }
        Ok(())
    }
}
