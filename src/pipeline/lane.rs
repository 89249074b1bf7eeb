//! A lane: the pool, the ring and the stages of one pinned thread, which owns it.
//!
//! The owner claims or reserves, fills, pushes and flushes; [`Lane::poll`] runs its inline stages
//! and reclaims. How it sleeps and ends is in [`lane_wait`](super::lane_wait).
#![forbid(unsafe_code)]

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::error::{Failure, NotPushed, PushRefusal, Refused, WrongPlacement};
use super::event_ring::{DisruptorEnds, LaneEvent, StagePoller};
use super::inline::{InlineStage, Round};
use super::lane_ring::{Claim, LaneRing};
use super::policy::{Meta, PanicPolicy, Reclaim, StagePlacement, Wait};
use super::shared::{LaneShared, OwnerStats};
use super::stage::{Outcome, Stage};
use super::stats::{LaneStats, LaneWatch};
use super::view::View;
use crate::ring::{
    FlightId, Grant, NONE, PoolSlice, Received, RightSize, RingPool, Sequence, Token, TooLong,
};

/// What one round of [`Lane::poll`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Events that inline stages processed.
    pub processed: usize,
    /// Events that were newly found to be released by every stage. While events are being
    /// published, a round looks at stages with threads only occasionally: see [`Lane::poll`].
    pub reclaimed: usize,
}

impl Progress {
    /// Whether nothing moved.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }
}

