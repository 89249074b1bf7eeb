//! Publishing: pushed events go into the disruptor's ring, and to the inline stages.
//!
//! ```text
//!   slot ─▶ its place in `waiting`, where inline stages read it ─▶ the ring's entry at the same place ─▶ the producer's cursor ─▶ the lane's count ─▶ wake-ups
//! ```
//! The reclaimer's cursor limits how far the disruptor lets the producer go. The lane moves it up
//! to what is reclaimed only when the ring is used up: once per lap or, if stages lag by a whole
//! ring, whenever they free something.
#![forbid(unsafe_code)]

use disruptor::Producer;

use super::lane::Lane;
use super::slot::{Meta, LaneEvent};
use super::spec::Reclaim;
use crate::ring::Sequence;

impl<M: Meta> Lane<M> {
    /// Publishes everything pushed and returns the number of events. It can't fail, because `push`
    /// has counted the ring's room. Every event with a sequence is published, even if the lane was
    /// poisoned meanwhile: [`CloseReport`](super::CloseReport) reports its outcome.
    #[inline]
    pub fn flush(&mut self) -> usize {
        if self.pushed() == self.published { 0 } else { self.flush_pushed() }
    }

    #[inline(never)]
    fn flush_pushed(&mut self) -> usize {
        self.note_flush();
        self.open_gate();
        let count = (self.pushed() - self.published) as usize;
        // Two runs: up to the end of the ring, and from its start. Every entry is written: the
        // disruptor would publish whatever an unfinished iterator left there.
        let start = (self.published + 1) as usize & (self.waiting.len() - 1);
        let near = count.min(self.waiting.len() - start);
        let (head, tail) = (&self.waiting[start..start + near], &self.waiting[..count - near]);
        let sent = self.ends.producer.try_batch_publish(count, |mut entries| {
            head.iter().zip(entries.by_ref()).for_each(|(slot, entry)| *entry = *slot);
            tail.iter().zip(entries).for_each(|(slot, entry)| *entry = *slot);
        });
        assert!(sent.is_ok(), "the lane's count of the ring's room is right");
        self.note_published();
        count
    }

    /// Before publishing: moves the reclaimer's cursor up to what is reclaimed, if the producer
    /// needs it.
    #[inline(always)]
    fn open_gate(&mut self) {
        if self.pushed() - self.gate > self.waiting.len() as i64 {
            self.move_gate();
        }
    }

    #[cold]
    #[inline(never)]
    fn move_gate(&mut self) {
        if self.is_lazy {
            self.sync_inline();
        }
        self.gate += self.ends.reclaimer.poll().map_or(0, |mut guard| {
            let events = &mut guard;
            events.len() as i64
        });
        assert!(self.gate >= self.reclaimed, "a stage's cursor moves before its progress is told");
    }

    /// Writes the slot of the range that the pool has pushed last. The slot is free. Returns its
    /// sequence.
    #[inline]
    pub(super) fn put(&mut self, slot: LaneEvent<M>) -> Sequence {
        let (sequence, mask) = (self.pushed(), self.waiting.len() - 1);
        self.waiting[sequence as usize & mask] = slot;
        self.check();
        sequence
    }

    /// As [`Lane::put`] and [`Lane::flush`]. A lone slot goes into the ring from registers: read
    /// back from `waiting`, it would be loaded with another width than it was stored with, and
    /// would wait until every earlier store has left the core. Always inlined, or it would be
    /// passed through memory.
    #[inline(always)]
    pub(super) fn put_and_flush(&mut self, slot: LaneEvent<M>) -> Sequence {
        if self.pushed() > self.published + 1 {
            let sequence = self.put(slot);
            self.flush();
            return sequence;
        }
        self.note_flush();
        self.open_gate();
        // Inline stages read it there.
        self.put(slot);
        let sent = self.ends.producer.try_publish(|entry| *entry = slot).is_ok();
        assert!(sent, "the lane's count of the ring's room is right");
        self.note_published();
        self.published
    }

    /// Everything pushed is about to be published.
    #[inline(always)]
    fn note_flush(&mut self) {
        if self.is_timed {
            self.time_flush();
        }
    }

    #[cold]
    fn time_flush(&mut self) {
        if let Some(timing) = &self.shared.timing {
            timing.note_flush(self.flushes, self.pool.pushed());
            self.flushes += 1;
        }
    }

    #[inline(always)]
    fn note_published(&mut self) {
        self.published = self.pushed();
        self.shared.publish(self.published);
        if self.wakes {
            self.shared.wake_threads(0);
        }
        if self.reclaim == Reclaim::OnOverwrite {
            self.set_released();
        }
        self.check();
    }
}
