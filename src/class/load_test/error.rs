//! Why a load test didn't run, or didn't pass.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::time::Duration;

use super::report::LoadTestReport;
use crate::class::GetError;

/// Why a load test didn't run, or didn't pass.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadTestError {
    /// A field that doesn't fit; nothing was run.
    Field {
        /// Its name in [`LoadTest`](super::LoadTest).
        field: &'static str,
        /// What was given.
        value: String,
        /// What fits.
        limit: String,
    },
    /// The system has no thread for a worker.
    Thread {
        /// Workers that have one.
        started: usize,
        /// Workers asked for.
        workers: usize,
        /// What the system said.
        cause: io::Error,
    },
    /// A worker got no buffer, for another reason than a limit.
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
        /// Bytes that were written.
        len: usize,
    },
    /// The time was over before a worker came to an operation.
    NoOperation {
        /// That time.
        duration: Duration,
    },
    /// Everything went well, and the hit rate is too low.
    HitRate {
        /// With both rates.
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
                write!(
                    f,
                    "no worker came to an operation in {duration:?}: give a longer `duration`"
                )
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
