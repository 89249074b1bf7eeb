//! [`Bin`]: the free buffers of one class that one thread keeps for itself.
//!
//! Its owner puts blocks in and takes them out without a lock or a locked instruction. Any other
//! thread may empty it:
//!
//! ```text
//! owner                                  emptying thread (one at a time: the registry's lock)
//! store busy = 1                         lock the owner out: set a bit of `attention`
//! light barrier                          heavy barrier
//! load attention; locked out? leave      wait a few looks for busy = 0, else come again later
//! put a block in, or take one out        take everything out
//! store busy = 0 (Release)               clear the bit (Release), unless there are waiters
//! ```
//! One of the two sees the other's store (see [`crate::barrier`]), so they are never both inside.
//! An emptying thread to which the kernel refuses the heavy barrier naps instead. Where the light
//! barrier is a fence, another bit of `attention` sends the owner to it, so that the common path
//! tests one word. (This is asymmetric locking, after the biased locks of virtual machines.
//! mimalloc and tcmalloc keep lists by thread too, but no other thread can empty those.)
//!
//! Promises that each block that goes in comes out once. It doesn't touch a block's bytes.
#![forbid(unsafe_code)]

use std::hint::spin_loop;
use std::ops::AddAssign;
use std::ptr;

use super::memory::Block;
use super::options::BIN_SLOTS;
use crate::barrier::Barrier;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, compiler_fence};

/// A bit of a bin's `attention`: the owner must stay out.
const LOCKED_OUT: u32 = 1;
/// The other bit: the owner passes a fence before it goes in.
const FENCED: u32 = 2;

/// How often an emptying thread looks whether the owner has left. Meanwhile it holds a lock, and
/// the owner may be waiting for the emptying thread's CPU.
const LOOKS: u32 = if cfg!(loom) { 1 } else { 100 };

/// The numbers of blocks that owners took out of bins and put in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BinCounts {
    pub(crate) gets: u64,
    pub(crate) puts: u64,
}

impl AddAssign for BinCounts {
    fn add_assign(&mut self, other: Self) {
        self.gets += other.gets;
        self.puts += other.puts;
    }
}

/// The bin of one class in one thread. It has cache lines of its own, because its owner writes to
/// it in every operation.
#[repr(align(128))]
#[derive(Debug)]
pub(crate) struct Bin {
    /// 1 while the owner is inside.
    busy: AtomicU32,
    /// [`LOCKED_OUT`] while the owner must stay out; always [`FENCED`] where the light barrier is a
    /// fence. If it is zero, the owner goes in.
    attention: AtomicU32,
    /// The number of blocks, which are in the first slots.
    len: AtomicU32,
    kept_max: u32,
    barrier: Barrier,
    /// Written by the owner only.
    gets: AtomicU64,
    puts: AtomicU64,
    /// The sum of `gets` and `puts` when the pool last looked for idle bins.
    seen: AtomicU64,
    slots: [AtomicPtr<u8>; BIN_SLOTS],
}

