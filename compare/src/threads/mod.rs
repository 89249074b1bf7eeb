//! What the families on two threads share: the two CPUs and their distance, the waiting publisher
//! and the checking reader, and the channels of other crates.

mod channel;
mod cpus;
mod reader;

pub use channel::{Channel, Crossbeam, Flume, Kanal, Rtrb, StdMpsc};
pub use cpus::{Cpus, Placed, join, round_trip_ns};
pub use reader::{Idle, Patience, Reader, Tally, Words};
