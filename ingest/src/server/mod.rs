//! The service: lanes that share a port and nothing else.
//!
//! The life of a service, in order:
//! 1. [`ServeOptions`] are checked and completed from the machine.
//! 2. [`Server::start`] locks the data folder, binds the listeners, and starts each lane on its own
//!    pinned thread.
//! 3. While it runs, `/metrics`, `/healthz` and `/readyz` are served on the operator's port, and
//!    figures are printed if `--report-every` asks for them.
//! 4. [`Server::stop`] drains all lanes within one deadline and reports the outcome of every vector
//!    ([`Totals`]).

mod admin;
mod lane_thread;
mod listen;
mod log_plan;
mod memory;
mod metrics;
mod options;
mod plan;
mod report;
mod service;
mod writer;

pub use options::{
    DirectWord, DiskErrorWord, Node, ReclaimWord, ServeError, ServeOptions, SinkWord, StagesWord,
    WaitWord,
};
pub use report::Totals;
pub use service::Server;
