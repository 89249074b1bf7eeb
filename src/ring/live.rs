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
    /// Tokens, receives, reads in flight and slices that aren't in a slot; and the pool as long as
    /// it is there, so that a drop has to look further only when the pool has gone. Too wide to
    /// overflow, whatever is leaked.
    owner_live: Cell<u64>,
    /// The highest sequence staged from this chunk; for the current one it is noted when the chunk
    /// is closed, which spares a store a slice.
    last_seq: Cell<Sequence>,
    /// Bytes of the largest slice. While a range of this chunk waits in `Owner::returned` it is 0,
    /// so that nothing seems to fit and the pool takes the range back first.
    limit: Cell<usize>,
    /// The address where its slices must end.
    end: usize,
    /// Whether strides that alias get a line more ([`Layout::aliases`]).
    aliases: bool,
    /// Set as soon as the owner has its address.
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

    /// What is counted, the pool included.
    pub(super) fn counted(&self) -> u64 {
        self.owner_live.get()
    }

    /// The pool's count goes.
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
    /// Of a chunk that has its place in its owner's state.
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

    /// Whether `len` bytes from `position`, which is the write position in this chunk, may be
    /// handed out at once.
    #[inline]
    pub(super) fn fits(self, position: *mut u8, len: usize) -> bool {
        // An absurd length wraps, and is above the limit.
        position.addr().wrapping_add(len) <= self.state().end && len <= self.state().limit.get()
    }

    /// Whether `len` bytes from `position`, which is the write position in this chunk, lie in it.
    #[inline]
    #[cfg(feature = "pipeline")]
    pub(super) fn holds_next(self, position: *mut u8, len: usize) -> bool {
        position.addr().saturating_add(len) <= self.state().end
    }

    /// Where the next slice starts behind `len` bytes from `position`.
    ///
    /// The branch is the same for all slices of a pool; kept as one (a conditional move here costs
    /// 0.1 to 0.15 ns of 2, and a branch by the length costs 0.4 where lengths are mixed around 4
    /// KiB).
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

    /// A slice goes into a slot: a sequence protects it from now on. The pool, which holds this
    /// reference, keeps the chunk alive.
    #[inline]
    pub(super) fn count_staged(self) {
        let live = &self.state().owner_live;
        debug_assert!(live.get() > 1, "only what is counted goes into a slot");
        live.set(live.get() - 1);
    }

    /// A sequence protects something in this chunk, which isn't the current one. An earlier one
    /// never takes the place of a later one: the chunk would be written again under slots that
    /// aren't released.
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

    /// The chunk's last count has gone, so the pool has. It can't unwind: a loop that drops slices
    /// would keep registers ready for that.
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

/// Makes a branch the unlikely one, as `core::hint::cold_path` does since Rust 1.95: nothing is
/// called, the branch stays a branch.
#[cold]
#[inline]
fn unlikely() {}

impl core::fmt::Debug for ChunkRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("ChunkRef").field(&self.index()).finish()
    }
}
