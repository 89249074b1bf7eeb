//! The sink: its data folder, the segment log, a full disk, and reading segments back.

#[path = "../support/mod.rs"]
mod support;

mod columns;
mod folder;
mod full;
mod links;
mod log;
