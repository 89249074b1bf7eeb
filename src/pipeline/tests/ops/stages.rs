//! What stages do: poll, read ahead, release, retain, fail, end; polled by hand and attached to
//! their lane.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::rc::Rc;

use super::draw::{Op, Then, Turn};
use super::model::{Model, Place};
use super::payload::{Columns, Seen, Tag};
use super::remove_any;
use crate::pipeline::{Held, Outcome, Polled, Progress, SpawnError, StageError, View};
use crate::ring::{Foreign, Sequence};

/// What a stage is about to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finds {
    Dead,
    Holding,
    Over,
    Events(usize),
    End,
    CutOff,
    Nothing,
}

impl Turn {
    /// The handler's outcome for the event that it is shown after `shown` others.
    fn says(self, shown: usize) -> Then {
        if shown < self.good { Then::Done } else { self.then }
    }
}

/// A handler's outcome. It panics without the hook, which would print several thousand times.
pub(super) fn answer(then: Then) -> Outcome {
    match then {
        Then::Done => Outcome::Done,
        Then::Retry => Outcome::Retry,
        Then::Fail => Outcome::Fail("by design".to_owned()),
        Then::Panic => resume_unwind(Box::new("by design")),
    }
}

impl Model {
    fn finds(&self, at: usize, max: usize) -> Finds {
        let (stage, layer) = (&self.stages[at], self.layers[at]);
        let (available, next) = (self.available(layer), stage.released + 1);
        if stage.died_at.is_some() {
            Finds::Dead
        } else if !stage.out.is_empty() {
            Finds::Holding
        } else if stage.ended {
            Finds::Over
        } else if available >= next {
            Finds::Events(max.min((available - stage.released) as usize))
        } else if self.closing && next > self.published {
            Finds::End
        } else if next >= self.cut_off(layer) {
            Finds::CutOff
        } else {
            Finds::Nothing
        }
    }

    /// Why a stage sees no more events: the failure, or otherwise a stage that is late.
    fn failed(&self, at: usize) -> StageError {
        if let Some(failure) = &self.failure {
            return StageError::Failed(failure.clone());
        }
        let left = |other: &usize| self.layers[*other] < self.layers[at] || *other == at;
        let left = (0..self.stages.len())
            .filter(left)
            .find_map(|other| Some((other, self.stages[other].died_at?)));
        let (stage, sequence) = left.expect("a stage was left");
        StageError::Left { stage: stage.to_string(), sequence }
    }

    /// What a poll that found this returns, and what it does to the stage.
    fn expect_poll(&mut self, at: usize, finds: Finds, turn: Turn) -> Result<Polled, StageError> {
        match finds {
            Finds::Dead => {
                self.hand_to_pump(at);
                Err(self.failed(at))
            }
            Finds::Holding => Err(StageError::Holding { since: self.stages[at].released + 1 }),
            Finds::Over => Ok(Polled::Ended),
            Finds::End => {
                self.stages[at].ended = true;
                Ok(Polled::Ended)
            }
            Finds::CutOff => Err(self.failed(at)),
            Finds::Nothing => Ok(Polled::Idle),
            Finds::Events(found) => {
                let done = if turn.then == Then::Done { found } else { found.min(turn.good) };
                self.expect_events(at, done);
                match turn.then {
                    _ if done == found => Ok(Polled::Advanced(done)),
                    Then::Retry => Ok(Polled::Retry(done)),
                    _ => {
                        self.hand_to_pump(at);
                        self.die(at);
                        Err(self.failed(at))
                    }
                }
            }
        }
    }

    /// A poll processes this many events.
    fn expect_events(&mut self, at: usize, done: usize) {
        self.move_to(at, self.stages[at].released + done as i64);
        self.stages[at].processed += done as u64;
        self.stages[at].read = self.stages[at].released;
    }

    fn move_to(&mut self, at: usize, released: Sequence) {
        (self.stages[at].released, self.stages[at].progress) = (released, released);
    }

    /// The number of events that a handler is shown.
    fn shows(finds: Finds, turn: Turn) -> usize {
        let Finds::Events(found) = finds else { return 0 };
        if turn.then == Then::Done { found } else { found.min(turn.good + 1) }
    }

