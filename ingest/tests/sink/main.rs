//! The sink: its data folder, the log on it, a full disk, and reading segments back.

#[path = "../support/mod.rs"]
mod support;

mod columns;
mod folder;
mod full;
mod lane;
mod links;
mod log;
