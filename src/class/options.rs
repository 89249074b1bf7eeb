//! The options of a class pool: [`ClassOptions`], checked in one place.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::bin::BIN_SLOTS;
use super::error::ClassError;
use super::table::ClassTable;
use crate::region::{Numa, Pages};

/// The options of a class pool. Every field has a default;
/// [`ClassPool::new`](super::ClassPool::new) checks them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassOptions {
    /// The sizes. Default [`ClassTable::wire`].
    pub table: ClassTable,
    /// The most memory that each class may hold, in use or not. Default [`Limit::NONE`].
    pub limit: Limit,
    /// What `get` does when a class is at its limit. Default [`AtLimit::Wait`].
    pub at_limit: AtLimit,
    /// Whether the whole capacity of a buffer is zeroed when it is dropped. Default false: the next
    /// owner finds old bytes, except after [`zero_on_drop`](super::PooledBuf::zero_on_drop).
    pub zero_on_return: bool,
    /// The most bytes of each class that one thread keeps; 0 for none. Threads don't keep a class
    /// if less than two of its buffers fit. Default 2 MiB, and never more than 32 buffers: with the
    /// wire table, 4 MiB for a thread that uses all classes. A getter at the limit, a shrinking
    /// pool and the end of the thread take all of it back.
    pub cache_bytes: usize,
    /// The time after which unneeded buffers give their pages back; None for never. Default 10 s.
    /// It requires calls of [`ClassPool::tick`](super::ClassPool::tick), or a
    /// [`Ticker`](super::Ticker).
    pub shrink_after: Option<Duration>,
    /// [`Pages::Small`] or [`Pages::PreferThp`]: reserved huge pages can't be given back in parts.
    /// Default: small pages.
    pub pages: Pages,
    /// The NUMA node of every buffer. Default [`Numa::Local`]: the node of the thread that causes
    /// memory to be mapped, which stays a buffer's node wherever it is dropped.
    pub numa: Numa,
    /// Whether core dumps contain the buffers' bytes. Default false.
    pub dump: bool,
}

impl Default for ClassOptions {
    fn default() -> Self {
        Self {
            table: ClassTable::wire(),
            limit: Limit::NONE,
            at_limit: AtLimit::Wait,
            zero_on_return: false,
            cache_bytes: 2 << 20,
            shrink_after: Some(Duration::from_secs(10)),
            pages: Pages::Small,
            numa: Numa::Local,
            dump: false,
        }
    }
}

/// A bound on one class: whichever of the two fields is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Buffers of the class.
    pub buffers: usize,
    /// Bytes of the class's buffers, counting whole capacities.
    pub bytes: usize,
}

impl Limit {
    /// No limit but memory itself.
    pub const NONE: Limit = Limit { buffers: usize::MAX, bytes: usize::MAX };

    /// At most this many buffers of each class.
    #[must_use]
    pub const fn buffers(buffers: usize) -> Self {
        Self { buffers, ..Self::NONE }
    }

    /// Buffers of `class_bytes` that may exist.
    pub(crate) fn of(self, class_bytes: usize) -> usize {
        self.buffers.min(self.bytes / class_bytes)
    }
}

/// What a `get` does when its class is at the limit and no buffer is free (see
/// [`GetError::Exhausted`](super::GetError::Exhausted)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtLimit {
    /// Waits until a buffer comes back, in order of arrival.
    #[default]
    Wait,
    /// Returns [`GetError::Exhausted`](super::GetError::Exhausted).
    Refuse,
    /// Allocates directly; the buffer goes back to the system's allocator when it is dropped.
    /// Counted as fresh.
    Fresh,
}

impl ClassOptions {
    pub(crate) fn check(&self) -> Result<(), ClassError> {
        for &class_bytes in self.table.sizes() {
            if self.limit.of(class_bytes) == 0 {
                return Err(ClassError::LimitBelowOne { limit: self.limit, class_bytes });
            }
        }
        if self.shrink_after == Some(Duration::ZERO) {
            return Err(ClassError::ShrinkAfterZero);
        }
        if !matches!(self.pages, Pages::Small | Pages::PreferThp) {
            return Err(ClassError::Pages { pages: self.pages });
        }
        Ok(())
    }

    /// The number of buffers of a class that one thread keeps: none, or two to [`BIN_SLOTS`].
    pub(crate) fn kept(&self, class_bytes: usize) -> u32 {
        let kept = (self.cache_bytes / class_bytes).min(BIN_SLOTS);
        if kept < 2 { 0 } else { kept as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_hold_no_buffer_are_refused() {
        let with = |limit| ClassOptions { limit, ..ClassOptions::default() }.check();
        assert_eq!(with(Limit::NONE), Ok(()));
        assert_eq!(with(Limit { bytes: 64 << 10, ..Limit::NONE }), Ok(()));
        let limit = Limit { bytes: (64 << 10) - 1, ..Limit::NONE };
        assert_eq!(with(limit), Err(ClassError::LimitBelowOne { limit, class_bytes: 64 << 10 }));
        let limit = Limit::buffers(0);
        assert_eq!(with(limit), Err(ClassError::LimitBelowOne { limit, class_bytes: 2 << 10 }));
    }

    #[test]
    fn fields_that_make_no_sense_are_refused() {
        let options =
            ClassOptions { shrink_after: Some(Duration::ZERO), ..ClassOptions::default() };
        assert_eq!(options.check(), Err(ClassError::ShrinkAfterZero));
        for pages in [Pages::Prefer2M, Pages::Prefer1G, Pages::Require2M, Pages::Require1G] {
            let options = ClassOptions { pages, ..ClassOptions::default() };
            assert_eq!(options.check(), Err(ClassError::Pages { pages }));
        }
    }

    #[test]
    fn a_thread_keeps_none_or_some() {
        let options = ClassOptions { cache_bytes: 2 << 20, ..ClassOptions::default() };
        assert_eq!(
            [2 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20].map(|bytes| options.kept(bytes)),
            [32, 32, 16, 8, 2]
        );
        assert_eq!([(1 << 20) + 64, 4 << 20].map(|bytes| options.kept(bytes)), [0, 0]);
        assert_eq!(ClassOptions { cache_bytes: 0, ..options }.kept(64), 0);
    }
}
