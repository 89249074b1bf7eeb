//! The part of a pool's state that must be reachable by what outlives a call. It belongs to the
//! pool's thread: plain cells, and no atomics but the pins it reads.
//!
//! Tokens, receives and slices point at their chunk's state without a count of their own: each of
//! them is counted in its `owner_live`. The state is freed by the last holder to go, be it the pool
//! or one of them. What only the pool needs (the write position, the sequences) is in the pool,
//! where the compiler may keep it in registers.
#![allow(unsafe_code)]

use core::cell::{Cell, RefCell};
use core::num::NonZeroU32;
use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;

use super::chunk::{Layout, NONE, Sequence, line_up};
use super::error::Full;
use super::live::{Chunk, ChunkRef};
use super::memory::Memory;
use super::stats::Counters;
use super::token::FlightId;
use super::window::{Blocked, Rotation};

/// The part of a pool that its tokens, receives and slices reach.
pub(super) struct Owner {
    current: Cell<u32>,
    /// The last sequence when the current chunk was opened: later sequences protect the chunk.
    opened_at: Cell<Sequence>,
    chunks: Box<[Chunk]>,
    pub(super) base: NonNull<u8>,
    pub(super) layout: Layout,
    pub(super) memory: Arc<Memory>,
    pub(super) counters: Counters,
    /// A range of the current chunk that nobody holds, as (end, start). It is free again if the
    /// write position is at its end.
    returned: Cell<Option<(usize, usize)>>,
    rotation: RefCell<Rotation>,
    /// Reads that were dropped while the kernel still owned them: (number, chunk).
    abandoned: RefCell<Vec<(FlightId, ChunkRef)>>,
    pool: NonZeroU32,
    next_flight: Cell<u64>,
}

impl Owner {
    fn new(layout: Layout, memory: Arc<Memory>, pool: NonZeroU32) -> Self {
        let base = memory.region().base();
        let chunk = |index| Chunk::new(index, &layout, base);
        Self {
            current: Cell::new(0),
            opened_at: Cell::new(NONE),
            chunks: (0..layout.chunks()).map(chunk).collect(),
            base,
            layout,
            memory,
            counters: Counters::default(),
            returned: Cell::new(None),
            rotation: RefCell::new(Rotation::new(layout.chunks(), layout.window_chunks())),
            abandoned: RefCell::new(Vec::with_capacity(16)),
            pool,
            next_flight: Cell::new(0),
        }
    }

    /// The range from `used_to` to `position` of a chunk is no longer held. If it is the newest,
    /// the pool takes it back before it allocates again. Otherwise it comes back with its chunk, as
    /// tail waste.
    pub(super) fn give_back(&self, chunk: u32, position: usize, used_to: usize) {
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
                debug_assert!(newest.1 >= other.0, "two ranges that were given back overlap");
                self.counters.add_waste(other.0 - other.1);
                newest
            }
        };
        self.returned.set(Some(newest));
        self.chunks[chunk as usize].set_limit(0);
    }

    /// Takes the returned range back, if it is the newest. Returns the write position.
    fn settle(&self, position: usize) -> usize {
        let Some((end, start)) = self.returned.take() else { return position };
        debug_assert!(
            start < end && end <= position,
            "a range up to {end} was given back, {position} is written"
        );
        self.chunks[self.current.get() as usize].set_limit(self.layout.max_slice_bytes());
        if end == position {
            return start;
        }
        self.counters.add_waste(end - start);
        position
    }

    /// Bytes that were given back and are waste.
    pub(super) fn waste_to_settle(&self, position: usize) -> usize {
        self.returned
            .get()
            .filter(|(end, _)| *end != position)
            .map_or(0, |(end, start)| end - start)
    }

    /// Makes room for `len` bytes, in the current chunk or in the next one, and returns the new
    /// write position. After an error nothing has changed.
    ///
    /// It takes and returns a copy: if it were given the pool itself, the pool's address would
    /// escape, and the compiler would reload every field after each write to a payload.
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
        let (current, settled) = (self.chunk(self.current.get()), self.settle(position));
        if settled + len <= current.end() {
            return Ok((current, self.at(settled)));
        }
        let next =
            self.rotation.borrow_mut().advance(|chunk| self.blocked(chunk, pushed, released));
        let Some(next) = next else {
            // The caller's position is unchanged, so the returned range keeps waiting.
            self.give_back(self.current.get(), position, settled);
            let chunks = self.layout.chunks() as usize;
            return Err(self.counters.refuse(Full::Pool { asked_bytes: len, chunks }));
        };
        debug_assert_eq!(self.blocked(next, pushed, released), None, "chunk {next} isn't reusable");
        if pushed > self.opened_at.replace(pushed) {
            current.note_sequence(pushed);
        }
        self.counters.add_waste(current.end().saturating_sub(settled));
        debug_assert!(
            self.returned.get().is_none(),
            "a chunk is closed after its range is settled"
        );
        self.current.set(next);
        let chunk = self.chunk(next);
        assert!(chunk.holds(chunk.start(), len), "a fresh chunk holds the largest slice");
        Ok((chunk, self.at(chunk.start())))
    }

    /// The pointer to an offset of the region.
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        self.base.as_ptr().wrapping_add(offset)
    }

    /// The state of a chunk.
    pub(super) fn chunk(&self, index: u32) -> ChunkRef {
        ChunkRef::new(&self.chunks[index as usize])
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
        let last_seq = if is_open { pushed } else { state.last_seq() };
        if state.is_held() {
            Some(Blocked::Owner)
        } else if last_seq > released {
            Some(Blocked::Sequence)
        } else if self.memory.pins().is_pinned(chunk) {
            // `released` was loaded (Acquire) before the pins: a stage's pin is visible once its
            // release is.
            Some(Blocked::Pinned)
        } else {
            None
        }
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
        assert!(chunk.is_live(), "a read in flight is counted in its chunk");
        self.abandoned.borrow_mut().push((id, chunk));
    }

    /// The chunk of an abandoned read, once.
    pub(super) fn take_abandoned(&self, id: FlightId) -> Option<ChunkRef> {
        let mut abandoned = self.abandoned.borrow_mut();
        let at = abandoned.iter().position(|&(known, _)| known == id)?;
        Some(abandoned.swap_remove(at).1)
    }

    fn live(&self) -> u64 {
        self.chunks.iter().map(Chunk::counted).sum()
    }
}

/// A pointer to a live [`Owner`], held by its pool or reached through a chunk that counts the
/// holder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnerRef(NonNull<Owner>);

impl OwnerRef {
    /// A new state, held by its pool.
    pub(super) fn new(layout: Layout, memory: Arc<Memory>, pool: NonZeroU32) -> Self {
        let owner = Self(NonNull::from(Box::leak(Box::new(Owner::new(layout, memory, pool)))));
        owner.chunks.iter().for_each(|chunk| chunk.set_owner(owner));
        owner
    }

    /// The pool is dropped, and removes its count of every chunk. Slices and tokens may remain.
    pub(super) fn drop_pool(self) {
        self.chunks.iter().for_each(Chunk::drop_pool);
        self.free_if_last();
    }

    /// Frees the state if nothing is counted in any chunk.
    pub(super) fn free_if_last(self) {
        if self.live() == 0 {
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
        // SAFETY: I22. The state lives as long as its pool or anything counted in `owner_live`, and
        // every holder is one of those.
        unsafe { self.0.as_ref() }
    }
}

impl core::fmt::Debug for OwnerRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("OwnerRef").field(&self.0).finish()
    }
}
