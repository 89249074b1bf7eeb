//! The demonstration, `slipring demo`: a service and its clients in one process, with every answer
//! and every stored vector checked.
//!
//! The life cycle: [`run`] creates a data folder, starts a service on a free loopback port with the
//! command line's defaults, sends the 1797 digits of `examples/data/` one at a time and then a
//! mixed load, stops the service, reads the segments back and checks them ([`DemoReport`]).
//!
//! It promises: if [`DemoReport::is_verified`] is true, all vectors that were sent were answered
//! correctly, once and in order, and the segments have the same number of vectors with the same
//! sum, and the digits bit for bit. The folder stays for inspection; it is removed if the run is
//! interrupted or doesn't start.
//!
//! It doesn't measure what a machine can do: service, sink and load share its CPUs, and the mixed
//! load makes requests wait on purpose.
#![forbid(unsafe_code)]

mod folder;
mod options;
mod report;
mod run;
mod service;
mod text;

pub use options::{DemoError, DemoOptions};
pub use report::{DemoCheck, DemoReport};
pub use run::run;
