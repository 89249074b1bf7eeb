//! The service on real sockets, in this process: what it answers, in which order, and what it
//! refuses.

#[path = "../serve_support/mod.rs"]
mod support;

mod bad_input;
mod caps;
mod clients;
mod frames;
mod memory;
mod order;
mod shapes;
