//! The bounded ring of slots between the two ends: a single producer, a single consumer, two
//! bounds.
//!
//! ```text
//!   slot:      . . . 7 8 9 A B . . .        messages: enqueued - dequeued <= messages_max
//!                    ▲         ▲            bytes:    enqueued - dequeued <= bytes_max,
//!             dequeued         enqueued               or one message alone
//! ```
//! There are two pairs of counters that only grow, of messages and bytes: the producer writes one
//! pair, the consumer the other. Each end has a copy of its own pair as plain integers, and a
//! budget from the last time it read the other's: the producer how many messages and bytes still
//! fit, the consumer how many messages are ready. It reads the other's counters again only when the
//! budget is used up. So the common push and pop need no lock, no read-modify-write and, apart from
//! the slot's, no cache line of the other end. Counters wrap; their differences don't.
//!
//! It promises: what was pushed is popped once, in order, or dropped with the ring; a message
//! heavier than the byte bound goes in only when the ring is empty. It doesn't wait or wake, and
//! has no end: see `QueueShared`.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use super::options::Bound;
use crate::sync::{Arc, AtomicUsize, Ordering, Padded, UnsafeCell};

/// The weight of an item against the byte bound. It doesn't change while the item is in the ring.
pub(crate) trait Weigh {
    /// Bytes of the item.
    fn weight_bytes(&self) -> usize;
}

/// The number of attempts before a snapshot accepts counts of two different moments.
const ATTEMPTS: usize = 8;

/// Messages and their bytes, counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Count {
    pub(super) fn since(self, before: Self) -> Self {
        let messages = self.messages.wrapping_sub(before.messages);
        Self { messages, bytes: self.bytes.wrapping_sub(before.bytes) }
    }

    fn plus(self, bytes: usize) -> Self {
        Self { messages: self.messages.wrapping_add(1), bytes: self.bytes.wrapping_add(bytes) }
    }
}

/// What one end writes and others read: the count that hands slots over, and figures for
/// [`QueueStats`].
#[derive(Debug, Default)]
pub(crate) struct Side {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    most_messages: AtomicUsize,
    most_bytes: AtomicUsize,
    waits: AtomicUsize,
    wakes_lost: AtomicUsize,
}

impl Side {
    fn new(count: Count) -> Self {
        let (messages, bytes) = (AtomicUsize::new(count.messages), AtomicUsize::new(count.bytes));
        Self { messages, bytes, ..Self::default() }
    }

    /// The bytes are stored first: a thread that sees the messages sees at least their bytes.
    #[inline]
    fn store(&self, count: Count) {
        debug_assert_eq!(
            count.messages.wrapping_sub(self.messages.load(Ordering::Relaxed)),
            1,
            "messages are counted one by one"
        );
        // SYNC S18: a snapshot that sees the bytes also sees what this end had seen of the other's
        // count.
        self.bytes.store(count.bytes, Ordering::Release);
        // SYNC S11 for the producer's count, SYNC S12 for the consumer's.
        self.messages.store(count.messages, Ordering::Release);
    }

    #[inline]
    fn load(&self) -> Count {
        // SYNC S11, SYNC S12: what the slots hold, or that all reads of them are over.
        let messages = self.messages.load(Ordering::Acquire);
        // SYNC S18. They may be one message ahead.
        Count { messages, bytes: self.bytes.load(Ordering::Acquire) }
    }

    /// The most messages, and the most bytes, that this end saw queued.
    pub(crate) fn most(&self) -> Count {
        let [messages, bytes] =
            [&self.most_messages, &self.most_bytes].map(|most| most.load(Ordering::Relaxed));
        Count { messages, bytes }
    }

    /// Called by its own end when it has read the other's count, and so knows what is queued.
    #[inline]
    fn record_queued(&self, queued: Count) {
        for (most, seen) in
            [(&self.most_messages, queued.messages), (&self.most_bytes, queued.bytes)]
        {
            if seen > most.load(Ordering::Relaxed) {
                most.store(seen, Ordering::Relaxed);
            }
        }
    }

    /// How often this end waited, and how often it wasn't woken although there was work.
    pub(crate) fn waits(&self) -> [usize; 2] {
        [&self.waits, &self.wakes_lost].map(|counter| counter.load(Ordering::Relaxed))
    }

