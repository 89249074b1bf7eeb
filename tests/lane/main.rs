//! Real lanes: a loop over events whose stages fail, the edges of waking, and sustained load.

#[path = "../lanes/mod.rs"]
mod lanes;
mod loops;
mod sustained;
mod wakes;
