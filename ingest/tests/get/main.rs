//! `slipring get`, the real binary, against files, a small HTTP server and a real service.

#[path = "../serve_support/mod.rs"]
mod support;

mod command;
mod false_service;
mod files;
mod http;
mod images;
mod interrupt;
mod service;
mod usage;
