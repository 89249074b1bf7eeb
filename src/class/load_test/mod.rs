//! [`LoadTest`]: many threads on a class pool of the caller's, mixed lengths, every payload
//! verified, and a hit rate that must be reached.
//!
//! ```text
//!   each worker: warm-up ──▶ all wait ──▶ the counters begin ──▶ the given time ──▶ the counters end
//!   an operation: get ──▶ write all ──▶ hold 4 ──▶ verify all ──▶ drop
//!                 one buffer in 8 goes to the next worker, who verifies and drops it
//! ```
//!
//! - Figures are those of the measured time; nobody's counters are reset for them.
//! - A worker at a limit gives back what it holds before it waits: a limit of one buffer is slow,
//!   and doesn't hang. Where others hold all buffers for longer than five seconds and than the
//!   test, it is an error.
//! - Between the counters the test itself takes nothing from the allocator.
//!
//! It doesn't warm the pool's memory up: that is [`ClassPool::warm_up`]'s. It can't tell its own
//! gets from those of others that use the pool at the same time.
#![forbid(unsafe_code)]

mod error;
mod options;
mod report;
mod workers;

use super::pool::ClassPool;

pub use error::LoadTestError;
pub use options::LoadTest;
pub use report::LoadTestReport;

impl LoadTest {
    /// Runs the test and blocks until all of its threads have ended.
    ///
    /// # Errors
    /// [`LoadTestError`]: a field that doesn't fit, a get that failed, a payload that isn't what
    /// was written, or a hit rate below [`LoadTest::min_hit_rate`], with the report.
    pub fn run(&self, pool: &ClassPool) -> Result<LoadTestReport, LoadTestError> {
        self.run_between(pool, || (), || ())
    }

    /// As [`LoadTest::run`], with calls on this thread for a measurement of the caller's: `begun`
    /// when all workers are warm and wait, `ended` when the time is over and they still run.
    /// Neither is called where the test doesn't come so far.
    ///
    /// # Errors
    /// As `run`.
    pub fn run_between(
        &self,
        pool: &ClassPool,
        begun: impl FnOnce(),
        ended: impl FnOnce(),
    ) -> Result<LoadTestReport, LoadTestError> {
        self.check(pool.table())?;
        let report = workers::run(self, pool, begun, ended)?;
        if report.operations == 0 {
            return Err(LoadTestError::NoOperation { duration: self.duration });
        }
        if report.hit_rate() < self.min_hit_rate {
            return Err(LoadTestError::HitRate { report: Box::new(report) });
        }
        Ok(report)
    }
}

/// Not under Miri: they run by the clock, and what is beneath them runs there by the pool's own
/// tests.
#[cfg(all(test, not(any(loom, miri))))]
mod tests;
