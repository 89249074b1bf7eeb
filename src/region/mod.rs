//! Regions. A region is one mapped range of memory: requested, checked, mapped, touched and
//! reported.
//!
//! The life of a region:
//!
//! 1. **Ask.** The options of a pool say how many bytes, which [`Pages`], whether they are locked,
//!    and on which NUMA node.
//! 2. **Check.** The request is first compared with every limit that would refuse it or, worse,
//!    kill the process: the memory limits of the process's cgroups, address space, locked memory,
//!    free huge pages, available memory. A refusal is a [`RegionError`] with the limit, the figures
//!    and the fix.
//! 3. **Map and touch.** The calling thread maps the range, binds it, touches every page and locks
//!    it. The thread should be pinned already, because untouched memory comes from the node of the
//!    CPU that touches it first.
//! 4. **Report.** What the kernel granted is read back into a [`RegionReport`]. A [`Downgrade`] in
//!    it says what was requested and not granted, the likely cause and the fix.
//! 5. **Drop.** The last handle of a pool unmaps its region, on any thread.
//!
//! A region belongs to its pool ([`crate::ring`]) and is visible only through its report. It stays
//! fully resident until it is dropped, because giving back a part would cost a whole huge page.
//! (A class pool's memory is a `Reserve`, which gives back parts.)
//!
//! A forked child has the region of a ring pool at the same addresses, and zeros in it: its copies
//! of the parent's slices and handles read as zeros, what it writes is its own, and a fork copies
//! no page of the region.
//!
//! ```
//! use slipring::region::Pages;
//! use slipring::ring::{RingOptions, RingPool};
//!
//! let pool = RingPool::new(&RingOptions { bytes: 1 << 20, pages: Pages::Small, ..RingOptions::default() })?;
//! let report = pool.region_report();
//! assert_eq!(report.mapped_bytes, 1 << 20);
//! println!("{report}");
//! # Ok::<(), slipring::ring::RingError>(())
//! ```

mod error;
pub(crate) mod extent;
mod holes;
mod limits;
mod map;
mod options;
mod placement;
#[allow(clippy::module_inception, reason = "the folder's main noun is the region itself")]
mod region;
mod report;
pub(crate) mod reserve;

#[cfg(test)]
mod tests;

pub use error::RegionError;
pub use options::{Lock, Numa, PageKind, Pages, ParsePagesError};
pub use report::{Downgrade, PagesGranted, RegionReport, SmallPagesCause};

pub(crate) use options::RegionOptions;
pub(crate) use region::Region;
