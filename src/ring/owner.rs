//! The part of a pool's state that slices, tokens and receives reach after a call has returned: a
//! [`Chunk`] for each chunk, and the [`Owner`] of them all. It belongs to the pool's thread: plain
//! cells, and no atomics but the pins it reads.
//!
//! A slice points at its chunk's state rather than at the owner, so a drop is one decrement. What
//! the pool needs in order to allocate is in the same cache line. What only the pool needs (the
//! write position, the sequences) is in the pool, where the compiler may keep it in registers.
//!
//! ```text
//! Owner ── chunks ──▶ │ Chunk 0 │ Chunk 1 │ ...      each chunk counts its holders,
//!   ▲                      │  ▲                      and points back at the owner
//!   └────── OwnerRef ──────┘  └── ChunkRef ── slice, token, receive, read in flight
//! ```
//! No holder has a count of its own: each is counted in the `holders` of its chunk. The state is
//! freed by the last holder to go, which may be the pool or one of them.
#![allow(unsafe_code)]

use core::cell::{Cell, RefCell};
use core::num::NonZeroU32;
use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;

use super::error::Full;
use super::layout::{Layout, NONE, Sequence, line_up, stride};
use super::memory::RingMemory;
use super::stats::RingCounters;
use super::window::{Blocked, Rotation};

/// The state of one chunk, for its owner's thread only. A chunk is reusable when only the pool
/// holds it, `last_seq <= released` and it has no pins.
pub(super) struct Chunk {
    /// The number of tokens, receives, reads in flight, slices that aren't in a slot, and the pool
    /// while it exists. The pool is counted so that the drop of a slice has more to do only if the
    /// pool is gone. The count is too wide to overflow, whatever is leaked.
    holders: Cell<u64>,
    /// The highest sequence pushed from this chunk. For the current chunk it is recorded when the
    /// chunk is closed, which saves one store per slice.
    last_seq: Cell<Sequence>,
    /// The largest slice in bytes. It is 0 while `Owner::returned` has a range of this chunk, so
    /// that nothing seems to fit and the pool reclaims the range first.
    limit: Cell<usize>,
    /// The end of the chunk, where its slices must end.
    end: usize,
    /// Whether strides that alias get an extra line ([`Layout::aliases`]).
    aliases: bool,
    /// Set once the owner has an address.
    owner: Cell<Option<OwnerRef>>,
    index: u32,
}

impl Chunk {
    /// A chunk of the region at `base` that only the pool holds.
    fn new(index: u32, layout: &Layout, base: NonNull<u8>) -> Self {
        Self {
            holders: Cell::new(1),
            last_seq: Cell::new(NONE),
            limit: Cell::new(layout.max_slice_bytes()),
            end: base.addr().get() + layout.chunk_start(index) + layout.chunk_bytes(),
            aliases: layout.aliases(),
            owner: Cell::new(None),
            index,
        }
    }

    fn set_owner(&self, owner: OwnerRef) {
        assert!(self.owner.replace(Some(owner)).is_none(), "the owner of a chunk never changes");
    }

    /// Whether anything but the pool holds the chunk.
    fn is_held(&self) -> bool {
        self.holders.get() > 1
    }

    /// Ends the pool's hold.
    fn remove_pool(&self) {
        debug_assert!(self.holders.get() > 0, "a pool is dropped once");
        self.holders.set(self.holders.get() - 1);
    }
}

/// A pointer to the state of a chunk whose owner exists. The pool has one to its current chunk, and
/// each holder has one to the chunk that it holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkRef(NonNull<Chunk>);

impl ChunkRef {
    /// The chunk must already be in its place in the owner's state.
    fn new(chunk: &Chunk) -> Self {
        Self(NonNull::from(chunk))
    }

    /// The chunk's number.
    #[inline]
    pub(super) fn index(self) -> u32 {
        self.state().index
    }

    /// The offset of the chunk's start.
    pub(super) fn start(self) -> usize {
        self.owner().layout.chunk_start(self.index())
    }

    /// The offset of the chunk's end.
    pub(super) fn end(self) -> usize {
        self.start() + self.owner().layout.chunk_bytes()
    }

    /// Whether `len` bytes from `position`, which is the write position in this chunk, can be
    /// handed out without further checks.
    #[inline]
    pub(super) fn fits(self, position: *mut u8, len: usize) -> bool {
        // The sum wraps only for a length that is above the limit anyway.
        position.addr().wrapping_add(len) <= self.state().end && len <= self.state().limit.get()
    }