    /// Called by its own end alone, after a wait. `lost`: there was work, and no wake-up.
    pub(crate) fn count_wait(&self, lost: bool) {
        for (counter, more) in [(&self.waits, true), (&self.wakes_lost, lost)] {
            counter.store(counter.load(Ordering::Relaxed) + usize::from(more), Ordering::Relaxed);
        }
        debug_assert!(
            self.wakes_lost.load(Ordering::Relaxed) <= self.waits.load(Ordering::Relaxed)
        );
    }
}

type QueueSlot<T> = UnsafeCell<MaybeUninit<T>>;

/// The slots; their number is a power of two. Each end has a pointer to them.
struct QueueSlots<T>(std::sync::Arc<[QueueSlot<T>]>);

impl<T> QueueSlots<T> {
    fn new(messages_max: usize) -> Self {
        assert!(messages_max > 0, "the options were checked");
        let slots =
            (0..messages_max.next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit()));
        Self(slots.collect())
    }

    #[inline]
    fn at(&self, position: usize) -> &QueueSlot<T> {
        // SAFETY: I122. An index masked by a power of two less one is below that power. (A checked
        // index could panic. Then every item would have to be in memory, where unwinding finds it.)
        unsafe { self.0.get_unchecked(position & (self.0.len() - 1)) }
    }
}

impl<T> Clone for QueueSlots<T> {
    fn clone(&self) -> Self {
        Self(std::sync::Arc::clone(&self.0))
    }
}

/// The slots, the bounds and both counts.
pub(crate) struct QueueRing<T> {
    slots: QueueSlots<T>,
    messages_max: usize,
    bytes_max: usize,
    pub(crate) enqueued: Padded<Side>,
    pub(crate) dequeued: Padded<Side>,
}

// SAFETY: I120. A slot belongs to one end at a time, and the counts hand it over (SYNC S11, SYNC
// S12). Items move between threads; none is shared.
unsafe impl<T: Send> Sync for QueueSlots<T> {}
// SAFETY: I120. As above: the two ends share the slots, on whatever threads they are.
unsafe impl<T: Send> Send for QueueSlots<T> {}

impl<T: Weigh> QueueRing<T> {
    /// A ring and its two ends. The options were checked. Counts begin at `none`, which is zero
    /// except in tests that let them wrap.
    pub(crate) fn ends(
        messages_max: usize,
        bytes_max: usize,
        none: Count,
    ) -> (Producer<T>, Consumer<T>) {
        assert!(bytes_max > 0, "the options were checked");
        let slots = QueueSlots::new(messages_max);
        let (enqueued, dequeued) = (Padded(Side::new(none)), Padded(Side::new(none)));
        assert!(
            bytes_max <= isize::MAX as usize,
            "a difference of counts is distinguishable from a wrapped one"
        );
        let ring =
            Arc::new(Self { slots: slots.clone(), messages_max, bytes_max, enqueued, dequeued });
        let (free, bytes_below) = (messages_max, bytes_max + 1);
        let producer = Producer {
            slots: slots.clone(),
            enqueued: none,
            free,
            bytes_below,
            ring: Arc::clone(&ring),
        };
        (producer, Consumer { slots, dequeued: none, ready: 0, ring })
    }
}

/// The two counts of a queue, enqueued and dequeued, as they were at one moment: the dequeued count
/// didn't change while the other was read. If it changes in every attempt, the last reading of it
/// is used for both counts where it is ahead. So what seems queued is never more than was queued,
/// and never less than nothing.
pub(super) fn consistent_counts(
    messages_max: usize,
    enqueued: impl Fn() -> Count,
    dequeued: impl Fn() -> Count,
) -> (Count, Count) {
    let mut before = dequeued();
    let mut enqueued_now = enqueued();
    for _ in 0..ATTEMPTS {
        let again = dequeued();
        if again == before {
            return (enqueued_now, before);
        }
        before = again;
        enqueued_now = enqueued();
    }
    let last = dequeued();
    let queued = enqueued_now.since(last);
    // A difference below zero has wrapped.
    if queued.messages > messages_max || queued.bytes > isize::MAX as usize {
        (last, last)
    } else {
        (enqueued_now, last)
    }
}

impl<T> QueueRing<T> {
    /// What was enqueued and dequeued so far: see [`consistent_counts`].
    pub(crate) fn counts(&self) -> (Count, Count) {
        consistent_counts(self.messages_max, || self.enqueued.0.load(), || self.dequeued.0.load())
    }

