//! Slices in the events of a disruptor: RAII over the ring, on one layer of readers.
//!
//! ```text
//!   owner's thread                         ring of N events           readers, on any threads
//!   reserve ─▶ fill ─▶ commit ─▶ publish ─▶ │ k-N │ ... │ k-1 │ ─▶ each reads in place, releases
//!                                  │           ▲
//!                                  └───────────┘ the slice moves into event k, and the slice that
//!                                                was there is dropped, on this thread
//! ```
//! A slice is released when its event is overwritten, one ring length later. A lane with
//! [`Reclaim::OnOverwrite`] does the same with events that hold integers, where a release is a
//! number. In both, the same slices are alive for the same time. docs/design/ring.md ("By count, or
//! by value") explains what each costs and when to use it.
//!
//! ```
//! use slipring::pipeline::{Polled, SliceRing};
//! use slipring::ring::RingOptions;
//!
//! let pool = RingOptions { bytes: 1 << 20, max_slice_bytes: 512, ..RingOptions::default() };
//! let (mut ring, mut readers) = SliceRing::<u64>::new(&pool, 64, 1)?;
//! let mut reader = readers.remove(0); // Send: it usually goes to a thread of its own.
//! for number in 0..1000 {
//!     let mut grant = ring.reserve(4)?;
//!     grant.copy_from_slice(b"four");
//!     let slice = grant.commit_all();
//!     ring.publish(slice, number)?; // It moves. From the 65th on, an older slice is dropped here.
//!     let read = reader.poll(8, |view| {
//!         assert_eq!((view.bytes(), *view.meta()), (&b"four"[..], number));
//!     });
//!     assert_eq!(read, Polled::Advanced(1));
//! }
//! assert_eq!(ring.slices_in_events(), 64);
//! drop(ring);
//! assert_eq!(reader.poll(8, |_| ()), Polled::Ended);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Promises:
//!
//! - A slice in an event is dropped on the owner's thread and nowhere else, also at the end,
//!   whether the owner or a reader is dropped last.
//! - The slice's bytes don't change before every reader has released the event.
//! - Publishing never blocks and never spins.
//! - If a handler panics, no event of its batch is released.
//!
//! Doesn't wake readers (they spin, or wait with [`Idle`](super::Idle)), order them in layers, free
//! memory before the ring has wrapped, or continue without a reader. [`Lane`](super::Lane) does all
//! of these.
//!
//! # What doesn't compile
//!
//! The owner's end on another thread:
//!
//! ```compile_fail,E0277
//! # use slipring::pipeline::SliceRing;
//! # use slipring::ring::RingOptions;
//! # let (ring, readers) = SliceRing::<u64>::new(&RingOptions::default(), 64, 1).unwrap();
//! std::thread::spawn(move || drop(ring));
//! ```
//!
//! Bytes that escape from their handler, and so outlive the release of their event:
//!
//! ```compile_fail,E0521
//! # use slipring::pipeline::SliceRing;
//! # use slipring::ring::RingOptions;
//! # let (ring, mut readers) = SliceRing::<u64>::new(&RingOptions::default(), 64, 1).unwrap();
//! let mut kept = Vec::new();
//! readers[0].poll(8, |view| kept.push(view.bytes()));
//! ```
//!
//! A slice used after it was published:
//!
//! ```compile_fail,E0382
//! # use slipring::pipeline::SliceRing;
//! # use slipring::ring::RingOptions;
//! # let (mut ring, readers) = SliceRing::<u64>::new(&RingOptions::default(), 64, 1).unwrap();
//! let slice = ring.reserve(8).unwrap().commit_all();
//! ring.publish(slice, 1).unwrap();
//! assert_eq!(slice.len(), 8);
//! ```
//!
//! Readers go to other threads:
//!
//! ```
//! fn goes_to_threads<T: Send + 'static>() {}
//! goes_to_threads::<slipring::pipeline::SliceReader<u64>>();
//! ```

#![allow(unsafe_code)]

use std::mem;
use std::sync::Arc;

use disruptor::{
    BusySpin, EventGuard, EventPoller, MultiConsumerBarrier, Polling, Producer, SingleProducer,
    SingleProducerBarrier, build_single_producer,
};

