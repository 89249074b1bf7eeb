//! The log on a simulated disk, its bytes, and its page.

mod bytes;
mod commits;
mod damage;
mod page;
mod random;
mod rows;
mod sim_disk;
mod simulation;
