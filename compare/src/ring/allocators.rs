//! Contenders whose payloads come from an allocator: glibc, mimalloc and jemalloc with a block per
//! payload, the crate bytes with a counted part of a block, and bumpalo with two arenas.

#![allow(unsafe_code)]

use std::alloc::Layout;
use std::collections::BTreeSet;
use std::mem;
use std::ptr::NonNull;
use std::slice;

use bumpalo::Bump;
use bytes::{Bytes, BytesMut};
use mimalloc::MiMalloc;

use super::case::Plan;
use super::contender::Contender;
use crate::heap::{Block, Named};
use crate::memory::advise_huge;
use crate::payload::{Exhausted, Fill};

/// `glibc`: the default allocator. Each operation makes a vector with the payload's capacity, which
/// is freed when its entry is replaced. No pool and no limit, and the only contender whose payloads
/// may live as long as they like and on any thread.
pub struct Glibc {
    entries: Vec<Vec<u8>>,
}

impl Contender for Glibc {
    const NAME: &'static str = "glibc";
    const ANY_ORDER: bool = true;

    fn new(plan: &Plan) -> Result<Self, String> {
        Ok(Self { entries: (0..plan.slots).map(|_| Vec::new()).collect() })
    }

    fn memory_bytes(&self) -> usize {
        self.entries.iter().map(Vec::capacity).sum()
    }

    #[inline(always)]
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        let mut payload = Vec::with_capacity(bytes);
        fill.append(op, bytes, &mut payload);
        self.entries[entry] = payload;
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        check(&self.entries[entry])
    }
}

/// `mimalloc`: its free lists are sharded by page and by thread, so allocating and freeing on one
/// thread needs no atomic instruction.
pub type Mimalloc = Explicit<MiMalloc>;

/// `jemalloc`: its blocks come from a cache of the thread, in classes by size.
pub type Jemalloc = Explicit<tikv_jemallocator::Jemalloc>;

/// A block of exactly the payload's size for each operation, by explicit calls of the allocator,
/// while the process uses its default one. A block is freed when its entry is replaced.
pub struct Explicit<A: Named> {
    entries: Vec<Option<Block<A>>>,
}

impl<A: Named> Contender for Explicit<A> {
    const NAME: &'static str = A::NAME;
    const ANY_ORDER: bool = true;

    fn new(plan: &Plan) -> Result<Self, String> {
        Ok(Self { entries: (0..plan.slots).map(|_| None).collect() })
    }

    fn memory_bytes(&self) -> usize {
        self.entries.iter().flatten().map(|block| block.layout.size()).sum()
    }

    #[inline(always)]
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        let mut block = Block::new(bytes)?;
        fill.append(op, bytes, &mut block);
        self.entries[entry] = Some(block);
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        check(self.entries[entry].as_ref().expect("the entry has been put"))
    }
}

const BLOCK_BYTES: usize = 64 << 10;

/// `bytes`: the crate bytes as network programs use it. Each payload is split off a `BytesMut` of a
/// block and frozen. An entry is a `Bytes`, which counts its block and may be dropped in any order,
/// on any thread.
///
/// A block is used again when all of its payloads are gone and nothing else was reserved meanwhile;
/// otherwise a new one comes from the default allocator. So no pool can be full, and a block's
/// memory is freed only after its last payload.
pub struct BytesBlocks {
    block: BytesMut,
    block_bytes: usize,
    /// The addresses where blocks begin, to count those that are alive.
    starts: BTreeSet<usize>,
    entries: Vec<Bytes>,
}

impl BytesBlocks {
    #[cold]
    fn next_block(&mut self) {
        self.block.reserve(self.block_bytes);
        self.starts.insert(self.block.as_ptr().addr());
    }
}

impl Contender for BytesBlocks {
    const NAME: &'static str = "bytes";
    const ANY_ORDER: bool = true;

    fn new(plan: &Plan) -> Result<Self, String> {
        let block_bytes = BLOCK_BYTES.max(plan.largest_bytes);
        let entries = vec![Bytes::new(); plan.slots];
        Ok(Self { block: BytesMut::new(), block_bytes, starts: BTreeSet::new(), entries })
    }

