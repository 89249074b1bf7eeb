//! The state of the thread that owns a pool: plain cells, no atomics but the pins it looks at.
//!
//! Grants, tokens, receives and slices point at it without a count of their own: each of them is one of its chunk's
//! `owner_live`, and the state is freed by whichever comes last, the pool or the last of them.
#![allow(unsafe_code)]

use core::cell::{Cell, RefCell};
use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;

use super::chunk::{LINE_BYTES, Layout, NONE, Sequence, line_up, stride};
use super::memory::{Memory, Span};
use super::stats::Counters;
use super::window::{Blocked, Rotation};

/// Per chunk, owner only.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Tokens, receives, reads in flight and slices that aren't in a slot. 64 bits, because slices without bytes can be made and
    /// leaked without an end: four billion take seconds, and a count that wraps would free what is alive.
    pub(super) owner_live: Cell<u64>,
    /// The highest sequence staged from this chunk.
    pub(super) last_seq: Cell<Sequence>,
}

/// A chunk is reusable when it is closed, `owner_live == 0`, `last_seq <= released` and `pins == 0`.
pub(super) struct Owner {
    /// Write position: where the next slice starts. On a line; at most one line past `end`.
    pub(super) position: Cell<usize>,
    /// End of the current chunk.
    pub(super) end: Cell<usize>,
    pub(super) current: Cell<u32>,
    /// The read cursor: every stage has passed it.
    pub(super) released: Cell<Sequence>,
    /// The sequence that the next staged slice gets.
    pub(super) next_seq: Cell<Sequence>,
    pub(super) chunks: Box<[Chunk]>,
    pub(super) base: NonNull<u8>,
    pub(super) layout: Layout,
    pub(super) memory: Arc<Memory>,
    pub(super) counters: Counters,
    rotation: RefCell<Rotation>,
    /// Reads that were dropped while the kernel still had them: (number, chunk).
    abandoned: RefCell<Vec<(u64, u32)>>,
    next_flight: Cell<u64>,
    pool_gone: Cell<bool>,
}

impl Owner {
    fn new(layout: Layout, memory: Arc<Memory>, pool: u32) -> Self {
        let chunk = |_| Chunk { owner_live: Cell::new(0), last_seq: Cell::new(NONE) };
        Self {
            position: Cell::new(0),
            end: Cell::new(layout.chunk_bytes()),
            current: Cell::new(0),
            released: Cell::new(NONE),
            next_seq: Cell::new(0),
            chunks: (0..layout.chunks()).map(chunk).collect(),
            base: memory.region().base(),
            layout,
            memory,
            counters: Counters::default(),
            rotation: RefCell::new(Rotation::new(layout.chunks(), layout.window_chunks())),
            abandoned: RefCell::new(Vec::with_capacity(16)),
            // Never the same number in two pools: a completion told to the wrong one is refused.
            next_flight: Cell::new(u64::from(pool) << 32),
            pool_gone: Cell::new(false),
        }
    }

    /// Whether `len` bytes fit into the current chunk.
    #[inline]
    pub(super) fn fits(&self, len: usize) -> bool {
        len <= self.layout.max_slice_bytes() && self.position.get() + len <= self.end.get()
    }

    /// Bytes left in the current chunk.
    #[inline]
    pub(super) fn room(&self) -> usize {
        self.end.get().saturating_sub(self.position.get())
    }

    /// Moves the write position past a range that starts at it; returns the new position.
    #[inline]
    pub(super) fn bump(&self, start: usize, len: usize) -> usize {
        debug_assert_eq!(start, self.position.get());
        debug_assert!(start + len <= self.end.get());
        let position = start + stride(len);
        debug_assert!(position <= self.end.get() + LINE_BYTES);
        self.position.set(position);
        position
    }

    /// Gives back what lies behind `used_to`, if nothing was allocated after the range that ended at `position`.
    pub(super) fn give_back(&self, chunk: u32, position: usize, used_to: usize) {
        if chunk == self.current.get() && position == self.position.get() {
            let back_to = line_up(used_to);
            debug_assert!(back_to <= position || back_to <= self.end.get());
            self.position.set(back_to.min(position));
        } else {
            self.counters.add_waste(position.saturating_sub(line_up(used_to)));
        }
    }

    #[inline]
    pub(super) fn count_live(&self, chunk: u32) {
        let live = &self.chunks[chunk as usize].owner_live;
        debug_assert!(chunk == self.current.get() || live.get() > 0, "only what is held lets a closed chunk gain");
        live.set(live.get() + 1);
    }

