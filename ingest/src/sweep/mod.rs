//! The window sweep, `slipring sweep`: which window is best on this machine, and how to set it.
//!
//! ```text
//!   a repeat of a window:  start a lane ─▶ warm up ─▶ │ reserve ─▶ write a payload ─▶ stage ─▶ flush a batch ... │ ─▶ wait for the last
//!                                                     │          the stage reads all of each payload            │
//! ```
//! The measured time of a repeat is the part between the bars and the wait. Repeats are interleaved
//! (each window once, then each again), and each starts its own lane, so the placement of its pages
//! is part of the spread. Every payload is checked by the stage: its length, its number, and the
//! sum of its words.
//!
//! It promises that the window it names as best is the smallest whose median is within 3 % of the
//! fastest. A smaller window leaves more of the cache to others.
//!
//! It doesn't know your service: the payload is the one that you specify, the stage only reads, and
//! whatever else runs on the machine affects the figures.
#![forbid(unsafe_code)]

mod error;
mod options;
mod payload;
mod plan;
mod report;
mod run;

pub use error::SweepError;
pub use options::{SweepOptions, WindowList};
pub use report::{SweepReport, WindowTimes};

use plan::Plan;

/// Runs the sweep and blocks until it ends. `told` gets each thing that wasn't granted, in words,
/// once.
///
/// # Errors
/// An invalid option, if possible before anything is mapped; a refusal of the system; or a payload
/// that didn't arrive as written.
pub fn run(options: &SweepOptions, mut told: impl FnMut(&str)) -> Result<SweepReport, SweepError> {
    let plan = Plan::new(options)?;
    plan.notes.iter().for_each(|note| told(note));
    // The default comes first: a lane with it runs a few payloads, so that a refusal comes before
    // the long part.
    let first = run::repeat(&plan, None, plan.slots as u64)?;
    first.downgrades.iter().for_each(|downgrade| told(downgrade));
    let mut windows: Vec<WindowTimes> =
        plan.windows.iter().map(|&window_bytes| WindowTimes::new(window_bytes)).collect();
    for _ in 0..options.repeats {
        for window in &mut windows {
            window.add(run::repeat(&plan, Some(window.window_bytes), options.events)?.ns_per_event);
        }
    }
    Ok(SweepReport::new(&plan, windows, first.window_bytes))
}
