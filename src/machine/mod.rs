//! The machine as a process sees it: its CPUs, caches and NUMA nodes, the limits that the kernel
//! sets, and pinning a thread to a CPU.
//!
//! Promises that what the kernel doesn't report is None or absent, never an error: containers hide
//! files. Nothing here maps memory; that is [`crate::region`].
//!
//! In the order of a start:
//!
//! 1. **Choose CPUs.** `CpuMask::read` lists the CPUs that this process may use. Call it before
//!    any thread is pinned.
//! 2. **Pin.** `pin_current` binds the calling thread to one of them. Do it before the thread maps
//!    memory, because untouched pages come from the node of the CPU that touches them first. (Both
//!    need the feature `pipeline`.)
//! 3. **Size the window.** [`Topology::read`] reads the caches, and [`window_default_bytes`] makes
//!    a default out of them.
//!
//! ```
//! use slipring::machine::{Topology, window_default_bytes};
//!
//! let topology = Topology::read();
//! println!("{topology}");
//! assert!(window_default_bytes(topology.l3_bytes_min(), 1) <= 4 << 20);
//! ```

pub(crate) mod cgroup;
pub(crate) mod format;
pub(crate) mod kernel;
#[cfg(feature = "pipeline")]
mod pin;
pub(crate) mod topology;

#[cfg(test)]
#[cfg_attr(
    any(miri, loom),
    allow(dead_code, reason = "some tests need files, or threads that loom knows")
)]
pub(crate) mod fake;

#[cfg(feature = "pipeline")]
pub use pin::{CpuMask, PinDowngrade, PinError, PinPolicy, PinReport, pin_current, unpin_current};
pub use topology::{Topology, window_default_bytes};

pub(crate) use kernel::page_bytes;
#[cfg(feature = "pipeline")]
pub(crate) use pin::Affinity;
pub(crate) use topology::window_own_core_default_bytes;
