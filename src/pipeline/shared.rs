//! What the threads of a lane share: how far each stage is, who failed, where the stream ends, who sleeps.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::idle::Idle;
use super::poller::Poller;
use super::spec::{PanicPolicy, Placement, StageSpec, Wait};
use super::wake::{ASLEEP, ASLEEP_FULL, Party};
use crate::barrier::Barrier;
use crate::ring::{Memory, NONE, Sequence};
use crate::sync::{AtomicI64, Ordering, Padded};

/// A stage as the others see it.
pub(crate) struct StageState {
    pub(crate) name: String,
    pub(crate) layer: usize,
    pub(crate) placement: Placement,
    pub(crate) wait: Wait,
    /// Its thread is pinned to the CPU of the lane's.
    shares_cpu: bool,
    pub(crate) batch_max: usize,
    /// The sequence up to which it has released.
    progress: Padded<AtomicI64>,
    /// The first sequence it didn't process, once it is dead; `i64::MAX` before.
    died_at: AtomicI64,
    /// Its `Held`s that are alive, and the sequence of the oldest (NONE without one).
    helds: AtomicI64,
    held_from: AtomicI64,
    ended: AtomicI64,
    /// Sleeps that ended without a wake-up though there was work: a defect if it isn't zero.
    wakes_lost: AtomicI64,
    /// Its own thread's sleep word; inline stages sleep with the IO thread.
    party: Option<Party>,
}

/// Who failed first, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stage's name.
    pub stage: String,
    /// Its number, in the order of the specification.
    pub index: u32,
    /// The panic's message, or the reason the handler gave.
    pub reason: String,
    /// The first sequence that it didn't process.
    pub sequence: Sequence,
}

/// Shared by the lane, its stages and everything held by them; the region stays mapped as long.
pub(crate) struct LaneShared<M> {
    pub(crate) id: u32,
    pub(crate) memory: Arc<Memory>,
    pub(crate) stages: Box<[StageState]>,
    pub(crate) policy: PanicPolicy,
    pub(crate) barrier: Barrier,
    pub(crate) io: Party,
    layers: Box<[std::ops::Range<usize>]>,
    published: Padded<AtomicI64>,
    /// The read cursor, for gauges.
    released: AtomicI64,
    closed_at: AtomicI64,
    /// One once the lane is gone: nobody pumps dead stages any more.
    gone: AtomicI64,
    /// Number of the first stage that failed, and one; zero: none did.
    failed: AtomicI64,
    failure: std::sync::Mutex<Option<Failure>>,
    /// Pollers of dead stages. They are never dropped before the lane: an unfinished one would gate it for ever.
    parked: std::sync::Mutex<Vec<(u32, Poller<M>)>>,
}

impl StageState {
    /// `wait` is what the lane allows it, `lane_cpu` the CPU of the lane's own thread.
    pub(crate) fn new(spec: &StageSpec, layer: usize, wait: Wait, lane_cpu: Option<usize>) -> Self {
        let (name, placement, batch_max) = (spec.name.clone(), spec.placement, spec.batch_max);
        let shares_cpu = matches!(placement, Placement::Thread { cpu } if cpu.is_some() && cpu == lane_cpu);
        let party = matches!(placement, Placement::Thread { .. }).then(Party::thread);
        let at = |sequence| AtomicI64::new(sequence);
        let progress = Padded(at(NONE));
        let (died_at, helds, held_from, ended, wakes_lost) = (at(i64::MAX), at(0), at(NONE), at(0), at(0));
        Self {
            name,
            layer,
            placement,
            wait,
            shares_cpu,
            batch_max,
            progress,
            died_at,
            helds,
            held_from,
            ended,
            wakes_lost,
            party,
        }
    }

    /// How its thread waits.
    pub(crate) fn idle(&self) -> Idle {
        if self.shares_cpu { Idle::on_shared_cpu(self.wait) } else { Idle::new(self.wait) }
    }

