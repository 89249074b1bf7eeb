//! A lane: the pool, the disruptor and the stages of one pinned thread.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::claim::Claim;
use super::error::{NotPushed, PushRefusal, Refused, WrongPlacement};
use super::flow::Failure;
use super::grant::LaneGrant;
use super::inline::{Inline, InlineStage, Round};
use super::poller::StagePoller;
use super::shared::LaneShared;
use super::slot::{Meta, LaneEvent};
use super::spec::{StagePlacement, Reclaim, Wait};
use super::stage::{Outcome, Stage};
use super::start::DisruptorEnds;
use super::view::View;
use crate::ring::{FlightId, NONE, PoolSlice, RingPool, Sequence};

/// Events after which a round looks at the stages' progress, unless the ring is small.
const LOOK_EVENTS: usize = 64;

/// What one round of [`Lane::poll`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Events that inline stages processed.
    pub processed: usize,
    /// Events newly found to be done in every stage. While events are being published, a round
    /// looks at stages with threads only occasionally: see [`Lane::poll`].
    pub reclaimed: usize,
}

impl Progress {
    /// Whether nothing moved.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }
}

/// Owned by the thread that started it: not Send, not Sync, not Clone. Nothing here blocks but
/// [`Lane::wait`], [`Lane::wait_for_room`] and [`Lane::close`], and those are bounded;
/// [`Lane::prepare_sleep`] naps for a millisecond where the kernel refuses the barrier that it
/// needs.
///
/// Always: `reclaimed <= published <= pushed` and `pushed - reclaimed <= slots`. The number pushed
/// is the pool's count; the lane keeps no second one.
pub struct Lane<M: Meta> {
    pub(super) pool: RingPool,
    pub(super) ends: DisruptorEnds<M>,
    pub(super) shared: Arc<LaneShared<M>>,
    /// Slots by their place in the ring: pushed ones until they are flushed, published ones for the
    /// inline stages.
    pub(super) waiting: Box<[LaneEvent<M>]>,
    /// Last sequence published, reclaimed.
    pub(super) published: Sequence,
    pub(super) reclaimed: Sequence,
    pub(super) reclaim: Reclaim,
    pub(super) wait: Wait,
    pub(super) inline: Vec<Box<dyn Inline<M>>>,
    /// Every stage is attached, none has failed, and the stream hasn't ended. Then only this thread
    /// looks at the disruptor's cursors, so they are moved when the producer needs room.
    pub(super) is_lazy: bool,
    /// The first layer has stages with threads, which publishing wakes.
    pub(super) wakes: bool,
    /// Sequences below this have a free slot, as far as is known without looking at the stages. No
    /// slot is free once the lane is closing.
    pub(super) room_until: Sequence,
    /// The last layer has stages with threads, whose progress is on cache lines that they write.
    follows_threads: bool,
    /// The last sequence published at the previous round, and the one from which a round looks at
    /// such stages even while events are being published.
    polled: Sequence,
    look_at: Sequence,
    /// The position of the reclaimer's cursor in the disruptor. The producer may publish up to one
    /// ring length beyond it.
    pub(super) gate: Sequence,
    pub(super) detached: Vec<(u32, StagePoller<M>)>,
    pub(super) closing: bool,
    pub(super) refused_ring: u64,
    pub(super) is_timed: bool,
    /// Flushes of a timed lane.
    pub(super) flushes: u64,
}

