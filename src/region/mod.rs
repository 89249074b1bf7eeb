//! Regions: one mapped range of memory each, asked for, checked, mapped, touched and reported.
//!
//! The life of a region:
//!
//! 1. **Ask.** [`RegionOptions`] says how many bytes, which [`Pages`], whether they are locked and on which NUMA node.
//! 2. **Check.** [`Region::map`] first compares that with every limit that would refuse it or, worse, kill the process:
//!    the memory limits of the process's cgroups, address space, locked memory, free huge pages, available memory. A
//!    refusal is a [`RegionError`] with the limit, the figures and the fix.
//! 3. **Map and touch.** The calling thread maps, binds, touches every page and locks. It should be pinned already,
//!    because untouched memory comes from the node of the CPU that touches it first.
//! 4. **Report.** What the kernel granted is read back into a [`RegionReport`]. A [`Downgrade`] in it says what was
//!    wished for and not granted, the likely cause and the fix.
//! 5. **Drop.** Dropping the [`Region`] on any thread unmaps it.
//!
//! A region doesn't hand out its bytes: that is the ring pool's work ([`crate::ring`]). It stays fully resident until it
//! is dropped, because giving back a part would cost a whole huge page.
//!
//! ```
//! use slipring::region::{Pages, Region, RegionOptions};
//!
//! let region = Region::map(&RegionOptions { bytes: 1 << 20, pages: Pages::Small, ..RegionOptions::default() })?;
//! assert_eq!(region.bytes(), 1 << 20);
//! println!("{}", region.report());
//! # Ok::<(), slipring::region::RegionError>(())
//! ```

mod cgroup;
pub(crate) mod cpulist;
mod error;
mod fork;
mod kernel;
mod limits;
mod map;
mod options;
mod placement;
#[allow(clippy::module_inception, reason = "the folder's main noun is the region itself")]
mod region;
mod report;
pub(crate) mod reserve;
mod smaps;
pub(crate) mod span;
mod topology;
mod touch;

#[cfg(all(test, not(miri)))]
pub(crate) mod fake;
#[cfg(all(test, not(loom)))]
pub(crate) mod machines;
#[cfg(test)]
mod tests;

pub(crate) use map::page_bytes;

pub use error::{ParsePagesError, RegionError};
pub use options::{Lock, Numa, PageKind, Pages, RegionOptions};
pub use region::Region;
pub use report::{Downgrade, PagesGranted, RegionReport, SmallPagesCause};
pub use topology::{CpuTopology, Topology, window_default_bytes, window_own_core_default_bytes};
