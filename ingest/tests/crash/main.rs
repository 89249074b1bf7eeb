//! The real binary, killed under load or traced: what it has answered as stored is on the disk.

#[path = "../support/mod.rs"]
mod support;

mod kills;
mod ledger;
mod order;
mod trace;
