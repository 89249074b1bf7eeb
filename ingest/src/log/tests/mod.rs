//! The log on a simulated disk, its bytes, and its page.

mod bytes;
mod commits;
mod damage;
mod earlier;
mod merges;
mod page;
mod producer_crashes;
mod producers;
mod random;
mod real;
mod retention;
mod rows;
mod sim_disk;
mod simulation;
