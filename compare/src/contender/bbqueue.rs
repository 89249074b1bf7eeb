//! The crate bbqueue, a ring of contiguous grants for one producer and one consumer: here one
//! thread is both. Padding at the end of its buffer is its own affair.
//!
//! What is emulated: it hands out no handle on bytes that were committed and not yet released, so
//! an entry keeps their place, and its replacement releases the oldest bytes by their number.

#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::slice;

use bbqueue::BBQueue;
use bbqueue::traits::coordination::cas::AtomicCoord;
use bbqueue::traits::notifier::polling::Polling;
use bbqueue::traits::storage::Storage;
use memmap2::MmapRaw;

use super::memory::mapped_on;
use super::{Contender, Exhausted, Fill};
use crate::case::Plan;

/// The same memory as every other pool's.
struct Mapped(MmapRaw);

impl Storage for Mapped {
    // SAFETY: I87. It is always the range of the one mapping, which nobody else touches.
    unsafe fn ptr_len(&self) -> (NonNull<u8>, usize) {
        (NonNull::new(self.0.as_mut_ptr()).expect("a mapping isn't at zero"), self.0.len())
    }
}

/// An entry is the place of a payload and its length; none yet is the length 0.
pub struct BbQueue {
    queue: BBQueue<Mapped, AtomicCoord, Polling>,
    memory_bytes: usize,
    entries: Vec<(NonNull<u8>, usize)>,
}

impl Contender for BbQueue {
    const NAME: &'static str = "bbqueue";
    const CHOOSES_PAGES: bool = true;
    const EMULATED: Option<&'static str> = Some(
        "one thread is producer and consumer; entries keep places, for which it has no handles",
    );

    fn new(plan: &Plan) -> Result<Self, String> {
        let memory = mapped_on(plan.pool_bytes, plan.pages)?;
        let memory_bytes = memory.len();
        let queue = BBQueue::new_with_storage(Mapped(memory.into()));
        Ok(Self { queue, memory_bytes, entries: vec![(NonNull::dangling(), 0); plan.slots] })
    }

    fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    #[inline(always)]
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        let mut grant = self.queue.stream_producer().grant_exact(bytes).map_err(|_| Exhausted)?;
        fill.fill(op, &mut grant);
        let place = NonNull::from(&mut *grant).cast();
        grant.commit(bytes);
        let (_, released) = std::mem::replace(&mut self.entries[entry], (place, bytes));
        if released > 0 {
            let oldest =
                self.queue.stream_consumer().read().expect("what an entry holds is in the queue");
            oldest.release(released);
        }
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        let (place, bytes) = self.entries[entry];
        // SAFETY: I87. The payload is committed and not released, and no grant exists while the
        // contender is borrowed here.
        check(unsafe { slice::from_raw_parts(place.as_ptr(), bytes) })
    }
}
