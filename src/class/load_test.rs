//! [`LoadTest`]: many threads on one class pool, mixed lengths, every payload verified, and a hit
//! rate that must be reached.
//!
//! ```text
//!   each worker: warm-up ──▶ all wait ──▶ the counters begin ──▶ the given time ──▶ the counters end
//!   an operation: get ──▶ write all ──▶ hold 4 ──▶ verify all ──▶ drop
//!                 one buffer in 8 goes to the next worker, which verifies and drops it
//! ```
//!
//! - The figures are those of the measured time. The pool's counters aren't reset for them.
//! - A worker at a limit gives back what it holds before it waits. So a test with a limit of one
//!   buffer is slow, but ends. If others hold all buffers for longer than five seconds and longer
//!   than the test, that is an error.
//! - While the counters run, the test itself allocates nothing.
//!
//! It doesn't warm up the pool's memory: that is
//! [`ClassPool::warm_up`](super::ClassPool::warm_up)'s task. It can't distinguish its gets from
//! those of others that use the pool at the same time.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::time::Duration;

use super::get::GetError;
use super::options::ClassTable;
use super::stats::ClassPoolStats;

mod workers;

/// The number of buffers that a worker holds.
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
    /// How long the counters run; more than zero. Default 10 s.
    pub duration: Duration,
    /// The number of threads that get and drop, 1 to 10,000. Default 100.
    pub workers: usize,
    /// The sizes to get, in bytes. Each operation draws one of them, and then a length up to it
    /// that belongs to the same class. Each must fit into a class of the pool. Default: those of
    /// [`ClassTable::wire`].
    pub sizes: Vec<usize>,
    /// How often each payload is verified before its buffer goes back; at least once. Default 1.
    pub operations_per_buffer: u32,
    /// The lowest hit rate that passes, from 0 to 1. Default 0.95.
    pub min_hit_rate: f64,
    /// Operations of each worker before the counters begin. Default 2000. With 0, the first gets
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
    /// The most buffers of one class that the workers have at a time: how many to warm up, and the
    /// smallest limit at which no worker waits.
    #[must_use]
    pub fn buffers_max(&self) -> usize {
        // What each holds, one that it has just got, and one that its neighbour left for it.
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

/// The result of a load test.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoadTestReport {
    /// The number of threads that ran.
    pub workers: usize,
    /// Gets whose buffers were written. Each payload was verified before its buffer went back.
    pub operations: u64,
    /// The time from the start of the counters to the end of the last worker.
    pub elapsed: Duration,
    /// The rate to reach: [`LoadTest::min_hit_rate`].
    pub min_hit_rate: f64,
    /// What the pool counted in that time. The gauges are those at the end.
    pub stats: ClassPoolStats,
}

impl LoadTestReport {
    /// The share of hits among all gets, from 0 to 1. A hit is a get that found a buffer with
    /// pages.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        self.stats.hit_rate()
    }

    /// Operations of all workers per second.
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
            "{workers} workers in {elapsed:.1?}: {operations} operations, {rate:.0} per second, every payload verified"
        )?;
        write!(f, "{stats}; {:.3} % are asked for", 100.0 * min_hit_rate)
    }
}

/// Why a load test didn't run, or didn't pass.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadTestError {
    /// A field doesn't fit. No thread was started.
    Field {
        /// Its name in [`LoadTest`].
        field: &'static str,
        /// Its value.
        value: String,
        /// The values that fit.
        limit: String,
    },
    /// The system has no thread for a worker.
    Thread {
        /// The number of workers that have one.
        started: usize,
        /// The number of workers asked for.
        workers: usize,
        /// The system's error.
        cause: io::Error,
    },
    /// A worker got no buffer: the get failed, or others held all buffers for too long.
    Get {
        /// The worker, from 0 on.
        worker: usize,
        /// The worker's operation, from 0 on.
        operation: u64,
        /// Why.
        cause: GetError,
    },
    /// A payload isn't what was written: its buffer has two owners.
    Corrupt {
        /// The worker that wrote it.
        worker: usize,
        /// Its operation.
        operation: u64,
        /// The number of bytes that it wrote.
        len: usize,
    },
    /// The time was over before any worker began an operation.
    NoOperation {
        /// The test's duration.
        duration: Duration,
    },
    /// All payloads were right, but the hit rate is too low.
    HitRate {
        /// It has both rates.
        report: Box<LoadTestReport>,
    },
}

impl fmt::Display for LoadTestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { field, value, limit } => write!(f, "`{field}` is {value}: give {limit}"),
            Self::Thread { started, workers, cause } => {
                write!(f, "no thread after {started} of {workers} `workers`: {cause}; give fewer")
            }
            Self::Get { worker, operation, cause } => {
                write!(f, "operation {operation} of worker {worker} got no buffer: {cause}")
            }
            Self::Corrupt { worker, operation, len } => write!(
                f,
                "a buffer of {len} bytes doesn't hold what operation {operation} of worker {worker} wrote: it has two owners"
            ),
            Self::NoOperation { duration } => {
                write!(f, "no worker began an operation in {duration:?}: give a longer `duration`")
            }
            Self::HitRate { report } => write!(
                f,
                "a hit rate of {:.4} % is below the {:.4} % of `min_hit_rate`: warm the pool up, or raise its `limit` or `cache_bytes`",
                100.0 * report.hit_rate(),
                100.0 * report.min_hit_rate
            ),
        }
    }
}

impl std::error::Error for LoadTestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Thread { cause, .. } => Some(cause),
            Self::Get { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

/// Not under Miri: the tests run by the clock, and the pool's own tests run under Miri what is
/// beneath them.
#[cfg(all(test, not(any(loom, miri))))]
mod tests;
