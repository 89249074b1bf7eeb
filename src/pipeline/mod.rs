//! Lanes. A lane is a pinned thread with its ring pool and its *pipeline*: a disruptor ring with
//! the stages of that ring. A *stage* is a consumer of the lane's events, and an *event* is what a
//! slot of the ring holds.
//!
//! The life cycle:
//!
//! 1. Specify: a [`LaneSpec`] names the stages in layers.
//! 2. Start ([`LaneSpec::start`]): the thread that will own the lane gets a [`Lane`], for that
//!    thread only, and [`Stage`] handles, which are Send.
//! 3. Publish: the thread claims slots with their memory, fills and pushes them and flushes. Or it
//!    pushes slices that it reserved or received before.
//! 4. Process: stages see [`View`]s, inline ([`Lane::attach`], or [`Stage::poll`] by hand) or on
//!    threads of their own ([`Stage::spawn`]). They read ahead with [`Held`] and write results into
//!    columns.
//! 5. Reclaim: once the lane sees that all stages have released an event, its memory is free again.
//! 6. Close ([`Lane::close`]): nothing more goes in, and the stages process what is in.
//!
//! ```
//! use std::time::Duration;
//! use slipring::pipeline::{LaneSpec, Outcome, StageSpec, View};
//! use slipring::ring::RingOptions;
//!
//! let pool = RingOptions { bytes: 1 << 20, ..RingOptions::default() };
//! let spec = LaneSpec::new(pool, 64).layer([StageSpec::thread("sum")]);
//! let mut started = spec.start::<u32>()?;
//! let stage = started.stages.remove("sum").expect("it was specified");
//! let sum = stage.spawn(|view: View<'_, u32>| {
//!     assert_eq!(view.bytes(), b"four");
//!     assert_eq!(*view.meta(), 7);
//!     Outcome::Done
//! })?;
//! let mut claim = started.lane.claim(4)?; // a slot and four bytes
//! claim.copy_from_slice(b"four");
//! claim.publish(7); // alone; a batch is pushed, then flushed
//! assert!(started.lane.close(Duration::from_secs(10)).is_drained());
//! assert_eq!(sum.join().processed, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To put the slices themselves into the ring, without stages and layers, use [`SliceRing`].
//!
//! Promises:
//!
//! - Claiming, reserving and publishing never wait for room and never spin.
//! - A panic releases nothing that wasn't processed, unless the policy is to continue without the
//!   stage.
//! - No wake-up is lost.
//! - No safe call, in any order, reads memory that is reused.
//! - In a forked child a lane is a copy without its stages' threads and with a pool of zeros. It
//!   may be dropped or closed, which waits for no lock of the parent and changes nothing there. To
//!   do work in the child, start another lane.
//!
//! Doesn't share a lane between producers (start more lanes), resize, or hand out the disruptor's
//! own closures over slots.
//!
//! # What doesn't compile
//!
//! A grant that is pushed without a slot. (A pool's own grant can be pushed. A lane's sequences are
//! slots of its ring, and [`Lane::claim`] claims both.)
//!
//! ```compile_fail,E0599
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! lane.reserve(8).unwrap().push();
//! ```
//!
//! Two grants at a time, and a lane that is dropped before its grant:
//!
//! ```compile_fail,E0499
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! let one = lane.reserve(8);
//! let two = lane.reserve(8);
//! drop((one, two));
//! ```
//!
//! ```compile_fail,E0505
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! let grant = lane.reserve(8).unwrap();
//! drop(lane);
//! let slice = grant.commit_all();
//! ```
//!
//! A slice used after it was published:
//!
//! ```compile_fail,E0382
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! let slice = lane.reserve(8).unwrap().commit_all();
//! lane.publish(slice, 1).unwrap();
//! assert_eq!(slice.len(), 8);
//! ```
//!
//! A view, or its bytes, that escapes from its handler:
//!
//! ```compile_fail,E0521
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! # let mut stage = stages.remove("a").unwrap();
//! let mut kept = Vec::new();
//! stage.poll(8, |view| {
//!     kept.push(view.bytes());
//!     Outcome::Done
//! });
//! ```
//!
//! A view that outlives the release of its `Held`:
//!
//! ```compile_fail,E0505
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! # let mut stage = stages.remove("a").unwrap();
//! let held = stage.read(8).unwrap().unwrap();
//! let view = held.views().next().unwrap();
//! stage.release(held).unwrap();
//! assert_eq!(view.bytes().len(), 8);
//! ```
//!
//! A row of a result column that outlives the release in the same way:
//!
//! ```compile_fail,E0505
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let (mut scores, _) = spec.column::<f32>("a", 1).unwrap();
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! # let mut stage = stages.remove("a").unwrap();
//! let held = stage.read(8).unwrap().unwrap();
//! let view = held.views().next().unwrap();
//! let row = scores.row(&view).unwrap();
//! stage.release(held).unwrap();
//! row[0] = 1.0;
//! ```
//!
//! A lane, a stage or a `Held` cloned:
//!
//! ```compile_fail,E0599
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! let second = lane.clone();
//! ```
//!
//! ```compile_fail,E0599
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! # let mut stage = stages.remove("a").unwrap();
//! let second = stage.clone();
//! ```
//!
//! ```compile_fail,E0599
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! # let mut stage = stages.remove("a").unwrap();
//! let held = stage.read(8).unwrap().unwrap();
//! let second = held.clone();
//! ```
//!
//! A lane, or one of its slices, on another thread:
//!
//! ```compile_fail,E0277
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! std::thread::spawn(move || drop(lane));
//! ```
//!
//! ```compile_fail,E0277
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! let slice = lane.reserve(8).unwrap().commit_all();
//! std::thread::spawn(move || drop(slice));
//! ```
//!
//! Metadata that isn't plain data:
//!
//! ```compile_fail,E0277
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! let started = spec.start::<String>();
//! ```
//!
//! Specifications, stages, held events and columns can be sent to other threads:
//!
//! ```
//! fn goes_to_threads<T: Send + 'static>() {}
//! goes_to_threads::<slipring::pipeline::LaneSpec>();
//! goes_to_threads::<slipring::pipeline::Stage<u32>>();
//! goes_to_threads::<slipring::pipeline::Held<u32>>();
//! goes_to_threads::<slipring::pipeline::ColumnWriter<f32>>();
//! goes_to_threads::<slipring::pipeline::ColumnReader<f32>>();
//! ```

