//! Lanes: a pinned thread, its pool, its disruptor and the stages behind it.
//!
//! By life cycle: a [`LaneSpec`] names the stages in layers and is started on the thread that will own the lane
//! ([`LaneSpec::start`]), which gives a [`Lane`] (for that thread only) and [`Stage`] handles (Send). The thread reserves, fills and
//! stages slices and flushes them; stages see [`View`]s, inline ([`Lane::attach`], or [`Stage::poll`] by hand) or on threads
//! ([`Stage::spawn`]), read ahead with [`Held`] and leave results in columns; the lane's reclaimer learns what all have
//! passed, and the memory is free again. [`Lane::close`] drains it.
//!
//! ```
//! use std::time::Duration;
//! use slipring::pipeline::{LaneSpec, Outcome, StageSpec, View};
//! use slipring::ring::PoolOptions;
//!
//! let pool = PoolOptions { bytes: 1 << 20, ..PoolOptions::default() };
//! let spec = LaneSpec::new(pool, 64).layer([StageSpec::thread("sum")]);
//! let mut started = spec.start::<u32>()?;
//! let stage = started.stages.take("sum").expect("it was specified");
//! let sum = stage.spawn(|view: View<'_, u32>| {
//!     assert_eq!(view.bytes(), b"four");
//!     assert_eq!(*view.meta(), 7);
//!     Outcome::Done
//! })?;
//! let mut grant = started.lane.reserve(4)?;
//! grant.copy_from_slice(b"four");
//! let slice = grant.commit_all();
//! started.lane.publish(slice, 7)?;
//! assert!(started.lane.close(Duration::from_secs(10)).is_drained());
//! assert_eq!(sum.join().processed, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It promises: the producer never blocks and never spins; a panic releases nothing that wasn't processed; no wake-up is
//! lost; no safe call, in any order, reads memory that is reused.
//!
//! It doesn't: share a lane between producers (start more lanes), resize, or hand out the disruptor's own closures over slots.

mod close;
mod column;
mod error;
mod event;
mod held;
mod idle;
mod inline;
mod lane;
mod pin;
mod poller;
mod run;
mod shared;
mod sleep;
mod slot;
mod spec;
mod stage;
mod start;
mod stats;
mod view;
mod wake;

#[cfg(all(test, not(loom)))]
mod tests;

pub use close::CloseReport;
pub use column::{ColumnError, ColumnReader, ColumnWriter};
pub use error::{LaneError, NotStaged, StageError, StageRefusal, WrongPlacement};
pub use held::Held;
pub use idle::Idle;
pub use lane::{Lane, Progress};
pub use pin::{CpuMask, PinDowngrade, PinError, PinPolicy, PinReport, pin_current, unpin_current};
pub use run::{SpawnError, StageReport, StageThread};
pub use shared::Failure;
pub use slot::Meta;
pub use spec::{BATCH_DEFAULT, LaneSpec, PanicPolicy, Placement, Reclaim, SLOTS_MAX, StageSpec, Wait};
pub use stage::{Outcome, Polled, Stage};
pub use start::{LaneReport, Stages, Started};
pub use stats::{LaneStats, StageStats};
pub use view::View;
