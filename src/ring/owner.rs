//! The state of the thread that owns a pool, as far as what outlives a call must reach it: plain cells, no atomics but the pins it looks at.
//!
//! Tokens, receives and slices point at their chunk's state without a count of their own: each of them is one of its
//! `owner_live`, and the state is freed by whichever comes last, the pool or the last of them. What only the pool itself needs
//! (the write position, the sequences) stands in the pool, where the compiler may keep it in registers.
#![allow(unsafe_code)]

use core::cell::{Cell, RefCell};
use core::hint::cold_path;
use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;

use super::chunk::{Layout, NONE, Sequence, line_up, stride};
use super::error::Full;
use super::memory::Memory;
use super::stats::Counters;
use super::window::{Blocked, Rotation};

/// Per chunk, owner only. A chunk is reusable when it is closed, only the pool is counted in it, `last_seq <= released` and `pins == 0`.
pub(super) struct Chunk {
    /// Tokens, receives and slices that aren't in a slot, and the pool as long as it is there, so that a drop has to look further only when
    /// the pool has gone. Too wide to overflow, whatever is leaked.
    owner_live: Cell<u64>,
    /// The highest sequence staged from this chunk.
    last_seq: Cell<Sequence>,
    /// Bytes of the largest slice. While a range of this chunk waits in `Owner::returned` it is 0, so that nothing seems to fit and the pool takes the
    /// range back first.
    limit: Cell<usize>,
    /// The address where its slices must end.
    end: usize,
    /// Whether the pool's slices can be so large that strides alias.
    aliases: bool,
    /// Set as soon as the owner has its address.
    owner: Cell<Option<OwnerRef>>,
    index: u32,
}

/// The part of a pool that its tokens, receives and slices reach.
pub(super) struct Owner {
    current: Cell<u32>,
    chunks: Box<[Chunk]>,
    pub(super) base: NonNull<u8>,
    pub(super) layout: Layout,
    pub(super) memory: Arc<Memory>,
    pub(super) counters: Counters,
    /// A range of the current chunk that nobody holds, as (end, start): it is free again if the write position stands at its end.
    returned: Cell<Option<(usize, usize)>>,
    rotation: RefCell<Rotation>,
    /// Reads that were dropped while the kernel still had them: (number, chunk).
    abandoned: RefCell<Vec<(u64, ChunkRef)>>,
    next_flight: Cell<u64>,
}

impl Owner {
    fn new(layout: Layout, memory: Arc<Memory>, pool: u32) -> Self {
        let base = memory.region().base();
        let chunk = |index| Chunk {
            owner_live: Cell::new(1),
            last_seq: Cell::new(NONE),
            limit: Cell::new(layout.max_slice_bytes()),
            end: base.addr().get() + layout.chunk_start(index) + layout.chunk_bytes(),
            aliases: layout.aliases(),
            owner: Cell::new(None),
            index,
        };
        Self {
            current: Cell::new(0),
            chunks: (0..layout.chunks()).map(chunk).collect(),
            base,
            layout,
            memory,
            counters: Counters::default(),
            returned: Cell::new(None),
            rotation: RefCell::new(Rotation::new(layout.chunks(), layout.window_chunks())),
            abandoned: RefCell::new(Vec::with_capacity(16)),
            // Never the same number in two pools: a completion told to the wrong one is refused.
            next_flight: Cell::new(u64::from(pool) << 32),
        }
    }

