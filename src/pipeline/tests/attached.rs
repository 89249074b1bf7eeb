//! Inline stages that the lane polls, against a naive queue: attached in any order and at any time,
//! in layers of one or two, with handlers that retry, reject, fail or panic in random places.
//!
//! Each handler checks that it is shown the next event of its stage, with its payload, and only
//! events that the layer before has processed. While no stage is dead, each round does exactly what
//! the queue predicts.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use proptest::prelude::*;
use slipring_test_support::random_runs;

use super::{LONG, Lane, Outcome, Stage, StageSpec, View, assert_holds, push_number, tiny_spec};
use crate::pipeline::{PanicPolicy, Reclaim, Refused};
use crate::ring::{NONE, Sequence};

const SLOTS: i64 = 8;

/// What a handler does with the next event that it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whim {
    Accept,
    Retry,
    Reject,
    Fail,
    Panic,
}

/// One stage as the queue knows it.
struct Known {
    layer: usize,
    batch_max: i64,
    /// The last event that the stage has processed.
    done: Cell<Sequence>,
    /// The handler's actions, each with the number of events before it.
    whim: Cell<(i64, Whim)>,
    is_dead: Cell<bool>,
    rejected: Cell<u64>,
}

impl Known {
    /// The handler: checks the event, and acts according to the script.
    fn show(&self, before: &[Rc<Self>], view: &View<'_, u64>) -> Outcome {
        assert!(
            !self.is_dead.get() && view.sequence() == self.done.get() + 1,
            "event {} is shown",
            view.sequence()
        );
        assert_eq!(*view.meta() as i64, view.sequence());
        assert_holds(view.bytes(), *view.meta());
        let lags = |known: &&Rc<Self>| !known.is_dead.get() && known.done.get() < view.sequence();
        assert_eq!(
            before.iter().filter(lags).count(),
            0,
            "a stage before hasn't done event {}",
            view.sequence()
        );
        let (events, whim) = self.whim.get();
        if events > 0 {
            self.whim.set((events - 1, whim));
        } else {
            self.whim.set((0, Whim::Accept));
            match whim {
                Whim::Accept => {}
                Whim::Retry => return Outcome::Retry,
                Whim::Reject => self.rejected.set(self.rejected.get() + 1),
                Whim::Fail | Whim::Panic => self.is_dead.set(true),
            }
            match whim {
                Whim::Fail => return Outcome::Fail("on purpose".to_owned()),
                Whim::Panic => std::panic::resume_unwind(Box::new("on purpose")),
                _ => {}
            }
            self.done.set(view.sequence());
            return if whim == Whim::Reject {
                Outcome::Reject("bad".to_owned())
            } else {
                Outcome::Done
            };
        }
        self.done.set(view.sequence());
        Outcome::Done
    }

    /// The number of events that the stage processes in one batch.
    fn advance(&self, available: Sequence, done: Sequence) -> i64 {
        let batch = (available - done).min(self.batch_max);
        match self.whim.get() {
            (events, Whim::Retry) => batch.min(events),
            _ => batch,
        }
    }
}

struct Model {
    lane: Lane<u64>,
    known: Vec<Rc<Known>>,
    layers: Vec<Range<usize>>,
    /// Stages that aren't attached yet and are polled by hand.
    loose: Vec<(usize, Stage<u64>)>,
    attached: Vec<usize>,
    next: u64,
}

