//! The ring pool: allocation, pushing and release on one thread.
//!
//! Alone, it is used like this; a lane does the same over its disruptor.
//!
//! ```
//! use slipring::ring::{RingOptions, RingPool};
//!
//! let mut pool = RingPool::new(&RingOptions { bytes: 1 << 20, ..RingOptions::default() })?;
//! let slice = pool.copy_in(b"four")?; // RAII: dropped, its chunk gets it back
//! let pushed = pool.push(slice)?; // integers: protected by its sequence from now on
//! assert_eq!(pool.view(&pushed), Some(&b"four"[..]));
//! pool.release(pushed.sequence());
//! assert_eq!(pool.view(&pushed), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![allow(unsafe_code)]

use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::slice;
use std::sync::Arc;

use super::chunk::{LINE_BYTES, Layout, NONE, Sequence};
use super::error::{Foreign, Full, RingError};
use super::grant::Grant;
use super::live::ChunkRef;
use super::memory::Memory;
#[cfg(feature = "pipeline")]
use super::memory::Span;
use super::options::{Readers, RingOptions};
use super::owner::OwnerRef;
use super::pushed::{PoolTag, Pushed};
use super::slice::PoolSlice;
use super::stats::RingStats;
use super::token::FlightId;
use super::window::Blocked;
use crate::region::{Region, RegionReport};
use crate::sync::pool_id;

/// The allocator of one thread over one region. Not Send, not Sync, not Clone.
///
/// An allocation costs two comparisons and an addition; a chunk's end, once per chunk, costs a few
/// hundred instructions.
#[derive(Debug)]
pub struct RingPool {
    pub(super) owner: OwnerRef,
    /// The write position: where the next slice starts. It is on a line, and at most one line past
    /// the end of the current chunk, so it may be outside the region.
    position: *mut u8,
    current: ChunkRef,
    /// The last sequence pushed.
    pushed: Sequence,
    /// The read cursor as last reported: every stage has passed it.
    released: Sequence,
    /// How many of the newest sequences are protected regardless of that; see
    /// [`RingPool::keep_newest`].
    newest: Sequence,
    tag: PoolTag,
}

impl RingPool {
    /// Maps the region on the calling thread, which should be the thread that uses it, already
    /// pinned.
    ///
    /// # Errors
    /// The invalid option, or why the region couldn't be mapped.
    pub fn new(options: &RingOptions) -> Result<Self, RingError> {
        Self::read_on(Readers::OwnCore, options)
    }

    /// As [`RingPool::new`], with the defaults for these readers.
    pub(crate) fn read_on(readers: Readers, options: &RingOptions) -> Result<Self, RingError> {
        let layout = options.layout(readers)?;
        let region = Region::map(&options.region(&layout))?;
        let memory = Arc::new(Memory::new(region, &layout));
        let id = pool_id();
        let owner = OwnerRef::new(layout, memory, id);
        let (current, position) = (owner.chunk(0), owner.at(0));
        let tag = PoolTag::new(id);
        Ok(Self {
            owner,
            position,
            current,
            pushed: NONE,
            released: NONE,
            newest: Sequence::MAX,
            tag,
        })
    }

