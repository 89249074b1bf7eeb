//! The slipring service as a library; the binary `slipring` is a thin shell over it.
//!
//! It uses only the public API of the library `slipring`.

#[cfg(not(target_endian = "little"))]
compile_error!("the wire and the segments are little-endian; big-endian machines aren't supported");

pub mod cli;
pub mod client;
pub mod demo;
#[cfg(feature = "objects")]
pub mod get;
#[cfg(feature = "objects")]
mod heap;
pub mod io;
pub mod latency;
mod line_writer;
pub mod load;
pub mod log;
pub mod log_command;
mod notice;
mod printable;
pub mod server;
mod signals;
pub mod sink;
pub mod stage;
pub mod sweep;
pub mod units;
mod usage;
pub mod vectors;
pub mod wire;
