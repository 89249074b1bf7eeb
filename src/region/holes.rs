//! The holes that regions leave in forked children, and the fork handler that fills them.
//!
//! A region whose bytes a child must not have is wiped there: the range stays mapped and reads as
//! zeros. Where the kernel can't do that (reserved huge pages, and Linux before 4.14), the range is
//! left out of the child. The child's next mapping could fill that hole, while its copies of the
//! parent's handles still point there. So the holes are listed here, and the fork handler fills
//! them with zeros.
//!
//! Promises that a child of `fork` never finds foreign memory in a parent's region. It doesn't
//! cover children made by the bare system call. Those leak the region rather than unmap what is in
//! its place ([`Mapping`](super::map::Mapping)'s drop).
#![allow(unsafe_code)]

use std::ptr;

use super::extent::Extent;
use crate::process::Process;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// The number of regions that can be left out of children at the same time. Further regions are
/// shared with children, and their reports say so. The list is in static memory, because a fork
/// handler must not take a lock.
const HOLES_MAX: usize = 256;
/// The start of an entry that is in use and has no range yet. No region starts there.
const IN_USE: u64 = 1;

/// The start and the length of what will be a hole in a child.
struct Hole {
    start: AtomicU64,
    len: AtomicU64,
}

struct Holes<const N: usize>([Hole; N]);

static HOLES: Holes<HOLES_MAX> = Holes::new();

impl<const N: usize> Holes<N> {
    const fn new() -> Self {
        Self([const { Hole { start: AtomicU64::new(0), len: AtomicU64::new(0) } }; N])
    }

    /// Lists a range and returns the number of its entry; None if the list is full.
    fn list(&self, range: Extent) -> Option<usize> {
        let claim = |hole: &Hole| {
            hole.start.compare_exchange(0, IN_USE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        let entry = self.0.iter().position(claim)?;
        self.0[entry].len.store(range.len() as u64, Ordering::Relaxed);
        // A child that is forked meanwhile sees the start together with the length, or no start.
        self.0[entry].start.store(range.offset() as u64, Ordering::Release);
        Some(entry)
    }

    fn unlist(&self, entry: usize) {
        self.0[entry].start.store(0, Ordering::Relaxed);
    }

    /// Starts and lengths of the listed ranges.
    fn listed(&self) -> impl Iterator<Item = (usize, usize)> {
        let read = |hole: &Hole| {
            let start = hole.start.load(Ordering::Acquire);
            (start > IN_USE).then(|| (start as usize, hole.len.load(Ordering::Relaxed) as usize))
        };
        self.0.iter().filter_map(read)
    }
}

/// A range on the list, until it is dropped. It belongs to one process.
#[derive(Debug)]
pub(super) struct ListedHole {
    entry: usize,
    process: Process,
}

impl ListedHole {
    /// Adds a range to the list. None if the list is full, or if there is no memory for the
    /// handler.
    pub(super) fn new(range: Extent) -> Option<ListedHole> {
        if !watch() {
            return None;
        }
        Some(ListedHole { entry: HOLES.list(range)?, process: Process::current() })
    }

    /// Whether this is the process that mapped the range.
    pub(super) fn is_in_own_process(&self) -> bool {
        self.process.is_surely_current()
    }
}

impl Drop for ListedHole {
    fn drop(&mut self) {
        HOLES.unlist(self.entry);
    }
}

/// Installs the fork handler. Returns false if there is no memory for it.
fn watch() -> bool {
    static IS_WATCHED: AtomicBool = AtomicBool::new(false);
    if IS_WATCHED.load(Ordering::Relaxed) {
        return true;
    }
    // Two threads may both come here. Closing a hole twice changes nothing, and a lock could be
    // held at a fork, which the child would never see released.
    // SAFETY: I10. The handler makes system calls and reads statics, both allowed after a fork.
    let refused = unsafe { libc::pthread_atfork(None, None, Some(close_holes)) };
    IS_WATCHED.store(refused == 0, Ordering::Relaxed);
    refused == 0
}

extern "C" fn close_holes() {
    HOLES.listed().for_each(|(start, len)| close(start, len));
}

/// Maps zeros into a hole, or at least blocks it for other mappings.
fn close(start: usize, len: usize) {
    let rights = [libc::PROT_READ | libc::PROT_WRITE, libc::PROT_NONE];
    for rights in rights {
        let flags = libc::MAP_PRIVATE
            | libc::MAP_ANONYMOUS
            | libc::MAP_NORESERVE
            | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: I10. The call replaces no existing mapping, so no visible byte changes.
        let at =
            unsafe { libc::mmap(ptr::without_provenance_mut(start), len, rights, flags, -1, 0) };
        if at.addr() == start {
            return;
        }
        if at != libc::MAP_FAILED {
            // A kernel that doesn't know the flag chose another address, because this one is in
            // use.
            // SAFETY: I10. The mapping was just made, and no other code has its pointer.
            unsafe { libc::munmap(at, len) };
            return;
        }
        if std::io::Error::last_os_error().raw_os_error() == Some(libc::EEXIST) {
            // The fork came before the range was excluded: the child has a copy of it.
            return;
        }
    }
    std::process::abort();
}

#[cfg(all(test, not(any(miri, loom))))]
mod tests;
