//! The ring pool: allocation, staging and release on one thread.
//!
//! Alone, it is used like this; a lane does the same over its disruptor.
//!
//! ```
//! use slipring::ring::{PoolOptions, RingPool};
//!
//! let mut pool = RingPool::new(&PoolOptions { bytes: 1 << 20, ..PoolOptions::default() })?;
//! let slice = pool.copy_in(b"four")?; // RAII: dropped, its chunk gets it back
//! let staged = pool.stage(slice)?; // integers: protected by its sequence from now on
//! assert_eq!(pool.view(&staged), Some(&b"four"[..]));
//! pool.release(staged.sequence());
//! assert_eq!(pool.view(&staged), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![allow(unsafe_code)]

use std::sync::Arc;

use super::chunk::Sequence;
use super::error::{Foreign, Full, PoolError};
use super::grant::Grant;
use super::memory::{Memory, Span};
use super::options::PoolOptions;
use super::owner::OwnerRef;
use super::slice::PoolSlice;
use super::stats::PoolStats;
use super::window::Blocked;
use crate::region::{Region, RegionReport};
use crate::sync::pool_id;

/// The allocator of one thread over one region. Not Send, not Sync, not Clone.
///
/// Cost of an allocation: two comparisons and an addition; of a chunk's end, once in a chunk, some dozens of instructions.
#[derive(Debug)]
pub struct RingPool {
    owner: OwnerRef,
    id: u32,
}

/// A slice that was staged in a pool used without a lane: what a slot of a ring would hold.
#[derive(Clone, Copy, Debug)]
pub struct Staged {
    span: Span,
    sequence: Sequence,
    pool: u32,
}

impl Staged {
    /// Its place in the order of staging, from 0.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }
}

impl RingPool {
    /// Maps the region on the calling thread, which should be the one that uses it, and pinned.
    ///
    /// # Errors
    /// The option that doesn't fit, or why the region couldn't be mapped.
    pub fn new(options: &PoolOptions) -> Result<Self, PoolError> {
        let layout = options.layout()?;
        let region = Region::map(&options.region(&layout))?;
        let memory = Arc::new(Memory::new(region, &layout));
        let id = pool_id();
        Ok(Self { owner: OwnerRef::new(layout, memory, id), id })
    }

