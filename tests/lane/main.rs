//! Real lanes: a loop over events whose stages fail, the edges of waking, and sustained load.

#[path = "../lane_feed/mod.rs"]
mod lane_feed;
mod loops;
mod sustained;
mod wakes;
