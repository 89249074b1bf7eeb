//! The bounded ring of slots between the two ends: a single producer, a single consumer, two
//! bounds.
//!
//! ```text
//!   slot:      . . . 7 8 9 A B . . .        messages: enqueued - dequeued <= messages_max
//!                    ▲         ▲            bytes:    enqueued - dequeued <= bytes_max, or one message alone
//!             dequeued         enqueued
//! ```
//! There are two pairs of counters that only grow, of messages and bytes: the producer writes one
//! pair, the consumer the other. Each end keeps its own pair as plain integers, and a budget from
//! its last look at the other's: the producer how many messages and bytes still fit, the consumer
//! how many messages are ready. It looks again only when the budget is used up. So the common push
//! and pop take no lock, no read-modify-write and, apart from the slot's, no cache line of the
//! other end. Counters wrap; their differences don't.
//!
//! It promises: what was pushed is popped once, in order, or dropped with the ring; a message
//! heavier than the byte bound goes in only when the ring is empty. It doesn't wait, wake, or know
//! of an end: see [`super::shared`].
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use crate::sync::{Arc, AtomicUsize, Ordering, Padded, UnsafeCell};

/// The weight of an item against the byte bound. It doesn't change while the item is in the ring.
pub(crate) trait Weigh {
    /// Bytes of the item.
    fn weight_bytes(&self) -> usize;
}

/// The number of attempts before a snapshot accepts counts of two different moments.
const LOOKS: usize = 8;

/// Which bound a message met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// As many messages are queued as `messages` of [`super::QueueOptions`] allows.
    Messages {
        /// That many.
        limit: usize,
    },
    /// More bytes would be queued than `bytes` of [`super::QueueOptions`] allows. A message above
    /// that limit is accepted only when the queue is empty.
    Bytes {
        /// Bytes of the message.
        asked_bytes: usize,
        /// Bytes that may be queued.
        limit_bytes: usize,
    },
}

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

/// What one end writes and others read: the count that hands slots over, and figures for the
/// statistics.
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

    /// The bytes are stored first: who sees the messages sees at least their bytes.
    #[inline]
    fn store(&self, count: Count) {
        debug_assert_eq!(
            count.messages.wrapping_sub(self.messages.load(Ordering::Relaxed)),
            1,
            "one at a time"
        );
        // SYNC S18: a look from outside that sees the bytes sees what this end had seen of the
        // other's count.
        self.bytes.store(count.bytes, Ordering::Release);
        // SYNC S11 for the producer's count, SYNC S12 for the consumer's.
        self.messages.store(count.messages, Ordering::Release);
    }

    #[inline]
    fn load(&self) -> Count {
        // SYNC S11, SYNC S12: what the slots hold, or that nobody reads them any more.
        let messages = self.messages.load(Ordering::Acquire);
        // SYNC S18. They may be one message ahead.
        Count { messages, bytes: self.bytes.load(Ordering::Acquire) }
    }

    /// The most that this end saw queued.
    pub(crate) fn most(&self) -> Count {
        let [messages, bytes] =
            [&self.most_messages, &self.most_bytes].map(|most| most.load(Ordering::Relaxed));
        Count { messages, bytes }
    }

    /// Called by its own end when it reads the other's count, which gives the number queued.
    #[inline]
    fn saw(&self, queued: Count) {
        for (most, seen) in
            [(&self.most_messages, queued.messages), (&self.most_bytes, queued.bytes)]
        {
            if seen > most.load(Ordering::Relaxed) {
                most.store(seen, Ordering::Relaxed);
            }
        }
    }

    /// How often this end slept, and how often it wasn't woken although there was work.
    pub(crate) fn waits(&self) -> [usize; 2] {
        [&self.waits, &self.wakes_lost].map(|counter| counter.load(Ordering::Relaxed))
    }

    /// Called by its own end alone.
    pub(crate) fn waited(&self, lost: bool) {
        for (counter, more) in [(&self.waits, true), (&self.wakes_lost, lost)] {
            counter.store(counter.load(Ordering::Relaxed) + usize::from(more), Ordering::Relaxed);
        }
        debug_assert!(
            self.wakes_lost.load(Ordering::Relaxed) <= self.waits.load(Ordering::Relaxed)
        );
    }
}