/// Owned by the thread that started it: not Send, not Sync, not Clone. The only methods that block
/// are [`Lane::wait`], [`Lane::wait_for_room`] and [`Lane::close`], all for a bounded time. In
/// addition, [`Lane::prepare_sleep`] naps for a millisecond where the kernel refuses the barrier
/// that it needs.
pub struct Lane<M: Meta> {
    pub(super) ring: LaneRing<M>,
    pub(super) wait: Wait,
    /// The last layer has stages with threads, whose progress is on cache lines that they write.
    follows_threads: bool,
    /// The last sequence published at the previous round.
    polled: Sequence,
    /// Pollers of dead stages whose events this thread releases.
    pub(super) detached: Vec<(u32, StagePoller<M>)>,
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
        let follows_threads = shared.has_threads(shared.layers() - 1);
        let ring = LaneRing::new(pool, ends, shared, slots, reclaim);
        Self { ring, wait, follows_threads, polled: NONE, detached: Vec::new() }
    }

    /// Reserves `len` bytes of the pool. If the pool is full, everything pushed is published,
    /// because its memory can't be reclaimed before.
    ///
    /// # Errors
    /// [`Refused::Pool`], [`Refused::Poisoned`] or [`Refused::Closed`]; it never blocks.
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<LaneGrant<'_>, Refused> {
        self.ring.check_open()?;
        if !self.ring.pool.fits(len) {
            self.ring.make_room(len)?;
        }
        Ok(LaneGrant::new(self.ring.pool.reserve(len)?))
    }

    /// Reserves everything that is left of the current chunk, at least `min` bytes, for a receive
    /// of unknown length.
    ///
    /// # Errors
    /// As [`Lane::reserve`] for `min`.
    pub fn reserve_rest(&mut self, min: usize) -> Result<LaneGrant<'_>, Refused> {
        self.ring.check_open()?;
        let min = min.max(1);
        if !self.ring.pool.fits(min) {
            self.ring.make_room(min)?;
        }
        Ok(LaneGrant::new(self.ring.pool.reserve_rest(min)?))
    }

    /// Claims the next slot and `len` bytes of the pool for it, to be filled immediately. If the
    /// ring or the pool is full, everything pushed is published.
    ///
    /// # Errors
    /// [`Refused::Ring`], or as [`Lane::reserve`]; it never blocks.
    #[inline]
    pub fn claim(&mut self, len: usize) -> Result<Claim<'_, M>, Refused> {
        self.ring.check_slot()?;
        if !self.ring.pool.fits(len) {
            self.ring.make_room(len)?;
        }
        Ok(Claim::new(&mut self.ring, len))
    }

    /// Puts a slice into the next slot, which [`Lane::flush`] publishes. Returns the sequence.
    ///
    /// # Errors
    /// [`Refused::Ring`] by the lane's own count, so that a flush can't fail; the slice and the
    /// metadata are returned. If the ring is full, everything pushed is published, because nothing
    /// can be added to that batch.
    #[inline(always)]
    pub fn push(&mut self, slice: PoolSlice, meta: M) -> Result<Sequence, NotPushed<M>> {
        self.ring.event_of(slice, meta).map(|event| self.ring.put(event))
    }

    /// Puts metadata without a slice into the next slot. Its view has no bytes.
    ///
    /// # Errors
    /// As [`Lane::push`].
    pub fn push_empty(&mut self, meta: M) -> Result<Sequence, NotPushed<M>> {
        if let Err(refused) = self.ring.check_slot() {
            return Err(NotPushed { why: PushRefusal::Refused(refused), slice: None, meta });
        }
        self.ring.pool.push_nothing();
        Ok(self.ring.put(LaneEvent { span: Default::default(), meta }))
    }

    /// Pushes one slice and publishes it, with everything pushed before.
    ///
    /// # Errors
    /// As [`Lane::push`].
    #[inline]
    pub fn publish(&mut self, slice: PoolSlice, meta: M) -> Result<Sequence, NotPushed<M>> {
        self.ring.event_of(slice, meta).map(|event| self.ring.put_and_flush(event))
    }

    /// Publishes everything pushed and returns the number of events. It can't fail, because `push`
    /// has counted the ring's room. Every event with a sequence is published, even if the lane was
    /// poisoned meanwhile: [`CloseReport`](super::CloseReport) reports its outcome.
    #[inline]
    pub fn flush(&mut self) -> usize {
        self.ring.flush()
    }

    /// Gives an inline stage its handler. From now on [`Lane::poll`] runs it, in the order of
    /// attaching.
    ///
    /// # Errors
    /// The stage is specified with a thread, holds events that it read ahead, or belongs to another
    /// lane. It is returned.
    #[expect(
        clippy::result_large_err,
        reason = "the handle is returned by value: once per stage, never in the hot path"
    )]
    pub fn attach(
        &mut self,
        stage: Stage<M>,
        handler: impl FnMut(View<'_, M>) -> Outcome + 'static,
    ) -> Result<(), WrongPlacement<Stage<M>>> {
        let ring = &mut self.ring;
        let is_inline = stage.state().placement == StagePlacement::Inline;
        if !is_inline || stage.is_holding() || !Arc::ptr_eq(stage.shared(), &ring.shared) {
            return Err(WrongPlacement(stage));
        }
        ring.inline.push(Box::new(InlineStage::new(stage, handler)));
        ring.is_lazy = ring.inline.len() == ring.shared.stages.len()
            && !ring.shared.has_failed()
            && !ring.closing;
        Ok(())
    }

    /// One round: releases events of dead stages under `Detach`, runs inline stages (one batch
    /// each), and reclaims the events that all stages have released. Call it in every idle loop and
    /// in every loop that waits for room.
    ///
    /// The progress of threads in the last layer is on cache lines that they write. So a round
    /// looks at it only if nothing was published since the previous round, or after a quarter of
    /// the ring (at most 64 events). [`Lane::reclaim`], a claim that finds no slot or memory, and
    /// requests for statistics always look at it.
    pub fn poll(&mut self) -> Progress {
        if self.ring.shared.has_failed() {
            self.pump();
        }
        let ring = &mut self.ring;
        let (events, published, is_lazy) = (&*ring.events, ring.published, ring.is_lazy);
        let (processed, through, is_stopped) = (0, published, false);
        let mut round = Round { events, published, is_lazy, processed, through, is_stopped };
        ring.inline.iter_mut().for_each(|stage| stage.poll(&mut round));
        let Round { processed, through, is_stopped, .. } = round;
        if is_stopped {
            self.fail_stopped_inline();
        }
        let mut reclaimed = match () {
            () if is_lazy => self.ring.note_consumed(through),
            () if self.is_look_due() => self.ring.reclaim(),
            () => 0,
        };
        if self.ring.shared.figures.are_requested() {
            reclaimed += self.ring.reclaim();
            self.publish_figures();
        }
        self.ring.check();
        Progress { processed, reclaimed }
    }

    /// Inline stages have stopped. They are dead once their progress is published.
    #[cold]
    fn fail_stopped_inline(&mut self) {
        self.ring.end_lazy();
        self.ring.inline.iter_mut().for_each(|stage| stage.fail_if_stopped());
    }

    /// Releases the events of dead stages on their behalf, once none of their `Held`s is left.
    /// Inlined into `poll`, it would cost every round the saving of one more register.
    #[cold]
    fn pump(&mut self) {
        if self.ring.shared.policy == PanicPolicy::Detach {
            self.ring.shared.pump(&mut self.detached);
        }
    }

    /// Whether a round is to look at the progress of the stages.
    #[inline]
    fn is_look_due(&mut self) -> bool {
        let is_quiet = self.polled == self.ring.published;
        self.polled = self.ring.published;
        !self.follows_threads || is_quiet || self.ring.published >= self.ring.look_at
    }

    /// Reclaims the events that all stages have released. Returns their number.
    #[inline]
    pub fn reclaim(&mut self) -> usize {
        self.ring.reclaim()
    }

    /// Free slots, as far as is known without polling.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        self.ring.free_slots()
    }

    /// Slots in use, including those of pushed events, as far as is known without polling.
    #[must_use]
    pub fn slots_in_use(&self) -> usize {
        self.ring.slots_in_use()
    }

    /// The first stage that failed, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.ring.shared.failure()
    }

    /// Whether a stage has failed. Cheaper than [`Lane::failure`], for a check in every round.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.ring.shared.has_failed()
    }

    /// The size of the largest slice, in bytes.
    #[must_use]
    pub fn max_slice_bytes(&self) -> usize {
        self.ring.pool.max_slice_bytes()
    }

    /// Reports that the kernel has completed a read whose [`crate::ring::InFlight`] was dropped.
    /// Returns false if there is no such read.
    pub fn report_completion(&mut self, flight: FlightId) -> bool {
        self.ring.pool.report_completion(flight)
    }

    /// A snapshot. Cost: a look at every chunk in use and every stage, and one allocation per
    /// stage.
    #[must_use]
    pub fn stats(&self) -> LaneStats {
        LaneStats::of(self.owner_stats(), &self.ring.shared)
    }

    /// A handle through which any thread can read this lane's statistics.
    #[must_use]
    pub fn watch(&self) -> LaneWatch {
        self.publish_figures();
        LaneWatch::new(&self.ring.shared)
    }

    #[cold]
    fn publish_figures(&self) {
        self.ring.shared.figures.publish(self.owner_stats());
    }

    pub(super) fn owner_stats(&self) -> OwnerStats {
        self.ring.check();
        OwnerStats {
            pool: self.ring.pool.stats(),
            slots: self.ring.events.len(),
            slots_in_use: self.slots_in_use(),
            published: (self.ring.published + 1) as u64,
            reclaimed: (self.ring.reclaimed + 1) as u64,
            refused_ring: self.ring.refused_ring,
        }
    }

    /// The pool and window that would have sufficed so far. On overwrite, the pool is at least what
    /// `start` requires, which assumes a ring of the largest slices. Cost: as
    /// [`RingPool::stats`](crate::ring::RingPool::stats).
    #[must_use]
    pub fn right_size(&self) -> RightSize {
        let (stats, layout) = (self.ring.pool.stats(), self.ring.pool.layout());
        let least_bytes = self.ring.reclaim.pool_bytes_least(layout, self.ring.events.len());
        debug_assert!(
            least_bytes <= layout.pool_bytes(),
            "the lane started with a smaller pool than it needs"
        );
        RightSize::of(&stats, layout, least_bytes)
    }
}