    /// Whether the chunk contains `len` bytes from `position`, which is the write position in it.
    #[inline]
    #[cfg(feature = "pipeline")]
    pub(super) fn holds_next(self, position: *mut u8, len: usize) -> bool {
        position.addr().saturating_add(len) <= self.state().end
    }

    /// Where the next slice starts after `len` bytes from `position`.
    ///
    /// The branch is the same for all slices of a pool, so it is predicted. It stays a branch: a
    /// conditional move here is slower, and so is a branch on the length where lengths vary around
    /// 4 KiB.
    #[inline]
    pub(super) fn after(self, position: *mut u8, len: usize) -> *mut u8 {
        let stride = if self.state().aliases {
            unlikely();
            stride(len)
        } else {
            line_up(len)
        };
        position.wrapping_add(stride)
    }

    /// Whether the chunk contains the `len` bytes from `offset` of the region.
    pub(super) fn contains(self, offset: usize, len: usize) -> bool {
        (self.start()..=self.end() - len).contains(&offset)
    }

    #[inline]
    pub(super) fn owner(self) -> OwnerRef {
        let owner = self.state().owner.get();
        debug_assert!(owner.is_some(), "an owner sets itself in its chunks first");
        owner.unwrap_or_else(|| unreachable!("an owner sets itself in its chunks first"))
    }

    #[inline]
    pub(super) fn is_owned_by(self, owner: OwnerRef) -> bool {
        self.state().owner.get() == Some(owner)
    }

    /// As [`Owner::return_range`], for a range of this chunk.
    pub(super) fn return_range(self, position: usize, used_to: usize) {
        self.owner().return_range(self.index(), position, used_to);
    }

    /// Whether the chunk has holders, the pool included.
    pub(super) fn has_holders(self) -> bool {
        self.state().holders.get() > 0
    }

    #[inline]
    pub(super) fn add_holder(self) {
        let holders = &self.state().holders;
        debug_assert!(holders.get() > 0, "only the pool, or a holder, adds a holder");
        holders.set(holders.get() + 1);
    }

    /// A slice goes into a slot and is no longer a holder: from now on its sequence protects it.
    /// The pool, which keeps this reference, is still a holder.
    #[inline]
    pub(super) fn remove_pushed(self) {
        let holders = &self.state().holders;
        debug_assert!(holders.get() > 1, "only a slice that holds its chunk goes into a slot");
        holders.set(holders.get() - 1);
    }

    /// A sequence protects something in this chunk, which isn't the current one. A lower sequence
    /// never replaces a higher one: the chunk would be overwritten while slots in it aren't
    /// released.
    #[inline]
    pub(super) fn note_sequence(self, sequence: Sequence) {
        let last_seq = &self.state().last_seq;
        last_seq.set(last_seq.get().max(sequence));
    }

    /// Ends one hold. The caller doesn't use its `ChunkRef` afterwards.
    #[inline]
    pub(super) fn remove_holder(self) {
        let holders = &self.state().holders;
        debug_assert!(holders.get() > 0, "chunk {} has no holder", self.index());
        holders.set(holders.get() - 1);
        if holders.get() == 0 {
            self.last_holder_gone();
        }
    }

    /// Ends the holds of `count` slices that won't be dropped. The pool, which keeps this
    /// reference, is still a holder.
    #[cfg(feature = "pipeline")]
    pub(super) fn remove_holders(self, count: u32) {
        let holders = &self.state().holders;
        assert!(
            holders.get() > u64::from(count),
            "chunk {} has fewer slices than {count}",
            self.index()
        );
        holders.set(holders.get() - u64::from(count));
    }

    /// The chunk's last holder is gone, and so the pool is. It can't unwind: otherwise a loop that
    /// drops slices would have to save registers for that.
    #[cold]
    #[allow(improper_ctypes_definitions, reason = "it is called from Rust only")]
    extern "C" fn last_holder_gone(self) {
        debug_assert!(!self.has_holders());
        self.owner().free_if_last();
    }

    #[inline]
    fn state(&self) -> &Chunk {
        // SAFETY: I22. The chunks' state lives as long as their owner, and no owner is freed while
        // one of its chunks has a holder.
        unsafe { self.0.as_ref() }
    }
}

/// Marks a branch as unlikely, as `core::hint::cold_path` does since Rust 1.95, without a call.
#[cold]
#[inline]
fn unlikely() {}

impl core::fmt::Debug for ChunkRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("ChunkRef").field(&self.index()).finish()
    }
}

/// The identity of a read in flight: no other in the process has the same, in any pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlightId {
    /// The pool's number, which no other pool has.
    pub(super) pool: NonZeroU32,
    /// The read's number in its pool.
    pub(super) number: u64,
}

