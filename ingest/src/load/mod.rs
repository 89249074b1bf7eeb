//! The load generator, `slipring load`: sends vectors, checks every answer, reports rates and
//! latencies.
//!
//! The life cycle: [`run`] opens all connections, keeps its requests in flight, checks answers in
//! order, closes the sending halves, and reads to the end ([`LoadReport`]).
//!
//! It promises: a report means that every request was answered exactly once, in order, with the
//! right count, and with `--verify` the right scores and rows of its own; everything else is an
//! error that names the connection and the request. Whether what the report says is good enough is
//! another question, which [`LoadReport::failures`] answers. A run that breaks, because the server
//! dies under it for example, gives its error with the report of what was answered until then
//! ([`BrokenLoad`]). The same seed and options send the
//! same requests on every connection. Memory is bounded by [`LoadOptions::check`] before the first
//! connection.
//!
//! It can't fairly measure a service that shares its cores: pin both. Without `--rate` it is a
//! closed loop, whose latencies omit the requests that a stall delayed. With `--rate`,
//! latencies count from the intended send times, and a thread spins if its next request is due
//! within a millisecond.
//!
//! There are no modes, only options. Usual recipes, after
//! `slipring load --to 127.0.0.1:9900 --dim 128`:
//!
//! | purpose | options |
//! |---|---|
//! | smoke test: whether it works at all | `--connections 1 --in-flight 1 --count 100 --verify` |
//! | correctness: order and frame boundaries | `--connections 8 --in-flight 256 --vectors 1-8 --count 1000000 --verify` |
//! | throughput: the highest rate | `--connections 4 --in-flight 32 --vectors 8 --duration 10s --warmup 1s` |
//! | latency: one request at a time | `--connections 1 --in-flight 1 --duration 10s` |
//! | endurance: a fixed rate, with stalls counted | `--rate 50000 --in-flight 1024 --duration 10m --warmup 5s` |
#![forbid(unsafe_code)]

mod broken;
mod connection;
mod error;
mod named_rows;
mod options;
mod plan;
mod report;
mod run;
mod schedule;
mod verdict;

#[cfg(test)]
mod tests;

pub use crate::stage::Score;
pub use broken::BrokenLoad;
pub use error::{ConnectionError, LoadError};
pub use options::{
    BUFFERS_BYTES_MAX, CONNECTIONS_MAX, IN_FLIGHT_MAX, LoadOptions, THREADS_MAX, VectorRange,
};
pub use report::{LoadReport, Refusals, Total};
pub use run::{run, run_rows};
pub use verdict::{LoadFailure, RateShortfall};
