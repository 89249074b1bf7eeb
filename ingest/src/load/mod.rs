//! The load generator, `slipring load`: sends vectors, checks every answer, reports rates and
//! latencies.
//!
//! A run opens all connections, fills every connection's window, checks off answers in order,
//! closes the sending halves, and reads to the end.
//!
//! It promises: a report means that every request was answered exactly once, in order, with the
//! right count, and with `--verify` the right scores; everything else is an error that names the
//! connection and the request. The same seed and options send the same requests on every
//! connection. Memory is bounded by [`LoadOptions::check`] before the first connection.
//!
//! It can't measure fairly a service that shares its cores: pin both. Without `--rate` it is a
//! closed loop, whose latencies omit the requests that a stall kept from being sent. With `--rate`,
//! latencies count from the intended send times, and a thread spins if its next request is due
//! within a millisecond.
//!
//! There are no modes, only options. Usual recipes, after
//! `slipring load --to 127.0.0.1:9900 --dim 128`:
//!
//! | what for | options |
//! |---|---|
//! | smoke: does it work at all | `--connections 1 --window 1 --count 100 --verify` |
//! | pipeline: order and borders of frames | `--connections 8 --window 256 --vectors 1-8 --count 1000000 --verify` |
//! | bench: the most it takes | `--connections 4 --window 32 --vectors 8 --duration 10s --warmup 1s` |
//! | latency: one at a time | `--connections 1 --window 1 --duration 10s` |
//! | sustain: a rate, stalls counted | `--rate 50000 --window 1024 --duration 10m --warmup 5s` |
#![forbid(unsafe_code)]

pub(crate) mod check;
mod connection;
mod draw;
mod error;
pub(crate) mod fvecs;
pub(crate) mod npy;
mod options;
mod report;
mod rows;
mod schedule;
mod source;
mod tally;
pub(crate) mod target;
mod worker;

#[cfg(test)]
mod tests;

pub use crate::stage::Score;
pub use error::{Fault, FileError, LoadError};
pub use options::{
    BUFFERS_BYTES_MAX, CONNECTIONS_MAX, LoadOptions, THREADS_MAX, VectorRange, WINDOW_MAX,
};
pub use report::LoadReport;
pub use rows::{FILE_BYTES_MAX, Rows};
pub use tally::{Refusals, Total};
pub use target::Target;

use std::sync::OnceLock;
use std::thread;
use std::time::Instant;

use connection::Connection;
use source::Source;
use tally::Tally;
use worker::{Plan, Worker};

/// Runs a load with the vectors that the options name. Blocks until it ends; see [`LoadError`] for
/// how it can fail.
pub fn run(options: &LoadOptions) -> Result<LoadReport, LoadError> {
    options.check()?;
    let rows = match &options.file {
        Some(path) => Rows::from_file(path, options.dim)
            .map_err(|error| LoadError::File { path: path.clone(), error })?,
        None => Rows::generated(options.dim, options.seed),
    };
    run_rows(options, rows)
}

/// Runs a load with these vectors, whatever `options.file` says.
pub fn run_rows(options: &LoadOptions, rows: Rows) -> Result<LoadReport, LoadError> {
    options.check()?;
    if rows.dim() != options.dim {
        let (value, limit) =
            (options.dim.to_string(), format!("the vectors have {} components", rows.dim()));
        return Err(LoadError::Option { field: "dim", value, limit, fix: "pass their dimension" });
    }
    let source = Source::new(rows, options.score);
    let mut streams = Vec::with_capacity(options.connections as usize);
    for connection in 0..options.connections {
        let stream = options.to.connect(options.timeout);
        streams.push(stream.map_err(|error| LoadError::Connect {
            connection,
            to: options.to.to_string(),
            error,
        })?);
    }
    // The clock starts when the last connection is established, so that connecting isn't part of
    // any latency.
    let plan =
        Plan { options: options.clone(), source, start: Instant::now(), failed: OnceLock::new() };
    let mut groups: Vec<Vec<Connection>> = (0..options.threads).map(|_| Vec::new()).collect();
    for (connection, stream) in (0..).zip(streams) {
        let first = plan.row_first(connection);
        groups[(connection % options.threads) as usize]
            .push(Connection::new(&plan, connection, stream, first));
    }
    let tally = run_groups(&plan, groups)?;
    Ok(LoadReport::new(options, &tally))
}

/// One thread per group. The first error wins, on whatever thread.
fn run_groups(plan: &Plan, groups: Vec<Vec<Connection>>) -> Result<Tally, LoadError> {
    let workers =
        groups.into_iter().map(|group| Worker::new(plan, group)).collect::<Result<Vec<_>, _>>()?;
    let results: Vec<Result<Tally, LoadError>> = thread::scope(|scope| {
        let threads: Vec<_> =
            workers.into_iter().map(|worker| scope.spawn(|| worker.run())).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut total = Tally::new();
    for result in results {
        total.merge(&result?);
    }
    Ok(total)
}
