//! The ring pool: the allocator of one thread, over one region.
//!
//! By life cycle: [`PoolOptions`] are checked and a region is mapped ([`RingPool::new`]); bytes are reserved ([`Grant`]),
//! owned while somebody else fills them ([`Token`], [`InFlight`]), committed ([`PoolSlice`]) or cut where they were received
//! ([`Received`]); staged under a sequence and released by it ([`RingPool::stage`], [`RingPool::release`]); kept longer where
//! that is needed ([`Retained`]).
//!
//! It promises: no slice overlaps another that is alive; memory is reused only when the owner's slices of its chunk are
//! gone, its sequences are released and its pins are dropped, in whatever order and on whatever thread; the owner pays no
//! lock, no locked instruction, no division and no reference count; nothing blocks.
//!
//! It doesn't: give single slices back (a chunk waits for its last one), grow, or serve two threads.
//!
//! Sources of the ideas: chunked bump allocation with early wrap from arenas and LMAX's ring; reserve, fill, commit from
//! bbqueue; two functions for local and remote return from mimalloc.

mod chunk;
mod error;
mod grant;
mod live;
mod memory;
mod options;
mod owner;
mod pins;
mod pool;
mod receive;
mod retained;
mod slice;
mod stats;
mod token;
mod typed;
mod window;

#[cfg(all(test, not(loom)))]
mod model;

pub use chunk::Sequence;
pub use error::{Foreign, Full, PoolError, RetainError, TooLong};
pub use grant::Grant;
pub use options::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, PoolOptions};
pub use pool::{RingPool, Staged};
pub use receive::Received;
pub use retained::Retained;
pub use slice::PoolSlice;
pub use stats::PoolStats;
pub use token::{InFlight, Token};
pub use typed::{CastError, Rows};

#[cfg(feature = "pipeline")]
pub(crate) use chunk::{Layout, NONE};
#[cfg(feature = "pipeline")]
pub(crate) use memory::{Memory, Span};
#[cfg(feature = "pipeline")]
pub(crate) use options::Readers;
#[cfg(feature = "pipeline")]
pub(crate) use typed::as_f32s;