use super::error::{LaneError, NotPublished, PublishRefusal};
use super::lane::LaneGrant;
use super::policy::{Meta, Reclaim, StageSpec};
use super::spec::LaneSpec;
use super::stage::Polled;
use crate::region::RegionReport;
use crate::ring::{
    CastError, EventSlice, FlightId, Full, PoolSlice, RingMemory, RingOptions, RingPool, RingStats,
    Rows, Sequence, as_f32s,
};
use crate::sync::{AtomicU32, Ordering};

/// The most readers of a ring. The publisher reads the cursor of each when the ring seems full.
pub const READERS_MAX: usize = 64;

/// One event of the ring.
struct SliceEvent<M> {
    /// None before the slot is used for the first time.
    slice: Option<EventSlice>,
    meta: M,
}

/// The owner's end: a pool and the ring that its slices move into. Not Send, not Sync, not Clone.
///
/// Always: `slices_in_events <= published`, and at most the ring's length.
pub struct SliceRing<M: Meta> {
    pool: RingPool,
    producer: SingleProducer<SliceEvent<M>, MultiConsumerBarrier>,
    /// The number of slices in events, by chunk. The drop of the ring subtracts them from the
    /// chunks' counts.
    in_events: Box<[u32]>,
    slots: usize,
    published: u64,
    gone: Arc<AtomicU32>,
}

/// A reader's end: it sees every event. Send, not Clone.
///
/// If a reader is dropped before the stream has ended, the events that it hasn't released are never
/// released: once the ring is full, publishing returns [`PublishRefusal::ReaderGone`].
pub struct SliceReader<M: Meta> {
    poller: EventPoller<SliceEvent<M>, SingleProducerBarrier>,
    /// The memory that it reads stays mapped, in whatever order the ring and its readers are
    /// dropped.
    pub(super) memory: Arc<RingMemory>,
    next: Sequence,
    number: u32,
    gone: Arc<AtomicU32>,
}

/// One event as a reader sees it, for the length of a call of its handler.
pub struct SliceView<'a, M> {
    event: &'a SliceEvent<M>,
    memory: &'a RingMemory,
    sequence: Sequence,
}

impl<M: Meta> SliceRing<M> {
    /// Maps the pool on the calling thread, which owns it from now on and should be pinned, and
    /// builds a ring of `slots` events with `readers` readers. Nothing allocates afterwards.
    ///
    /// The pool must hold a ring of the largest slices, the tails of its chunks, two more chunks
    /// and those that may be pinned, because nothing is released before the ring has wrapped. At
    /// worst the events hold `slots` of the largest slices for ever, after a single burst of these.
    ///
    /// # Errors
    /// `slots` isn't a power of two from 2 to [`SLOTS_MAX`](super::SLOTS_MAX), `readers` isn't from
    /// 1 to [`READERS_MAX`], the pool is too small for the ring (the error contains the size that
    /// it needs), or it couldn't be mapped.
    pub fn new(
        pool: &RingOptions,
        slots: usize,
        readers: usize,
    ) -> Result<(Self, Vec<SliceReader<M>>), LaneError> {
        if !(1..=READERS_MAX).contains(&readers) {
            let must =
                format!("from 1 to {READERS_MAX}: without a reader nothing would ever be released");
            return Err(LaneError::Option { field: "readers", given: readers.to_string(), must });
        }
        // The ring is built like a lane's, so the checks of a lane's specification apply.
        let stages = (0..readers).map(|reader| StageSpec::thread(&format!("reader {reader}")));
        let spec = LaneSpec::new(pool.clone(), slots).layer(stages).reclaim(Reclaim::OnOverwrite);
        spec.check()?;
        spec.check_ring::<M>()?;
        spec.check_pool(&pool.layout(spec.readers())?)?;
        let pool = RingPool::with_readers(spec.readers(), pool)?;
        let event = || SliceEvent { slice: None, meta: M::default() };
        let mut builder = build_single_producer(slots, event, BusySpin).with_multi_consumer();
        let gone = Arc::new(AtomicU32::new(NONE_GONE));
        let mut ends = Vec::with_capacity(readers);
        for number in 0..readers as u32 {
            let (poller, next) = builder.new_event_poller();
            builder = next;
            let (memory, gone) = (Arc::clone(pool.memory()), Arc::clone(&gone));
            ends.push(SliceReader { poller, memory, next: 0, number, gone });
        }
        let in_events = vec![0; pool.layout().chunks() as usize].into();
        Ok((Self { pool, producer: builder.build(), in_events, slots, published: 0, gone }, ends))
    }

