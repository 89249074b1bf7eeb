//! The ring pool: pushing and releasing on one thread. Reserving is in [`super::grant`].
//!
//! A pool by itself is used like this; a lane does the same over its disruptor.
//!
//! ```
//! use slipring::ring::{RingOptions, RingPool};
//!
//! let mut pool = RingPool::new(&RingOptions { bytes: 1 << 20, ..RingOptions::default() })?;
//! let slice = pool.copy_in(b"four")?; // RAII: dropping it gives its bytes back
//! let pushed = pool.push(slice)?; // integers: its sequence protects the bytes
//! assert_eq!(pool.view(&pushed), Some(&b"four"[..]));
//! pool.release(pushed.sequence());
//! assert_eq!(pool.view(&pushed), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A push protects bytes by the next sequence. Seven functions push. They differ in what they push
//! and in what they return:
//!
//! | function | pushes | returns | for |
//! |---|---|---|---|
//! | `push` | a slice | `Pushed` | a user of a pool by itself |
//! | `push_next` | the next bytes | `Pushed` | `Grant::push` |
//! | `push_span` | a slice | `RingSpan` | a lane that pushes a slice |
//! | `push_next_span` | the next bytes | `RingSpan` | a lane's claim |
//! | `push_nothing` | no bytes | nothing | a lane's empty event |
//! | `push_slice` | a slice | the slice, not to be dropped | `push`, `push_span` |
//! | `push_range` | the next bytes | nothing | `push_next`, `push_next_span` |
//!
//! A slice has a hold on its chunk, which the push replaces. The next bytes never had one.
#![allow(unsafe_code)]

use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::slice;
use std::sync::Arc;

use super::error::{Foreign, Full, RingError};
#[cfg(feature = "pipeline")]
use super::layout::RingSpan;
use super::layout::{LINE_BYTES, Layout, NONE, Sequence};
use super::memory::RingMemory;
use super::options::{Readers, RingOptions};
use super::owner::{ChunkRef, FlightId, OwnerRef};
use super::slice::{PoolSlice, PoolTag, Pushed};
use super::stats::{RightSize, RingStats};
use super::window::Blocked;
use crate::region::{Region, RegionReport};
use crate::sync::pool_id;

