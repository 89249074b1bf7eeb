//! The memory of buffers: [`Block`], the memory of one buffer; [`Slabs`], the mapped memory of one
//! class, cut into blocks; and direct blocks, which belong to no class.
//!
//! ```text
//!   slab    │ block │ block │ block │ block │ ...          blocks of one class, without gaps
//!   pages   │ page      │ page      │ page      │ ...      given back when no block on them is needed
//!   direct  │ header, 64 bytes: capacity │ block, from a cache line on │
//! ```
//! - Pages have the machine's size: 4 KiB on x86-64, up to 64 KiB elsewhere. The kernel gives back
//!   whole pages only, and rounds a range up rather than refuse it.
//! - Slabs double in size from 1 to 16 MiB, but hold at least one block, so a class has few
//!   mappings. They stay mapped until the pool is freed: address space costs nothing, and pages are
//!   given back without unmapping.
//! - Direct blocks come from the system's allocator and go back to it.
//!
//! Promises one block per place in a slab.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::Arc;

use super::options::{CLASS_UNIT_BYTES, ClassOptions};
use crate::machine::page_bytes;
use crate::region::extent::Extent;
use crate::region::reserve::Reserve;
use crate::region::{Numa, Pages, RegionError};
use crate::sync::{Mutex, MutexGuard, lock};

const SLAB_BYTES_MIN: usize = 1 << 20;
const SLAB_BYTES_MAX: usize = 16 << 20;
const HEADER_BYTES: usize = CLASS_UNIT_BYTES;
/// The largest direct block: with its header, and rounded up to cache lines, an allocation has at
/// most `isize::MAX` bytes.
pub(crate) const DIRECT_BYTES_MAX: usize =
    (isize::MAX as usize & !(CLASS_UNIT_BYTES - 1)) - HEADER_BYTES;

/// The first byte of one buffer's memory, while no buffer uses it. Its holder owns the buffer's
/// bytes: a block isn't Clone, and the pool makes only one for each place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block(NonNull<u8>);

// SAFETY: I100. A block is the only way to its bytes, and no thread owns them.
unsafe impl Send for Block {}

impl Block {
    /// Makes the only block over the bytes from `at` on.
    #[inline]
    pub(crate) fn new(at: NonNull<u8>) -> Self {
        debug_assert!(
            at.addr().get().is_multiple_of(CLASS_UNIT_BYTES),
            "a buffer starts on a cache line"
        );
        Self(at)
    }

    #[inline]
    pub(crate) fn at(&self) -> NonNull<u8> {
        self.0
    }

    #[inline]
    pub(crate) fn into_raw(self) -> *mut u8 {
        self.0.as_ptr()
    }

    /// The block that `into_raw` was called on; None for null.
    #[inline]
    pub(crate) fn from_raw(at: *mut u8) -> Option<Self> {
        NonNull::new(at).map(Self)
    }

    #[inline]
    pub(crate) fn addr(&self) -> usize {
        self.0.addr().get()
    }
}

/// The slabs of a class.
#[derive(Debug)]
pub(crate) struct Slabs {
    class_bytes: usize,
    /// The machine's smallest page, a power of two.
    page_bytes: usize,
    pages: Pages,
    numa: Numa,
    dump: bool,
    mapped: Mutex<Vec<Arc<Reserve>>>,
    /// Locked while a slab is mapped. The list of slabs isn't, so giving pages back doesn't wait.
    growth: Mutex<()>,
}

/// The right to map a slab. One thread at a time has it; the others wait, rather than map slabs
/// too.
pub(crate) struct Growing<'a> {
    slabs: &'a Slabs,
    _growth: MutexGuard<'a, ()>,
}

/// Blocks next to each other in one slab, each with a mark of the caller.
struct Run<'a> {
    slab: &'a Reserve,
    part: Extent,
    blocks: Vec<(Block, bool)>,
}

/// The result of giving the pages of blocks back.
#[derive(Debug)]
pub(crate) struct GivenBack {
    /// Idle blocks, now without pages.
    pub(crate) cold: Vec<Block>,
    /// Idle blocks that share a page with a block in use, or whose pages the kernel refused.
    pub(crate) warm: Vec<Block>,
    /// All blocks that were cold before.
    pub(crate) neighbours: Vec<Block>,
}

impl Slabs {
    pub(crate) fn new(class_bytes: usize, options: &ClassOptions) -> Self {
        Self::with_pages(class_bytes, options, page_bytes())
    }

