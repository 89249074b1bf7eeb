//! Two bumpalo arenas, used by laps in turn: while one takes the payloads of a lap, the entries of
//! the lap before are replaced one by one, and when the lap ends none of them is left, so that
//! arena is reset as a whole. Nothing is released one by one, which makes it fast, and nothing can
//! be kept longer than a lap.
//!
//! Each arena holds a lap of largest payloads, so in a pool that just fits this contender uses
//! twice the memory of the others.

#![allow(unsafe_code)]

use std::alloc::Layout;
use std::ptr::NonNull;
use std::slice;

use bumpalo::Bump;

use super::memory::advise_huge;
use super::{Contender, Exhausted, Fill};
use crate::case::Plan;

const ALIGN_BYTES: usize = 64;

/// An entry is the place and length of a payload in one of the arenas.
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
        assert_eq!(arena.chunk_capacity(), 0, "the arena has given all that it holds");
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
        // Every payload may lose up to a line to alignment, and the arena a line at its end.
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
