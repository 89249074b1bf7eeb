//! The state of one chunk: what is alive in it, and how the pool and its slices reach it.
//!
//! A slice points at its chunk's state rather than at its owner, so a drop is one decrement. What
//! the pool needs in order to allocate is in the same cache line.
#![allow(unsafe_code)]

use core::cell::Cell;
use core::ptr::NonNull;

use super::chunk::{Layout, NONE, Sequence, line_up, stride};
use super::owner::OwnerRef;

/// Owner only. A chunk is reusable when it is closed, nothing but the pool is counted in it,
/// `last_seq <= released` and `pins == 0`.
pub(super) struct Chunk {
    /// The number of tokens, receives, reads in flight, slices that aren't in a slot, and the pool
    /// while it exists. So a drop has more to do only if the pool is gone. It is too wide to
    /// overflow, whatever is leaked.
    owner_live: Cell<u64>,
    /// The highest sequence pushed from this chunk. For the current chunk it is recorded when the
    /// chunk is closed, which saves one store per slice.
    last_seq: Cell<Sequence>,
    /// The largest slice in bytes; 0 while a range of this chunk waits in `Owner::returned`, so
    /// that nothing seems to fit and the pool takes the range back first.
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
    /// A chunk of the region at `base` in which only the pool is counted.
    pub(super) fn new(index: u32, layout: &Layout, base: NonNull<u8>) -> Self {
        Self {
            owner_live: Cell::new(1),
            last_seq: Cell::new(NONE),
            limit: Cell::new(layout.max_slice_bytes()),
            end: base.addr().get() + layout.chunk_start(index) + layout.chunk_bytes(),
            aliases: layout.aliases(),
            owner: Cell::new(None),
            index,
        }
    }

    pub(super) fn set_owner(&self, owner: OwnerRef) {
        assert!(self.owner.replace(Some(owner)).is_none(), "a chunk has one owner for ever");
    }

    /// Whether anything but the pool is counted.
    pub(super) fn is_held(&self) -> bool {
        self.owner_live.get() > 1
    }

    /// The count, the pool included.
    pub(super) fn counted(&self) -> u64 {
        self.owner_live.get()
    }

    /// Removes the pool's count.
    pub(super) fn drop_pool(&self) {
        debug_assert!(self.owner_live.get() > 0, "a pool goes once");
        self.owner_live.set(self.owner_live.get() - 1);
    }

    pub(super) fn last_seq(&self) -> Sequence {
        self.last_seq.get()
    }

    pub(super) fn set_limit(&self, max_slice_bytes: usize) {
        self.limit.set(max_slice_bytes);
    }
}

/// A pointer to the state of a chunk whose owner is alive. Its holders are the pool, whose current
/// chunk it is, and what is counted in that chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkRef(NonNull<Chunk>);

impl ChunkRef {
    /// The chunk must already be in its place in the owner's state.
    pub(super) fn new(chunk: &Chunk) -> Self {
        Self(NonNull::from(chunk))
    }

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

    /// Whether `len` bytes from `position`, which is the write position in this chunk, can be
    /// handed out without further checks.
    #[inline]
    pub(super) fn fits(self, position: *mut u8, len: usize) -> bool {
        // An absurd length wraps, and is then above the limit.
        position.addr().wrapping_add(len) <= self.state().end && len <= self.state().limit.get()
    }

    /// Whether `len` bytes from `position`, which is the write position in this chunk, lie in it.
    #[inline]
    #[cfg(feature = "pipeline")]
    pub(super) fn holds_next(self, position: *mut u8, len: usize) -> bool {
        position.addr().saturating_add(len) <= self.state().end
    }

    /// Where the next slice starts after `len` bytes from `position`.
    ///
    /// The branch goes the same way for all slices of a pool. It stays a branch: a conditional move
    /// here is slower, and so is a branch on the length where lengths are mixed around 4 KiB.
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
        self.state().counted() > 0
    }

    #[inline]
    pub(super) fn count_live(self) {
        let live = &self.state().owner_live;
        debug_assert!(live.get() > 0, "only what is held, or the pool, lets a chunk gain");
        live.set(live.get() + 1);
    }

    /// A slice goes into a slot: from now on its sequence protects it. The pool, which holds this
    /// reference, keeps the chunk alive.
    #[inline]
    pub(super) fn count_pushed(self) {
        let live = &self.state().owner_live;
        debug_assert!(live.get() > 1, "only what is counted goes into a slot");
        live.set(live.get() - 1);
    }

    /// A sequence protects something in this chunk, which isn't the current one. A lower sequence
    /// never replaces a higher one: the chunk would be overwritten while slots in it aren't
    /// released.
    #[inline]
    pub(super) fn note_sequence(self, sequence: Sequence) {
        let last_seq = &self.state().last_seq;
        last_seq.set(last_seq.get().max(sequence));
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

    /// Ends `count` counts of slices that nobody will drop; the pool, which holds this reference,
    /// is counted too.
    #[cfg(feature = "pipeline")]
    pub(super) fn count_off(self, count: u32) {
        let live = &self.state().owner_live;
        assert!(
            live.get() > u64::from(count),
            "chunk {} has fewer slices than {count}",
            self.index()
        );
        live.set(live.get() - u64::from(count));
    }

    /// The chunk's last count is gone, and so the pool is. It can't unwind: otherwise a loop that
    /// drops slices would have to save registers for that.
    #[cold]
    #[allow(improper_ctypes_definitions, reason = "it is called from Rust only")]
    extern "C" fn end_last(self) {
        debug_assert!(!self.is_live());
        self.owner().free_if_last();
    }

    #[inline]
    fn state(&self) -> &Chunk {
        // SAFETY: I22. The chunks' state lives as long as their owner, which every holder keeps
        // alive.
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