    /// A slice goes into a slot: the sequence protects it from now on.
    #[inline]
    pub(super) fn count_staged(&self, chunk: u32, sequence: Sequence) {
        let state = &self.chunks[chunk as usize];
        debug_assert!(sequence > self.released.get() && state.owner_live.get() > 0);
        debug_assert!(sequence > state.last_seq.get(), "sequences rise");
        state.last_seq.set(sequence);
        state.owner_live.set(state.owner_live.get() - 1);
    }

    /// Closes the current chunk and opens the next. False: nothing is free, and nothing has changed.
    pub(super) fn next_chunk(&self) -> bool {
        let waste = self.room();
        let Some(chunk) = self.rotation.borrow_mut().advance(|chunk| self.blocked(chunk)) else { return false };
        debug_assert_eq!(self.blocked(chunk), None, "chunk {chunk} isn't reusable");
        self.counters.add_waste(waste);
        let start = self.layout.chunk_start(chunk);
        self.current.set(chunk);
        self.position.set(start);
        self.end.set(start + self.layout.chunk_bytes());
        true
    }

    /// The one rule of reuse.
    pub(super) fn blocked(&self, chunk: u32) -> Option<Blocked> {
        let state = &self.chunks[chunk as usize];
        if state.owner_live.get() > 0 {
            Some(Blocked::Owner)
        } else if state.last_seq.get() > self.released.get() {
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

    pub(super) fn abandon_flight(&self, id: u64, chunk: u32) {
        assert!(self.chunks[chunk as usize].owner_live.get() > 0, "a read in flight is counted in its chunk");
        self.abandoned.borrow_mut().push((id, chunk));
    }

    /// The chunk of an abandoned read, once.
    pub(super) fn take_abandoned(&self, id: u64) -> Option<u32> {
        let mut abandoned = self.abandoned.borrow_mut();
        let at = abandoned.iter().position(|&(known, _)| known == id)?;
        Some(abandoned.swap_remove(at).1)
    }

    pub(super) fn owns(&self, span: Span) -> bool {
        span.chunk < self.layout.chunks() && span.offset + u64::from(span.len) <= self.layout.pool_bytes() as u64
    }

    /// What holds between any two calls: the write position is on a line of the current chunk (or one line behind it, after a
    /// stride that would alias), nothing is released that wasn't staged, nothing is staged ahead of its turn, and no more chunks
    /// are pinned than may be. Debug and profile `checked` only; the chunks' own law is [`Rotation::check`].
    #[inline]
    pub(super) fn check(&self) {
        let (start, position) = (self.layout.chunk_start(self.current.get()), self.position.get());
        debug_assert_eq!(self.end.get(), start + self.layout.chunk_bytes());
        debug_assert!((start..=self.end.get() + LINE_BYTES).contains(&position), "{position} isn't in chunk {start}");
        debug_assert_eq!(position % LINE_BYTES, 0);
        debug_assert!(self.released.get() >= NONE && self.released.get() < self.next_seq.get());
        debug_assert!(self.chunks[self.current.get() as usize].last_seq.get() < self.next_seq.get());
        debug_assert!(self.memory.pins().pinned() <= self.layout.pinned_chunks_max());
    }

    fn live(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.owner_live.get()).sum()
    }
}

/// A pointer to an [`Owner`] that is alive. Holders other than the pool are counted in `owner_live` until they go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnerRef(NonNull<Owner>);

impl OwnerRef {
    /// A new state, held by its pool.
    pub(super) fn new(layout: Layout, memory: Arc<Memory>, pool: u32) -> Self {
        Self(NonNull::from(Box::leak(Box::new(Owner::new(layout, memory, pool)))))
    }

    /// Ends one count of `chunk`. The caller doesn't use its `OwnerRef` afterwards.
    #[inline]
    pub(super) fn drop_live(self, chunk: u32) {
        let live = &self.chunks[chunk as usize].owner_live;
        debug_assert!(live.get() > 0, "chunk {chunk} has no live slice");
        let left = live.get() - 1;
        live.set(left);
        if left == 0 && self.pool_gone.get() {
            self.free_if_last();
        }
    }

    /// The pool goes; slices and tokens may stay.
    pub(super) fn drop_pool(self) {
        assert!(!self.pool_gone.replace(true), "a pool goes once");
        self.free_if_last();
    }

    #[cold]
    fn free_if_last(self) {
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
