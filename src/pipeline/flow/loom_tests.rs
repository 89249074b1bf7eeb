//! Every interleaving of deaths, the pump and the end: no thread sees a state before its cause.
//!
//! Models: loom's atomics for the disruptor's cursors, Relaxed ones for the rows of a result column
//! (loom shows an old value wherever nothing orders the read after the write), loom's cell for what
//! a stage reads or writes, and a Relaxed flag for the disruptor's shutdown.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{Flow, Pump};
use crate::barrier::Barrier;
use crate::pipeline::policy::{PanicPolicy, StageSpec, Wait};
use crate::pipeline::state::StageState;
use crate::pipeline::wait::{ASLEEP, LaneSleeper};
use crate::ring::{NONE, Sequence};
use crate::sync::model::{UnsafeCell, model, thread};
use crate::sync::{AtomicI64, AtomicU32, Ordering, yield_now};
use crate::wake::Announced;

const BARRIER: Barrier = Barrier::Fence;
const EVENTS: i64 = 2;

/// The disruptor's cursor of one stage. All events are published.
#[derive(Clone)]
struct Cursor(Arc<AtomicI64>);

impl Cursor {
    fn new() -> Self {
        Self(Arc::new(AtomicI64::new(NONE)))
    }

    fn release(&self, through: Sequence) {
        self.0.store(through, Ordering::Release);
    }

    fn released(&self) -> Sequence {
        self.0.load(Ordering::Acquire)
    }
}

impl Pump for Cursor {
    fn release_all(&mut self) -> u64 {
        let before = self.released();
        self.release(EVENTS - 1);
        (EVENTS - 1 - before) as u64
    }
}

/// A lane cut down to its flow: the stages' cursors, and the column that the second stage writes.
struct Lane {
    flow: Flow<Cursor>,
    cursors: Vec<Cursor>,
    rows: [AtomicI64; EVENTS as usize],
    /// The bytes of the first event. Loom checks which accesses are ordered.
    bytes: UnsafeCell<()>,
    shutdown: AtomicU32,
}

impl Lane {
    /// Two stages in the first layer and one after them, whose thread may sleep. All events are
    /// published.
    fn new(policy: PanicPolicy) -> Arc<Self> {
        let specs =
            [(StageSpec::inline("a"), 0), (StageSpec::inline("b"), 0), (StageSpec::thread("c"), 1)];
        let stage =
            |(spec, layer): (StageSpec, usize)| StageState::new(&spec, layer, Wait::Park, None);
        let stages: Vec<_> = specs.into_iter().map(stage).collect();
        let cursors = stages.iter().map(|_| Cursor::new()).collect();
        let flow =
            Flow::new(stages, policy, BARRIER, LaneSleeper::io().expect("a model of an eventfd"));
        flow.publish(EVENTS - 1);
        flow.wake_threads(0);
        let rows = [AtomicI64::new(0), AtomicI64::new(0)];
        Arc::new(Self {
            flow,
            cursors,
            rows,
            bytes: UnsafeCell::new(()),
            shutdown: AtomicU32::new(0),
        })
    }

    fn die(&self, stage: u32, first_missing: Sequence) {
        let poller = self.cursors[stage as usize].clone();
        self.flow.fail_stage(stage, first_missing, &format!("stage {stage}"), Some(poller));
    }

    /// A stage has processed the first event. Its cursor moves first, as in `Stage::move_inline`
    /// and after a batch of `Stage::poll`.
    fn release_first(&self, stage: usize) {
        self.cursors[stage].release(0);
        self.flow.advance(stage, 0);
    }

    fn write_row(&self, sequence: Sequence) {
        self.rows[sequence as usize].store(sequence + 1, Ordering::Relaxed);
    }

    /// The third stage looks at every event that both before it have let through: a row is there,
    /// or its absence is known.
    fn read_rows(&self) {
        let available = self.cursors[..2].iter().map(Cursor::released).min().expect("two stages");
        for sequence in 0..=available {
            if sequence < self.flow.stages[1].died_at() {
                let row = self.rows[sequence as usize].load(Ordering::Relaxed);
                assert_eq!(row, sequence + 1, "a row that its stage didn't write");
            }
        }
    }
}