/// The chunks of a pool, and what decides which of them is written next.
pub(super) struct Owner {
    current: Cell<u32>,
    /// The last sequence when the current chunk was opened. Later sequences protect that chunk.
    opened_at: Cell<Sequence>,
    chunks: Box<[Chunk]>,
    pub(super) base: NonNull<u8>,
    pub(super) layout: Layout,
    pub(super) memory: Arc<RingMemory>,
    pub(super) counters: RingCounters,
    /// A range of the current chunk that has no holder any more, as (end, start). It can be
    /// reclaimed if its end is the write position.
    returned: Cell<Option<(usize, usize)>>,
    rotation: RefCell<Rotation>,
    /// Reads that were dropped while the kernel still owned them: (number, chunk).
    abandoned: RefCell<Vec<(FlightId, ChunkRef)>>,
    pool: NonZeroU32,
    next_flight: Cell<u64>,
}

impl Owner {
    fn new(layout: Layout, memory: Arc<RingMemory>, pool: NonZeroU32) -> Self {
        let base = memory.region().base();
        let chunk = |index| Chunk::new(index, &layout, base);
        Self {
            current: Cell::new(0),
            opened_at: Cell::new(NONE),
            chunks: (0..layout.chunks()).map(chunk).collect(),
            base,
            layout,
            memory,
            counters: RingCounters::default(),
            returned: Cell::new(None),
            rotation: RefCell::new(Rotation::new(layout.chunks(), layout.window_chunks())),
            abandoned: RefCell::new(Vec::with_capacity(16)),
            pool,
            next_flight: Cell::new(0),
        }
    }

    /// Makes room for `len` bytes, in the current chunk or in the next one, and returns the new
    /// write position. After an error nothing has changed.
    ///
    /// It receives and returns a copy of the position: if it were given the pool itself, the pool's
    /// address would escape, and the compiler would reload every field after each write to a
    /// payload.
    #[cold]
    pub(super) fn make_room(
        &self,
        len: usize,
        position: *mut u8,
        pushed: Sequence,
        released: Sequence,
    ) -> Result<(ChunkRef, *mut u8), Full> {
        let max_slice_bytes = self.layout.max_slice_bytes();
        if len > max_slice_bytes {
            return Err(self.counters.refuse(Full::TooLarge { asked_bytes: len, max_slice_bytes }));
        }
        let position = position.addr() - self.base.addr().get();
        let current = self.chunk(self.current.get());
        let reclaimed = self.reclaim_returned(position);
        if reclaimed + len <= current.end() {
            return Ok((current, self.at(reclaimed)));
        }
        let next =
            self.rotation.borrow_mut().advance(|chunk| self.blocked(chunk, pushed, released));
        let Some(next) = next else {
            // The caller's position is unchanged, so the returned range keeps waiting.
            self.return_range(self.current.get(), position, reclaimed);
            let chunks = self.layout.chunks() as usize;
            return Err(self.counters.refuse(Full::Pool { asked_bytes: len, chunks }));
        };
        debug_assert_eq!(self.blocked(next, pushed, released), None, "chunk {next} isn't reusable");
        if pushed > self.opened_at.replace(pushed) {
            current.note_sequence(pushed);
        }
        self.counters.add_waste(current.end().saturating_sub(reclaimed));
        debug_assert!(
            self.returned.get().is_none(),
            "the returned range is reclaimed before its chunk is closed"
        );
        self.current.set(next);
        let chunk = self.chunk(next);
        assert!(chunk.contains(chunk.start(), len), "a fresh chunk holds the largest slice");
        Ok((chunk, self.at(chunk.start())))
    }

    /// The one rule of reuse.
    pub(super) fn blocked(
        &self,
        chunk: u32,
        pushed: Sequence,
        released: Sequence,
    ) -> Option<Blocked> {
        let state = &self.chunks[chunk as usize];
        let is_open = chunk == self.current.get() && pushed > self.opened_at.get();
        let last_seq = if is_open { pushed } else { state.last_seq.get() };
        if state.is_held() {
            Some(Blocked::Held)
        } else if last_seq > released {
            Some(Blocked::Sequence)
        } else if self.memory.pins().is_pinned(chunk) {
            // `released` was loaded (Acquire, by `Flow::consumed` on the lane's thread) before the
            // pins: a stage's pin is visible once its release is.
            Some(Blocked::Pinned)
        } else {
            None
        }
    }

