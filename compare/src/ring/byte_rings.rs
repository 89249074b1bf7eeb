//! Rings of bytes from three crates: bbqueue, rtrb and ringbuf. Each holds the payloads in order;
//! the entries that name them are emulated.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::slice;

use bbqueue::BBQueue;
use bbqueue::traits::coordination::cas::AtomicCoord;
use bbqueue::traits::notifier::polling::Polling;
use bbqueue::traits::storage::Storage;
use memmap2::MmapRaw;
use ringbuf::LocalRb;
use ringbuf::storage::Heap;
use ringbuf::traits::{Observer, Raw};
use rtrb::chunks::ChunkError;
use rtrb::{Consumer, Producer, RingBuffer};

use super::case::Plan;
use super::contender::Contender;
use crate::memory::{advise_huge, mapped_on};
use crate::payload::{Exhausted, Fill};

/// A payload in the stream of bytes of rtrb and ringbuf.
#[derive(Clone, Copy)]
struct Held {
    start: u64,
    bytes: usize,
    padding: usize,
}

/// The memory of the queue: a mapping as every other pool has it.
struct Mapped(MmapRaw);

impl Storage for Mapped {
    // SAFETY: I87. It is always the range of the one mapping, which nothing else touches.
    unsafe fn ptr_len(&self) -> (NonNull<u8>, usize) {
        (NonNull::new(self.0.as_mut_ptr()).expect("a mapping isn't at zero"), self.0.len())
    }
}

/// `bbqueue`: a ring of contiguous grants for one producer and one consumer; here one thread is
/// both. It handles the padding at the end of its buffer itself.
///
/// What is emulated: it has no handle on bytes that are committed and not yet released. So an entry
/// keeps their place, and its replacement releases the oldest bytes by their number.
///
/// An entry is the place of a payload and its length, which is 0 before the first one.
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

/// `rtrb`: a ring of elements for one producer and one consumer, with bytes as elements; here one
/// thread is both.
///
/// What is emulated: a payload in one piece (where the end of the ring would split it, the bytes
/// left there are committed as padding), and holding committed bytes (an entry keeps their number
/// and their place in the stream of bytes, and its replacement releases the oldest bytes by their
/// number).
///
/// An entry is a place in the stream of bytes.
pub struct Rtrb {
    producer: Producer<u8>,
    consumer: Consumer<u8>,
    /// Bytes ever committed and ever released, padding included.
    written: u64,
    released: u64,
    entries: Vec<Option<Held>>,
}

impl Rtrb {
    /// Commits the next payload and the padding before it. Returns the payload's place in the
    /// stream.
    #[inline(always)]
    fn push(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Held, ChunkError> {
        let mut padding = 0;
        let mut chunk = self.producer.write_chunk_uninit(bytes)?;
        let (whole, split) = chunk.as_mut_slices();
        if !split.is_empty() {
            padding = whole.len();
            chunk = self.producer.write_chunk_uninit(padding + bytes)?;
        }
        let (before, after) = chunk.as_mut_slices();
        let payload = if padding == 0 { before } else { after };
        // SAFETY: I88. The ring's bytes were all written once, and a byte that was read stays
        // initialized.
        fill.fill(op, unsafe { payload.assume_init_mut() });
        // SAFETY: I88. As above, for the padding too.
        unsafe { chunk.commit_all() };
        let start = self.written + padding as u64;
        self.written = start + bytes as u64;
        Ok(Held { start, bytes, padding })
    }
}

impl Contender for Rtrb {
    const NAME: &'static str = "rtrb";
    const EMULATED: Option<&'static str> = Some(
        "one thread is producer and consumer; padding keeps payloads whole, and entries keep places in the stream",
    );

    fn new(plan: &Plan) -> Result<Self, String> {
        let (mut producer, mut consumer) = RingBuffer::new(plan.pool_bytes);
        let mut all =
            producer.write_chunk_uninit(plan.pool_bytes).map_err(|error| error.to_string())?;
        let (ring, _) = all.as_mut_slices();
        advise_huge(ring.as_ptr().cast(), ring.len());
        ring.fill(MaybeUninit::new(0));
        // SAFETY: I88. Each of these bytes has just been written.
        unsafe { all.commit_all() };
        consumer.read_chunk(plan.pool_bytes).map_err(|error| error.to_string())?.commit_all();
        Ok(Self { producer, consumer, written: 0, released: 0, entries: vec![None; plan.slots] })
    }

    fn memory_bytes(&self) -> usize {
        self.producer.buffer().capacity()
    }

    #[inline(always)]
    fn put(
        &mut self,
        entry: usize,
        op: u64,
        bytes: usize,
        fill: &impl Fill,
    ) -> Result<(), Exhausted> {
        let held = self.push(op, bytes, fill).map_err(|_| Exhausted)?;
        if let Some(old) = self.entries[entry].replace(held) {
            let released = old.padding + old.bytes;
            self.consumer
                .read_chunk(released)
                .expect("what an entry holds is in the ring")
                .commit_all();
            self.released += released as u64;
        }
        Ok(())
    }

    fn verify_slot<R>(&mut self, entry: usize, check: impl FnOnce(&[u8]) -> R) -> R {
        let held = self.entries[entry].expect("the entry has been put");
        let all = self.consumer.read_chunk(self.consumer.slots()).expect("this many are there");
        let (first, second) = all.as_slices();
        let at = (held.start - self.released) as usize;
        let part = if at < first.len() { &first[at..] } else { &second[at - first.len()..] };
        check(&part[..held.bytes])
    }
}

/// `ringbuf`: a ring of elements, with bytes as elements, in its form for one thread (`LocalRb`).
///
/// What is emulated: a payload in one piece (where the end of the ring would split it, the bytes
/// left there are committed as padding), and holding committed bytes (an entry keeps their number
/// and their place in the stream of bytes, and its replacement releases the oldest bytes by their
/// number).
///
/// An entry is a place in the stream of bytes.
pub struct Ringbuf {
    ring: LocalRb<Heap<u8>>,
    /// Bytes ever committed and ever released, padding included.
    written: u64,
    released: u64,
    entries: Vec<Option<Held>>,
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
