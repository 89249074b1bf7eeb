//! The service as a process: exit codes, signals, limits, disks and what stands in its way.

#[path = "../support/mod.rs"]
mod support;

mod figures;
mod limits;
mod stop;
mod usage;
