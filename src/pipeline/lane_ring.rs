//! The owner's side of a lane's ring: memory and slots are claimed, filled, published and
//! reclaimed.
//!
//! ```text
//!   event ─▶ its slot in `events`, where inline stages read it ─▶ the same slot of the disruptor
//!         ─▶ the producer's cursor ─▶ the lane's count ─▶ wake-ups
//! ```
//! The reclaimer's cursor limits how far the disruptor lets the producer go. The lane moves it up
//! to `reclaimed` only when the ring is used up: once per lap or, if stages lag by a whole ring,
//! whenever they release something.
#![forbid(unsafe_code)]

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use disruptor::Producer;

use super::error::{NotPushed, PushRefusal, Refused};
use super::event_ring::{DisruptorEnds, LaneEvent};
use super::inline::Inline;
use super::policy::{Meta, Reclaim};
use super::shared::LaneShared;
use crate::ring::{NONE, PoolSlice, RingPool, Sequence};

/// Events after which a round looks at the stages' progress, unless the ring is small.
const LOOK_EVENTS: usize = 64;

/// Always: `reclaimed <= published <= pushed` and `pushed - reclaimed <= slots`. The number pushed
/// is the pool's count; there is no second one.
pub(super) struct LaneRing<M: Meta> {
    pub(super) pool: RingPool,
    ends: DisruptorEnds<M>,
    pub(super) shared: Arc<LaneShared<M>>,
    /// Events by slot: pushed ones until they are flushed, published ones for the inline stages.
    pub(super) events: Box<[LaneEvent<M>]>,
    /// The last sequence published.
    pub(super) published: Sequence,
    /// The last sequence that every stage has released, as far as the owner has looked. Its slot is
    /// free and, on consume, its memory is reclaimed.
    pub(super) reclaimed: Sequence,
    pub(super) reclaim: Reclaim,
    pub(super) inline: Vec<Box<dyn Inline<M>>>,
    /// Every stage is attached, none has failed, and the stream hasn't ended. Then only this thread
    /// looks at the disruptor's cursors, so they are moved only when the producer needs room.
    pub(super) is_lazy: bool,
    /// The first layer has stages with threads, which publishing wakes.
    wakes: bool,
    /// Sequences below this have a free slot, as far as is known without looking at the stages. No
    /// slot is free once the lane is closing.
    room_until: Sequence,
    /// The sequence from which a round looks at stages with threads even while events are being
    /// published.
    pub(super) look_at: Sequence,
    /// The position of the reclaimer's cursor in the disruptor. The producer may publish up to one
    /// ring length beyond it.
    gate: Sequence,
    pub(super) closing: bool,
    pub(super) refused_ring: u64,
    is_timed: bool,
    /// Flushes of a timed lane.
    flushes: u64,
}

impl<M: Meta> LaneRing<M> {
    pub(super) fn new(
        pool: RingPool,
        ends: DisruptorEnds<M>,
        shared: &Arc<LaneShared<M>>,
        slots: usize,
        reclaim: Reclaim,
    ) -> Self {
        assert!(
            slots.is_power_of_two() && slots >= 2,
            "{slots} slots passed the check of the specification"
        );
        Self {
            pool,
            ends,
            shared: Arc::clone(shared),
            events: vec![LaneEvent::default(); slots].into(),
            published: NONE,
            reclaimed: NONE,
            reclaim,
            inline: Vec::new(),
            is_lazy: false,
            wakes: shared.has_threads(0),
            room_until: NONE + slots as i64 + 1,
            look_at: NONE,
            gate: NONE,
            closing: false,
            refused_ring: 0,
            is_timed: shared.timing.is_some(),
            flushes: 0,
        }
    }

    /// The last sequence pushed.
    #[inline]
    pub(super) fn pushed(&self) -> Sequence {
        self.pool.pushed()
    }

    #[inline]
    pub(super) fn check_open(&self) -> Result<(), Refused> {
        match self.shared.poisoned() {
            Some(stage) => Err(Refused::Poisoned(stage)),
            None if self.closing => Err(Refused::Closed),
            None => Ok(()),
        }
    }

    /// Checks that the next slot is free.
    #[inline]
    pub(super) fn check_slot(&mut self) -> Result<(), Refused> {
        if self.pushed() + 1 < self.room_until && self.shared.poisoned().is_none() {
            return Ok(());
        }
        self.find_slot()
    }

    #[cold]
    #[inline(never)]
    fn find_slot(&mut self) -> Result<(), Refused> {
        self.check_open()?;
        if self.free_slots() > 0 || self.reclaim() > 0 {
            return Ok(());
        }
        self.refused_ring += 1;
        self.flush();
        Err(Refused::Ring { slots: self.events.len() })
    }

