//! One stage as the other threads of its lane see it: its progress, whether it is dead, what it
//! holds and what it rejected.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use super::error::Rejection;
use super::policy::{StagePlacement, StageSpec, Wait};
use super::wait::{Idle, LaneSleeper};
use crate::ring::{NONE, Sequence};
use crate::sync::{AtomicI64, Ordering, Padded};

/// A stage as other threads see it.
pub(crate) struct StageState {
    pub(crate) name: String,
    pub(crate) layer: usize,
    pub(crate) placement: StagePlacement,
    pub(crate) wait: Wait,
    /// The stage's thread is pinned to the lane's CPU.
    shares_cpu: bool,
    pub(crate) batch_max: usize,
    /// The sequence up to which the stage has released.
    progress: Padded<AtomicI64>,
    /// The first sequence that the stage didn't process, once it is dead or late; `i64::MAX`
    /// before.
    died_at: AtomicI64,
    /// The release position while `Held`s are out, shifted left by one. The lowest bit is set when
    /// a `Held` is lost. Both are in one word, which decides which of the two came first.
    held_release: AtomicI64,
    /// The number of live `Held`s, and the first sequence of the oldest (NONE without one).
    helds: AtomicI64,
    held_from: AtomicI64,
    ended: AtomicI64,
    /// The number of rejected events, and the first of them.
    rejected: AtomicI64,
    rejection: OnceLock<Rejection>,
    /// Sleeps that ended without a wake-up although there was work. A value other than zero is a
    /// defect.
    wakes_lost: AtomicI64,
    /// What the stage's own thread sleeps under. Inline stages sleep with the IO thread.
    sleeper: Option<LaneSleeper>,
}

impl StageState {
    /// `wait` is the strategy that the lane allows the stage, `lane_cpu` the CPU of the lane's
    /// thread.
    pub(crate) fn new(spec: &StageSpec, layer: usize, wait: Wait, lane_cpu: Option<usize>) -> Self {
        let (placement, at) = (spec.placement, AtomicI64::new);
        Self {
            name: spec.name.clone(),
            layer,
            placement,
            wait,
            shares_cpu: matches!(placement, StagePlacement::Thread { cpu } if cpu.is_some() && cpu == lane_cpu),
            batch_max: spec.batch_max,
            progress: Padded(at(NONE)),
            died_at: at(i64::MAX),
            held_release: at(NONE << 1),
            helds: at(0),
            held_from: at(NONE),
            ended: at(0),
            rejected: at(0),
            rejection: OnceLock::new(),
            wakes_lost: at(0),
            sleeper: matches!(placement, StagePlacement::Thread { .. }).then(LaneSleeper::thread),
        }
    }

    /// How the stage's thread waits.
    pub(crate) fn idle(&self) -> Idle {
        if self.shares_cpu { Idle::on_shared_cpu(self.wait) } else { Idle::new(self.wait) }
    }

    #[inline]
    pub(crate) fn progress(&self) -> Sequence {
        // SYNC S3: a thread that sees a sequence here finds its events released.
        self.progress.0.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn set_progress(&self, sequence: Sequence) {
        // SYNC S3: pairs with a sleeper's second look.
        self.progress.0.store(sequence, Ordering::Release);
    }

    /// The first sequence that a dead or late stage didn't process.
    #[inline]
    pub(crate) fn died_at(&self) -> Sequence {
        // SYNC S4: a thread that sees a death finds the failure that explains it.
        self.died_at.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        self.died_at() != i64::MAX
    }

    /// Records that the stage won't process `first_missing`. The lowest recorded value counts.
    pub(super) fn record_death(&self, first_missing: Sequence) {
        // SYNC S4: pairs with `died_at`.
        self.died_at.fetch_min(first_missing, Ordering::AcqRel);
    }

    /// The number of events that the stage has processed: those that it released itself, without
    /// those released on its behalf after its death.
    pub(crate) fn processed(&self) -> u64 {
        ((self.progress() + 1).min(self.died_at())) as u64
    }

    /// The first `Held` goes out; everything up to `released` is released.
    pub(super) fn set_held_release(&self, released: Sequence) {
        self.held_release.store(released << 1, Ordering::Relaxed);
    }

    /// Moves the release position from `released` to `through`. Returns false if a `Held` was lost
    /// before.
    pub(super) fn move_held_release(&self, released: Sequence, through: Sequence) -> bool {
        let (now, then) = (released << 1, through << 1);
        self.held_release.compare_exchange(now, then, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// A `Held` is lost. Returns the first sequence that will never be released.
    pub(super) fn mark_held_lost(&self) -> Sequence {
        (self.held_release.fetch_or(1, Ordering::AcqRel) >> 1) + 1
    }

    #[inline]
    pub(crate) fn helds(&self) -> i64 {
        // SYNC S7: if it is zero, all reads through the stage's `Held`s are over.
        self.helds.load(Ordering::Acquire)
    }

    pub(crate) fn held_from(&self) -> Sequence {
        self.held_from.load(Ordering::Relaxed)
    }

    pub(crate) fn set_held_from(&self, sequence: Sequence) {
        self.held_from.store(sequence, Ordering::Relaxed);
    }

    pub(crate) fn add_held(&self) {
        self.helds.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_held(&self) {
        // SYNC S7: pairs with the pump's look at `helds`.
        let before = self.helds.fetch_sub(1, Ordering::Release);
        debug_assert!(before > 0, "a Held is removed once");
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) != 0
    }

    pub(crate) fn set_ended(&self) {
        self.ended.store(1, Ordering::Release);
    }

    /// Counts one more rejected event, and records the first reason.
    #[cold]
    pub(super) fn reject(&self, sequence: Sequence, reason: String) {
        // The reason is written first, so that a thread that sees the count finds it. Only the
        // stage's own thread calls this, so no call waits for another that is still writing.
        if self.rejected.load(Ordering::Relaxed) == 0 {
            let _ = self.rejection.set(Rejection { sequence, reason });
        }
        // SYNC S16: pairs with `rejected`.
        self.rejected.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn rejected(&self) -> u64 {
        // SYNC S16: the first rejection is visible.
        self.rejected.load(Ordering::Acquire) as u64
    }

    pub(crate) fn rejection(&self) -> Option<&Rejection> {
        self.rejection.get()
    }

    pub(crate) fn count_lost_wake(&self) {
        self.wakes_lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn wakes_lost(&self) -> i64 {
        self.wakes_lost.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn sleeper(&self) -> Option<&LaneSleeper> {
        self.sleeper.as_ref()
    }
}
