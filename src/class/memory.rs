//! [`Memory`]: the mapped slabs of one class, cut into blocks.
//!
//! ```text
//!   slab   │ block │ block │ block │ block │ ...          blocks of one class, without gaps
//!   pages  │ page      │ page      │ page      │ ...      given back where whole pages are nobody's
//! ```
//! Pages have the machine's size: 4 KiB on x86-64, up to 64 KiB elsewhere. The kernel takes back
//! whole pages only, and rounds a range up rather than refuse it.
//!
//! Promises one block per place in a slab. Slabs double in size from 1 to 16 MiB (but hold at least
//! one block), so a class has few mappings. They stay mapped until the pool is freed: address space
//! costs nothing, and pages are given back without unmapping.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;

use super::block::Block;
use super::options::ClassOptions;
use crate::machine::page_bytes;
use crate::region::extent::Extent;
use crate::region::reserve::Reserve;
use crate::region::{Numa, Pages, RegionError};
use crate::sync::{Mutex, MutexGuard, lock};

const SLAB_BYTES_MIN: usize = 1 << 20;
const SLAB_BYTES_MAX: usize = 16 << 20;

/// The slabs of a class.
#[derive(Debug)]
pub(crate) struct Memory {
    class_bytes: usize,
    /// The machine's smallest page, a power of two.
    page_bytes: usize,
    pages: Pages,
    numa: Numa,
    dump: bool,
    slabs: Mutex<Vec<Arc<Reserve>>>,
    /// Held while a slab is mapped. The list of slabs isn't locked meanwhile, so giving pages back
    /// doesn't wait.
    growth: Mutex<()>,
}

/// The right to add a slab: one thread at a time has it, and the others wait rather than map too.
pub(crate) struct Growing<'a> {
    memory: &'a Memory,
    _growth: MutexGuard<'a, ()>,
}

/// Blocks next to each other in one slab, each with a mark of the caller's.
struct Run<'a> {
    slab: &'a Reserve,
    part: Extent,
    blocks: Vec<(Block, bool)>,
}

/// The result of taking pages away from blocks.
#[derive(Debug)]
pub(crate) struct GivenBack {
    /// Idle blocks, now without pages.
    pub(crate) cold: Vec<Block>,
    /// Idle blocks that share a page with one in use, or whose pages the kernel kept.
    pub(crate) warm: Vec<Block>,
    /// All blocks that were cold before.
    pub(crate) neighbours: Vec<Block>,
}

impl Memory {
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
            slabs: Mutex::new(Vec::new()),
            growth: Mutex::new(()),
        }
    }

    /// Whether this many more blocks, with all of their pages, fit under every limit.
    pub(crate) fn check_room(&self, blocks: usize) -> Result<(), RegionError> {
        let asked_bytes = blocks.saturating_mul(self.class_bytes);
        if asked_bytes == 0 { Ok(()) } else { Reserve::check(asked_bytes, self.pages, self.numa) }
    }

    pub(crate) fn growing(&self) -> Growing<'_> {
        Growing { memory: self, _growth: lock(&self.growth) }
    }

    /// Populates blocks. Those that got no pages come second, with the reason.
    pub(crate) fn populate(
        &self,
        blocks: Vec<Block>,
    ) -> (Vec<Block>, Vec<Block>, Option<RegionError>) {
        let slabs = lock(&self.slabs).clone();
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

    /// Takes the pages of idle blocks away, where whole pages belong to them and to cold
    /// neighbours. The idle blocks that keep their pages come second.
    pub(crate) fn give_back(&self, idle: Vec<Block>, neighbours: Vec<Block>) -> GivenBack {
        let slabs = lock(&self.slabs).clone();
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
            // SAFETY: I102. The caller holds the run's blocks, so nobody else can reach their
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

    /// The smallest number of bytes that is both whole blocks and whole pages: a block's size, if
    /// that is whole pages.
    pub(crate) fn unit_bytes(&self) -> usize {
        let shared_bits = self.class_bytes.trailing_zeros().min(self.page_bytes.trailing_zeros());
        self.class_bytes * (self.page_bytes >> shared_bits)
    }

    /// Sorts blocks into runs.
    fn runs<'a>(&self, slabs: &'a [Arc<Reserve>], mut blocks: Vec<(Block, bool)>) -> Vec<Run<'a>> {
        blocks.sort_unstable_by_key(|(block, _)| block.addr());
        let mut runs: Vec<Run<'a>> = Vec::new();
        for (block, mark) in blocks {
            let slab = slabs
                .iter()
                .find(|slab| slab.contains(block.addr()))
                .expect("a block lies in a slab of its class");
            let offset = block.addr() - slab.base().addr().get();
            assert!(
                offset.is_multiple_of(self.class_bytes),
                "a block at {offset} of a class of {}",
                self.class_bytes
            );
            let with = |start: usize| {
                Extent::new(start, offset + self.class_bytes - start).expect("it lies in a mapping")
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

    /// Writes a zero into each page of an unused block, whose bytes were zero.
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
    /// Maps a slab of up to `room` blocks, without pages.
    pub(crate) fn slab(&mut self, room: usize) -> Result<Vec<Block>, RegionError> {
        assert!(room > 0, "a slab for no block");
        let Memory { class_bytes, pages, numa, dump, .. } = *self.memory;
        let there: usize = lock(&self.memory.slabs).iter().map(|slab| slab.len()).sum();
        let count = (there.clamp(SLAB_BYTES_MIN, SLAB_BYTES_MAX) / class_bytes).clamp(1, room);
        let slab = Reserve::map(count * class_bytes, pages, numa, dump)?;
        assert!(slab.len() >= count * class_bytes, "a slab is smaller than its blocks");
        let base = slab.base();
        // The first block comes out first.
        let blocks =
            (0..count).rev().map(|index| Block::new(place(base, index * class_bytes))).collect();
        lock(&self.memory.slabs).push(Arc::new(slab));
        Ok(blocks)
    }
}

fn place(base: NonNull<u8>, offset: usize) -> NonNull<u8> {
    // SAFETY: I101. Blocks are laid out inside the slab: `slab` asserts its length.
    unsafe { base.add(offset) }
}

#[cfg(all(test, not(loom)))]
mod tests;