fn spawn(lane: &Arc<Lane>, run: impl FnOnce(&Lane) + 'static) -> thread::JoinHandle<()> {
    let lane = Arc::clone(lane);
    thread::spawn(move || run(&lane))
}

#[test]
fn loom_a_death_is_recorded_before_it_is_pumped() {
    model(|| {
        let lane = Lane::new(PanicPolicy::Detach);
        lane.die(0, 0);
        let dying = spawn(&lane, |lane| {
            lane.write_row(0);
            lane.cursors[1].release(0);
            lane.flow.advance(1, 0);
            lane.die(1, 1);
        });
        let mut detached = Vec::new();
        for _ in 0..2 {
            lane.flow.pump(&mut detached);
            lane.read_rows();
        }
        dying.join().expect("it ends");
        lane.flow.pump(&mut detached);
        lane.read_rows();
        assert_eq!((lane.flow.stages[1].died_at(), lane.flow.consumed()), (1, NONE));
    });
}

/// Two stages read an event at the same time. A third after them learns of it by their cursors
/// alone. The lane overwrites it by their progress.
#[test]
fn loom_no_stage_reads_what_is_reclaimed() {
    model(|| {
        let lane = Lane::new(PanicPolicy::Poison);
        let first = spawn(&lane, |lane| {
            lane.bytes.with(|_| ());
            lane.release_first(0);
        });
        let last = spawn(&lane, |lane| {
            lane.bytes.with(|_| ());
            lane.release_first(1);
            if lane.cursors[0].released() >= 0 {
                lane.bytes.with(|_| ());
                lane.release_first(2);
            }
        });
        if lane.flow.consumed() >= 0 {
            lane.bytes.with_mut(|_| ());
        }
        [first, last].into_iter().for_each(|thread| thread.join().expect("it ends"));
    });
}

/// What a thread writes of an event, an inline stage of the next layer reads, which learns of it by
/// progress.
#[test]
fn loom_an_inline_stage_finds_what_the_threads_before_it_wrote() {
    model(|| {
        let lane = Lane::new(PanicPolicy::Poison);
        lane.release_first(0);
        let writing = spawn(&lane, |lane| {
            lane.bytes.with_mut(|_| ());
            lane.release_first(1);
        });
        if lane.flow.available(1) >= 0 {
            lane.bytes.with(|_| ());
            assert!(lane.cursors[1].released() >= 0, "its cursor moves first");
        }
        writing.join().expect("it ends");
    });
}

#[test]
fn loom_a_held_is_recorded_before_it_is_gone() {
    model(|| {
        let lane = Lane::new(PanicPolicy::Detach);
        lane.die(0, 0);
        lane.flow.stages[1].set_held_release(NONE);
        // The first event is processed and held, the second is held. The later of the two is
        // dropped first, and the stage's poller waits for the other.
        lane.flow.stages[1].add_held();
        lane.flow.stages[1].add_held();
        let dropping = spawn(&lane, |lane| lane.flow.drop_held(1));
        let reaping = spawn(&lane, |lane| {
            if lane.flow.stages[1].is_dead() {
                lane.flow.hand_to_pump(1, lane.cursors[1].clone());
            }
            lane.flow.drop_held(1);
        });
        let mut detached = Vec::new();
        lane.flow.pump(&mut detached);
        lane.read_rows();
        [dropping, reaping].into_iter().for_each(|thread| thread.join().expect("it ends"));
        lane.flow.pump(&mut detached);
        lane.read_rows();
        assert_eq!((lane.flow.stages[1].died_at(), lane.flow.stages[1].helds()), (0, 0));
    });
}

