//! `slipring get`, the real binary, against files, a small HTTP server and a real service.

#[path = "../support/mod.rs"]
mod support;

mod arrow;
mod files;
mod ids;
mod ingest;
mod large;
mod tools;
mod urls;