impl<M: Meta> Lane<M> {
    pub(super) fn new(
        pool: RingPool,
        ends: DisruptorEnds<M>,
        shared: &Arc<LaneShared<M>>,
        slots: usize,
        reclaim: Reclaim,
        wait: Wait,
    ) -> Self {
        assert!(
            slots.is_power_of_two() && slots >= 2,
            "{slots} slots passed the check of the specification"
        );
        let (published, reclaimed) = (NONE, NONE);
        let waiting = vec![LaneEvent::default(); slots].into();
        let (inline, detached) = (Vec::new(), Vec::new());
        let (wakes, follows_threads) =
            (shared.has_threads(0), shared.has_threads(shared.layers() - 1));
        let (shared, is_timed) = (Arc::clone(shared), shared.timing.is_some());
        Self {
            pool,
            ends,
            shared,
            waiting,
            published,
            reclaimed,
            reclaim,
            wait,
            inline,
            is_lazy: false,
            wakes,
            room_until: NONE + slots as i64 + 1,
            follows_threads,
            polled: NONE,
            look_at: NONE,
            gate: NONE,
            detached,
            closing: false,
            refused_ring: 0,
            is_timed,
            flushes: 0,
        }
    }

    /// Reserves `len` bytes of the pool. If the pool is full, everything pushed is published,
    /// because its memory can't come back before.
    ///
    /// # Errors
    /// [`Refused::Pool`], [`Refused::Poisoned`] or [`Refused::Closed`]; it never blocks.
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<LaneGrant<'_>, Refused> {
        self.check_open()?;
        if !self.pool.fits(len) {
            self.make_room(len)?;
        }
        Ok(LaneGrant::new(self.pool.reserve(len)?))
    }

    /// Reserves the rest of the current chunk, at least `min` bytes, for a receive of unknown
    /// length.
    ///
    /// # Errors
    /// As [`Lane::reserve`] for `min`.
    pub fn reserve_rest(&mut self, min: usize) -> Result<LaneGrant<'_>, Refused> {
        self.check_open()?;
        let min = min.max(1);
        if !self.pool.fits(min) {
            self.make_room(min)?;
        }
        Ok(LaneGrant::new(self.pool.reserve_rest(min)?))
    }

    /// Claims the next slot and `len` bytes of the pool for it, to be filled at once. If the ring
    /// or the pool is full, everything pushed is published.
    ///
    /// # Errors
    /// [`Refused::Ring`], or as [`Lane::reserve`]; it never blocks.
    #[inline]
    pub fn claim(&mut self, len: usize) -> Result<Claim<'_, M>, Refused> {
        self.room()?;
        if !self.pool.fits(len) {
            self.make_room(len)?;
        }
        Ok(Claim::new(self, len))
    }

    /// Puts a slice into the next slot, which [`Lane::flush`] publishes. Returns the sequence.
    ///
    /// # Errors
    /// [`Refused::Ring`] by the lane's own count, so that a flush can't fail; the slice and the
    /// metadata come back. If the ring is full, everything pushed is published, because nothing can
    /// be added to that batch.
    #[inline]
    pub fn push(&mut self, slice: PoolSlice, meta: M) -> Result<Sequence, NotPushed<M>> {
        self.slot_of(slice, meta).map(|slot| self.put(slot))
    }

    /// Puts metadata without a slice into the next slot. Its view has no bytes.
    ///
    /// # Errors
    /// As [`Lane::push`].
    pub fn push_empty(&mut self, meta: M) -> Result<Sequence, NotPushed<M>> {
        if let Err(refused) = self.room() {
            return Err(NotPushed { why: PushRefusal::Refused(refused), slice: None, meta });
        }
        self.pool.push_nothing();
        Ok(self.put(LaneEvent { span: Default::default(), meta }))
    }

    /// Moves the cursors of all inline stages up to their progress, layer by layer, because none
    /// can pass the layer before.
    pub(super) fn sync_inline(&mut self) {
        for layer in 0..self.shared.layers() {
            self.inline
                .iter_mut()
                .filter(|stage| stage.layer() == layer)
                .for_each(|stage| stage.sync());
        }
    }

    /// Stages and publishes one slice.
    ///
    /// # Errors
    /// As [`Lane::push`].
    #[inline]
    pub fn publish(&mut self, slice: PoolSlice, meta: M) -> Result<Sequence, NotPushed<M>> {
        self.slot_of(slice, meta).map(|slot| self.put_and_flush(slot))
    }

    /// Gives an inline stage its handler. From now on [`Lane::poll`] runs it, in the order of
    /// attaching.
    ///
    /// # Errors
    /// The stage is specified with a thread, holds events that it read ahead, or belongs to another
    /// lane. It is returned.
    #[expect(
        clippy::result_large_err,
        reason = "the handle comes back by value: once a stage, never in the hot path"
    )]
    pub fn attach(
        &mut self,
        stage: Stage<M>,
        handler: impl FnMut(View<'_, M>) -> Outcome + 'static,
    ) -> Result<(), WrongPlacement<Stage<M>>> {
        let is_inline = stage.state().placement == StagePlacement::Inline;
        if !is_inline || stage.is_holding() || !Arc::ptr_eq(stage.shared(), &self.shared) {
            return Err(WrongPlacement(stage));
        }
        self.inline.push(Box::new(InlineStage::new(stage, handler)));
        self.is_lazy = self.inline.len() == self.shared.stages.len()
            && !self.shared.has_failed()
            && !self.closing;
        Ok(())
    }

    /// One round: releases events of dead stages under `Detach`, runs inline stages (one batch
    /// each), and reclaims what all stages are done with. Call it in every idle loop and every
    /// stall.
    ///
    /// The progress of threads in the last layer is on cache lines that they write. So a round
    /// looks at it only if nothing was published since the previous round, or after a quarter of
    /// the ring (at most 64 events). A claim that finds no slot or memory looks by itself;
    /// [`Lane::reclaim`] and gauges always look.
    pub fn poll(&mut self) -> Progress {
        if self.shared.has_failed() {
            self.pump();
        }
        let (slots, published, is_lazy) = (&*self.waiting, self.published, self.is_lazy);
        let (processed, through, is_stopped) = (0, published, false);
        let mut round = Round { slots, published, is_lazy, processed, through, is_stopped };
        self.inline.iter_mut().for_each(|stage| stage.poll(&mut round));
        let Round { processed, through, is_stopped, .. } = round;
        if is_stopped {
            self.fail_stopped_inline();
        }
        let mut reclaimed = match () {
            () if is_lazy => self.note_consumed(through),
            () if self.is_look_due() => self.reclaim(),
            () => 0,
        };
        if self.shared.figures.are_requested() {
            reclaimed += self.reclaim();
            self.publish_figures();
        }
        self.check();
        Progress { processed, reclaimed }
    }

    /// Inline stages have stopped: they are dead once their progress is published.
    #[cold]
    fn fail_stopped_inline(&mut self) {
        self.end_lazy();
        self.inline.iter_mut().for_each(|stage| stage.die());
    }

    /// From now on the stages' cursors follow each batch.
    pub(super) fn end_lazy(&mut self) {
        self.sync_inline();
        self.is_lazy = false;
    }

    /// Whether a round is to look at how far the stages are.
    #[inline]
    fn is_look_due(&mut self) -> bool {
        let is_quiet = self.polled == self.published;
        self.polled = self.published;
        !self.follows_threads || is_quiet || self.published >= self.look_at
    }

    /// Finds what all stages are done with and frees it. Returns the number of events.
    #[inline]
    pub fn reclaim(&mut self) -> usize {
        self.look_at = self.published + (self.waiting.len() / 4).min(LOOK_EVENTS) as i64;
        self.note_consumed(self.shared.consumed())
    }

    #[inline(always)]
    fn note_consumed(&mut self, consumed: Sequence) -> usize {
        let count = consumed - self.reclaimed;
        debug_assert!(count >= 0, "what is consumed stays consumed");
        if count > 0 {
            assert!(consumed <= self.published, "nobody consumes what isn't published");
            self.reclaimed = consumed;
            if !self.closing {
                self.room_until = consumed + self.waiting.len() as i64 + 1;
            }
            self.set_released();
            self.check();
            return count as usize;
        }
        0
    }

    /// Free slots, as far as is known without polling.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        self.waiting.len() - self.slots_in_use()
    }

    /// The first stage that failed, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.shared.failure()
    }

    /// Whether a stage has failed. Cheaper than [`Lane::failure`], for a check in every round.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shared.has_failed()
    }

    /// The size of the largest slice, in bytes.
    #[must_use]
    pub fn max_slice_bytes(&self) -> usize {
        self.pool.max_slice_bytes()
    }

    /// Reports that the kernel is done with a read whose [`crate::ring::InFlight`] was dropped.
    pub fn report_completion(&mut self, flight: FlightId) -> bool {
        self.pool.report_completion(flight)
    }

    #[inline]
    fn check_open(&self) -> Result<(), Refused> {
        match self.shared.poisoned() {
            Some(stage) => Err(Refused::Poisoned(stage)),
            None if self.closing => Err(Refused::Closed),
            None => Ok(()),
        }
    }

    #[inline]
    fn room(&mut self) -> Result<(), Refused> {
        if self.pushed() + 1 < self.room_until && self.shared.poisoned().is_none() {
            return Ok(());
        }
        self.find_room()
    }

    #[cold]
    #[inline(never)]
    fn find_room(&mut self) -> Result<(), Refused> {
        self.check_open()?;
        if self.free_slots() > 0 || self.reclaim() > 0 {
            return Ok(());
        }
        self.refused_ring += 1;
        self.flush();
        Err(Refused::Ring { slots: self.waiting.len() })
    }

    /// The current chunk has no room for `len` bytes: opens the next one, or publishes what fills
    /// the pool.
    #[cold]
    fn make_room(&mut self, len: usize) -> Result<(), Refused> {
        self.reclaim();
        let opened = self.pool.make_room(len);
        if opened.is_err() {
            self.flush();
        }
        Ok(opened?)
    }

    /// The contents of the next slot for a slice, which has the next sequence from now on.
    #[inline]
    fn slot_of(&mut self, slice: PoolSlice, meta: M) -> Result<LaneEvent<M>, NotPushed<M>> {
        if let Err(refused) = self.room() {
            return Err(NotPushed { why: PushRefusal::Refused(refused), slice: Some(slice), meta });
        }
        match self.pool.push_span(slice) {
            Ok(span) => Ok(LaneEvent { span, meta }),
            Err(foreign) => {
                Err(NotPushed { why: PushRefusal::Foreign, slice: Some(foreign.0), meta })
            }
        }
    }

    /// The last sequence pushed.
    #[inline]
    pub(super) fn pushed(&self) -> Sequence {
        self.pool.pushed()
    }

    /// The invariant stated at [`Lane`]: checked in debug builds and in profile `checked`.
    #[inline]
    pub(super) fn check(&self) {
        debug_assert!(
            self.reclaimed >= NONE
                && self.reclaimed <= self.published
                && self.published <= self.pushed()
        );
        debug_assert!(
            self.slots_in_use() <= self.waiting.len(),
            "more is pushed than the ring holds"
        );
        debug_assert!(self.pool.released() <= self.reclaimed);
    }

    pub(super) fn set_released(&mut self) {
        let released = match self.reclaim {
            Reclaim::OnConsume => self.reclaimed,
            Reclaim::OnOverwrite => self.published - self.waiting.len() as i64,
        };
        assert!(released <= self.reclaimed, "nothing is released that a stage may still read");
        self.pool.release(released);
    }
}

impl<M: Meta> std::fmt::Debug for Lane<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (pushed, published, reclaimed) = (self.pushed(), self.published, self.reclaimed);
        f.debug_struct("Lane")
            .field("pushed", &pushed)
            .field("published", &published)
            .field("reclaimed", &reclaimed)
            .finish_non_exhaustive()
    }
}