/// The allocator of one thread over one region. Not Send, not Sync, not Clone.
///
/// An allocation costs two comparisons and an addition. The end of a chunk costs many times as
/// much, once per chunk.
#[derive(Debug)]
pub struct RingPool {
    pub(super) owner: OwnerRef,
    /// The write position: where the next slice starts. It is on a line, and at most one line past
    /// the end of the current chunk, so it may be outside the region.
    position: *mut u8,
    current: ChunkRef,
    /// The last sequence pushed.
    pushed: Sequence,
    /// The read cursor as last reported: every sequence up to this one is released.
    released: Sequence,
    /// The number of newest sequences that are protected regardless of the cursor; see
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
        Self::with_readers(Readers::OwnCore, options)
    }

    /// As [`RingPool::new`], with the defaults for these readers.
    pub(crate) fn with_readers(readers: Readers, options: &RingOptions) -> Result<Self, RingError> {
        let layout = options.layout(readers)?;
        let region = Region::map(&options.region(&layout))?;
        let memory = Arc::new(RingMemory::new(region, &layout));
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

    /// Protects a slice by the next sequence instead of its hold on the chunk, until that sequence
    /// is released.
    ///
    /// # Errors
    /// A slice of another pool is returned.
    #[inline]
    pub fn push(&mut self, slice: PoolSlice) -> Result<Pushed, Foreign<PoolSlice>> {
        let slice = self.push_slice(slice)?;
        Ok(self.pushed_at(slice.start(), slice.len()))
    }

    /// Pushes the next `len` bytes, which were a grant.
    #[inline]
    pub(super) fn push_next(&mut self, len: usize) -> Pushed {
        let start = self.start();
        self.push_range(len);
        self.pushed_at(start, len)
    }

    /// The handle of the last push.
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
    /// in a ring of that many slots where pushing overwrites the oldest. This costs no call and no
    /// store per operation, because what is released is computed when a chunk is full.
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
        chunk.remove_holder();
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

    /// A snapshot. Cost: a check of every chunk in use.
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
                Some(Blocked::Held) => &mut stats.blocked_by_owner,
                Some(Blocked::Pinned) => &mut stats.blocked_by_pins,
                None => continue,
            };
            *count += 1;
            stats.in_use_bytes += layout.chunk_bytes();
        }
        owner.counters.fill(&mut stats);
        stats.tail_waste_bytes += owner.returned_waste(self.position()) as u64;
        assert!(
            stats.in_use_bytes <= stats.pool_bytes && stats.window_bytes <= stats.pool_bytes,
            "{stats:?}"
        );
        assert!(stats.in_use_bytes == 0 || stats.high_water_bytes > 0, "{stats:?}");
        stats
    }

    /// The smallest pool and window that would have served so far. Cost: as [`RingPool::stats`].
    #[must_use]
    pub fn right_size(&self) -> RightSize {
        RightSize::of(&self.stats(), self.layout(), 0)
    }

    /// Makes room for `len` bytes, in the current chunk if a returned range is enough, else in the
    /// next one.
    #[inline(always)]
    pub(super) fn find_room(&mut self, len: usize) -> Result<(), Full> {
        (self.current, self.position) =
            self.owner.make_room(len, self.position, self.pushed, self.released())?;
        Ok(())
    }

    /// Whether `len` bytes can be reserved without opening a chunk.
    #[inline]
    pub(crate) fn fits(&self, len: usize) -> bool {
        self.current.fits(self.position, len)
    }

    /// Bytes left in the current chunk.
    #[inline]
    pub(super) fn room(&self) -> usize {
        self.current.end().saturating_sub(self.position())
    }

    /// Where the next slice starts.
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

    /// Moves the write position past `len` bytes, which the caller now owns. They hold the returned
    /// chunk.
    #[inline]
    pub(super) fn hand_out(&mut self, len: usize) -> ChunkRef {
        debug_assert!(len <= self.room());
        self.position = self.current.after(self.position, len);
        debug_assert!(self.position() <= self.current.end() + LINE_BYTES);
        self.current.add_holder();
        self.current
    }

    /// As [`RingPool::hand_out`], for bytes that the next sequence protects immediately.
    #[inline]
    fn push_range(&mut self, len: usize) {
        debug_assert!(len <= self.room());
        self.position = self.current.after(self.position, len);
        self.pushed += 1;
        self.check();
    }

    /// The next sequence protects the slice in place of its hold on the chunk. Sequences are
    /// counted only in this file; a lane has no count of its own.
    #[inline]
    fn push_slice(
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
        slice.chunk().remove_pushed();
        self.pushed = sequence;
        self.check();
        Ok(slice)
    }

    /// The read cursor.
    #[inline]
    pub(crate) fn released(&self) -> Sequence {
        self.released.max(self.pushed - self.newest)
    }

    /// Invariants between any two calls: the write position is on a line of the current chunk, or
    /// one line past its end after a stride that would alias; nothing is released that wasn't
    /// pushed; no more chunks are pinned than allowed. Checked in debug builds and in profile
    /// `checked`; `Rotation::check` checks the chunks.
    #[inline]
    pub(super) fn check(&self) {
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

/// What a lane and a slice ring need beyond that.
#[cfg(feature = "pipeline")]
impl RingPool {
    /// As [`RingPool::find_room`], out of line.
    pub(crate) fn make_room(&mut self, len: usize) -> Result<(), Full> {
        self.find_room(len)?;
        self.check();
        Ok(())
    }

    /// The next `len` bytes. A lane's claim asks for them at each access: nothing moves the write
    /// position while the claim borrows the lane.
    #[inline]
    pub(crate) fn next_bytes(&self, len: usize) -> &[u8] {
        assert!(self.holds_next(len), "the claimed bytes fit into the chunk");
        // SAFETY: I24, I29. The range starts at the write position and the pool is borrowed.
        unsafe { slice::from_raw_parts(self.start().as_ptr(), len) }
    }

    /// The next `len` bytes, to be filled.
    #[inline]
    pub(crate) fn next_bytes_mut(&mut self, len: usize) -> &mut [u8] {
        assert!(self.holds_next(len), "the claimed bytes fit into the chunk");
        // SAFETY: I24, I29. The range starts at the write position and the pool is borrowed, so it
        // belongs to the borrower alone.
        unsafe { slice::from_raw_parts_mut(self.start().as_ptr(), len) }
    }

    /// Whether the current chunk has `len` more bytes. Unlike [`RingPool::fits`], it stays true if
    /// a range is returned in between.
    #[inline]
    pub(super) fn holds_next(&self, len: usize) -> bool {
        self.current.holds_next(self.position, len)
    }

    /// As [`RingPool::push_next`], for a lane's slot.
    #[inline]
    pub(crate) fn push_next_span(&mut self, len: usize) -> RingSpan {
        let offset = self.position() as u64;
        self.push_range(len);
        RingSpan { offset, len: len as u32, chunk: self.current.index() }
    }

    /// As [`RingPool::push`], for a lane's slot.
    #[inline]
    pub(crate) fn push_span(&mut self, slice: PoolSlice) -> Result<RingSpan, Foreign<PoolSlice>> {
        let slice = self.push_slice(slice)?;
        Ok(slice.span(self.owner.base))
    }

    /// A sequence that carries no slice.
    pub(crate) fn push_nothing(&mut self) {
        self.pushed += 1;
    }

    /// The last sequence pushed.
    #[inline]
    pub(crate) fn pushed(&self) -> Sequence {
        self.pushed
    }

    /// Whether the slice was committed here.
    #[inline]
    pub(crate) fn owns(&self, slice: &PoolSlice) -> bool {
        slice.chunk() == self.current || slice.chunk().is_owned_by(self.owner)
    }

    /// Releases `slices` slices of a chunk that are in events and won't be dropped.
    pub(crate) fn release_slices(&mut self, chunk: u32, slices: u32) {
        self.owner.chunk(chunk).remove_holders(slices);
    }

    pub(crate) fn memory(&self) -> &Arc<RingMemory> {
        &self.owner.memory
    }
}

impl Drop for RingPool {
    fn drop(&mut self) {
        self.owner.remove_pool();
    }
}