    #[inline]
    pub(crate) fn progress(&self) -> Sequence {
        // SYNC S3: whoever sees a sequence here finds its events released.
        self.progress.0.load(Ordering::Acquire)
    }

    /// The first sequence that a dead stage didn't process.
    #[inline]
    pub(crate) fn died_at(&self) -> Sequence {
        self.died_at.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn helds(&self) -> i64 {
        // SYNC S7: zero says that all reads through its `Held`s are over.
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

    pub(crate) fn drop_held(&self) {
        // SYNC S7: pairs with the pump's look at `helds`.
        let before = self.helds.fetch_sub(1, Ordering::Release);
        assert!(before > 0, "a Held goes once");
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) != 0
    }

    pub(crate) fn set_ended(&self) {
        self.ended.store(1, Ordering::Release);
    }

    pub(crate) fn count_lost_wake(&self) {
        self.wakes_lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn wakes_lost(&self) -> i64 {
        self.wakes_lost.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn party(&self) -> Option<&Party> {
        self.party.as_ref()
    }
}

impl<M> LaneShared<M> {
    pub(crate) fn new(id: u32, memory: Arc<Memory>, stages: Vec<StageState>, policy: PanicPolicy, io: Party) -> Self {
        let count = stages.last().map_or(0, |stage| stage.layer + 1);
        let of = |layer| stages.partition_point(|s| s.layer < layer)..stages.partition_point(|s| s.layer <= layer);
        let layers: Box<[_]> = (0..count).map(of).collect();
        assert!(!layers.is_empty() && layers.iter().all(|stages| !stages.is_empty()), "every layer has a stage");
        Self {
            id,
            memory,
            layers,
            stages: stages.into(),
            policy,
            barrier: Barrier::choose(),
            io,
            published: Padded(AtomicI64::new(NONE)),
            released: AtomicI64::new(NONE),
            closed_at: AtomicI64::new(i64::MAX),
            gone: AtomicI64::new(0),
            failed: AtomicI64::new(0),
            failure: std::sync::Mutex::new(None),
            parked: std::sync::Mutex::new(Vec::new()),
        }
    }

    /// The sequence up to which a stage of `layer` finds events.
    #[inline]
    pub(crate) fn available(&self, layer: usize) -> Sequence {
        // SYNC S3: as in `progress`.
        let Some(before) = layer.checked_sub(1) else { return self.published.0.load(Ordering::Acquire) };
        self.stages[self.layers[before].clone()].iter().map(StageState::progress).min().unwrap_or(NONE)
    }

    /// The sequence up to which every stage is done.
    pub(crate) fn consumed(&self) -> Sequence {
        self.available(self.layers.len())
    }

    /// Flush: events up to `sequence` are in the ring.
    #[inline]
    pub(crate) fn publish(&self, sequence: Sequence) {
        debug_assert!(sequence > self.available(0) && self.closed_at() == i64::MAX);
        // SYNC S3: pairs with a sleeper's second look.
        self.published.0.store(sequence, Ordering::Release);
        self.wake_layer(0);
    }

    /// A stage has released up to `sequence`.
    #[inline]
    pub(crate) fn advance(&self, stage: usize, sequence: Sequence) {
        let state = &self.stages[stage];
        // Not compared with the layer before: its cursor, which lets events through, moves before its progress is told.
        debug_assert!(sequence > state.progress(), "stages move on");
        // SYNC S3: pairs with a sleeper's second look.
        state.progress.0.store(sequence, Ordering::Release);
        self.wake_layer(state.layer + 1);
    }

    /// Wakes whoever waits for events of `layer`; behind the last one, the IO thread if it is full.
    #[inline]
    fn wake_layer(&self, layer: usize) {
        self.barrier.light();
        let Some(stages) = self.layers.get(layer) else { return self.io.wake_if(ASLEEP_FULL) };
        for stage in &self.stages[stages.clone()] {
            // A dead stage's events are released by the IO thread, if by anyone: nobody else would wake it to pump them.
            let alive = stage.died_at() == i64::MAX;
            stage.party().filter(|_| alive).unwrap_or(&self.io).wake_if(ASLEEP);
        }
    }

    pub(crate) fn wake_all(&self) {
        self.barrier.light();
        self.stages.iter().filter_map(StageState::party).for_each(|party| party.wake_if(ASLEEP));
        self.io.wake_if(ASLEEP);
    }

    /// Where the stream ends: the number of events, or `i64::MAX` while it is open.
    #[inline]
    pub(crate) fn closed_at(&self) -> Sequence {
        // SYNC S5: pairs with `close`.
        self.closed_at.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self, at: Sequence) {
        assert!(
            at == self.available(0) + 1 && self.closed_at() == i64::MAX,
            "a stream ends once, behind what is published"
        );
        // SYNC S5: pairs with every idle loop.
        self.closed_at.store(at, Ordering::Release);
        self.wake_all();
    }

    /// The lane is gone: what dead stages hold stays held.
    pub(crate) fn leave(&self) {
        // SYNC S5: pairs with `cut_off_at`.
        self.gone.store(1, Ordering::Release);
        self.wake_all();
    }

    #[inline]
    pub(crate) fn set_released(&self, sequence: Sequence) {
        self.released.store(sequence, Ordering::Relaxed);
    }

    /// The stage that poisoned the lane.
    #[inline]
    pub(crate) fn poisoned(&self) -> Option<u32> {
        let failed = self.failed.load(Ordering::Relaxed);
        (failed != 0 && self.policy == PanicPolicy::Poison).then(|| (failed - 1) as u32)
    }

    /// The sequence that no stage of `layer` will see, nor any behind it, because a stage before it is dead and nobody
    /// releases its events; `i64::MAX` if there is none. What the dead one has finished comes before it.
    pub(crate) fn cut_off_at(&self, layer: usize) -> Sequence {
        // SYNC S4: pairs with `fail`. SYNC S5: pairs with `leave`.
        let stranded = self.failed.load(Ordering::Acquire) != 0
            && (self.policy == PanicPolicy::Poison || self.gone.load(Ordering::Acquire) != 0);
        if !stranded {
            return i64::MAX;
        }
        let dead = self.stages.iter().filter(|s| s.layer < layer && s.died_at() != i64::MAX);
        dead.map(|stage| stage.progress() + 1).min().unwrap_or(i64::MAX)
    }

    /// Records that a stage is dead. The first failure wins; under `Abort` this doesn't return.
    pub(crate) fn fail(&self, stage: u32, reason: &str) {
        let state = &self.stages[stage as usize];
        let sequence = state.progress() + 1;
        assert!(!state.has_ended(), "stage `{}` ended before it failed: {reason}", state.name);
        state.died_at.fetch_min(sequence, Ordering::AcqRel);
        if self.policy == PanicPolicy::Abort {
            eprintln!("slipring: stage `{}` failed at sequence {sequence}: {reason}; aborting", state.name);
            std::process::abort();
        }
        let mut failure = lock(&self.failure);
        if failure.is_none() {
            *failure = Some(Failure { stage: state.name.clone(), index: stage, reason: reason.to_owned(), sequence });
            // SYNC S4: the failure stands before its number does, and both are the same stage's.
            self.failed.store(i64::from(stage) + 1, Ordering::Release);
        }
        drop(failure);
        self.wake_all();
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        lock(&self.failure).clone()
    }

    #[inline]
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire) != 0
    }

    /// Keeps the poller of a dead stage.
    pub(crate) fn park(&self, stage: u32, poller: Poller<M>) {
        debug_assert!(!self.stages[stage as usize].has_ended(), "what has ended isn't dead");
        lock(&self.parked).push((stage, poller));
        self.wake_all();
    }

    /// Whether pollers of dead stages wait to be taken.
    pub(crate) fn has_parked(&self) -> bool {
        !lock(&self.parked).is_empty()
    }

    /// The pollers of dead stages, for the IO thread to pump.
    pub(crate) fn take_parked(&self) -> Vec<(u32, Poller<M>)> {
        std::mem::take(&mut *lock(&self.parked))
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