    /// The range from `used_to` to `position` of a chunk is held no more. If it turns out to be the newest, the pool takes it back before it
    /// allocates again; else it comes back with its chunk, as tail waste.
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
                let (newest, other) = if end > known.0 { ((end, start), known) } else { (known, (end, start)) };
                debug_assert!(newest.1 >= other.0, "two ranges that were given back overlap");
                self.counters.add_waste(other.0 - other.1);
                newest
            }
        };
        self.returned.set(Some(newest));
        self.chunks[chunk as usize].limit.set(0);
    }

    /// Takes back what was given back, if it is the newest; returns the write position.
    fn settle(&self, position: usize) -> usize {
        let Some((end, start)) = self.returned.take() else { return position };
        debug_assert!(start < end && end <= position, "a range up to {end} was given back, {position} is written");
        self.chunks[self.current.get() as usize].limit.set(self.layout.max_slice_bytes());
        if end == position {
            return start;
        }
        self.counters.add_waste(end - start);
        position
    }

    /// Bytes that were given back and will turn out to be waste.
    pub(super) fn waste_to_settle(&self, position: usize) -> usize {
        self.returned.get().filter(|(end, _)| *end != position).map_or(0, |(end, start)| end - start)
    }

    /// Makes room for `len` bytes, in the current chunk or in the next; returns where the pool writes from now on. After an error nothing has changed.
    ///
    /// It takes and returns a copy: were it given the pool itself, the pool's address would be known outside, and the compiler would load every field
    /// again after each write to a payload.
    #[cold]
    pub(super) fn make_room(
        &self,
        len: usize,
        position: *mut u8,
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
        let next = self.rotation.borrow_mut().advance(|chunk| self.blocked(chunk, released));
        let Some(next) = next else {
            // The caller's position stays where it was: what was given back waits on.
            self.give_back(self.current.get(), position, settled);
            let chunks = self.layout.chunks() as usize;
            return Err(self.counters.refuse(Full::Pool { asked_bytes: len, chunks }));
        };
        debug_assert_eq!(self.blocked(next, released), None, "chunk {next} isn't reusable");
        self.counters.add_waste(current.end().saturating_sub(settled));
        debug_assert!(self.returned.get().is_none(), "a chunk is closed after its range is settled");
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
        ChunkRef(NonNull::from(&self.chunks[index as usize]))
    }

    /// The one rule of reuse.
    pub(super) fn blocked(&self, chunk: u32, released: Sequence) -> Option<Blocked> {
        let state = &self.chunks[chunk as usize];
        if state.owner_live.get() > 1 {
            Some(Blocked::Owner)
        } else if state.last_seq.get() > released {
            Some(Blocked::Sequence)
        } else if self.memory.pins().is_pinned(chunk) {
            // `released` was loaded (Acquire) before the pins: a stage's pin is visible once its release is.
            Some(Blocked::Pinned)
        } else {
            None
        }
    }

    pub(super) fn rotation(&self) -> core::cell::Ref<'_, Rotation> {
        self.rotation.borrow()
    }

    pub(super) fn new_flight(&self) -> u64 {
        let id = self.next_flight.get();
        self.next_flight.set(id + 1);
        id
    }

    pub(super) fn abandon_flight(&self, id: u64, chunk: ChunkRef) {
        assert!(chunk.is_live(), "a read in flight is counted in its chunk");
        self.abandoned.borrow_mut().push((id, chunk));
    }

    /// The chunk of an abandoned read, once.
    pub(super) fn take_abandoned(&self, id: u64) -> Option<ChunkRef> {
        let mut abandoned = self.abandoned.borrow_mut();
        let at = abandoned.iter().position(|&(known, _)| known == id)?;
        Some(abandoned.swap_remove(at).1)
    }

    fn live(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.owner_live.get()).sum()
    }
}

/// A pointer to an [`Owner`] that is alive: it is held by its pool, or reached through a chunk that counts the holder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnerRef(NonNull<Owner>);

impl OwnerRef {
    /// A new state, held by its pool.
    pub(super) fn new(layout: Layout, memory: Arc<Memory>, pool: u32) -> Self {
        let owner = Self(NonNull::from(Box::leak(Box::new(Owner::new(layout, memory, pool)))));
        owner.chunks.iter().for_each(|chunk| chunk.owner.set(Some(owner)));
        owner
    }

    /// The pool goes, and with it its count of every chunk; slices and tokens may stay.
    pub(super) fn drop_pool(self) {
        for chunk in &self.chunks {
            debug_assert!(chunk.owner_live.get() > 0, "a pool goes once");
            chunk.owner_live.set(chunk.owner_live.get() - 1);
        }
        self.free_if_last();
    }

    fn free_if_last(self) {
        debug_assert!(self.chunks.iter().all(|chunk| chunk.owner.get() == Some(self)));
        if self.live() == 0 {
            // SAFETY: I23. The pool is gone and nothing is counted: this is the last `OwnerRef`, and it came from a Box.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

impl Deref for OwnerRef {
    type Target = Owner;

    #[inline]
    fn deref(&self) -> &Owner {
        // SAFETY: I22. The state lives as long as its pool or anything counted in `owner_live`, and every holder is one of those.
        unsafe { self.0.as_ref() }
    }
}

impl core::fmt::Debug for OwnerRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("OwnerRef").field(&self.0).finish()
    }
}

/// A pointer to the state of one chunk of an [`Owner`] that is alive. Its holders are the pool, whose current chunk it is, and what is
/// counted in that chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkRef(NonNull<Chunk>);

impl ChunkRef {
    /// The chunk's number.
    #[inline]
    pub(super) fn index(self) -> u32 {
        self.state().index
    }