    /// The current chunk has no room for `len` bytes: opens the next one, or publishes what fills
    /// the pool.
    #[cold]
    pub(super) fn make_room(&mut self, len: usize) -> Result<(), Refused> {
        self.reclaim();
        let opened = self.pool.make_room(len);
        if opened.is_err() {
            self.flush();
        }
        Ok(opened?)
    }

    /// The event for the next slot, with this slice. The slice has the next sequence from now on.
    #[inline(always)]
    pub(super) fn event_of(
        &mut self,
        slice: PoolSlice,
        meta: M,
    ) -> Result<LaneEvent<M>, NotPushed<M>> {
        if let Err(refused) = self.check_slot() {
            return Err(NotPushed { why: PushRefusal::Refused(refused), slice: Some(slice), meta });
        }
        match self.pool.push_span(slice) {
            Ok(span) => Ok(LaneEvent { span, meta }),
            Err(foreign) => {
                Err(NotPushed { why: PushRefusal::Foreign, slice: Some(foreign.0), meta })
            }
        }
    }

    /// Writes the event of the range that the pool has pushed last into its slot, which is free.
    /// Returns its sequence.
    #[inline]
    pub(super) fn put(&mut self, event: LaneEvent<M>) -> Sequence {
        let (sequence, mask) = (self.pushed(), self.events.len() - 1);
        self.events[sequence as usize & mask] = event;
        self.check();
        sequence
    }

    /// Does what [`LaneRing::put`] and [`LaneRing::flush`] do. A lone event goes into the ring from
    /// registers: read back from `events`, it would be loaded with another width than it was stored
    /// with, and would wait until every earlier store has left the core. Always inlined, because
    /// otherwise it would be passed through memory.
    #[inline(always)]
    pub(super) fn put_and_flush(&mut self, event: LaneEvent<M>) -> Sequence {
        if self.pushed() > self.published + 1 {
            let sequence = self.put(event);
            self.flush();
            return sequence;
        }
        self.note_flush();
        self.open_gate();
        // Inline stages read it there.
        self.put(event);
        let sent = self.ends.producer.try_publish(|entry| *entry = event).is_ok();
        assert!(sent, "the lane's count of the ring's room is right");
        self.note_published();
        self.published
    }

    /// Publishes everything pushed and returns the number of events.
    #[inline]
    pub(super) fn flush(&mut self) -> usize {
        if self.pushed() == self.published { 0 } else { self.flush_pushed() }
    }

    #[inline(never)]
    fn flush_pushed(&mut self) -> usize {
        self.note_flush();
        self.open_gate();
        let count = (self.pushed() - self.published) as usize;
        // There are two runs: up to the end of the ring, and from its start. Every entry is
        // written: if the iterator ended early, the disruptor would publish whatever it left there.
        let start = (self.published + 1) as usize & (self.events.len() - 1);
        let near = count.min(self.events.len() - start);
        let (head, tail) = (&self.events[start..start + near], &self.events[..count - near]);
        let sent = self.ends.producer.try_batch_publish(count, |mut entries| {
            head.iter().zip(entries.by_ref()).for_each(|(event, entry)| *entry = *event);
            tail.iter().zip(entries).for_each(|(event, entry)| *entry = *event);
        });
        assert!(sent.is_ok(), "the lane's count of the ring's room is right");
        self.note_published();
        count
    }

