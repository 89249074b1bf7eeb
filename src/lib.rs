//! Memory that moves with the ring.

pub mod region;
pub mod ring;
#[cfg(feature = "pipeline")]
pub mod pipeline;
mod sync;
