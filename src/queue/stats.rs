//! Figures of a queue.
#![forbid(unsafe_code)]

use super::ring::{Ring, Weigh};

/// A snapshot. Each figure is correct for some moment, though not all for the same one, and never
/// more seems queued than was. Dequeued messages that are still held aren't counted, because that
/// would cost a locked instruction per message dropped on another thread. The pool's `in_use` less
/// [`QueueStats::queued_messages`] gives their number, for all queues of the pool.
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
    /// All messages that ever left: dequeued, dropped with the dequeuer, or handed back because it
    /// had left.
    pub dequeued_messages: u64,
    /// Their bytes.
    pub dequeued_bytes: u64,
    /// The most messages seen queued. Each end looks when it runs out of messages or room as far as
    /// it knows, so a peak between two looks may be missed.
    pub most_messages: u64,
    /// As [`QueueStats::most_messages`], in bytes.
    pub most_bytes: u64,
    /// How often the enqueuer slept, or its task waited, for room.
    pub enqueue_waits: u64,
    /// How often the dequeuer slept, or its task waited, for a message.
    pub dequeue_waits: u64,
    /// Sleeps that ended by the clock although there was something to do. A value other than zero
    /// is a defect.
    pub wakes_lost: u64,
}

impl QueueStats {
    pub(crate) fn of<T: Weigh>(ring: &Ring<T>) -> Self {
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
