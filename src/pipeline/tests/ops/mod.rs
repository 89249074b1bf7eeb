//! A whole lane and everything that comes from it, under random operations: the lane, its stages
//! polled by hand and attached, what they hold, columns, claims, grants, tokens, reads in flight,
//! receives, slices, retained handles. Stages fail at any point, handles and `Held`s are dropped,
//! grants and claims leaked, lanes end in any state, and the operations continue after each of
//! these.
//!
//! On one thread ([`model`]) everything is predicted and compared after each operation. With stages
//! on threads ([`threads`]) the test checks that each sees a gapless run of the right events, that
//! nothing is shown after a failure, that a column shows only what was written, and that every lane
//! ends.

mod cases;
mod draw;
mod model;
mod owner;
mod payload;
mod race;
mod stages;
mod threads;

use proptest::prelude::*;

use super::remove_any;
use draw::{And, Op, Then, Turn, op_from};
use model::{Model, Shape};
use slipring_test_support::random_runs;

impl Model {
    fn apply(&mut self, op: Op) {
        let count = self.stages.len();
        match op {
            Op::Reserve { len, all_left, used, into, meanwhile } => {
                self.reserve(len, all_left, used, into, meanwhile)
            }
            Op::Claim { len, used, and, meanwhile } => self.claim(len, used, and, meanwhile),
            Op::Token { pick, used, next } => self.token(pick, used, next),
            Op::Cut { pick, skip, len } => self.cut(pick, skip, len),
            Op::DropReceived { pick } => drop(remove_any(&mut self.received, pick)),
            Op::PushSlice { pick, publish } => self.push_slice(pick, publish),
            Op::PushForeign => self.push_foreign(),
            Op::PushEmpty => self.push_empty(),
            Op::DropSlice { pick } => drop(remove_any(&mut self.slices, pick)),
            Op::RetainSlice { pick } => {
                let slice = self.slices.get(pick % self.slices.len().max(1));
                let handle = slice
                    .and_then(|(slice, serial, len)| Some((slice.retain().ok()?, *serial, *len)));
                self.retained.extend(handle);
            }
            Op::CloneRetained { pick } => {
                let handle = self.retained.get(pick % self.retained.len().max(1));
                let copy = handle.map(|(handle, serial, len)| (handle.clone(), *serial, *len));
                self.retained.extend(copy);
            }
            Op::DropRetained { pick } => drop(remove_any(&mut self.retained, pick)),
            Op::Flush => self.flush(),
            Op::PollLane { turn } => self.poll_lane(turn),
            Op::Reclaim => self.reclaim(),
            Op::Sleep { full } => self.sleep(full),
            Op::BeginClose => self.begin_close(),
            Op::End { close, turn } => self.end(close, turn),
            Op::Poll { stage, max, turn, meanwhile } => {
                self.poll(stage % count, max, turn, meanwhile)
            }
            Op::Read { stage, max } => self.read(stage % count, max),
            Op::Release { stage, pick } => self.release(stage % count, pick),
            Op::ReleaseElsewhere { stage, pick } => self.release_elsewhere(stage % count, pick),
            Op::DropHeld { stage, pick } => self.drop_held(stage % count, pick),
            Op::LeakHeld { stage, pick } => self.leak_held(stage % count, pick),
            Op::RetainHeld { stage, pick } => self.retain_held(stage % count, pick),
            Op::WaitForWork { stage } => self.wait_for_work(stage % count),
            Op::Attach { stage } => self.attach(stage % count),
            Op::DropStage { stage } => self.drop_stage(stage % count),
        }
        self.check_sometimes();
    }

    /// Gives back everything that is held. Then stages see their end, and a lane that lost nothing
    /// has all of its memory again.
    fn end_everything(mut self) {
        self.check();
        self.check_overlaps();
        let done = Turn { good: 0, then: Then::Done };
        while let Some(id) = remove_any(&mut self.flights, 0) {
            self.tokens.push((id.0.complete(), id.1, id.2));
        }
        while !self.abandoned.is_empty() && !self.gone {
            self.report_completion(0);
        }
        self.flush();
        self.run_dry(done);
        self.check();
        self.recover();
        self.begin_close();
        self.run_dry(done);
        self.check();
        let is_stuck = self.stages.iter().any(|stage| !stage.out.is_empty());
        let ending = self.ending();
        assert!(
            is_stuck || self.gone || ending.late.is_empty(),
            "no stage has anything left to do: {:?}",
            ending.late
        );
        self.end(true, done);
        self.check();
    }

    /// Polls until nothing changes.
    fn run_dry(&mut self, turn: Turn) {
        let moved = |model: &Self| {
            model.stages.iter().map(|stage| (stage.progress, stage.ended, stage.parked)).collect()
        };
        let mut before: Vec<_> = Vec::new();
        while before != moved(self) {
            before = moved(self);
            for at in 0..self.stages.len() {
                while self.stages[at].stage.is_some() && !self.stages[at].helds.is_empty() {
                    self.release(at, 0);
                }
                self.poll(at, usize::MAX, turn, None);
            }
            self.poll_lane(turn);
        }
    }

    /// Once everything is dropped, the whole pool is available again.
    fn recover(&mut self) {
        self.slices.clear();
        self.tokens.clear();
        self.received.clear();
        self.retained.clear();
        let is_open = !self.closing && !self.is_poisoned() && self.consumed() == self.published;
        let Some(lane) =
            self.lane.as_mut().filter(|_| is_open && self.shape.reclaim == Default::default())
        else {
            return;
        };
        let mut got = Vec::new();
        while let Ok(grant) = lane.reserve(1000) {
            got.push(grant.commit_all());
        }
        assert!(
            got.len() >= (self.shape.chunks - 1) * 4,
            "only {} slices after recovery: {:?}",
            got.len(),
            lane.stats()
        );
    }
}

proptest! {
    #![proptest_config(random_runs())]

    #[test]
    fn a_lane_and_all_that_comes_of_it_agree_with_plain_numbers(
        (kind, sizes) in any::<(u8, u8)>(),
        ops in proptest::collection::vec(any::<(u8, u16, u16)>().prop_map(op_from), 0..if cfg!(miri) { 60 } else { 300 }),
    ) {
        let mut model = Model::new(Shape::from_numbers(kind, sizes));
        for op in ops {
            model.apply(op);
        }
        model.end_everything();
    }
}

proptest! {
    // A race can't be repeated from its seed, so a smaller one proves nothing.
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..random_runs() })]

    #[test]
    fn stages_on_threads_see_what_they_should_and_every_lane_ends(seed in any::<u64>()) {
        race::race(seed);
    }
}

/// A lane that never had an event is dropped or closed immediately, while its stages look for their
/// end.
#[test]
fn the_stages_of_an_empty_lane_end() {
    for number in 0..if cfg!(miri) { 8 } else { 100 } {
        race::race_of(&mut threads::Draw(number), 0);
    }
}

/// A stage that is polled after one that fails in the same round sees the failure in the next.
#[test]
fn a_failure_in_a_round_is_seen_in_the_next() {
    let mut model = Model::new(Shape::from_numbers(4, 0));
    let fails = Turn { good: 0, then: Then::Fail };
    let (and, meanwhile) = (And::Publish, None);
    for op in [
        Op::Claim { len: 0, used: 0, and, meanwhile },
        Op::Attach { stage: 0 },
        Op::Attach { stage: 2 },
        Op::PollLane { turn: fails },
        Op::PollLane { turn: fails },
    ] {
        model.apply(op);
        model.check();
    }
    model.end_everything();
}
