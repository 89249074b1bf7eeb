//! `arc-ring` over a disruptor: a slot holds a slice with an `Arc` of the read cursor, and
//! publishing into the slot a lap later drops it. As in the contender on one thread, the slice
//! carries the padding before it and releases it too.
//!
//! Its reader waits by the disruptor's own strategy, one spin hint per look
//! (`BusySpinWithSpinLoopHint`). `arc-ring-patient` waits as all others do here, by the library's
//! [`slipring::pipeline::Idle`]. The difference between the two is the part of waiting in the
//! figures at batch 1; what remains is the design.

#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use disruptor::{BusySpin, EventPoller, Polling, Producer, SingleConsumerBarrier, SingleProducer};
use disruptor::{SingleProducerBarrier, build_single_producer};
use memmap2::MmapMut;

use super::case::Case;
use super::contender::TwoThreads;
use crate::memory::mapped;
use crate::payload::Fill;
use crate::threads::{Cpus, Idle, Patience, Reader, Tally, join};

/// One entry of the ring.
type Entry = Option<Slice>;

/// `arc-ring`, and `arc-ring-patient` where `PATIENT` is true.
pub struct ArcRing<const PATIENT: bool> {
    producer: SingleProducer<Entry, SingleConsumerBarrier>,
    reader: JoinHandle<()>,
    pool: Pool,
    payload_bytes: usize,
    tally: Arc<Tally>,
}

/// The publisher's side of the pool.
struct Pool {
    /// The reader's thread holds it too, so payloads stay mapped whichever thread ends first.
    memory: Arc<MmapMut>,
    start: NonNull<u8>,
    written: u64,
    read: Arc<AtomicU64>,
}

struct Slice {
    start: NonNull<u8>,
    bytes: usize,
    /// The bytes that the drop releases: the payload and the padding before it.
    held: u64,
    read: Arc<AtomicU64>,
}

// SAFETY: I82. The bytes are written before the slice is published, and only read while it exists.
unsafe impl Send for Slice {}
// SAFETY: I82. The bytes are written before the slice is published, and only read while it exists.
unsafe impl Sync for Slice {}

impl Slice {
    #[inline]
    fn bytes(&self) -> &[u8] {
        // SAFETY: I82. The range belongs to this slice alone, and nothing writes to it.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for Slice {
    #[inline]
    fn drop(&mut self) {
        self.read.fetch_add(self.held, Ordering::Release);
    }
}

impl Pool {
    fn new(bytes: usize) -> Result<Self, String> {
        let mut memory = mapped(bytes)?;
        let start = NonNull::from(&mut memory[..]).cast();
        Ok(Self { memory: Arc::new(memory), start, written: 0, read: Arc::default() })
    }

    #[inline]
    fn allocate(&mut self, bytes: usize, op: u64, fill: &impl Fill) -> Option<Slice> {
        let capacity = self.memory.len() as u64;
        let place = self.written % capacity;
        let padding = if bytes as u64 > capacity - place { capacity - place } else { 0 };
        let held = bytes as u64 + padding;
        if self.written - self.read.load(Ordering::Acquire) + held > capacity {
            return None;
        }
        let offset = if padding == 0 { place as usize } else { 0 };
        self.written += held;
        // SAFETY: I82. The range is inside the mapping.
        let start = unsafe { self.start.add(offset) };
        // SAFETY: I82. The range isn't held by any slice, so this is the only reference to it.
        fill.fill(op, unsafe { slice::from_raw_parts_mut(start.as_ptr(), bytes) });
        Some(Slice { start, bytes, held, read: Arc::clone(&self.read) })
    }
}

fn read_all<const PATIENT: bool>(
    mut poller: EventPoller<Entry, SingleProducerBarrier>,
    mut reader: Reader,
) {
    let mut idle = Idle::default();
    loop {
        match poller.poll() {
            Ok(mut events) => {
                idle.reset();
                (&mut events).flatten().for_each(|slice| reader.read(slice.bytes()));
            }
            Err(Polling::NoEvents) if PATIENT => idle.round(),
            Err(Polling::NoEvents) => idle.hint(),
            Err(Polling::Shutdown) => return,
        }
    }
}

impl<const PATIENT: bool> TwoThreads for ArcRing<PATIENT> {
    const NAME: &'static str = if PATIENT { "arc-ring-patient" } else { "arc-ring" };

    fn start(case: &Case, cpus: Cpus, reader: Reader) -> Result<Self, String> {
        cpus.pin_publisher()?;
        let pool = Pool::new(case.pool_bytes)?;
        let (poller, builder) =
            build_single_producer(case.slots, || Entry::None, BusySpin).new_event_poller();
        let (memory, tally) = (Arc::clone(&pool.memory), reader.tally());
        let reader = cpus.spawn_reader(move || {
            read_all::<PATIENT>(poller, reader);
            drop(memory);
        });
        Ok(Self {
            producer: builder.build(),
            reader,
            pool,
            payload_bytes: case.payload_bytes,
            tally,
        })
    }

    fn memory_bytes(&self) -> usize {
        self.pool.memory.len()
    }

    #[inline]
    fn publish(&mut self, first: u64, count: usize, fill: &impl Fill) -> Result<(), String> {
        let (pool, bytes, mut refused) = (&mut self.pool, self.payload_bytes, false);
        let mut next = |op| {
            let slice = pool.allocate(bytes, op, fill);
            refused |= slice.is_none();
            slice
        };
        let mut patience = Patience::default();
        if count == 1 {
            while self.producer.try_publish(|entry| *entry = next(first)).is_err() {
                patience.round(&self.tally)?;
            }
        } else {
            while self
                .producer
                .try_batch_publish(count, |entries| {
                    entries.zip(first..).for_each(|(entry, op)| *entry = next(op))
                })
                .is_err()
            {
                patience.round(&self.tally)?;
            }
        }
        if refused { Err("the pool is smaller than a ring of payloads".to_owned()) } else { Ok(()) }
    }

    fn close(self) -> Result<(), String> {
        drop(self.producer);
        join(self.reader)
    }
}