    fn check_seen(&self, at: usize, first: Sequence, seen: &[Seen], count: usize) {
        assert_eq!(seen.len(), count, "stage {at} is shown what is there, once");
        for (seen, sequence) in seen.iter().zip(first..) {
            assert_eq!(
                (seen.sequence, seen.tag),
                (sequence, self.events[sequence as usize]),
                "stage {at}"
            );
            seen.check(at, &self.layers, &self.died_at(), false);
        }
    }

    /// Polls by hand; `meanwhile` runs in the middle of the first event.
    pub(super) fn poll(
        &mut self,
        at: usize,
        max: usize,
        turn: Turn,
        mut meanwhile: Option<Box<Op>>,
    ) {
        let Some(mut stage) = self.stages[at].stage.take() else { return };
        let mut columns =
            self.stages[at].columns.take().expect("the columns are dropped with the handle");
        let (finds, first) = (self.finds(at, max), self.stages[at].released + 1);
        let (mut seen, mut wrong) = (Vec::new(), None);
        let polled = stage.poll(max, |view| {
            let then = turn.says(seen.len());
            if let Some(op) = meanwhile.take() {
                // What fails in here fails the test, and not the stage.
                let applied = std::panic::AssertUnwindSafe(|| self.apply(*op));
                wrong = wrong.take().or(std::panic::catch_unwind(applied).err());
            }
            seen.push(Seen::look(&view, &mut columns, then == Then::Done));
            answer(then)
        });
        if let Some(wrong) = wrong {
            resume_unwind(wrong);
        }
        let expected = self.expect_poll(at, finds, turn);
        assert_eq!(polled, expected, "stage {at} finds {finds:?}");
        self.check_seen(at, first, &seen, Self::shows(finds, turn));
        (self.stages[at].stage, self.stages[at].columns) = (Some(stage), Some(columns));
    }

    /// Attached handlers do this at the next poll of the lane.
    pub(super) fn give_turns(&mut self, turn: Turn) {
        for at in &self.attached {
            let script = self.stages[*at].script.as_ref().expect("it is attached");
            *script.borrow_mut() = (Some(turn), Vec::new());
            self.stages[*at].turn_from = self.stages[*at].released + 1;
        }
    }

    /// The lane's thread releases the events of dead stages, polls attached ones, and reclaims.
    pub(super) fn expect_poll_of_lane(&mut self, turn: Turn) -> Progress {
        let is_detached = self.failure.is_some() && !self.is_poisoned();
        for at in self.detached.clone().into_iter().filter(|_| is_detached) {
            self.stages[at].is_pumped = true;
            if self.stages[at].helds.is_empty() && self.stages[at].leaked.is_empty() {
                self.stages[at].progress = self.available(self.layers[at]);
            }
        }
        let (mut progress, mut stopped) = (Progress::default(), Vec::new());
        for at in self.attached.clone() {
            let finds = self.finds(at, self.stages[at].batch_max);
            self.stages[at].shows = Self::shows(finds, turn);
            let before = self.stages[at].processed;
            // A handler that stops fails its stage after the round, so stages that are polled after
            // it don't see the failure yet.
            let stops = match finds {
                Finds::Events(found) => {
                    turn.good < found && !matches!(turn.then, Then::Done | Then::Retry)
                }
                _ => false,
            };
            if stops {
                stopped.push(at);
                self.expect_events(at, turn.good);
            } else if let Ok(Polled::Ended) | Err(_) = self.expect_poll(at, finds, turn) {
                self.attached.retain(|other| *other != at);
                self.handle_dropped(at);
            }
            progress.processed += (self.stages[at].processed - before) as usize;
        }
        for at in stopped {
            self.hand_to_pump(at);
            self.die(at);
            self.attached.retain(|other| *other != at);
        }
        progress.reclaimed = (self.consumed() - self.reclaimed) as usize;
        self.reclaimed = self.consumed();
        progress
    }

    /// Checks that attached handlers saw what they should have.
    pub(super) fn check_turns(&mut self) {
        for at in 0..self.stages.len() {
            let Some(script) = self.stages[at].script.clone() else { continue };
            let (shows, first) =
                (std::mem::take(&mut self.stages[at].shows), self.stages[at].turn_from);
            self.check_seen(at, first, &std::mem::take(&mut script.borrow_mut().1), shows);
        }
    }

