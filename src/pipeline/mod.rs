//! Lanes. A lane is a pinned thread with its pool, its disruptor ring and the stages of that ring.
//!
//! The life cycle: a [`LaneSpec`] names the stages in layers. The thread that will own the lane
//! starts it ([`LaneSpec::start`]) and gets a [`Lane`] (for that thread only) and [`Stage`] handles
//! (Send). The thread claims slots with their memory, fills and stages them and flushes (or stages
//! slices that it reserved or received before); stages see [`View`]s, inline ([`Lane::attach`], or
//! [`Stage::poll`] by hand) or on threads ([`Stage::spawn`]), read ahead with [`Held`] and leave
//! results in columns. Once the lane sees that all stages have passed an event, its memory is free
//! again. [`Lane::close`] drains it.
//!
//! ```
//! use std::time::Duration;
//! use slipring::pipeline::{LaneSpec, Outcome, StageSpec, View};
//! use slipring::ring::RingOptions;
//!
//! let pool = RingOptions { bytes: 1 << 20, ..RingOptions::default() };
//! let spec = LaneSpec::new(pool, 64).layer([StageSpec::thread("sum")]);
//! let mut started = spec.start::<u32>()?;
//! let stage = started.stages.take("sum").expect("it was specified");
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
//! To keep the slices themselves in the ring, without stages and layers, use [`SliceRing`].
//!
//! It promises: claiming, reserving and publishing never wait for room and never spin; a panic
//! releases nothing that wasn't processed, unless the policy is to continue without the stage; no
//! wake-up is lost; no safe call, in any order, reads memory that is reused.
//!
//! In a forked child a lane is a copy without its stages' threads and with a pool of zeros: it may
//! be dropped or closed, which waits for no lock of the parent and takes nothing from it. To do
//! work there, start another lane.
//!
//! It doesn't: share a lane between producers (start more lanes), resize, or hand out the
//! disruptor's own closures over slots.
//!
//! # What doesn't compile
//!
//! A grant that is pushed without a slot (a pool's own grant can be; a lane's sequences are slots
//! of its ring, and [`Lane::claim`] takes both):
//!
//! ```compile_fail,E0599
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! lane.reserve(8).unwrap().push();
//! ```
//!
//! Two grants at once, and a lane that goes before its grant:
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
//! # let mut stage = stages.take("a").unwrap();
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
//! # let mut stage = stages.take("a").unwrap();
//! let held = stage.read(8).unwrap().unwrap();
//! let view = held.views().next().unwrap();
//! stage.release(held).unwrap();
//! assert_eq!(view.bytes().len(), 8);
//! ```
//!
//! A row of a result column that outlives it in the same way:
//!
//! ```compile_fail,E0505
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let (mut scores, _) = spec.column::<f32>("a", 1).unwrap();
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! # let mut stage = stages.take("a").unwrap();
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
//! # let mut stage = stages.take("a").unwrap();
//! let second = stage.clone();
//! ```
//!
//! ```compile_fail,E0599
//! # use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
//! # use slipring::ring::RingOptions;
//! # let spec = LaneSpec::new(RingOptions::default(), 64).layer([StageSpec::inline("a")]);
//! # let Started { mut lane, mut stages, .. } = spec.start::<u32>().unwrap();
//! # let mut stage = stages.take("a").unwrap();
//! let held = stage.read(8).unwrap().unwrap();
//! let second = held.clone();
//! ```
//!
//! A lane, or a slice of its, on another thread:
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
//! Specifications, stages and what is held go to other threads:
//!
//! ```
//! fn goes_to_threads<T: Send + 'static>() {}
//! goes_to_threads::<slipring::pipeline::LaneSpec>();
//! goes_to_threads::<slipring::pipeline::Stage<u32>>();
//! goes_to_threads::<slipring::pipeline::Held<u32>>();
//! goes_to_threads::<slipring::pipeline::ColumnWriter<f32>>();
//! goes_to_threads::<slipring::pipeline::ColumnReader<f32>>();
//! ```

mod abort;
mod claim;
mod close;
mod column;
mod error;
mod event;
mod flow;
mod grant;
mod held;
mod idle;
mod inline;
mod lane;
mod poller;
mod publish;
mod pump;
mod run;
mod shared;
mod sleep;
mod slice_ring;
mod slot;
mod spec;
mod stage;
mod start;
mod state;
mod stats;
mod thread_time;
mod timing;
mod view;
mod wake;
mod watch;

#[cfg(all(test, not(loom)))]
mod tests;

pub use claim::Claim;
pub use close::{CloseReport, StageEnd};
pub use column::{ColumnError, ColumnReader, ColumnWriter};
pub use error::{
    LaneError, NotPublished, NotPushed, PublishRefusal, PushRefusal, Refused, StageError,
    WrongPlacement,
};
pub use flow::Failure;
pub use grant::LaneGrant;
pub use held::Held;
pub use idle::Idle;
pub use lane::{Lane, Progress};
pub use run::{SpawnError, StageReport, StageThread};
pub use slice_ring::{READERS_MAX, SliceReader, SliceRing, SliceView};
pub use slot::Meta;
pub use spec::{BATCH_DEFAULT, LaneSpec, PanicPolicy, Reclaim, SLOTS_MAX, StageSpec, Wait};
pub use stage::{Outcome, Polled, Stage};
pub use start::{LaneReport, Stages, Started};
pub use state::Rejection;
pub use stats::{LaneStats, StageStats};
pub use thread_time::{StageActivity, ThreadTime};
pub use timing::StageTiming;
pub use view::View;
pub use watch::LaneWatch;