impl<M: Meta> std::fmt::Debug for Lane<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.ring.fmt(f)
    }
}

/// Bytes to fill, at most as many as were requested. Their content is undefined until written; only
/// committed bytes are visible to others.
///
/// A pool's own [`Grant`] can also be pushed directly, under the pool's next sequence. In a lane, a
/// sequence belongs to a slot of the ring, which [`Lane::claim`](super::Lane::claim) provides
/// together with the bytes.
#[must_use = "a grant that isn't committed gives its bytes back"]
#[derive(Debug)]
pub struct LaneGrant<'l>(Grant<'l>);

impl<'l> LaneGrant<'l> {
    #[inline]
    pub(super) fn new(grant: Grant<'l>) -> Self {
        Self(grant)
    }

    /// Shortens the grant to its first `n` bytes and gives the others back. If `n` is more than
    /// were reserved, nothing changes.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.0.truncate(n);
    }

    /// Commits the first `n` bytes as a slice and gives the others back.
    ///
    /// # Errors
    /// More than were reserved: the grant is returned.
    #[inline]
    pub fn commit(self, n: usize) -> Result<PoolSlice, TooLong<Self>> {
        self.0.commit(n).map_err(too_long)
    }

    /// Commits all of it as a slice.
    #[inline]
    pub fn commit_all(self) -> PoolSlice {
        self.0.commit_all()
    }

    /// Ends the borrow of the lane, and still reserves the range, so that several ranges can be
    /// filled while the lane is used for other things.
    pub fn into_token(self) -> Token {
        self.0.into_token()
    }

    /// The first `n` bytes as a receive, to be cut into slices without a copy; the others are given
    /// back.
    ///
    /// # Errors
    /// More than were reserved: the grant is returned.
    pub fn received(self, n: usize) -> Result<Received, TooLong<Self>> {
        self.0.received(n).map_err(too_long)
    }
}

#[cold]
fn too_long(error: TooLong<Grant<'_>>) -> TooLong<LaneGrant<'_>> {
    let TooLong { asked_bytes, available_bytes, back } = error;
    TooLong { asked_bytes, available_bytes, back: LaneGrant(back) }
}

impl Deref for LaneGrant<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for LaneGrant<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