    /// While events are published a round needn't look at threads of the last layer.
    fn may_look_later(&self) -> bool {
        let is_last = |at: usize| self.layers[at] + 1 == self.shape.layers.len();
        self.published > self.polled
            && (0..self.stages.len()).any(|at| is_last(at) && !self.stages[at].inline)
    }

    pub(super) fn poll_lane(&mut self, turn: Turn) {
        let Some(mut lane) = self.lane.take() else { return };
        self.give_turns(turn);
        let reclaimed = self.reclaimed;
        let mut expected = self.expect_poll_of_lane(turn);
        let progress = lane.poll();
        if progress.reclaimed == 0 && self.may_look_later() {
            self.reclaimed = reclaimed;
            expected.reclaimed = 0;
        }
        self.polled = self.published;
        assert_eq!(progress, expected);
        self.learn_reason();
        self.check_turns();
        self.lane = Some(lane);
    }

    /// Inline stages are attached; others are returned.
    pub(super) fn attach(&mut self, at: usize) {
        if self.lane.is_none() {
            return;
        }
        let Some(stage) = self.stages[at].stage.take() else { return };
        if !self.stages[at].inline || !self.stages[at].out.is_empty() {
            let lane = self.lane.as_mut().expect("it was looked at");
            let refused = lane
                .attach(stage, |_| Outcome::Done)
                .expect_err("it has a thread, or holds events");
            self.stages[at].stage = Some(refused.0);
            return;
        }
        let Err(SpawnError::Placement(refused)) = stage.spawn(|_| Outcome::Done) else {
            panic!("it is inline")
        };
        let columns =
            self.stages[at].columns.take().expect("the columns are dropped with the handle");
        let script = Rc::new(RefCell::new((None, Vec::new())));
        self.stages[at].script = Some(Rc::clone(&script));
        let lane = self.lane.as_mut().expect("it was looked at");
        lane.attach(refused.0, scripted(columns, script)).expect("it is inline, and its own");
        self.attached.push(at);
    }

    pub(super) fn read(&mut self, at: usize, max: usize) {
        let Some(mut stage) = self.stages[at].stage.take() else { return };
        let (layer, modelled) = (self.layers[at], &self.stages[at]);
        let (available, skip) = (self.available(layer), modelled.read - modelled.released);
        let (is_dead, is_over, next) =
            (modelled.died_at.is_some(), modelled.ended, modelled.read + 1);
        let found = max.min((available - modelled.read).max(0) as usize);
        let read = stage.read(max);
        self.stages[at].stage = Some(stage);
        if is_dead {
            self.hand_to_pump(at);
            assert_eq!(read.map(drop), Err(self.failed(at)));
        } else if is_over {
            assert!(matches!(read, Ok(None)));
        } else if found > 0 {
            let held = read.expect("it lives").expect("there are events");
            assert_eq!((held.first_sequence(), held.len()), (next, found));
            self.stages[at].read += found as i64;
            self.stages[at].out.push((next, next + found as i64 - 1, Place::Out));
            self.stages[at].helds.push(held);
        } else if skip == 0 && self.closing && next > self.published {
            assert!(matches!(read, Ok(None)));
            self.stages[at].ended = true;
        } else if next >= self.cut_off(layer) {
            assert_eq!(read.map(drop), Err(self.failed(at)));
        } else {
            assert!(matches!(read, Ok(None)), "{read:?}");
        }
    }

    fn remove_held(&mut self, at: usize, pick: usize, place: Place) -> Option<Held<Tag>> {
        let held = remove_any(&mut self.stages[at].helds, pick)?;
        let first = held.first_sequence();
        let entry = self.stages[at]
            .out
            .iter_mut()
            .find(|(from, ..)| *from == first)
            .expect("it was given out");
        entry.2 = place;
        Some(held)
    }

    /// Reads what is held once more, and writes its rows.
    fn look_at_held(&mut self, at: usize, held: &Held<Tag>, processed: bool) {
        let columns =
            self.stages[at].columns.as_mut().expect("the columns are dropped with the handle");
        let seen: Vec<_> = held.views().map(|view| Seen::look(&view, columns, processed)).collect();
        self.check_seen(at, held.first_sequence(), &seen, held.len());
    }