    /// Where the chunk starts.
    pub(super) fn start(self) -> usize {
        self.owner().layout.chunk_start(self.index())
    }

    /// Where it ends.
    pub(super) fn end(self) -> usize {
        self.start() + self.owner().layout.chunk_bytes()
    }

    /// Whether `len` bytes from `position`, which is the write position in this chunk, may be handed out at once.
    #[inline]
    pub(super) fn fits(self, position: *mut u8, len: usize) -> bool {
        // An absurd length wraps, and is above the limit.
        position.addr().wrapping_add(len) <= self.state().end && len <= self.state().limit.get()
    }

    /// Where the next slice starts behind `len` bytes from `position`.
    ///
    /// The branch is the same for all slices of a pool; kept as one (a conditional move here costs 0.1 to 0.15 ns of 2, and a branch by the length costs 0.4 where
    /// lengths are mixed around 4 KiB).
    #[inline]
    pub(super) fn after(self, position: *mut u8, len: usize) -> *mut u8 {
        let stride = if self.state().aliases {
            cold_path();
            stride(len)
        } else {
            line_up(len)
        };
        position.wrapping_add(stride)
    }

    /// Whether the `len` bytes from `offset` of the region lie in the chunk.
    pub(super) fn holds(self, offset: usize, len: usize) -> bool {
        (self.start()..=self.end() - len).contains(&offset)
    }

    #[inline]
    pub(super) fn owner(self) -> OwnerRef {
        let owner = self.state().owner.get();
        debug_assert!(owner.is_some(), "an owner names itself to its chunks first");
        owner.unwrap_or_else(|| unreachable!("an owner names itself to its chunks first"))
    }

    #[inline]
    pub(super) fn is_owned_by(self, owner: OwnerRef) -> bool {
        self.state().owner.get() == Some(owner)
    }

    /// As [`Owner::give_back`], for a range of this chunk.
    pub(super) fn give_back(self, position: usize, used_to: usize) {
        self.owner().give_back(self.index(), position, used_to);
    }

    /// Whether anything is counted in the chunk, the pool included.
    pub(super) fn is_live(self) -> bool {
        self.state().owner_live.get() > 0
    }

    #[inline]
    pub(super) fn count_live(self) {
        let live = &self.state().owner_live;
        debug_assert!(live.get() > 0, "only what is held, or the pool, lets a chunk gain");
        live.set(live.get() + 1);
    }

    /// A slice goes into a slot: the sequence protects it from now on. The pool, which holds this reference, keeps the chunk alive.
    #[inline]
    pub(super) fn count_staged(self, sequence: Sequence) {
        let state = self.state();
        debug_assert!(sequence > state.last_seq.get() && state.owner_live.get() > 1);
        state.last_seq.set(sequence);
        state.owner_live.set(state.owner_live.get() - 1);
    }

    /// Ends one count. The caller doesn't use its `ChunkRef` afterwards.
    #[inline]
    pub(super) fn drop_live(self) {
        let live = &self.state().owner_live;
        debug_assert!(live.get() > 0, "chunk {} has no live slice", self.index());
        live.set(live.get() - 1);
        if live.get() == 0 {
            self.end_last();
        }
    }

    /// The chunk's last count has gone, so the pool has. It can't unwind: a loop that drops slices would keep registers ready for that.
    #[cold]
    #[allow(improper_ctypes_definitions, reason = "it is called from Rust only")]
    extern "C" fn end_last(self) {
        self.owner().free_if_last();
    }

    #[inline]
    fn state(&self) -> &Chunk {
        // SAFETY: I22. The state of the chunks lives as long as their owner, and every holder keeps that alive.
        unsafe { self.0.as_ref() }
    }
}

impl core::fmt::Debug for ChunkRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("ChunkRef").field(&self.index()).finish()
    }
}
