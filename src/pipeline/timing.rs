//! How long events take through a timed lane: one clock reading for each flush, and one for each
//! batch of a stage. (What its thread does takes one more for each wait: see
//! [`super::thread_time`].)
//!
//! ```text
//!   flush k:  its stamp { last sequence, time } ─▶ the events are published
//!   a stage has released up to n:  the events of each flush up to n took  now - time of its flush
//! ```
//! Stamps lie in a ring of their own, by the number of the flush. It has twice as many places as
//! the lane has slots: a flush has at least one event, so a stamp is overwritten only by an event
//! that is two rings ahead, and the lane gets no more than one ring ahead of what any stage has
//! released. A stage looks at a stamp right behind its release, before it takes any more.
#![forbid(unsafe_code)]

use super::thread_time::{ThreadClock, ThreadTime};
use crate::latency::{Clock, Latencies, Recorder};
use crate::ring::{NONE, Sequence};
use crate::sync::{AtomicI64, AtomicU64, Ordering};

/// The stamp of one flush.
struct Stamp {
    /// The last of its sequences.
    last: AtomicI64,
    at_ns: AtomicU64,
}

/// What is shared by a timed lane and its stages.
pub(crate) struct Timing {
    clock: Clock,
    stamps: Box<[Stamp]>,
    stages: Box<[(Latencies, ThreadTime)]>,
}

impl Timing {
    /// For a lane with this many slots and stages; one timer per stage.
    pub(super) fn new(clock: Clock, slots: usize, stages: usize) -> (Self, Vec<StageTimer>) {
        assert!(slots.is_power_of_two());
        let stamp = || Stamp { last: AtomicI64::new(NONE), at_ns: AtomicU64::new(0) };
        let stamps = (0..2 * slots).map(|_| stamp()).collect();
        let (timers, stages): (Vec<_>, Vec<_>) =
            (0..stages).map(|_| StageTimer::new(clock)).unzip();
        (Self { clock, stamps, stages: stages.into() }, timers)
    }

    fn stamp(&self, flush: u64) -> &Stamp {
        &self.stamps[flush as usize & (self.stamps.len() - 1)]
    }

    /// Before the flush of this number: it publishes events up to `last`. Relaxed: stages find it
    /// by what lets the events through.
    #[cold]
    pub(super) fn note_flush(&self, flush: u64, last: Sequence) {
        self.note_flush_at(flush, last, self.clock.now_ns());
    }

    fn note_flush_at(&self, flush: u64, last: Sequence, now_ns: u64) {
        let stamp = self.stamp(flush);
        stamp.at_ns.store(now_ns, Ordering::Relaxed);
        stamp.last.store(last, Ordering::Relaxed);
    }

    /// Of each stage: how long events take to it, and what its thread does.
    pub(super) fn stages(&self) -> &[(Latencies, ThreadTime)] {
        &self.stages
    }
}

/// A stage's own part of the timing.
pub(super) struct StageTimer {
    recorder: Recorder,
    /// The flush whose events come next.
    flush: u64,
    /// The sequence up to which latencies are recorded.
    recorded: Sequence,
    /// When the last of them were.
    recorded_ns: u64,
    /// Until the stage has a thread.
    thread: Option<ThreadClock>,
}

impl StageTimer {
    /// The timer, and what it tells.
    fn new(clock: Clock) -> (Self, (Latencies, ThreadTime)) {
        let (recorder, thread) = (Recorder::new(), ThreadClock::new(clock));
        let told = (recorder.latencies(), thread.time());
        (Self { recorder, flush: 0, recorded: NONE, recorded_ns: 0, thread: Some(thread) }, told)
    }

    /// The stage has released up to `released`.
    #[cold]
    pub(super) fn note_release(&mut self, timing: &Timing, released: Sequence) {
        if self.recorded < released {
            self.note_release_at(timing, released, timing.clock.now_ns());
        }
    }

    fn note_release_at(&mut self, timing: &Timing, released: Sequence, now_ns: u64) {
        self.recorded_ns = now_ns;
        while self.recorded < released {
            let stamp = timing.stamp(self.flush);
            let (last, at_ns) =
                (stamp.last.load(Ordering::Relaxed), stamp.at_ns.load(Ordering::Relaxed));
            assert!(
                last > self.recorded,
                "the stamp of a flush is there before its events, and until they are released"
            );
            let through = last.min(released);
            self.recorder.record(now_ns.saturating_sub(at_ns), (through - self.recorded) as u64);
            self.recorded = through;
            self.flush += u64::from(through == last);
        }
    }
}

impl StageTimer {
    /// For the stage's thread, once.
    pub(super) fn take_thread(&mut self) -> Option<ThreadClock> {
        self.thread.take()
    }

    /// When the last latencies were recorded: the end of the last batch.
    pub(super) fn recorded_ns(&self) -> u64 {
        self.recorded_ns
    }
}

/// The times of one stage of a timed lane: see [`LaneSpec::timed`](super::LaneSpec::timed).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StageTiming {
    /// The stage's name.
    pub stage: String,
    /// From the flush of an event to its release by the stage, rejected events included.
    pub latencies: Latencies,
    /// What the stage's own thread does.
    pub thread: ThreadTime,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;
    use slipring_test_support::random_runs;

    use super::*;

    const SLOTS: i64 = 8;

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { random_runs().cases.min(4) } else { 300 }, ..random_runs() })]

        /// Random flushes and releases over many laps, against a list with the flush time of every
        /// event. Two stages: the lane waits for the slower.
        #[test]
        fn every_event_is_recorded_once_with_the_time_of_its_flush(steps in prop::collection::vec((0usize..3, 1i64..=SLOTS), 1..200)) {
            let (timing, mut timers) = Timing::new(Clock::start(), SLOTS as usize, 2);
            let (mut flushed_at, mut flushes, mut now_ns) = (Vec::new(), 0, 0);
            let mut released = [NONE; 2];
            let mut expected = [Recorder::new(), Recorder::new()];
            for (who, events) in steps {
                now_ns += 100;
                let published = flushed_at.len() as i64 - 1;
                if who == 2 {
                    let last = (published + events).min(released[0].min(released[1]) + SLOTS);
                    if last > published {
                        timing.note_flush_at(flushes, last, now_ns);
                        flushes += 1;
                        flushed_at.resize(last as usize + 1, now_ns);
                    }
                    continue;
                }
                let through = (released[who] + events).min(published);
                if through > released[who] {
                    for at_ns in &flushed_at[(released[who] + 1) as usize..=through as usize] {
                        expected[who].record(now_ns - at_ns, 1);
                    }
                    timers[who].note_release_at(&timing, through, now_ns);
                    released[who] = through;
                }
            }
            for ((latencies, _), expected) in timing.stages().iter().zip(&expected) {
                prop_assert_eq!(latencies.histogram(), expected.latencies().histogram());
            }
        }
    }
}