    pub(super) fn release(&mut self, at: usize, pick: usize) {
        if self.stages[at].stage.is_none() {
            return;
        }
        let Some(held) = self.remove_held(at, pick, Place::Back) else { return };
        self.look_at_held(at, &held, true);
        let len = held.len() as u64;
        let Some(stage) = &mut self.stages[at].stage else { return };
        stage.release(held).map_err(drop).expect("it is its own");
        // If the stage is dead, this releases nothing: where it died is already recorded.
        if self.stages[at].died_at.is_none() {
            self.stages[at].processed += len;
        }
        while let Some(&(_, last, Place::Back)) = self.stages[at].out.first() {
            self.stages[at].out.remove(0);
            if self.stages[at].died_at.is_none() {
                self.move_to(at, last);
            }
        }
    }

    /// Another stage refuses the `Held` of this one.
    pub(super) fn release_elsewhere(&mut self, at: usize, pick: usize) {
        let Some(other) =
            (0..self.stages.len()).find(|&other| other != at && self.stages[other].stage.is_some())
        else {
            return;
        };
        let Some(held) = remove_any(&mut self.stages[at].helds, pick) else { return };
        let Some(stage) = &mut self.stages[other].stage else { return };
        let Err(Foreign(held)) = stage.release(held) else { panic!("it was accepted") };
        self.stages[at].helds.push(held);
    }

    pub(super) fn drop_held(&mut self, at: usize, pick: usize) {
        let Some(held) = self.remove_held(at, pick, Place::Dropped) else { return };
        if self.stages[at].columns.is_some() {
            self.look_at_held(at, &held, false);
        }
        drop(held);
        if self.gone { self.make_late(at) } else { self.die(at) }
    }

    /// It is given back at the very end, because a real leak would be reported.
    pub(super) fn leak_held(&mut self, at: usize, pick: usize) {
        let leaked = remove_any(&mut self.stages[at].helds, pick);
        self.stages[at].leaked.extend(leaked);
    }

    pub(super) fn retain_held(&mut self, at: usize, pick: usize) {
        let helds = &self.stages[at].helds;
        let Some(held) = helds.get(pick % helds.len().max(1)) else { return };
        let view = held.views().nth(pick % held.len()).expect("the index is below its length");
        let handle = view.retain().ok().map(|handle| (handle, view.meta().serial, view.meta().len));
        self.retained.extend(handle);
    }

    pub(super) fn wait_for_work(&mut self, at: usize) {
        let (modelled, layer) = (&self.stages[at], self.layers[at]);
        let next = modelled.read + 1;
        let is_ready = self.available(layer) >= next
            || (self.closing && next > self.published)
            || next >= self.cut_off(layer)
            || modelled.died_at.is_some();
        if let Some(stage) = self.stages[at].stage.as_mut().filter(|_| is_ready) {
            stage.wait_for_work();
        }
    }

    pub(super) fn drop_stage(&mut self, at: usize) {
        if self.stages[at].stage.take().is_some() {
            self.stages[at].columns = None;
            self.handle_dropped(at);
        }
    }

    /// What happens when a stage's handle is dropped.
    pub(super) fn handle_dropped(&mut self, at: usize) {
        let stage = &mut self.stages[at];
        if stage.ended || stage.parked {
            return;
        }
        if stage.out.is_empty() && self.closing && stage.released >= self.published {
            stage.ended = true;
            return;
        }
        // After its lane it is late, and nothing pumps for it.
        if self.gone {
            return self.make_late(at);
        }
        self.hand_to_pump(at);
        self.die(at);
    }
}

/// The handler of an attached stage.
fn scripted(
    mut columns: Columns,
    script: super::model::Script,
) -> impl FnMut(View<'_, Tag>) -> Outcome + 'static {
    move |view| {
        let (turn, seen) = &mut *script.borrow_mut();
        let then = turn.expect("it was given a turn").says(seen.len());
        seen.push(Seen::look(&view, &mut columns, then == Then::Done));
        answer(then)
    }
}