    /// The bound that keeps `weight_bytes` out of a ring that holds `queued`. An empty ring accepts
    /// everything.
    fn bound(&self, queued: Count, weight_bytes: usize) -> Option<Bound> {
        debug_assert!(queued.messages <= self.messages_max, "more is queued than the ring holds");
        if queued.messages >= self.messages_max {
            return Some(Bound::Messages { limit: self.messages_max });
        }
        let fits =
            self.bytes_max.checked_sub(queued.bytes).is_some_and(|room| weight_bytes <= room);
        if fits || queued.messages == 0 {
            return None;
        }
        Some(Bound::Bytes { asked_bytes: weight_bytes, limit_bytes: self.bytes_max })
    }
}

impl<T> Drop for QueueRing<T> {
    /// Both ends were dropped: the items that are left are dropped with the ring.
    fn drop(&mut self) {
        let (enqueued, dequeued) = self.counts();
        let left = enqueued.since(dequeued).messages;
        assert!(
            left <= self.messages_max,
            "{left} messages are left in a ring of {}",
            self.messages_max
        );
        for position in 0..left {
            self.slots.at(dequeued.messages.wrapping_add(position)).with_mut(|slot| {
                // SAFETY: I121. Nothing else refers to the ring, and the slot is between the
                // counts.
                let slot = unsafe { &mut *slot };
                // SAFETY: I120. A slot between the counts holds an item, which is dropped once.
                unsafe { slot.assume_init_drop() };
            });
        }
    }
}

/// The end that pushes. There is one.
pub(crate) struct Producer<T> {
    slots: QueueSlots<T>,
    enqueued: Count,
    /// The number of messages that still fit, by the last reading of the consumer's count.
    free: usize,
    /// A message must have fewer bytes than this to fit. It is 0, and nothing fits, after a message
    /// above the byte bound.
    bytes_below: usize,
    ring: Arc<QueueRing<T>>,
}

impl<T: Weigh> Producer<T> {
    pub(crate) fn ring(&self) -> &Arc<QueueRing<T>> {
        &self.ring
    }

    /// Moves an item in, after [`Producer::room`] has admitted it. The two functions are separate
    /// and always inlined, so that items travel in registers. An item that is passed through memory
    /// is read with another width than it was written with, and the read waits until every earlier
    /// store has left the core.
    #[inline(always)]
    pub(crate) fn put(&mut self, item: T) {
        let weight_bytes = item.weight_bytes();
        assert!(self.free > 0, "there is room");
        self.slots.at(self.enqueued.messages).with_mut(|slot| {
            // SAFETY: I120. The slot isn't between the counts, so it belongs to the producer and
            // holds nothing.
            unsafe { slot.write(MaybeUninit::new(item)) }
        });
        self.enqueued = self.enqueued.plus(weight_bytes);
        self.free -= 1;
        self.bytes_below = self.bytes_below.saturating_sub(weight_bytes);
        self.ring.enqueued.0.store(self.enqueued);
        self.check();
    }

    /// Whether an item of that weight is known to fit without reading the consumer's count.
    #[inline(always)]
    pub(crate) fn is_free(&self, weight_bytes: usize) -> bool {
        self.free > 0 && weight_bytes < self.bytes_below
    }

    /// Whether an item of that weight fits now.
    pub(crate) fn room(&mut self, weight_bytes: usize) -> Result<(), Bound> {
        if self.is_free(weight_bytes) {
            return Ok(());
        }
        let queued = self.enqueued.since(self.ring.dequeued.0.load());
        self.ring.enqueued.0.record_queued(queued);
        self.free = self.ring.messages_max - queued.messages;
        self.bytes_below = (self.ring.bytes_max + 1).saturating_sub(queued.bytes);
        self.check();
        self.ring.bound(queued, weight_bytes).map_or(Ok(()), Err)
    }

    /// As [`Producer::room`], for the check of a sleeper.
    pub(crate) fn has_room(&self, weight_bytes: usize) -> bool {
        self.ring.bound(self.enqueued.since(self.ring.dequeued.0.load()), weight_bytes).is_none()
    }

    /// The ring's invariant as this end sees it: what is queued plus what still fits is within the
    /// bounds.
    #[inline]
    fn check(&self) {
        if cfg!(debug_assertions) {
            let queued = self.enqueued.since(self.ring.dequeued.0.load());
            debug_assert!(
                queued.messages + self.free <= self.ring.messages_max,
                "more than the ring holds"
            );
            let is_within = queued
                .bytes
                .checked_add(self.bytes_below)
                .is_some_and(|sum| sum <= self.ring.bytes_max + 1);
            debug_assert!(is_within || self.bytes_below == 0, "more bytes than may be queued");
        }
    }
}