mod column;
mod error;
mod event_ring;
mod flow;
mod inline;
mod lane;
mod lane_ring;
mod lane_wait;
mod policy;
mod shared;
mod slice_ring;
mod spec;
mod stage;
mod stage_thread;
mod state;
mod stats;
mod syscalls;
mod timing;
mod view;
mod wait;

#[cfg(all(test, not(loom)))]
mod tests;

pub use column::{ColumnError, ColumnReader, ColumnWriter};
pub use error::{
    Failure, LaneError, NotPublished, NotPushed, PublishRefusal, PushRefusal, Refused, Rejection,
    StageError, WrongPlacement,
};
pub use lane::{Lane, LaneGrant, Progress};
pub use lane_ring::Claim;
pub use policy::{BATCH_DEFAULT, Meta, PanicPolicy, Reclaim, StageSpec, Wait};
pub use slice_ring::{READERS_MAX, SliceReader, SliceRing, SliceView};
pub use spec::{LaneReport, LaneSpec, SLOTS_MAX, Stages, Started};
pub use stage::{Outcome, Polled, Stage};
pub use stage_thread::{SpawnError, StageReport, StageThread};
pub use stats::{CloseReport, LaneStats, LaneWatch, StageEnd, StageStats};
pub use timing::{StageActivity, StageTiming, ThreadTime};
pub use view::{Held, View};
pub use wait::Idle;