    /// Reserves `len` bytes of the pool.
    ///
    /// # Errors
    /// [`Full::TooLarge`], or [`Full::Pool`] if slices outside the ring use too much of the pool;
    /// it never blocks.
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<LaneGrant<'_>, Full> {
        Ok(LaneGrant::new(self.pool.reserve(len)?))
    }

    /// Reserves everything that is left of the current chunk, at least `min` bytes, for a receive
    /// of unknown length.
    ///
    /// # Errors
    /// As [`SliceRing::reserve`] for `min`.
    pub fn reserve_rest(&mut self, min: usize) -> Result<LaneGrant<'_>, Full> {
        Ok(LaneGrant::new(self.pool.reserve_rest(min)?))
    }

    /// Moves the slice into the next event, drops the slice that was there, and publishes the
    /// event. Returns the event's sequence, from 0.
    ///
    /// Cost: two counts in addition to the disruptor's own publishing, no locked instruction.
    ///
    /// # Errors
    /// [`PublishRefusal::Full`] while a reader hasn't released the event one ring length before,
    /// [`PublishRefusal::ReaderGone`] if it never will, or [`PublishRefusal::Foreign`] if the slice
    /// belongs to another pool. Slice and metadata are returned. It never blocks.
    #[inline]
    pub fn publish(&mut self, slice: PoolSlice, meta: M) -> Result<Sequence, NotPublished<M>> {
        if !self.pool.owns(&slice) {
            return Err(NotPublished { why: PublishRefusal::Foreign, slice, meta });
        }
        let (in_events, mut next) = (&mut self.in_events, Some(slice));
        let sent = self.producer.try_publish(|event| {
            if let Some(slice) = next.take() {
                in_events[slice.chunk_index() as usize] += 1;
                let old = event.slice.replace(EventSlice::new(slice));
                event.meta = meta;
                if let Some(old) = old {
                    // SAFETY: I31. This thread owns the pool, every reader has released the event,
                    // and it holds another slice now.
                    let old = unsafe { old.into_slice() };
                    in_events[old.chunk_index() as usize] -= 1;
                }
            }
        });
        match (sent, next) {
            (Err(_), Some(slice)) => Err(NotPublished { why: self.why_full(), slice, meta }),
            _ => {
                self.published += 1;
                Ok(self.published as Sequence - 1)
            }
        }
    }

    #[cold]
    fn why_full(&self) -> PublishRefusal {
        match self.gone.load(Ordering::Relaxed) {
            NONE_GONE => PublishRefusal::Full { slots: self.slots },
            reader => PublishRefusal::ReaderGone { reader: reader as usize },
        }
    }

    /// Events published so far.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published
    }

    /// The number of slices in events, which are the newest `slots` events. Cost: a look at every
    /// chunk.
    #[must_use]
    pub fn slices_in_events(&self) -> u64 {
        let slices = self.in_events.iter().map(|&count| u64::from(count)).sum();
        debug_assert!(slices <= self.published && slices <= self.slots as u64);
        slices
    }

    /// A snapshot of the pool. Its `released` is the newest sequence whose slice was dropped. Cost:
    /// a look at every chunk.
    #[must_use]
    pub fn stats(&self) -> RingStats {
        let released = (self.published - self.slices_in_events()) as Sequence - 1;
        RingStats { released, ..self.pool.stats() }
    }

    /// The size of the largest slice, in bytes.
    #[must_use]
    pub fn max_slice_bytes(&self) -> usize {
        self.pool.max_slice_bytes()
    }

    /// What was granted when the pool's region was mapped.
    #[must_use]
    pub fn region_report(&self) -> &RegionReport {
        self.pool.region_report()
    }

    /// Reports that the kernel has completed a read whose [`crate::ring::InFlight`] was dropped.
    /// Returns false if there is no such read.
    pub fn report_completion(&mut self, flight: FlightId) -> bool {
        self.pool.report_completion(flight)
    }
}

/// No reader was dropped before the ring.
const NONE_GONE: u32 = u32::MAX;