impl Model {
    fn new(shape: &[usize], batches: &[usize], policy: PanicPolicy, reclaim: Reclaim) -> Self {
        let (mut layers, mut specs, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for (layer, &stages) in shape.iter().enumerate() {
            let first = known.len();
            known.extend(batches[first..first + stages].iter().map(|&batch_max| {
                let whim = Cell::new((0, Whim::Accept));
                let (done, is_dead, rejected) = (Cell::new(NONE), Cell::new(false), Cell::new(0));
                Rc::new(Known {
                    layer,
                    batch_max: i64::try_from(batch_max).unwrap_or(i64::MAX),
                    done,
                    whim,
                    is_dead,
                    rejected,
                })
            }));
            let spec = |at: usize| StageSpec::inline(&at.to_string()).batch(batches[at]);
            specs.push((first..first + stages).map(spec).collect());
            layers.push(first..first + stages);
        }
        let spec = tiny_spec(SLOTS as usize, specs).on_panic(policy).reclaim(reclaim);
        let started = spec.start().expect("a tiny lane");
        let loose = started.stages.into_iter().enumerate().collect();
        Self { lane: started.lane, known, layers, loose, attached: Vec::new(), next: 0 }
    }

    fn before(&self, at: usize) -> Vec<Rc<Known>> {
        let layer = self.known[at].layer;
        layer
            .checked_sub(1)
            .map_or(Vec::new(), |before| self.known[self.layers[before].clone()].to_vec())
    }

    fn has_failed(&self) -> bool {
        self.known.iter().any(|known| known.is_dead.get())
    }

    /// How far a layer has processed, by the positions of its stages.
    fn through(&self, layer: usize, done: &[Sequence]) -> Sequence {
        done[self.layers[layer].clone()].iter().copied().min().expect("a layer has a stage")
    }

    fn push(&mut self) {
        match push_number(&mut self.lane, self.next) {
            Ok(sequence) => {
                assert_eq!(sequence as u64, self.next);
                self.next += 1;
            }
            Err(Refused::Poisoned(_)) => assert!(self.has_failed()),
            // Both publish what is pushed.
            Err(refused) => {
                assert!(
                    refused.is_full() && self.lane.ring.pushed() == self.lane.ring.published,
                    "{refused}"
                )
            }
        }
    }

    fn attach(&mut self, pick: usize) {
        if self.loose.is_empty() {
            return;
        }
        let (at, stage) = self.loose.swap_remove(pick % self.loose.len());
        let (known, before) = (Rc::clone(&self.known[at]), self.before(at));
        self.lane.attach(stage, move |view| known.show(&before, &view)).expect("it is inline");
        self.attached.push(at);
    }

    /// Polls by hand a stage that isn't attached.
    fn poll_loose(&mut self, pick: usize, max: usize) {
        if self.loose.is_empty() {
            return;
        }
        let at = pick % self.loose.len();
        let number = self.loose[at].0;
        let (known, before) = (Rc::clone(&self.known[number]), self.before(number));
        // A dead stage, and a stage after a dead one, returns an error.
        let _polled = self.loose[at].1.poll(max, |view| known.show(&before, &view));
        assert!(self.loose[at].1.released() <= known.done.get());
    }

    fn poll(&mut self) {
        let expected = (!self.has_failed()).then(|| self.simulate());
        let progress = self.lane.poll();
        if let Some((processed, reclaimed)) = expected
            && !self.has_failed()
        {
            assert_eq!(
                (progress.processed, progress.reclaimed),
                (processed as usize, reclaimed as usize)
            );
        }
        self.check();
    }

    /// The number of events that a round processes and reclaims.
    fn simulate(&self) -> (i64, i64) {
        let mut done: Vec<_> = self.known.iter().map(|known| known.done.get()).collect();
        let mut processed = 0;
        for &at in &self.attached {
            let known = &self.known[at];
            let available = known
                .layer
                .checked_sub(1)
                .map_or(self.lane.ring.published, |before| self.through(before, &done));
            let count = known.advance(available, done[at]);
            (done[at], processed) = (done[at] + count, processed + count);
        }
        (processed, self.through(self.layers.len() - 1, &done) - self.lane.ring.reclaimed)
    }

    fn check(&self) {
        let last = self.layers.len() - 1;
        let alive =
            self.known[self.layers[last].clone()].iter().filter(|known| !known.is_dead.get());
        let slowest = alive.map(|known| known.done.get()).min().unwrap_or(self.lane.ring.published);
        assert!(self.lane.ring.reclaimed <= slowest, "what a stage hasn't done is reclaimed");
        assert!(self.lane.ring.pushed() - self.lane.ring.reclaimed <= SLOTS);
    }

    /// Everything that was published is seen by every stage that isn't dead and, where the lane is
    /// poisoned, isn't after a dead one.
    fn end(mut self, policy: PanicPolicy) {
        while !self.loose.is_empty() {
            self.attach(0);
        }
        self.lane.begin_close();
        let published = self.lane.ring.published;
        assert_eq!(published + 1, self.next as i64, "what is pushed is published at the end");
        let report = self.lane.close(LONG);
        let failed = self.known.iter().any(|known| known.is_dead.get());
        assert!(report.late.is_empty() && report.is_drained() != failed, "{report:?}");
        for (known, end) in self.known.iter().zip(&report.stages) {
            let done = (known.done.get() + 1) as u64;
            assert_eq!(
                (end.processed, end.rejected),
                (done, known.rejected.get()),
                "{}",
                end.stage
            );
            if !known.is_dead.get() && (!failed || policy == PanicPolicy::Detach) {
                assert_eq!(
                    known.done.get(),
                    published,
                    "stage {} hasn't seen everything",
                    end.stage
                );
            }
        }
    }
}

/// The operation that three random numbers select.
fn apply(model: &mut Model, (what, one, two): (u8, u8, u8)) {
    let (pick, number) = (usize::from(one), usize::from(two));
    match what % 32 {
        0..12 => model.push(),
        12..16 => drop(model.lane.flush()),
        16..25 => model.poll(),
        25 => model.attach(pick),
        26..28 => model.poll_loose(pick, 1 + number % 4),
        28 => drop(model.lane.reclaim()),
        29 | 30 => {
            let whim = if number % 2 == 0 { Whim::Retry } else { Whim::Reject };
            model.known[pick % model.known.len()].whim.set((number as i64 % 6, whim));
        }
        _ => {
            let whim = match number % 16 {
                0 => Whim::Fail,
                1 => Whim::Panic,
                _ => Whim::Retry,
            };
            model.known[pick % model.known.len()].whim.set((number as i64 % 6, whim));
        }
    }
}

proptest! {
    #![proptest_config(random_runs())]

    #[test]
    fn stages_that_the_lane_polls_agree_with_a_naive_queue(
        shape in proptest::collection::vec(1usize..=2, 1..=3),
        batches in proptest::collection::vec(prop_oneof![9 => 1usize..=9, 1 => Just(usize::MAX)], 6),
        detach in any::<bool>(),
        overwrite in any::<bool>(),
        ops in proptest::collection::vec(any::<(u8, u8, u8)>(), 1..if cfg!(miri) { 60 } else { 300 }),
    ) {
        let policy = if detach { PanicPolicy::Detach } else { PanicPolicy::Poison };
        let reclaim = if overwrite { Reclaim::OnOverwrite } else { Reclaim::OnConsume };
        let mut model = Model::new(&shape, &batches, policy, reclaim);
        for numbers in ops {
            apply(&mut model, numbers);
        }
        model.end(policy);
    }
}
