//! The window sweep, `slipring sweep`: which window is best on this machine, and how to set it.
//!
//! ```text
//!   a repeat of a window:  start a lane ─▶ warm up ─▶ │ reserve ─▶ write a payload ─▶ push ─▶ flush a batch ...  │ ─▶ wait for the last
//!                                                     │          the stage reads all of each payload             │
//! ```
//! The measured time of a repeat is the part between the bars and the wait. Repeats are interleaved
//! (each window once, then each again), and each starts its own lane, so the placement of its pages
//! is part of the spread. Every payload is checked by the stage: its length, its number, and the
//! sum of its words.
//!
//! It promises: the window that it names as best is the smallest whose median is within 3 % of the
//! fastest. A smaller window leaves more of the cache to others. It recommends none if the middle
//! half of that window's repeats reaches the median of a window that isn't as good: then another
//! sweep might name another.
//!
//! It doesn't know your service: the payload is the one that you specify, the stage only reads, and
//! everything else that runs on the machine affects the figures.
#![forbid(unsafe_code)]

mod options;
mod report;
mod run;

pub use options::{SweepError, SweepOptions, WindowList};
pub use report::{SweepReport, WindowTimes};
pub use run::run;
