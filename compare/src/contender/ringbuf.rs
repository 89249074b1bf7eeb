//! The crate ringbuf, a ring of elements, with bytes as elements, in its form for one thread
//! (`LocalRb`).
//!
//! What is emulated: a payload in one piece (where the end of the ring would part it, what is left
//! there is committed as padding) and holding on to committed bytes (an entry keeps their number
//! and their place in the stream of bytes, and its replacement releases the oldest by their
//! number).

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use ringbuf::LocalRb;
use ringbuf::storage::Heap;
use ringbuf::traits::{Observer, Raw};

use super::memory::advise_huge;
use super::{Contender, Exhausted, Fill};
use crate::case::Plan;

/// An entry is a place in the stream of bytes.
pub struct Ringbuf {
    ring: LocalRb<Heap<u8>>,
    /// Bytes ever committed and ever released, padding included.
    written: u64,
    released: u64,
    entries: Vec<Option<Held>>,
}

#[derive(Clone, Copy)]
struct Held {
    start: u64,
    bytes: usize,
    padding: usize,
}

impl Contender for Ringbuf {
    const NAME: &'static str = "ringbuf";
    const EMULATED: Option<&'static str> = Some(
        "padding keeps payloads whole, and entries keep places in the stream, for which it has no handles",
    );

    fn new(plan: &Plan) -> Result<Self, String> {
        let mut ring = LocalRb::<Heap<u8>>::new(plan.pool_bytes);
        let (all, _) = ring.vacant_slices_mut();
        advise_huge(all.as_ptr().cast(), all.len());
        all.fill(MaybeUninit::new(0));
        Ok(Self { ring, written: 0, released: 0, entries: vec![None; plan.slots] })
    }

    fn memory_bytes(&self) -> usize {
        self.ring.capacity().get()
    }

    #[inline(always)]
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        let (first, second) = self.ring.vacant_slices_mut();
        let (padding, free) = if bytes <= first.len() { (0, first) } else { (first.len(), second) };
        let payload = free.get_mut(..bytes).ok_or(Exhausted)?;
        // SAFETY: I88. The ring's bytes were all written once, and a byte that was skipped stays
        // initialized.
        fill.fill(op, unsafe { payload.assume_init_mut() });
        // SAFETY: I88. That many bytes are vacant, and all of the ring's bytes are initialised.
        unsafe { self.ring.advance_write_index(padding + bytes) };
        let start = self.written + padding as u64;
        self.written = start + bytes as u64;
        if let Some(old) = self.entries[entry].replace(Held { start, bytes, padding }) {
            self.released += self.ring.skip(old.padding + old.bytes) as u64;
        }
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        let held = self.entries[entry].expect("the entry has been put");
        let (first, second) = self.ring.as_slices();
        let at = (held.start - self.released) as usize;
        let part = if at < first.len() { &first[at..] } else { &second[at - first.len()..] };
        check(&part[..held.bytes])
    }
}