    /// Called before publishing: moves the reclaimer's cursor up to what is reclaimed, if the
    /// producer needs it.
    #[inline(always)]
    fn open_gate(&mut self) {
        if self.pushed() - self.gate > self.events.len() as i64 {
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
        assert!(
            self.gate >= self.reclaimed,
            "a stage's cursor moves before its progress is stored"
        );
    }

    /// Moves the cursors of all inline stages up to their progress, layer by layer, because none
    /// can pass the layer before.
    fn sync_inline(&mut self) {
        for layer in 0..self.shared.layers() {
            self.inline
                .iter_mut()
                .filter(|stage| stage.layer() == layer)
                .for_each(|stage| stage.sync());
        }
    }

    /// From now on the stages' cursors follow each batch.
    pub(super) fn end_lazy(&mut self) {
        self.sync_inline();
        self.is_lazy = false;
    }

    /// Called before everything pushed is published.
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

    /// Finds the events that all stages have released, and frees their slots and, on consume, their
    /// memory. Returns their number.
    #[inline]
    pub(super) fn reclaim(&mut self) -> usize {
        self.look_at = self.published + (self.events.len() / 4).min(LOOK_EVENTS) as i64;
        self.note_consumed(self.shared.consumed())
    }

    #[inline(always)]
    pub(super) fn note_consumed(&mut self, consumed: Sequence) -> usize {
        let count = consumed - self.reclaimed;
        debug_assert!(count >= 0, "the consumed position never decreases");
        if count > 0 {
            assert!(consumed <= self.published, "only published events are consumed");
            self.reclaimed = consumed;
            if !self.closing {
                self.room_until = consumed + self.events.len() as i64 + 1;
            }
            self.set_released();
            self.check();
            return count as usize;
        }
        0
    }

    fn set_released(&mut self) {
        let released = match self.reclaim {
            Reclaim::OnConsume => self.reclaimed,
            Reclaim::OnOverwrite => self.published - self.events.len() as i64,
        };
        assert!(released <= self.reclaimed, "nothing is released that a stage may still read");
        self.pool.release(released);
    }

    /// Publishes what is pushed, and ends the stream after it.
    pub(super) fn close(&mut self) {
        self.flush();
        assert_eq!(self.pushed(), self.published, "a flush publishes everything");
        self.closing = true;
        self.room_until = NONE;
        // When a stage ends, from now on, its cursor is at its progress.
        self.end_lazy();
        self.check();
        self.shared.close(self.published + 1);
    }

    /// Slots in use, as far as is known without looking at the stages.
    pub(super) fn slots_in_use(&self) -> usize {
        (self.pushed() - self.reclaimed) as usize
    }

    /// Free slots, as far as is known without looking at the stages.
    pub(super) fn free_slots(&self) -> usize {
        self.events.len() - self.slots_in_use()
    }

    /// The invariant stated at [`LaneRing`]: checked in debug builds and in profile `checked`.
    #[inline]
    pub(super) fn check(&self) {
        debug_assert!(
            self.reclaimed >= NONE
                && self.reclaimed <= self.published
                && self.published <= self.pushed()
        );
        debug_assert!(
            self.slots_in_use() <= self.events.len(),
            "more is pushed than the ring holds"
        );
        debug_assert!(self.pool.released() <= self.reclaimed);
    }
}

impl<M: Meta> std::fmt::Debug for LaneRing<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (pushed, published, reclaimed) = (self.pushed(), self.published, self.reclaimed);
        f.debug_struct("Lane")
            .field("pushed", &pushed)
            .field("published", &published)
            .field("reclaimed", &reclaimed)
            .finish_non_exhaustive()
    }
}

/// A slot of the ring and the memory for it, claimed together: bytes to fill, and a free slot for
/// them, so pushing can't fail. A claim that is dropped or leaked uses up nothing.
///
/// Cheaper than [`Lane::reserve`](super::Lane::reserve) with [`Lane::push`](super::Lane::push),
/// because no slice is counted in between.
#[must_use = "a claim that isn't pushed gives its bytes and its slot back"]
pub struct Claim<'l, M: Meta> {
    ring: &'l mut LaneRing<M>,
    len: usize,
}

impl<'l, M: Meta> Claim<'l, M> {
    /// The ring must have a free slot and `len` bytes in the pool's current chunk.
    #[inline]
    pub(super) fn new(ring: &'l mut LaneRing<M>, len: usize) -> Self {
        debug_assert!(ring.free_slots() > 0 && ring.pool.fits(len));
        Self { ring, len }
    }

    /// Shortens the claim to its first `n` bytes and gives the others back. If `n` is more than
    /// were claimed, nothing changes.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(n);
    }

    /// Puts the bytes into the slot, which [`Lane::flush`](super::Lane::flush) publishes. Returns
    /// the sequence.
    #[inline]
    pub fn push(self, meta: M) -> Sequence {
        let span = self.ring.pool.push_next_span(self.len);
        self.ring.put(LaneEvent { span, meta })
    }

    /// Pushes the bytes and publishes them, with everything pushed before. Returns the sequence.
    #[inline]
    pub fn publish(self, meta: M) -> Sequence {
        let span = self.ring.pool.push_next_span(self.len);
        self.ring.put_and_flush(LaneEvent { span, meta })
    }
}

impl<M: Meta> Deref for Claim<'_, M> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.ring.pool.next_bytes(self.len)
    }
}

impl<M: Meta> DerefMut for Claim<'_, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.ring.pool.next_bytes_mut(self.len)
    }
}

impl<M: Meta> std::fmt::Debug for Claim<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("bytes", &self.len).field("lane", &self.ring).finish()
    }
}
