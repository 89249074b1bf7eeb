//! The receive queue.
mod end;
mod inlet;
mod outlet;
mod ring;
mod shared;

#[cfg(all(test, loom))]
mod loom_tests;