/// Two events are held one by one. The first is given back while the second is dropped unreleased
/// elsewhere. What is released and where the stage died agree.
#[test]
fn loom_a_release_and_a_death_agree() {
    model(|| {
        let lane = Lane::new(PanicPolicy::Detach);
        let state = &lane.flow.stages[1];
        state.set_held_release(NONE);
        state.add_held();
        state.add_held();
        let dropping = spawn(&lane, |lane| lane.flow.drop_held(1));
        if !state.is_dead() {
            if state.move_held_release(NONE, 0) {
                lane.write_row(0);
                lane.cursors[1].release(0);
                lane.flow.advance(1, 0);
            } else {
                lane.flow.fail_for_lost_held(1);
                assert!(
                    state.is_dead() && lane.flow.failure().is_some(),
                    "whose release is refused is dead, and knows why"
                );
            }
        }
        state.remove_held();
        dropping.join().expect("it ends");
        assert_eq!(
            (state.died_at(), state.processed()),
            (state.progress() + 1, (state.progress() + 1) as u64)
        );
        assert_eq!(lane.flow.failure().map(|failure| failure.sequence), Some(state.progress() + 1));
    });
}

#[test]
fn loom_a_failure_is_recorded_before_the_death_that_it_explains() {
    model(|| {
        let lane = Lane::new(PanicPolicy::Poison);
        let first = spawn(&lane, |lane| lane.die(0, 0));
        let second = spawn(&lane, |lane| lane.die(1, 0));
        let is_dead = lane.flow.stages[0].is_dead();
        let failure = lane.flow.failure();
        assert!(!is_dead || failure.is_some(), "dead, and the cause is unknown");
        if let Some(stage) = lane.flow.poisoned() {
            assert_eq!(
                lane.flow.failure().map(|failure| failure.index),
                Some(stage),
                "the first failure wins"
            );
        }
        for dying in [first, second] {
            dying.join().expect("it ends");
        }
        assert_eq!(lane.flow.cut_off_at(1), 0);
    });
}

#[test]
fn loom_a_parked_poller_wakes_the_io_thread_that_pumps_it() {
    model(|| {
        let lane = Lane::new(PanicPolicy::Detach);
        let dying = spawn(&lane, |lane| lane.die(0, 0));
        let LaneSleeper::Io { event_fd, .. } = &lane.flow.io else {
            unreachable!("the IO thread sleeps on an eventfd")
        };
        let ready = || lane.flow.has_failed() && lane.flow.has_pollers_to_pump();
        while !ready() {
            if lane.flow.io.prepare(BARRIER, ASLEEP, ready) == Announced::Asleep {
                event_fd.poll();
            }
            lane.flow.io.awake();
        }
        let mut detached = Vec::new();
        lane.flow.pump(&mut detached);
        assert_eq!((detached.len(), lane.cursors[0].released()), (1, EVENTS - 1));
        dying.join().expect("it ends");
    });
}

#[test]
fn loom_a_stage_ends_after_the_last_event_and_not_before() {
    model(|| {
        let lane = Lane::new(PanicPolicy::Poison);
        let closing = spawn(&lane, |lane| {
            lane.flow.close(EVENTS);
            lane.shutdown.store(1, Ordering::Relaxed);
        });
        // The disruptor's shutdown may be seen before the lane's end. It means nothing.
        let _seen = lane.shutdown.load(Ordering::Relaxed);
        let mut released = NONE;
        while !lane.flow.end(0, released) {
            if released < EVENTS - 1 {
                released += 1;
                lane.cursors[0].release(released);
                lane.flow.advance(0, released);
            } else {
                yield_now();
            }
        }
        assert_eq!((released, lane.flow.stages[0].has_ended()), (EVENTS - 1, true));
        closing.join().expect("it ends");
    });
}

#[test]
fn loom_a_stage_after_a_late_one_is_woken() {
    model(|| {
        let lane = Lane::new(PanicPolicy::Detach);
        lane.flow.close(EVENTS);
        let leaving = spawn(&lane, |lane| {
            lane.flow.record_late_stage(0, 0);
            lane.flow.set_gone();
        });
        let ready = || lane.flow.cut_off_at(1) <= 0;
        while !ready() {
            let sleeper = lane.flow.stages[2].sleeper().expect("it has a thread");
            assert!(sleeper.sleep(BARRIER, ASLEEP, ready), "a wake-up was lost");
        }
        assert_eq!((lane.flow.cut_off_at(1), lane.flow.failure()), (0, None));
        leaving.join().expect("it ends");
    });
}