    /// The range from `used_to` to `position` of a chunk has no holder any more. If it is the
    /// newest, the pool reclaims it before it allocates again. Otherwise it is tail waste and is
    /// reclaimed with its chunk.
    pub(super) fn return_range(&self, chunk: u32, position: usize, used_to: usize) {
        let (end, start) = (position, line_up(used_to).min(position));
        debug_assert!(chunk < self.layout.chunks() && start <= end);
        if start == end {
            return;
        }
        if chunk != self.current.get() {
            return self.counters.add_waste(end - start);
        }
        let newest = match self.returned.get() {
            None => (end, start),
            Some((known_end, known_start)) if known_start == end => (known_end, start),
            Some((known_end, known_start)) if known_end == start => (end, known_start),
            Some(known) => {
                // Only the later one can be the newest.
                let (newest, other) =
                    if end > known.0 { ((end, start), known) } else { (known, (end, start)) };
                debug_assert!(newest.1 >= other.0, "two returned ranges overlap");
                self.counters.add_waste(other.0 - other.1);
                newest
            }
        };
        self.returned.set(Some(newest));
        self.chunks[chunk as usize].limit.set(0);
    }

    /// Reclaims the returned range if it is the newest; otherwise the range is waste. Returns the
    /// write position.
    fn reclaim_returned(&self, position: usize) -> usize {
        let Some((end, start)) = self.returned.take() else { return position };
        debug_assert!(
            start < end && end <= position,
            "a range up to {end} was returned, but only bytes up to {position} were handed out"
        );
        self.chunks[self.current.get() as usize].limit.set(self.layout.max_slice_bytes());
        if end == position {
            return start;
        }
        self.counters.add_waste(end - start);
        position
    }

    /// Bytes of the returned range, if it isn't the newest and so can't be reclaimed.
    pub(super) fn returned_waste(&self, position: usize) -> usize {
        self.returned
            .get()
            .filter(|(end, _)| *end != position)
            .map_or(0, |(end, start)| end - start)
    }

    /// The pointer to an offset of the region.
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        self.base.as_ptr().wrapping_add(offset)
    }

    /// The state of a chunk.
    pub(super) fn chunk(&self, index: u32) -> ChunkRef {
        ChunkRef::new(&self.chunks[index as usize])
    }

    pub(super) fn rotation(&self) -> core::cell::Ref<'_, Rotation> {
        self.rotation.borrow()
    }

    pub(super) fn new_flight(&self) -> FlightId {
        let number = self.next_flight.get();
        self.next_flight.set(number + 1);
        FlightId { pool: self.pool, number }
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn skip_flights(&self, flights: u64) {
        self.next_flight.set(self.next_flight.get() + flights);
    }

    pub(super) fn abandon_flight(&self, id: FlightId, chunk: ChunkRef) {
        assert!(chunk.has_holders(), "a read in flight holds its chunk");
        self.abandoned.borrow_mut().push((id, chunk));
    }

    /// The chunk of an abandoned read, once.
    pub(super) fn take_abandoned(&self, id: FlightId) -> Option<ChunkRef> {
        let mut abandoned = self.abandoned.borrow_mut();
        let at = abandoned.iter().position(|&(known, _)| known == id)?;
        Some(abandoned.swap_remove(at).1)
    }
}

/// A pointer to an [`Owner`] that exists, held by its pool or reached through a chunk that counts
/// the holder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnerRef(NonNull<Owner>);

impl OwnerRef {
    /// A new state, held by its pool.
    pub(super) fn new(layout: Layout, memory: Arc<RingMemory>, pool: NonZeroU32) -> Self {
        let owner = Self(NonNull::from(Box::leak(Box::new(Owner::new(layout, memory, pool)))));
        owner.chunks.iter().for_each(|chunk| chunk.set_owner(owner));
        owner
    }

    /// The pool is dropped, and ends its hold on every chunk. Slices and tokens may remain.
    pub(super) fn remove_pool(self) {
        self.chunks.iter().for_each(Chunk::remove_pool);
        self.free_if_last();
    }

    /// Frees the state if no chunk has a holder.
    fn free_if_last(self) {
        let holders: u64 = self.chunks.iter().map(|chunk| chunk.holders.get()).sum();
        if holders == 0 {
            // SAFETY: I23. The pool is gone and every count is zero: this is the last `OwnerRef`,
            // and it came from a Box.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

impl Deref for OwnerRef {
    type Target = Owner;

    #[inline]
    fn deref(&self) -> &Owner {
        // SAFETY: I22. The state lives as long as its pool or any other holder of its chunks, and
        // this pointer belongs to one of those.
        unsafe { self.0.as_ref() }
    }
}

impl core::fmt::Debug for OwnerRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("OwnerRef").field(&self.0).finish()
    }
}
