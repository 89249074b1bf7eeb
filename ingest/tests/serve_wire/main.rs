//! The service on real sockets, in this process: what it answers, in which order, and what it
//! refuses.

#[path = "../support/mod.rs"]
mod support;

mod caps;
mod frames;
mod order;
mod peers;
mod shapes;
