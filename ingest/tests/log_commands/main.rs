//! `slipring log ls | verify | cat | repair`, as a person runs them: on folders that are empty,
//! whole, live, torn, damaged, of an earlier version, and no data folders at all.

#[path = "../support/mod.rs"]
mod support;

mod build;
mod cat;
mod flips;
mod live;
mod old;
mod repair;
mod usage;
mod verify;