    fn with_pages(class_bytes: usize, options: &ClassOptions, page_bytes: usize) -> Self {
        assert!(page_bytes.is_power_of_two(), "pages of {page_bytes} bytes");
        let ClassOptions { pages, numa, dump, .. } = *options;
        Self {
            class_bytes,
            page_bytes,
            pages,
            numa,
            dump,
            mapped: Mutex::new(Vec::new()),
            growth: Mutex::new(()),
        }
    }

    /// Checks that `blocks` more, with all of their pages, fit under every limit.
    pub(crate) fn check_room(&self, blocks: usize) -> Result<(), RegionError> {
        let asked_bytes = blocks.saturating_mul(self.class_bytes);
        if asked_bytes == 0 { Ok(()) } else { Reserve::check(asked_bytes, self.pages, self.numa) }
    }

    pub(crate) fn growing(&self) -> Growing<'_> {
        Growing { slabs: self, _growth: lock(&self.growth) }
    }

    /// Populates blocks. Returns those with pages, those that got none, and the reason.
    pub(crate) fn populate(
        &self,
        blocks: Vec<Block>,
    ) -> (Vec<Block>, Vec<Block>, Option<RegionError>) {
        let slabs = lock(&self.mapped).clone();
        let (mut warm, mut cold, mut refusal) = (Vec::new(), Vec::new(), None);
        for run in self.runs(&slabs, blocks.into_iter().map(|block| (block, true)).collect()) {
            let populated = run.slab.populate(run.part);
            for (block, _) in run.blocks {
                match populated {
                    Ok(is_done) => {
                        if !is_done {
                            self.touch(&block);
                        }
                        warm.push(block);
                    }
                    Err(_) => cold.push(block),
                }
            }
            refusal = refusal.or(populated.err());
        }
        (warm, cold, refusal)
    }

    /// Gives back the pages of idle blocks, where a whole page holds only idle blocks and cold
    /// neighbours.
    pub(crate) fn give_back(&self, idle: Vec<Block>, neighbours: Vec<Block>) -> GivenBack {
        let slabs = lock(&self.mapped).clone();
        let mut given = GivenBack {
            cold: Vec::new(),
            warm: Vec::new(),
            neighbours: Vec::with_capacity(neighbours.len()),
        };
        let all = idle
            .into_iter()
            .map(|block| (block, true))
            .chain(neighbours.into_iter().map(|block| (block, false)));
        for run in self.runs(&slabs, all.collect()) {
            let unit = self.unit_bytes();
            let (start, end) =
                (run.part.offset().next_multiple_of(unit), run.part.end() / unit * unit);
            assert!(
                run.part.offset() <= start && end <= run.part.end(),
                "a unit is outside of its run"
            );
            let whole = Extent::new(start, end.saturating_sub(start)).ok();
            // SAFETY: I102. The caller holds the run's blocks, so nothing else can reach their
            // bytes, and `whole` covers whole pages of them.
            let is_gone = whole.is_some_and(|whole| unsafe { run.slab.give_back(whole) });
            let base = run.slab.base().addr().get();
            for (block, is_idle) in run.blocks {
                let offset = block.addr() - base;
                let has_gone = is_gone && offset >= start && offset < end;
                match (is_idle, has_gone) {
                    (false, _) => given.neighbours.push(block),
                    (true, true) => given.cold.push(block),
                    (true, false) => given.warm.push(block),
                }
            }
        }
        given
    }

    /// The smallest number of bytes that is both whole blocks and whole pages: the size of one
    /// block, if that is whole pages.
    pub(crate) fn unit_bytes(&self) -> usize {
        let shared_bits = self.class_bytes.trailing_zeros().min(self.page_bytes.trailing_zeros());
        self.class_bytes * (self.page_bytes >> shared_bits)
    }

    /// Sorts blocks by address, and joins those next to each other.
    fn runs<'a>(&self, slabs: &'a [Arc<Reserve>], mut blocks: Vec<(Block, bool)>) -> Vec<Run<'a>> {
        blocks.sort_unstable_by_key(|(block, _)| block.addr());
        let mut runs: Vec<Run<'a>> = Vec::new();
        for (block, mark) in blocks {
            let slab = slabs
                .iter()
                .find(|slab| slab.contains(block.addr()))
                .expect("a block is in a slab of its class");
            let offset = block.addr() - slab.base().addr().get();
            assert!(
                offset.is_multiple_of(self.class_bytes),
                "a block at {offset} of a class of {}",
                self.class_bytes
            );
            let with = |start: usize| {
                Extent::new(start, offset + self.class_bytes - start)
                    .expect("it is within a mapping")
            };
            match runs.last_mut() {
                Some(run) if std::ptr::eq(run.slab, &**slab) && run.part.end() == offset => {
                    run.part = with(run.part.offset());
                    run.blocks.push((block, mark));
                }
                _ => runs.push(Run { slab, part: with(offset), blocks: vec![(block, mark)] }),
            }
        }
        runs
    }

    /// Writes a zero into each page of a block that hasn't been used, so that its bytes stay zero.
    fn touch(&self, block: &Block) {
        for offset in (0..self.class_bytes).step_by(self.page_bytes) {
            // SAFETY: I101. `offset` is less than the block's length.
            let byte = unsafe { block.at().add(offset) };
            // SAFETY: I100. The holder of the block owns its bytes. The write is volatile so that
            // the compiler doesn't drop it as unread.
            unsafe { byte.write_volatile(0) };
        }
    }
}

