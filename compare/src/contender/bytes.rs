//! The crate bytes as network programs use it: a `BytesMut` of a block, from which each payload is
//! split off and frozen. An entry is a `Bytes`, which counts its block and may be dropped in any
//! order, on any thread.
//!
//! A block is used again when all of its payloads are gone and nothing else was reserved meanwhile;
//! otherwise a new one comes from the default allocator. So there is no pool to be full, and memory
//! waits for the last payload of each block.

use std::collections::BTreeSet;
use std::mem;

use bytes::{Bytes, BytesMut};

use super::{Contender, Exhausted, Fill};
use crate::case::Plan;

const BLOCK_BYTES: usize = 64 << 10;

/// An entry is a counted handle on a part of a block.
pub struct BytesBlocks {
    block: BytesMut,
    block_bytes: usize,
    /// Where blocks have begun, to count those that are alive.
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
        // Split at the payload's end and not at what was written of it, so that the room for the
        // rest stays the payload's.
        let rest = self.block.split_off(bytes);
        self.entries[entry] = mem::replace(&mut self.block, rest).freeze();
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        check(&self.entries[entry])
    }
}
