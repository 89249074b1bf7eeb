//! The service as a process: exit codes, signals, limits, disks, and conflicts with other services.

#[path = "../support/mod.rs"]
mod support;

mod disks;
mod figures;
mod folder;
mod limits;
mod log;
mod producers;
mod retention;
mod stop;
mod times;
mod usage;