    /// Reserves `len` bytes at the write position. Dropping the grant gives back what isn't
    /// committed.
    ///
    /// # Errors
    /// [`Full::TooLarge`] or [`Full::Pool`]; it never blocks.
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Grant<'_>, Full> {
        if !self.fits(len) {
            (self.current, self.position) =
                self.owner.make_room(len, self.position, self.pushed, self.released())?;
        }
        self.check();
        Ok(Grant::new(self, len))
    }

    /// Reserves the rest of the current chunk, at least `min` bytes, for a receive of unknown
    /// length.
    ///
    /// # Errors
    /// As [`RingPool::reserve`] for `min`.
    pub fn reserve_rest(&mut self, min: usize) -> Result<Grant<'_>, Full> {
        // A receive needs room for at least one byte.
        let min = min.max(1);
        if !self.fits(min) {
            (self.current, self.position) =
                self.owner.make_room(min, self.position, self.pushed, self.released())?;
        }
        let rest = self.room();
        debug_assert!(rest >= min);
        self.check();
        Ok(Grant::new(self, rest))
    }

    /// Reserves and fills in one call.
    ///
    /// # Errors
    /// As [`RingPool::reserve`].
    pub fn copy_in(&mut self, bytes: &[u8]) -> Result<PoolSlice, Full> {
        let mut grant = self.reserve(bytes.len())?;
        grant.copy_from_slice(bytes);
        Ok(grant.commit_all())
    }

    /// Protects a slice by the next sequence: it is no longer counted, and lives until that
    /// sequence is released.
    ///
    /// # Errors
    /// A slice of another pool is returned.
    #[inline]
    pub fn push(&mut self, slice: PoolSlice) -> Result<Pushed, Foreign<PoolSlice>> {
        let slice = self.count_pushed(slice)?;
        Ok(self.pushed_at(slice.start(), slice.len()))
    }

    /// Pushes the next `len` bytes, which a grant held, unchanged.
    #[inline]
    pub(super) fn push_next(&mut self, len: usize) -> Pushed {
        let start = self.start();
        self.take_pushed(len);
        self.pushed_at(start, len)
    }

    /// What was pushed last.
    #[inline]
    fn pushed_at(&self, start: NonNull<u8>, len: usize) -> Pushed {
        Pushed::new(self.pushed, start, len, self.tag)
    }

    /// The bytes of a pushed slice, or `None` once it is released (or if another pool pushed it).
    #[must_use]
    #[inline]
    pub fn view(&self, pushed: &Pushed) -> Option<&[u8]> {
        if !pushed.is_of(self.tag) || pushed.sequence() <= self.released() {
            return None;
        }
        debug_assert!(pushed.sequence() <= self.pushed, "only this pool makes them");
        let start = self.owner.base.with_addr(pushed.start());
        // SAFETY: I21, I30. This pool committed the range, and its sequence isn't released:
        // releasing needs `&mut self`.
        Some(unsafe { slice::from_raw_parts(start.as_ptr(), pushed.len()) })
    }

    /// Releases every slice up to sequence `through`. Sequences that were never pushed are ignored,
    /// and a release can't be undone.
    #[inline]
    pub fn release(&mut self, through: Sequence) {
        if through > self.released {
            self.released = through.min(self.pushed);
        }
        self.check();
    }

    /// From now on the newest `slots` pushed slices are protected and older ones are released, as
    /// in a ring of that many slots where pushing overwrites the oldest. It needs no call and no
    /// store per operation, because it is computed when a chunk is full.
    pub fn keep_newest(&mut self, slots: u32) {
        // Released sequences stay released.
        self.released = self.released();
        assert!(self.released <= self.pushed, "nothing is released that wasn't pushed");
        self.newest = Sequence::from(slots);
        self.check();
    }

    /// Reports that the kernel is done with a read whose [`super::InFlight`] was dropped. Returns
    /// false if there is no such read.
    pub fn report_completion(&mut self, flight: FlightId) -> bool {
        let Some(chunk) = self.owner.take_abandoned(flight) else { return false };
        chunk.drop_live();
        self.check();
        true
    }

    /// The report of what was granted when the region was mapped.
    #[must_use]
    pub fn region_report(&self) -> &RegionReport {
        self.owner.memory.region().report()
    }

    /// The size of the largest slice in bytes.
    #[must_use]
    pub fn max_slice_bytes(&self) -> usize {
        self.owner.layout.max_slice_bytes()
    }

    /// The pool's layout.
    pub(crate) fn layout(&self) -> &Layout {
        &self.owner.layout
    }

    /// A snapshot. Cost: a look at every chunk in use.
    #[must_use]
    pub fn stats(&self) -> RingStats {
        let owner = &self.owner;
        let (layout, rotation) = (&owner.layout, owner.rotation());
        let mut stats = RingStats {
            pool_bytes: layout.pool_bytes(),
            chunk_bytes: layout.chunk_bytes(),
            window_bytes: layout.window_chunks() * layout.chunk_bytes(),
            high_water_bytes: rotation.busy_high() * layout.chunk_bytes(),
            pinned_chunks: owner.memory.pins().pinned(),
            released: self.released(),
            ..RingStats::default()
        };
        for chunk in rotation.busy_chunks() {
            let count = match owner.blocked(chunk, self.pushed, self.released()) {
                Some(Blocked::Sequence) => &mut stats.blocked_by_sequence,
                Some(Blocked::Owner) => &mut stats.blocked_by_owner,
                Some(Blocked::Pinned) => &mut stats.blocked_by_pins,
                None => continue,
            };
            *count += 1;
            stats.in_use_bytes += layout.chunk_bytes();
        }
        owner.counters.fill(&mut stats);
        stats.tail_waste_bytes += owner.waste_to_settle(self.position()) as u64;
        assert!(
            stats.in_use_bytes <= stats.pool_bytes && stats.window_bytes <= stats.pool_bytes,
            "{stats:?}"
        );
        assert!(stats.in_use_bytes == 0 || stats.high_water_bytes > 0, "{stats:?}");
        stats
    }

    /// Where the next slice starts; the grant must fit there.
    #[inline]
    pub(super) fn start(&self) -> NonNull<u8> {
        debug_assert!(!self.position.is_null());
        // SAFETY: I29. It is derived from the region's base and isn't null.
        unsafe { NonNull::new_unchecked(self.position) }
    }

    /// The write position as an offset of the region.
    pub(super) fn position(&self) -> usize {
        self.position.addr() - self.owner.base.addr().get()
    }

    /// Bytes left in the current chunk.
    #[inline]
    pub(super) fn room(&self) -> usize {
        self.current.end().saturating_sub(self.position())
    }

    /// Moves the write position past `len` bytes, which the caller now owns. They are counted in
    /// the returned chunk.
    #[inline]
    pub(super) fn take(&mut self, len: usize) -> ChunkRef {
        debug_assert!(len <= self.room());
        self.position = self.current.after(self.position, len);
        debug_assert!(self.position() <= self.current.end() + LINE_BYTES);
        self.current.count_live();
        self.current
    }

    /// As [`RingPool::take`], for bytes that the next sequence protects immediately.
    #[inline]
    fn take_pushed(&mut self, len: usize) {
        debug_assert!(len <= self.room());
        self.position = self.current.after(self.position, len);
        self.pushed += 1;
        self.check();
    }

    /// Whether the slice was committed here.
    #[inline]
    #[cfg(feature = "pipeline")]
    pub(crate) fn owns(&self, slice: &PoolSlice) -> bool {
        slice.chunk() == self.current || slice.chunk().is_owned_by(self.owner)
    }

    /// Counts off slices of a chunk that are in events and won't be dropped any more.
    #[cfg(feature = "pipeline")]
    pub(crate) fn count_off(&mut self, chunk: u32, slices: u32) {
        self.owner.chunk(chunk).count_off(slices);
    }

    #[cfg(feature = "pipeline")]
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.owner.memory
    }

    /// Whether `len` bytes can be reserved without opening a chunk.
    #[inline]
    pub(crate) fn fits(&self, len: usize) -> bool {
        self.current.fits(self.position, len)
    }

    /// As [`RingPool::push_next`], for a lane's slot.
    #[inline]
    #[cfg(feature = "pipeline")]
    pub(crate) fn push_next_span(&mut self, len: usize) -> Span {
        let offset = self.position() as u64;
        self.take_pushed(len);
        Span { offset, len: len as u32, chunk: self.current.index() }
    }

    /// Whether the current chunk still holds `len` bytes. Unlike [`RingPool::fits`], it stays true
    /// when something is given back in between.
    #[inline]
    #[cfg(feature = "pipeline")]
    pub(super) fn holds_next(&self, len: usize) -> bool {
        self.current.holds_next(self.position, len)
    }

    /// As [`RingPool::push`], for a lane's slot.
    #[inline]
    #[cfg(feature = "pipeline")]
    pub(crate) fn push_span(&mut self, slice: PoolSlice) -> Result<Span, Foreign<PoolSlice>> {
        let slice = self.count_pushed(slice)?;
        Ok(slice.span(self.owner.base))
    }

    /// The next sequence takes over from the slice's count. Sequences are counted only here; a lane
    /// has no count of its own.
    #[inline]
    fn count_pushed(
        &mut self,
        slice: PoolSlice,
    ) -> Result<ManuallyDrop<PoolSlice>, Foreign<PoolSlice>> {
        // The first comparison suffices in nearly all cases, and the compiler knows its result
        // where a slice is pushed right after its commit.
        let is_current = slice.chunk() == self.current;
        if !is_current && !slice.chunk().is_owned_by(self.owner) {
            return Err(Foreign(slice));
        }
        let slice = ManuallyDrop::new(slice);
        let sequence = self.pushed + 1;
        // The current chunk records its last sequence when it is closed.
        if !is_current {
            slice.chunk().note_sequence(sequence);
        }
        slice.chunk().count_pushed();
        self.pushed = sequence;
        self.check();
        Ok(slice)
    }

    /// A sequence that carries no slice.
    #[cfg(feature = "pipeline")]
    pub(crate) fn push_nothing(&mut self) {
        self.pushed += 1;
    }

    /// The last sequence pushed.
    #[inline]
    #[cfg(feature = "pipeline")]
    pub(crate) fn pushed(&self) -> Sequence {
        self.pushed
    }

    /// The read cursor.
    #[inline]
    pub(crate) fn released(&self) -> Sequence {
        self.released.max(self.pushed - self.newest)
    }

    /// Opens a chunk with room for `len` bytes, unless the current one has it.
    #[cfg(feature = "pipeline")]
    pub(crate) fn make_room(&mut self, len: usize) -> Result<(), Full> {
        (self.current, self.position) =
            self.owner.make_room(len, self.position, self.pushed, self.released())?;
        self.check();
        Ok(())
    }

    /// Invariants between any two calls: the write position is on a line of the current chunk, or
    /// one line past its end after a stride that would alias; nothing is released that wasn't
    /// pushed; no more chunks are pinned than allowed. Checked in debug builds and in profile
    /// `checked`; `Rotation::check` checks the chunks.
    #[inline]
    fn check(&self) {
        if cfg!(debug_assertions) {
            let (start, end, position) =
                (self.current.start(), self.current.end(), self.position());
            assert!(
                (start..=end + LINE_BYTES).contains(&position),
                "{position} isn't in the chunk at {start}"
            );
            assert!(position.is_multiple_of(LINE_BYTES), "slices start on lines");
            assert!(
                NONE <= self.released && self.released <= self.pushed,
                "released before it was pushed"
            );
            let layout = &self.owner.layout;
            assert!(
                self.owner.memory.pins().pinned() <= layout.pinned_chunks_max(),
                "the cap on pins"
            );
        }
    }
}

impl Drop for RingPool {
    fn drop(&mut self) {
        self.owner.drop_pool();
    }
}