type Slot<T> = UnsafeCell<MaybeUninit<T>>;

/// The slots; their number is a power of two. Each end holds a pointer to them.
struct Slots<T>(std::sync::Arc<[Slot<T>]>);

impl<T> Slots<T> {
    fn new(messages_max: usize) -> Self {
        assert!(messages_max > 0, "the options were checked");
        let slots =
            (0..messages_max.next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit()));
        Self(slots.collect())
    }

    #[inline]
    fn at(&self, position: usize) -> &Slot<T> {
        // SAFETY: I122. An index masked by a power of two less one is below that power. (A checked
        // index could panic, and then every item would go through memory, where the unwinding finds
        // it.)
        unsafe { self.0.get_unchecked(position & (self.0.len() - 1)) }
    }
}

impl<T> Clone for Slots<T> {
    fn clone(&self) -> Self {
        Self(std::sync::Arc::clone(&self.0))
    }
}

/// The slots and both counts.
pub(crate) struct Ring<T> {
    slots: Slots<T>,
    messages_max: usize,
    bytes_max: usize,
    pub(crate) enqueued: Padded<Side>,
    pub(crate) dequeued: Padded<Side>,
}

// SAFETY: I120. One end at a time touches a slot, and the counts hand it over (SYNC S11, SYNC S12).
// Items move between threads; none is shared.
unsafe impl<T: Send> Sync for Slots<T> {}
// SAFETY: I120. As above: the two ends share the slots, on whatever threads they are.
unsafe impl<T: Send> Send for Slots<T> {}

impl<T: Weigh> Ring<T> {
    /// A ring and its two ends. The options were checked. Counts begin at `none`: zero, except in
    /// tests of their wrap.
    pub(crate) fn ends(
        messages_max: usize,
        bytes_max: usize,
        none: Count,
    ) -> (Producer<T>, Consumer<T>) {
        assert!(bytes_max > 0, "the options were checked");
        let slots = Slots::new(messages_max);
        let (enqueued, dequeued) = (Padded(Side::new(none)), Padded(Side::new(none)));
        assert!(bytes_max <= isize::MAX as usize, "a difference of counts is told from its wrap");
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
/// didn't move while the other was looked at. Where it always does, the last look at it stands for
/// both where it is ahead, so that what seems queued is never more than was, nor less than nothing.
pub(super) fn of_one_moment(
    messages_max: usize,
    enqueued: impl Fn() -> Count,
    dequeued: impl Fn() -> Count,
) -> (Count, Count) {
    let mut before = dequeued();
    let mut more = enqueued();
    for _ in 0..LOOKS {
        let again = dequeued();
        if again == before {
            return (more, before);
        }
        before = again;
        more = enqueued();
    }
    let last = dequeued();
    let queued = more.since(last);
    // A difference below zero has wrapped.
    if queued.messages > messages_max || queued.bytes > isize::MAX as usize {
        (last, last)
    } else {
        (more, last)
    }
}

impl<T> Ring<T> {
    /// What was enqueued and dequeued so far: see [`of_one_moment`].
    pub(crate) fn counts(&self) -> (Count, Count) {
        of_one_moment(self.messages_max, || self.enqueued.0.load(), || self.dequeued.0.load())
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

impl<T> Drop for Ring<T> {
    /// Both ends are gone: the items left are dropped with the ring.
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
                // SAFETY: I121. Nobody else holds the ring, and the slot lies between the counts.
                let slot = unsafe { &mut *slot };
                // SAFETY: I120. A slot between the counts holds an item, which is dropped once.
                unsafe { slot.assume_init_drop() };
            });
        }
    }
}

