//! The service as a process: exit codes, signals, limits, disks and what stands in its way.

#[path = "../serve_support/mod.rs"]
mod support;

mod figures;
mod full_disk;
mod hint;
mod limits;
mod sockets;
mod stop;
mod usage;
