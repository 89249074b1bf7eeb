//! The service on real sockets, in this process: what it answers, in which order, and what it
//! refuses.

#[path = "../support/mod.rs"]
mod support;

mod acks;
mod caps;
mod columns;
mod frames;
mod hello;
mod order;
mod peers;
mod producers;
mod shapes;

use slipring_ingest::wire::frames::Mode;

/// Every mode that a connection may choose.
const MODES: [Mode; 3] = [Mode::Count, Mode::Header1, Mode::Header];