/// The end that pushes. There is one.
pub(crate) struct Producer<T> {
    slots: Slots<T>,
    enqueued: Count,
    /// How many messages still fit, by the last look at the consumer's count.
    free: usize,
    /// A message must have fewer bytes than this to fit. Nothing fits after a message above the
    /// byte bound.
    bytes_below: usize,
    ring: Arc<Ring<T>>,
}

impl<T: Weigh> Producer<T> {
    pub(crate) fn ring(&self) -> &Arc<Ring<T>> {
        &self.ring
    }

    /// Moves an item in, after [`Producer::room`] has said that it may. The two are apart, and
    /// always inlined, so that items travel in registers: one that is passed through memory is read
    /// by another width than it was stored by, and waits until every store before it has left the
    /// core.
    #[inline(always)]
    pub(crate) fn put(&mut self, item: T) {
        let weight_bytes = item.weight_bytes();
        assert!(self.free > 0, "there is room");
        self.slots.at(self.enqueued.messages).with_mut(|slot| {
            // SAFETY: I120. The slot lies outside the counts, so it is the producer's and holds
            // nothing.
            unsafe { slot.write(MaybeUninit::new(item)) }
        });
        self.enqueued = self.enqueued.plus(weight_bytes);
        self.free -= 1;
        self.bytes_below = self.bytes_below.saturating_sub(weight_bytes);
        self.ring.enqueued.0.store(self.enqueued);
        self.check();
    }

    /// Whether an item of that weight is known to fit, without a look at the consumer's count.
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
        self.ring.enqueued.0.saw(queued);
        self.free = self.ring.messages_max - queued.messages;
        self.bytes_below = (self.ring.bytes_max + 1).saturating_sub(queued.bytes);
        self.check();
        self.ring.bound(queued, weight_bytes).map_or(Ok(()), Err)
    }

    /// As [`Producer::room`], for a sleeper's look.
    pub(crate) fn has_room(&self, weight_bytes: usize) -> bool {
        self.ring.bound(self.enqueued.since(self.ring.dequeued.0.load()), weight_bytes).is_none()
    }

    /// The ring's invariant as this end sees it: what it holds plus what still fits is within the
    /// bounds.
    #[inline]
    fn check(&self) {
        if cfg!(debug_assertions) {
            let queued = self.enqueued.since(self.ring.dequeued.0.load());
            debug_assert!(
                queued.messages + self.free <= self.ring.messages_max,
                "more than the ring holds"
            );
            let goes_in = queued
                .bytes
                .checked_add(self.bytes_below)
                .is_some_and(|sum| sum <= self.ring.bytes_max + 1);
            debug_assert!(goes_in || self.bytes_below == 0, "more bytes than may be queued");
        }
    }
}

/// The end that pops. There is one.
pub(crate) struct Consumer<T> {
    slots: Slots<T>,
    dequeued: Count,
    /// Messages that are ready, by the last look at the producer's count.
    ready: usize,
    ring: Arc<Ring<T>>,
}

impl<T: Weigh> Consumer<T> {
    /// Moves the oldest item out; its slot is free at once.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.is_ready().then(|| self.take())
    }

    /// Whether there is an item to take.
    #[inline(always)]
    pub(crate) fn is_ready(&mut self) -> bool {
        self.ready > 0 || self.look()
    }

    /// Moves the oldest item out, after [`Consumer::is_ready`] has said that there is one. As for
    /// [`Producer::put`].
    #[inline(always)]
    pub(crate) fn take(&mut self) -> T {
        assert!(self.ready > 0, "there is an item");
        let item = self.slots.at(self.dequeued.messages).with(|slot| {
            // SAFETY: I120. The slot lies between the counts, so it is the consumer's. It is read
            // once, because the count then moves past it.
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

    /// Looks at the producer's count again: true if there is something.
    #[inline]
    fn look(&mut self) -> bool {
        let queued = self.ring.enqueued.0.load().since(self.dequeued);
        self.ready = queued.messages;
        self.check();
        self.ring.dequeued.0.saw(queued);
        queued.messages > 0
    }

    /// Whether there is something, for a sleeper's look.
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