/// The end that pops. There is one.
pub(crate) struct Consumer<T> {
    slots: QueueSlots<T>,
    dequeued: Count,
    /// The number of messages that are ready, by the last reading of the producer's count.
    ready: usize,
    ring: Arc<QueueRing<T>>,
}

impl<T: Weigh> Consumer<T> {
    /// Moves the oldest item out. Its slot is free immediately.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.is_ready().then(|| self.pop_ready())
    }

    /// Whether there is an item to pop.
    #[inline(always)]
    pub(crate) fn is_ready(&mut self) -> bool {
        self.ready > 0 || self.refresh()
    }

    /// Moves the oldest item out, after [`Consumer::is_ready`] has returned true. It is separate
    /// and inlined as [`Producer::put`] is.
    #[inline(always)]
    pub(crate) fn pop_ready(&mut self) -> T {
        assert!(self.ready > 0, "there is an item");
        let item = self.slots.at(self.dequeued.messages).with(|slot| {
            // SAFETY: I120. The slot is between the counts, so it belongs to the consumer. It is
            // read once, because the count then moves past it.
            unsafe { slot.read() }
        });
        // SAFETY: I120. A slot between the counts holds an item.
        let item = unsafe { item.assume_init() };
        self.dequeued = self.dequeued.plus(item.weight_bytes());
        self.ready -= 1;
        self.ring.dequeued.0.store(self.dequeued);
        self.check();
        item
    }

    /// Reads the producer's count again. Returns true if there is an item.
    #[inline]
    fn refresh(&mut self) -> bool {
        let queued = self.ring.enqueued.0.load().since(self.dequeued);
        self.ready = queued.messages;
        self.check();
        self.ring.dequeued.0.record_queued(queued);
        queued.messages > 0
    }

    /// As [`Consumer::is_ready`], for the check of a sleeper.
    pub(crate) fn has_more(&self) -> bool {
        self.check();
        self.ring.enqueued.0.load().messages != self.dequeued.messages
    }

    /// The ring's invariant as this end sees it.
    #[inline]
    fn check(&self) {
        debug_assert!(self.ready <= self.ring.messages_max, "more is queued than the ring holds");
    }
}

/// A snapshot. Each figure is correct for some moment, though not all for the same one, and never
/// more seems queued than was queued. Dequeued messages that are still held aren't counted, because
/// that would cost a locked instruction per message dropped on another thread. The pool's `in_use`
/// less [`QueueStats::queued_messages`] gives their number, for all queues of the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Messages in the queue now.
    pub queued_messages: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// All messages ever enqueued.
    pub enqueued_messages: u64,
    /// Their bytes.
    pub enqueued_bytes: u64,
    /// All messages that ever came out: dequeued, dropped with the dequeuer, or handed back because
    /// the dequeuer had stopped.
    pub dequeued_messages: u64,
    /// Their bytes.
    pub dequeued_bytes: u64,
    /// The most messages seen queued. Each end checks when it runs out of messages or room as far
    /// as it knows, so a peak between two checks may be missed.
    pub most_messages: u64,
    /// As [`QueueStats::most_messages`], in bytes.
    pub most_bytes: u64,
    /// How often the enqueuer slept, or its task waited, for room.
    pub enqueue_waits: u64,
    /// How often the dequeuer slept, or its task waited, for a message.
    pub dequeue_waits: u64,
    /// Sleeps that ended by the clock although there was something to do. Any value but zero is a
    /// defect.
    pub wakes_lost: u64,
}

impl QueueStats {
    pub(crate) fn of<T: Weigh>(ring: &QueueRing<T>) -> Self {
        let (enqueued, dequeued) = ring.counts();
        let queued = enqueued.since(dequeued);
        let [enqueue, dequeue] = [&ring.enqueued.0, &ring.dequeued.0];
        let [[enqueue_waits, one], [dequeue_waits, other]] = [enqueue.waits(), dequeue.waits()];
        let (a, b) = (enqueue.most(), dequeue.most());
        Self {
            queued_messages: queued.messages as u64,
            queued_bytes: queued.bytes as u64,
            enqueued_messages: enqueued.messages as u64,
            enqueued_bytes: enqueued.bytes as u64,
            dequeued_messages: dequeued.messages as u64,
            dequeued_bytes: dequeued.bytes as u64,
            most_messages: a.messages.max(b.messages) as u64,
            most_bytes: a.bytes.max(b.bytes) as u64,
            enqueue_waits: enqueue_waits as u64,
            dequeue_waits: dequeue_waits as u64,
            wakes_lost: (one + other) as u64,
        }
    }
}