impl Bin {
    /// An empty bin for `kept_max` blocks, whose owner may be locked out at first.
    pub(crate) fn new(kept_max: u32, barrier: Barrier, is_locked_out: bool) -> Self {
        assert!(kept_max as usize <= BIN_SLOTS, "a bin has {BIN_SLOTS} slots");
        Self {
            busy: AtomicU32::new(0),
            attention: AtomicU32::new(attention(barrier, is_locked_out)),
            len: AtomicU32::new(0),
            kept_max,
            barrier,
            gets: AtomicU64::new(0),
            puts: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            slots: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// The owner takes out the block that it put in last; None if there is none, or if it is locked
    /// out.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Block> {
        if !self.enter() {
            return None;
        }
        let len = self.len.load(Ordering::Relaxed);
        let mut popped = None;
        if len > 0 {
            popped = Block::from_raw(self.slot(len - 1).load(Ordering::Relaxed));
            self.len.store(len - 1, Ordering::Relaxed);
            add(&self.gets, 1);
        }
        self.leave();
        popped
    }

    /// The owner puts a block in. It is returned if the bin is full, or if the owner is locked out.
    #[inline]
    pub(crate) fn push(&self, block: Block) -> Option<Block> {
        if !self.enter() {
            return Some(block);
        }
        let len = self.len.load(Ordering::Relaxed);
        let mut refused = None;
        if len < self.kept_max {
            self.slot(len).store(block.into_raw(), Ordering::Relaxed);
            self.len.store(len + 1, Ordering::Relaxed);
            add(&self.puts, 1);
        } else {
            refused = Some(block);
        }
        self.leave();
        refused
    }

    /// The owner moves blocks in from the class's store: as many as fit, and none if it is locked
    /// out.
    pub(crate) fn fill(&self, blocks: &mut Blocks) {
        if !self.enter() {
            return;
        }
        let mut len = self.len.load(Ordering::Relaxed);
        while len < self.kept_max {
            let Some(block) = blocks.pop() else { break };
            self.slot(len).store(block.into_raw(), Ordering::Relaxed);
            len += 1;
        }
        self.len.store(len, Ordering::Relaxed);
        self.leave();
    }

    /// The owner moves the older half out to make room; nothing if it is locked out.
    pub(crate) fn halve(&self, out: &mut Blocks) {
        if !self.enter() {
            return;
        }
        let len = self.len.load(Ordering::Relaxed);
        let moved = len - len / 2;
        for index in 0..moved {
            Block::from_raw(self.slot(index).load(Ordering::Relaxed))
                .into_iter()
                .for_each(|block| out.push(block));
        }
        for index in moved..len {
            self.slot(index - moved)
                .store(self.slot(index).load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.len.store(len - moved, Ordering::Relaxed);
        self.leave();
    }

    /// Another thread locks the owner out. The heavy barrier, or a nap, follows, once for all bins.
    pub(crate) fn lock_out(&self) {
        self.attention.store(attention(self.barrier, true), Ordering::Relaxed);
    }

    /// Another thread takes everything out, after it has locked the owner out and passed the heavy
    /// barrier. Returns false, and takes nothing, if the owner stays inside.
    pub(crate) fn empty(&self, out: &mut Vec<Block>) -> bool {
        // SYNC S8: the owner has left, and its changes are visible.
        let mut looks = 0;
        while self.busy.load(Ordering::Acquire) == 1 {
            looks += 1;
            if looks == LOOKS {
                return false;
            }
            spin_loop();
        }
        let len = self.len.load(Ordering::Relaxed);
        out.extend(
            (0..len).filter_map(|index| Block::from_raw(self.slot(index).load(Ordering::Relaxed))),
        );
        self.len.store(0, Ordering::Relaxed);
        true
    }

    /// Another thread lets the owner in again, or leaves it locked out.
    pub(crate) fn set_locked_out(&self, is_locked_out: bool) {
        // SYNC S9: the owner sees an emptied bin.
        self.attention.store(attention(self.barrier, is_locked_out), Ordering::Release);
    }

    pub(crate) fn kept_max(&self) -> u32 {
        self.kept_max
    }

    /// The number of blocks that it held at some moment.
    pub(crate) fn held(&self) -> u32 {
        self.len.load(Ordering::Relaxed)
    }

    /// The numbers of blocks that its owner took out and put in.
    pub(crate) fn counts(&self) -> BinCounts {
        BinCounts {
            gets: self.gets.load(Ordering::Relaxed),
            puts: self.puts.load(Ordering::Relaxed),
        }
    }

    /// Whether it holds blocks that its owner hasn't used since the last call. Calls don't overlap.
    pub(crate) fn was_idle(&self) -> bool {
        let BinCounts { gets, puts } = self.counts();
        let used = gets.wrapping_add(puts);
        let before = self.seen.swap(used, Ordering::Relaxed);
        before == used && self.held() > 0
    }

    /// Acts as if the owner lost its CPU inside.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn occupy(&self) -> bool {
        self.enter()
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn vacate(&self) {
        self.leave();
    }

    #[inline]
    fn enter(&self) -> bool {
        debug_assert!(
            self.busy.load(Ordering::Relaxed) == 0,
            "a bin is entered by its owner alone"
        );
        self.busy.store(1, Ordering::Relaxed);
        // The light barrier, where it is a compiler fence.
        compiler_fence(Ordering::SeqCst);
        // SYNC S9: the changes of the last emptying thread are visible.
        self.attention.load(Ordering::Acquire) == 0 || self.enter_fenced()
    }

    /// The owner is locked out, or must pass a fence before it can know.
    #[cold]
    #[inline(never)]
    fn enter_fenced(&self) -> bool {
        self.barrier.light();
        // SYNC S9: as above.
        let may = self.attention.load(Ordering::Acquire) & LOCKED_OUT == 0;
        if !may {
            self.leave();
        }
        may
    }

    #[inline]
    fn leave(&self) {
        // SYNC S8: an emptying thread that sees this sees the owner's changes.
        self.busy.store(0, Ordering::Release);
    }

    #[inline]
    fn slot(&self, index: u32) -> &AtomicPtr<u8> {
        debug_assert!((index as usize) < BIN_SLOTS, "there is no slot {index}");
        &self.slots[index as usize % BIN_SLOTS]
    }
}

/// Blocks on their way between a bin and the class's store, without an allocation.
#[derive(Debug)]
pub(crate) struct Blocks {
    blocks: [Option<Block>; BIN_SLOTS],
    len: usize,
}

impl Blocks {
    pub(crate) fn new() -> Self {
        Self { blocks: [const { None }; BIN_SLOTS], len: 0 }
    }

    /// Adds a block. There is room for as many as a bin holds.
    pub(crate) fn push(&mut self, block: Block) {
        debug_assert!(self.len < BIN_SLOTS, "more blocks than a bin holds");
        self.blocks[self.len] = Some(block);
        self.len += 1;
    }

    /// Removes the block that was added last.
    pub(crate) fn pop(&mut self) -> Option<Block> {
        self.len = self.len.checked_sub(1)?;
        let popped = self.blocks[self.len].take();
        debug_assert!(popped.is_some(), "an entry below `len` is empty");
        popped
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Iterator for Blocks {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        self.pop()
    }
}

/// The word that the owner of a bin reads.
fn attention(barrier: Barrier, is_locked_out: bool) -> u32 {
    (if is_locked_out { LOCKED_OUT } else { 0 })
        | (if barrier == Barrier::Fence { FENCED } else { 0 })
}

/// Only the owner writes the counter, so a plain load and store suffice.
#[inline]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