impl<M: Meta> Drop for SliceRing<M> {
    /// Gives up the slices in events, although readers may still read their bytes: the pool is
    /// dropped as well, so nothing writes there, and the region stays mapped for the readers. An
    /// event that is dropped later, on whatever thread, has nothing left to do.
    fn drop(&mut self) {
        for (chunk, &slices) in (0..).zip(&self.in_events) {
            self.pool.release_slices(chunk, slices);
        }
    }
}

impl<M: Meta> SliceReader<M> {
    /// Shows at most `limit` events to the handler, in order, and releases them together.
    ///
    /// Returns [`Polled::Ended`] when the ring was dropped and every event was shown. If the
    /// handler panics, the panic continues to the caller, and no event of the batch is released:
    /// the same events are shown again.
    pub fn poll(&mut self, limit: usize, mut handler: impl FnMut(SliceView<'_, M>)) -> Polled {
        let mut batch = match self.poller.take(limit as u64) {
            Ok(guard) => SliceBatch(Some(guard)),
            Err(Polling::NoEvents) => return Polled::Idle,
            Err(Polling::Shutdown) => return Polled::Ended,
        };
        let mut sequence = self.next;
        for event in batch.0.iter_mut().flatten() {
            handler(SliceView { event, memory: &self.memory, sequence });
            sequence += 1;
        }
        // SYNC S2: all reads of the batch come before this store.
        drop(batch.0.take());
        let shown = (sequence - self.next) as usize;
        debug_assert!(shown <= limit);
        self.next = sequence;
        Polled::Advanced(shown)
    }

    /// The sequence of the next event that it will be shown.
    #[must_use]
    pub fn next_sequence(&self) -> Sequence {
        self.next
    }
}

/// Events that are being shown. If it is dropped while unwinding, it releases none of them, whereas
/// the disruptor's guard would release all, read or not.
struct SliceBatch<'p, M>(Option<EventGuard<'p, SliceEvent<M>, SingleProducerBarrier>>);

impl<M> Drop for SliceBatch<'_, M> {
    fn drop(&mut self) {
        if let Some(guard) = self.0.take() {
            mem::forget(guard);
        }
    }
}

impl<M: Meta> Drop for SliceReader<M> {
    fn drop(&mut self) {
        // Whether the stream has ended doesn't matter: a ring that was dropped publishes no more.
        self.gone.store(self.number, Ordering::Relaxed);
    }
}

impl<'a, M: Meta> SliceView<'a, M> {
    /// The slice's bytes.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        let slice = self.event.slice.as_ref();
        // SAFETY: I31, I50. The event isn't released while `'a` lasts. So its slice is in it, or
        // its pool was dropped, and the reader holds the region mapped.
        slice.map_or(&[], |slice| unsafe { slice.bytes(self.memory) })
    }

    /// The bytes as `f32`, in the machine's byte order.
    ///
    /// # Errors
    /// The length or the start address isn't a multiple of four.
    pub fn as_f32s(&self) -> Result<&'a [f32], CastError> {
        as_f32s(self.bytes())
    }

    /// The bytes as rows of `dim` `f32` each.
    ///
    /// # Errors
    /// As [`SliceView::as_f32s`], or the length isn't a multiple of the row.
    pub fn rows(&self, dim: usize) -> Result<Rows<'a>, CastError> {
        Rows::new(self.bytes(), dim)
    }

    /// The metadata that was published with the slice.
    #[must_use]
    pub fn meta(&self) -> &'a M {
        &self.event.meta
    }

    /// The event's number in the stream, from 0.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }
}

impl<M: Meta> std::fmt::Debug for SliceRing<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (slots, published) = (self.slots, self.published);
        f.debug_struct("SliceRing")
            .field("slots", &slots)
            .field("published", &published)
            .finish_non_exhaustive()
    }
}

impl<M: Meta> std::fmt::Debug for SliceReader<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SliceReader")
            .field("number", &self.number)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl<M: std::fmt::Debug> std::fmt::Debug for SliceView<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sequence, meta) = (&self.sequence, &self.event.meta);
        f.debug_struct("SliceView")
            .field("sequence", sequence)
            .field("meta", meta)
            .finish_non_exhaustive()
    }
}