    /// Reserves `len` bytes at the write position. What isn't committed is given back when the grant goes.
    ///
    /// # Errors
    /// [`Full::TooLarge`] or [`Full::Pool`]; it never blocks.
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Grant<'_>, Full> {
        if !self.owner.fits(len) {
            self.make_room(len)?;
        }
        self.owner.check();
        Ok(Grant::new(self, len))
    }

    /// Reserves all that the current chunk still holds, at least `min` bytes and at least one (no bytes to receive into look
    /// like the end of a stream): for a receive whose length isn't known.
    ///
    /// # Errors
    /// As [`RingPool::reserve`] for `min`.
    pub fn reserve_rest(&mut self, min: usize) -> Result<Grant<'_>, Full> {
        let min = min.max(1);
        if !self.owner.fits(min) {
            self.make_room(min)?;
        }
        let rest = self.owner.room();
        debug_assert!(rest >= min);
        self.owner.check();
        Ok(Grant::new(self, rest))
    }

    /// Reserves and fills in one go.
    ///
    /// # Errors
    /// As [`RingPool::reserve`].
    pub fn copy_in(&mut self, bytes: &[u8]) -> Result<PoolSlice, Full> {
        let mut grant = self.reserve(bytes.len())?;
        grant.copy_from_slice(bytes);
        Ok(grant.commit_all())
    }

    /// Puts a slice under the protection of the next sequence: it is counted no more, and lives until that is released.
    ///
    /// # Errors
    /// The slice of another pool comes back.
    #[inline]
    pub fn stage(&mut self, slice: PoolSlice) -> Result<Staged, Foreign<PoolSlice>> {
        let sequence = self.owner.next_seq.get();
        let span = self.stage_span(slice, sequence)?;
        debug_assert!(sequence > self.owner.released.get());
        Ok(Staged { span, sequence, pool: self.id })
    }

    /// The bytes of a staged slice, or `None` once it is released (or if another pool staged it).
    #[must_use]
    #[inline]
    pub fn view(&self, staged: &Staged) -> Option<&[u8]> {
        if staged.pool != self.id || staged.sequence <= self.owner.released.get() {
            return None;
        }
        // SAFETY: I21. This pool committed the range, and its sequence isn't released: releasing needs `&mut self`.
        Some(unsafe { self.owner.memory.bytes(staged.span) })
    }

    /// Releases every slice up to `through`; what was never staged can't be released, what was, can't be taken back.
    #[inline]
    pub fn release(&mut self, through: Sequence) {
        let owner = &self.owner;
        owner.released.set(through.min(owner.next_seq.get() - 1).max(owner.released.get()));
        owner.check();
    }

    /// Reports that the kernel is done with a read whose [`super::InFlight`] was dropped. False: no such read.
    pub fn report_completion(&mut self, flight: u64) -> bool {
        let Some(chunk) = self.owner.take_abandoned(flight) else { return false };
        self.owner.drop_live(chunk);
        self.owner.check();
        true
    }

    /// What was granted when the region was mapped.
    #[must_use]
    pub fn region_report(&self) -> &RegionReport {
        self.owner.memory.region().report()
    }

    /// Bytes of the largest slice.
    #[must_use]
    pub fn max_slice_bytes(&self) -> usize {
        self.owner.layout.max_slice_bytes()
    }

    /// A snapshot. Cost: a look at every chunk in use.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let owner = &self.owner;
        let (layout, rotation) = (&owner.layout, owner.rotation());
        let mut stats = PoolStats {
            pool_bytes: layout.pool_bytes(),
            chunk_bytes: layout.chunk_bytes(),
            window_bytes: layout.window_chunks() * layout.chunk_bytes(),
            high_water_bytes: rotation.busy_high() * layout.chunk_bytes(),
            pinned_chunks: owner.memory.pins().pinned(),
            released: owner.released.get(),
            ..PoolStats::default()
        };
        for chunk in rotation.busy_chunks() {
            let count = match owner.blocked(chunk) {
                Some(Blocked::Sequence) => &mut stats.blocked_by_sequence,
                Some(Blocked::Owner) => &mut stats.blocked_by_owner,
                Some(Blocked::Pinned) => &mut stats.blocked_by_pins,
                None => continue,
            };
            *count += 1;
            stats.in_use_bytes += layout.chunk_bytes();
        }
        owner.counters.fill(&mut stats);
        assert!(stats.in_use_bytes <= stats.pool_bytes && stats.window_bytes <= stats.pool_bytes, "{stats:?}");
        assert!(stats.in_use_bytes == 0 || stats.high_water_bytes > 0, "{stats:?}");
        owner.check();
        stats
    }

    #[inline]
    pub(super) fn owner(&self) -> OwnerRef {
        self.owner
    }

    #[cfg(feature = "pipeline")]
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.owner.memory
    }

    /// Whether `len` bytes can be reserved without closing the chunk.
    #[cfg(feature = "pipeline")]
    #[inline]
    pub(crate) fn fits(&self, len: usize) -> bool {
        self.owner.fits(len)
    }

    /// Stages under a sequence of the caller's, which is the next one.
    #[inline]
    pub(crate) fn stage_span(&mut self, slice: PoolSlice, sequence: Sequence) -> Result<Span, Foreign<PoolSlice>> {
        if !slice.is_owned_by(self.owner) {
            return Err(Foreign(slice));
        }
        debug_assert_eq!(sequence, self.owner.next_seq.get());
        let span = slice.into_span();
        self.owner.count_staged(span.chunk, sequence);
        self.owner.next_seq.set(sequence + 1);
        self.owner.check();
        Ok(span)
    }

    /// The sequence that the next staged slice gets.
    #[cfg(feature = "pipeline")]
    pub(crate) fn next_sequence(&self) -> Sequence {
        self.owner.next_seq.get()
    }

    /// The read cursor.
    #[cfg(feature = "pipeline")]
    pub(crate) fn released(&self) -> Sequence {
        self.owner.released.get()
    }

    /// A sequence that carries no slice.
    #[cfg(feature = "pipeline")]
    pub(crate) fn stage_nothing(&mut self) {
        debug_assert!(self.owner.next_seq.get() < Sequence::MAX);
        self.owner.next_seq.set(self.owner.next_seq.get() + 1);
    }

    /// Opens a chunk that holds `len` bytes, which the current one doesn't.
    #[cold]
    pub(crate) fn make_room(&mut self, len: usize) -> Result<(), Full> {
        let (owner, layout) = (&self.owner, &self.owner.layout);
        let max_slice_bytes = layout.max_slice_bytes();
        if len > max_slice_bytes {
            return Err(owner.counters.refuse(Full::TooLarge { asked_bytes: len, max_slice_bytes }));
        }
        if !owner.next_chunk() {
            return Err(owner.counters.refuse(Full::Pool { asked_bytes: len, chunks: layout.chunks() as usize }));
        }
        assert!(owner.fits(len), "a fresh chunk holds the largest slice");
        owner.check();
        Ok(())
    }
}

impl Drop for RingPool {
    fn drop(&mut self) {
        self.owner.drop_pool();
    }
}