impl Growing<'_> {
    /// Maps a slab of up to `room` blocks, which have no pages yet.
    pub(crate) fn slab(&mut self, room: usize) -> Result<Vec<Block>, RegionError> {
        assert!(room > 0, "a slab for no block");
        let Slabs { class_bytes, pages, numa, dump, .. } = *self.slabs;
        let mapped_bytes: usize = lock(&self.slabs.mapped).iter().map(|slab| slab.len()).sum();
        let count =
            (mapped_bytes.clamp(SLAB_BYTES_MIN, SLAB_BYTES_MAX) / class_bytes).clamp(1, room);
        let slab = Reserve::map(count * class_bytes, pages, numa, dump)?;
        assert!(slab.len() >= count * class_bytes, "a slab is smaller than its blocks");
        let base = slab.base();
        // In reverse, because the last one is the first to be used.
        let blocks =
            (0..count).rev().map(|index| Block::new(block_at(base, index * class_bytes))).collect();
        lock(&self.slabs.mapped).push(Arc::new(slab));
        Ok(blocks)
    }
}

/// The address of the block that starts `offset` bytes into a slab.
fn block_at(base: NonNull<u8>, offset: usize) -> NonNull<u8> {
    // SAFETY: I101. Blocks are laid out inside the slab: `Growing::slab` asserts its length.
    unsafe { base.add(offset) }
}

/// Allocates a direct block of `len` zeroed bytes. None if the allocator has no memory, or `len` is
/// above [`DIRECT_BYTES_MAX`].
pub(crate) fn allocate_direct(len: usize) -> Option<Block> {
    let layout = direct_layout(len)?;
    // SAFETY: I105. The layout holds the header, so it isn't empty.
    let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
    // SAFETY: I105. The header comes first and holds a usize.
    unsafe { base.cast::<usize>().write(len) };
    // SAFETY: I105. The payload follows the header.
    let at = unsafe { base.add(HEADER_BYTES) };
    Some(Block::new(at))
}

/// The capacity of the direct block at this address.
pub(crate) fn direct_capacity(at: NonNull<u8>) -> usize {
    // SAFETY: I105. `at` is a direct block, so its header comes right before it.
    let header = unsafe { at.sub(HEADER_BYTES) };
    // SAFETY: I105. `allocate_direct` wrote the header, and it isn't written again.
    unsafe { header.cast::<usize>().read() }
}

/// Frees a direct block.
pub(crate) fn free_direct(block: Block) {
    let capacity = direct_capacity(block.at());
    let layout = direct_layout(capacity).expect("it had a layout when it was allocated");
    // SAFETY: I105. The allocation begins with the header.
    let base = unsafe { block.at().sub(HEADER_BYTES) };
    // SAFETY: I105. It was allocated with this layout, and only the block could reach it.
    unsafe { dealloc(base.as_ptr(), layout) };
}

fn direct_layout(len: usize) -> Option<Layout> {
    Layout::from_size_align(len.checked_add(HEADER_BYTES)?, CLASS_UNIT_BYTES).ok()
}

/// Zeroes all of a block's `capacity` bytes, even where the compiler would drop writes that nothing
/// reads.
pub(crate) fn zero(block: &Block, capacity: usize) {
    // SAFETY: I100. The holder of the block owns its bytes, `capacity` of them.
    unsafe { block.at().write_bytes(0, capacity) };
    black_box(block.at());
}

/// A stand-in for a block: its bytes are never read.
#[cfg(test)]
pub(crate) fn fake(number: usize) -> Block {
    let at = std::ptr::without_provenance_mut(number * CLASS_UNIT_BYTES);
    Block::new(NonNull::new(at).expect("numbers start at 1"))
}

#[cfg(all(test, not(loom)))]
mod tests;