    /// The blocks that hold a payload of an entry.
    fn memory_bytes(&self) -> usize {
        let start =
            |payload: &Bytes| self.starts.range(..=payload.as_ptr().addr()).next_back().copied();
        let alive: BTreeSet<usize> = self.entries.iter().filter_map(start).collect();
        alive.len() * self.block_bytes
    }

    #[inline(always)]
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        if self.block.capacity() < bytes {
            self.next_block();
        }
        fill.append(op, bytes, &mut self.block);
        // Split at the payload's end, not at the end of the written bytes, so that the room for the
        // unwritten ones belongs to the payload.
        let next = self.block.split_off(bytes);
        self.entries[entry] = mem::replace(&mut self.block, next).freeze();
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        check(&self.entries[entry])
    }
}

const ALIGN_BYTES: usize = 64;

/// `bump-two-arenas`: two bumpalo arenas, used in turn, one per lap. While one holds the payloads
/// of this lap, the entries of the lap before are replaced one by one. When the lap ends none of
/// them is left, so their arena is reset as a whole. Nothing is released by itself, which makes it
/// fast, and nothing can be kept longer than a lap.
///
/// Each arena holds a lap of largest payloads, so in a pool that just fits this contender uses
/// twice the memory of the others. An entry is the place and length of a payload in one of the
/// arenas.
pub struct BumpTwoArenas {
    arenas: [Bump; 2],
    /// The arena of this lap.
    current: usize,
    entries: Vec<(NonNull<u8>, usize)>,
}

impl BumpTwoArenas {
    /// An arena of at least `bytes` that never grows, with all of its bytes written once.
    fn arena(bytes: usize) -> Result<Bump, String> {
        let mut arena = Bump::try_with_capacity(bytes)
            .map_err(|_| format!("an arena of {bytes} B was refused"))?;
        arena.set_allocation_limit(Some(arena.allocated_bytes()));
        let all = Layout::array::<u8>(arena.chunk_capacity()).map_err(|error| error.to_string())?;
        let start = arena
            .try_alloc_layout(all)
            .map_err(|_| format!("an arena of {} B gives less", all.size()))?;
        assert_eq!(arena.chunk_capacity(), 0, "the arena has handed out all of its bytes");
        advise_huge(start.as_ptr(), all.size());
        // SAFETY: I80. The arena has just handed out this range of its chunk, and nothing else
        // refers to it.
        unsafe { start.write_bytes(0, all.size()) };
        arena.reset();
        Ok(arena)
    }
}

impl Contender for BumpTwoArenas {
    const NAME: &'static str = "bump-two-arenas";

    fn new(plan: &Plan) -> Result<Self, String> {
        // Alignment may cost every payload up to a line, and the arena a line at its end.
        let lap_bytes = plan.slots * plan.largest_bytes.next_multiple_of(ALIGN_BYTES) + ALIGN_BYTES;
        let arenas = [Self::arena(lap_bytes)?, Self::arena(lap_bytes)?];
        Ok(Self { arenas, current: 0, entries: vec![(NonNull::dangling(), 0); plan.slots] })
    }

    fn memory_bytes(&self) -> usize {
        self.arenas.iter().map(Bump::allocated_bytes).sum()
    }

    #[inline(always)]
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        if entry == 0 {
            self.current = 1 - self.current;
            self.arenas[self.current].reset();
        }
        let layout = Layout::from_size_align(bytes, ALIGN_BYTES).map_err(|_| Exhausted)?;
        let start = self.arenas[self.current].try_alloc_layout(layout).map_err(|_| Exhausted)?;
        // SAFETY: I80, I81. The arena has just handed out this range, and the only borrow of its
        // memory ends with this call.
        let payload = unsafe { slice::from_raw_parts_mut(start.as_ptr(), bytes) };
        fill.fill(op, payload);
        self.entries[entry] = (start, bytes);
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        let (start, bytes) = self.entries[entry];
        // SAFETY: I80, I81. The range was handed out once, and the only borrow of its memory ends
        // with this call.
        check(unsafe { slice::from_raw_parts(start.as_ptr(), bytes) })
    }
}
