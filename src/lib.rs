//! Memory that moves with the ring.

#[cfg(feature = "pipeline")]
pub mod pipeline;
pub mod region;
pub mod ring;
mod sync;
