//! The ring pool: the allocator of one thread, over one region.
//!
//! The life cycle: [`RingOptions`] are checked and a region is mapped ([`RingPool::new`]); bytes
//! are reserved ([`Grant`]), owned while something else, such as the kernel, fills them ([`Token`],
//! [`InFlight`]), committed ([`PoolSlice`]) or cut where they were received ([`Received`]); pushed
//! under a sequence and released by it ([`RingPool::push`], [`RingPool::release`]); retained for
//! longer where that is needed ([`Retained`]).
//!
//! Three words: bytes are *released* when one hold on them ends (a slice is dropped, a sequence is
//! passed, or its slot is overwritten). A chunk is *reclaimed* when everything in it is released
//! and it can be reserved from again. The *window* is the memory in rotation: the chunks that are
//! written in turn, while the others are spare.
//!
//! It promises: no two slices overlap; memory is reused only when every slice that the owner holds
//! in its chunk is dropped, its sequences are released and its pins are dropped, in any order and
//! on any thread; the owner pays no lock, no locked instruction, no division and no atomic
//! reference count; nothing blocks.
//!
//! It doesn't: give single slices back (a chunk waits for its last one), grow, or serve two
//! threads.
//!
//! # Overwriting releases
//!
//! A ring of slots over the pool comes in two forms, which release the same bytes at the same
//! operations. By count a slot holds integers:
//!
//! ```
//! # use slipring::ring::{RingOptions, RingPool, Pushed};
//! # let options = RingOptions { bytes: 1 << 20, max_slice_bytes: 512, ..RingOptions::default() };
//! let mut pool = RingPool::new(&options)?;
//! pool.keep_newest(4);
//! let mut slots: [Option<Pushed>; 4] = [None; 4];
//! for op in 0..100 {
//!     // The sequence of four operations ago is released; nothing is dropped.
//!     slots[op % 4] = Some(pool.reserve(100)?.push());
//! }
//! # assert!(slots.iter().flatten().all(|pushed| pool.view(pushed).is_some()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! By RAII a slot holds the slice, and overwriting the slot drops it:
//!
//! ```
//! # use slipring::ring::{RingOptions, PoolSlice, RingPool};
//! # let options = RingOptions { bytes: 1 << 20, max_slice_bytes: 512, ..RingOptions::default() };
//! let mut pool = RingPool::new(&options)?;
//! let mut slots: [Option<PoolSlice>; 4] = [const { None }; 4];
//! for op in 0..100 {
//!     slots[op % 4] = Some(pool.reserve(100)?.commit_all());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Over the disruptor, with readers on other threads, the first is `pipeline::Lane` with
//! `Reclaim::OnOverwrite`, the second is `pipeline::SliceRing`. The first costs less (no count of
//! slices) and the second can release slots in any order.
//!
//! # What doesn't compile
//!
//! Two grants at the same time:
//!
//! ```compile_fail,E0499
//! # use slipring::ring::{RingOptions, RingPool};
//! # let mut pool = RingPool::new(&RingOptions::default()).unwrap();
//! let one = pool.reserve(8);
//! let two = pool.reserve(8);
//! drop((one, two));
//! ```
//!
//! A grant, or its allocation, after the pool is dropped:
//!
//! ```compile_fail,E0505
//! # use slipring::ring::{RingOptions, RingPool};
//! # let mut pool = RingPool::new(&RingOptions::default()).unwrap();
//! let grant = pool.reserve(8).unwrap();
//! drop(pool);
//! let slice = grant.commit_all();
//! ```
//!
//! A slice used after it was pushed:
//!
//! ```compile_fail,E0382
//! # use slipring::ring::{RingOptions, RingPool};
//! # let mut pool = RingPool::new(&RingOptions::default()).unwrap();
//! let slice = pool.copy_in(b"four").unwrap();
//! let pushed = pool.push(slice).unwrap();
//! assert_eq!(&slice[..], b"four");
//! ```
//!
//! A view of a pushed slice used after its release:
//!
//! ```compile_fail,E0502
//! # use slipring::ring::{RingOptions, RingPool};
//! # let mut pool = RingPool::new(&RingOptions::default()).unwrap();
//! let slice = pool.copy_in(b"four").unwrap();
//! let pushed = pool.push(slice).unwrap();
//! let view = pool.view(&pushed).unwrap();
//! pool.release(pushed.sequence());
//! assert_eq!(view, b"four");
//! ```
//!
//! A slice cloned, which would be a double free:
//!
//! ```compile_fail,E0599
//! # use slipring::ring::{RingOptions, RingPool};
//! # let mut pool = RingPool::new(&RingOptions::default()).unwrap();
//! let slice = pool.copy_in(b"four").unwrap();
//! let copy = slice.clone();
//! ```
//!
//! A pool, a slice, a token or a grant on another thread:
//!
//! ```compile_fail,E0277
//! # use slipring::ring::{RingOptions, RingPool};
//! # let mut pool = RingPool::new(&RingOptions::default()).unwrap();
//! std::thread::spawn(move || drop(pool));
//! ```
//!
//! ```compile_fail,E0277
//! # use slipring::ring::{RingOptions, RingPool};
//! # let mut pool = RingPool::new(&RingOptions::default()).unwrap();
//! let slice = pool.copy_in(b"four").unwrap();
//! std::thread::spawn(move || drop(slice));
//! ```
//!
//! ```compile_fail,E0277
//! # use slipring::ring::{RingOptions, RingPool};
//! # let mut pool = RingPool::new(&RingOptions::default()).unwrap();
//! let token = pool.reserve(4).unwrap().into_token();
//! std::thread::spawn(move || drop(token));
//! ```
//!
//! ```compile_fail,E0277
//! # use slipring::ring::{RingOptions, RingPool};
//! # let mut pool = RingPool::new(&RingOptions::default()).unwrap();
//! let grant = pool.reserve(4).unwrap();
//! std::thread::scope(|scope| drop(scope.spawn(move || drop(grant))));
//! ```
//!
//! Retained handles are made for other threads:
//!
//! ```
//! # use slipring::ring::{RingOptions, RingPool};
//! # let mut pool = RingPool::new(&RingOptions { bytes: 1 << 20, ..RingOptions::default() })?;
//! let handle = pool.copy_in(b"four")?.retain()?;
//! drop(pool);
//! assert_eq!(std::thread::spawn(move || handle.len()).join().unwrap(), 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Sources of the ideas: chunked bump allocation with early wrap from arenas and LMAX's ring;
//! reserve, fill, commit from bbqueue; two functions for local and remote return from mimalloc.

mod error;
mod grant;
mod layout;
mod memory;
mod options;
mod owner;
mod pins;
mod pool;
mod rows;
mod slice;
mod stats;
mod window;

#[cfg(all(test, not(loom)))]
mod tests;

pub use error::{Foreign, Full, RetainError, RingError, TooLong};
pub use grant::{Grant, InFlight, Token};
pub use layout::Sequence;
pub use memory::Retained;
pub use options::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, RingOptions};
pub use owner::FlightId;
pub use pool::RingPool;
pub use rows::{CastError, Rows, RowsIter};
pub use slice::{PoolSlice, Pushed, Received};
pub use stats::{RightSize, RingStats};

#[cfg(feature = "pipeline")]
pub(crate) use layout::{Layout, NONE, RingSpan};
#[cfg(feature = "pipeline")]
pub(crate) use memory::RingMemory;
#[cfg(feature = "pipeline")]
pub(crate) use options::Readers;
#[cfg(feature = "pipeline")]
pub(crate) use rows::as_f32s;
#[cfg(feature = "pipeline")]
pub(crate) use slice::EventSlice;
