//! The owner's thread of a lane whose stages run on threads, and what must be true once everything
//! has ended.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::draw::MAX;
use super::model::{LAYERS, Shape};
use super::payload::{Tag, assert_shows, fill};
use super::remove_any;
use super::threads::{DEADLINE, Draw, Log, Runner, Table};
use crate::pipeline::shared::LaneShared;
use crate::pipeline::state::StageState;
use crate::pipeline::{CloseReport, Lane, PanicPolicy, Reclaim, Refused, Stage};
use crate::ring::{Full, PoolSlice, Retained, Token};

/// The owner: what it has pushed and holds.
struct Owner {
    lane: Lane<Tag>,
    draw: Draw,
    serial: u64,
    /// Events that were pushed, or published: sequences that were given out.
    pushed: i64,
    slices: Vec<(PoolSlice, u64, usize)>,
    tokens: Vec<(Token, u64, usize)>,
    retained: Vec<(Retained, u64, usize)>,
    table: Table,
}

impl Owner {
    fn tag(&mut self, len: usize) -> Tag {
        self.serial += 1;
        Tag { sequence: self.pushed + 1, serial: self.serial, len }
    }

    fn len(&mut self) -> usize {
        match self.draw.below(8) {
            0 => 0,
            1 => MAX,
            _ => self.draw.below(300) as usize,
        }
    }

    fn step(&mut self) {
        let pick = self.draw.below(64) as usize;
        match self.draw.below(32) {
            0..12 => self.claim(),
            12..16 => self.reserve(),
            16..20 => self.push_slice(pick),
            20 => self.commit_token(pick),
            21 => {
                let tag = self.tag(0);
                if let Ok(sequence) = self.lane.push_empty(tag) {
                    self.note_pushed(tag, sequence);
                }
            }
            22 => drop(remove_any(&mut self.slices, pick)),
            23 => {
                let slice = self.slices.last();
                let handle = slice
                    .and_then(|(slice, serial, len)| Some((slice.retain().ok()?, *serial, *len)));
                self.retained.extend(handle);
            }
            24 => drop(remove_any(&mut self.retained, pick)),
            25 | 26 => _ = self.lane.flush(),
            27 => self.lane.wait(self.draw.one_in(2), Duration::from_millis(1)),
            28 | 29 => {
                if let Some(table) =
                    &mut *self.table.lock().expect("no thread panics while it holds the lock")
                {
                    drop(remove_any(table, pick));
                }
            }
            _ => _ = self.lane.poll(),
        }
        self.check();
    }

    /// Nothing here waits because a ring or pool is full, or a lane is poisoned.
    fn refused(&mut self, full: Refused) {
        assert!(!matches!(full, Refused::Closed | Refused::Pool(Full::TooLarge { .. })), "{full}");
        if self.lane.poll().is_idle() && !self.lane.has_failed() {
            self.lane.wait(true, Duration::from_millis(1));
        }
    }

    fn note_pushed(&mut self, tag: Tag, sequence: i64) {
        assert_eq!(sequence, tag.sequence, "sequences follow without a gap");
        self.pushed = sequence;
    }

    fn claim(&mut self) {
        let len = self.len();
        let tag = self.tag(len);
        let publish = self.draw.one_in(2);
        let pushed = match self.lane.claim(len) {
            Err(full) => return self.refused(full),
            Ok(mut claim) => {
                fill(&mut claim, tag.serial);
                if publish { claim.publish(tag) } else { claim.push(tag) }
            }
        };
        self.note_pushed(tag, pushed);
        if publish {
            self.assert_published(pushed);
        }
    }

    /// A sequence that publishing returned is published.
    fn assert_published(&self, sequence: i64) {
        let stats = self.lane.stats();
        assert!(stats.published as i64 > sequence, "{sequence} wasn't published: {stats:?}");
    }

    fn reserve(&mut self) {
        let len = self.len();
        let serial = self.tag(len).serial;
        match self.lane.reserve(len) {
            Err(full) => self.refused(full),
            Ok(mut grant) => {
                fill(&mut grant, serial);
                if self.draw.one_in(3) {
                    self.tokens.push((grant.into_token(), serial, len));
                } else {
                    self.slices.push((grant.commit_all(), serial, len));
                }
            }
        }
    }

    fn push_slice(&mut self, pick: usize) {
        let Some((slice, serial, len)) = remove_any(&mut self.slices, pick) else { return };
        let tag = Tag { serial, len, ..self.tag(len) };
        let publish = self.draw.one_in(2);
        match if publish { self.lane.publish(slice, tag) } else { self.lane.push(slice, tag) } {
            Ok(sequence) => {
                self.note_pushed(tag, sequence);
                if publish {
                    self.assert_published(sequence);
                }
            }
            Err(refused) => self.slices.push((refused.slice.expect("it is returned"), serial, len)),
        }
    }

    fn commit_token(&mut self, pick: usize) {
        let Some((token, serial, len)) = remove_any(&mut self.tokens, pick) else { return };
        self.slices.push((token.commit(len).expect("all of it"), serial, len));
    }

    fn check(&self) {
        self.slices.iter().for_each(|(slice, serial, len)| assert_shows(slice, *serial, *len));
        self.tokens.iter().for_each(|(token, serial, len)| assert_shows(token, *serial, *len));
        self.retained.iter().for_each(|(handle, serial, len)| assert_shows(handle, *serial, *len));
    }

    /// Closes the lane, or drops it: None.
    fn end(mut self, patient: bool) -> Option<CloseReport> {
        drop(self.table.lock().expect("no thread panics while it holds the lock").take());
        if self.draw.one_in(4) {
            self.lane.begin_close();
        }
        let report = if patient { Some(self.lane.close(DEADLINE)) } else { None };
        self.slices.iter().for_each(|(slice, serial, len)| assert_shows(slice, *serial, *len));
        self.retained.iter().for_each(|(handle, serial, len)| assert_shows(handle, *serial, *len));
        report
    }
}

/// The shape of a race: one to three stages.
fn shape(draw: &mut Draw) -> Shape {
    let policy = if draw.one_in(3) { PanicPolicy::Poison } else { PanicPolicy::Detach };
    let reclaim = if draw.one_in(4) { Reclaim::OnOverwrite } else { Reclaim::OnConsume };
    let layers = LAYERS[draw.below(6) as usize];
    Shape {
        slots: 2 << draw.below(3),
        chunks: 8,
        layers,
        policy,
        reclaim,
        threads: draw.below(8) as usize | 4,
    }
}

/// One lane, from a seed: its stages run by hand on threads, by `spawn`, or attached.
pub(super) fn race(seed: u64) {
    let mut draw = Draw(seed);
    let steps = if draw.one_in(8) { 0 } else { draw.below(if cfg!(miri) { 16 } else { 80 }) };
    race_of(&mut draw, steps);
}

pub(super) fn race_of(draw: &mut Draw, steps: u64) {
    let shape = shape(draw);
    let (spec, columns) = shape.spec();
    let mut started = spec.start::<Tag>().expect("a tiny lane");
    let (table, shared) =
        (Table::new(Mutex::new(Some(Vec::new()))), Arc::clone(&started.lane.ring.shared));
    let trouble = [10, 30, 1000][draw.below(3) as usize];
    let (mut runners, mut attached) = (Vec::new(), Vec::new());
    for (at, columns) in columns.into_iter().enumerate() {
        let stage = started.stages.remove(&at.to_string()).expect("it was specified");
        let (inline, own) = (shape.threads >> at & 1 == 0, Draw(draw.below(u64::MAX)));
        let spawned = !inline && draw.one_in(2);
        let log = Log::new(own, columns, trouble, !spawned);
        if inline && draw.one_in(2) {
            attached.push((at, attach(&mut started.lane, stage, log)));
        } else if spawned {
            runners.push((at, Runner::spawned(stage, log)));
        } else {
            runners.push((at, Runner::by_hand(stage, log, &table)));
        }
    }
    let patient = !draw.one_in(3);
    let (slices, tokens, retained) = Default::default();
    let mut owner = Owner {
        lane: started.lane,
        draw: draw.clone(),
        serial: 0,
        pushed: -1,
        slices,
        tokens,
        retained,
        table,
    };
    (0..steps).for_each(|_| owner.step());
    owner.lane.flush();
    let stats = owner.lane.stats();
    let published = stats.published;
    let report = owner.end(patient);
    let mut logs: Vec<_> = runners.into_iter().map(|(at, runner)| (at, runner.join())).collect();
    for (at, log) in attached {
        let mut log = Rc::into_inner(log).expect("its lane was dropped").into_inner();
        log.processed_by_next();
        log.ended = log.processed == published;
        logs.push((at, log));
    }
    logs.sort_by_key(|(at, _)| *at);
    judge(&shape, &shared, &logs, published, report);
}

/// Each stage saw what it should have, and the report says how it ended.
fn judge(
    shape: &Shape,
    shared: &LaneShared<Tag>,
    logs: &[(usize, Log)],
    published: u64,
    report: Option<CloseReport>,
) {
    let died_at: Vec<_> = shared
        .stages
        .iter()
        .map(|stage| Some(stage.died_at()).filter(|at| *at != i64::MAX))
        .collect();
    for (at, log) in logs {
        log.check(*at, &shape.stage_layers(), &died_at);
        assert!(
            log.processed <= published && (!log.ended || log.processed == published),
            "stage {at}: {shape:?}"
        );
        assert_eq!(shared.stages[*at].wakes_lost(), 0);
    }
    let lost_nothing = logs.iter().all(|(_, log)| log.processed == published);
    if let Some(report) = report {
        assert_eq!(report.published, published);
        let processed: Vec<_> = logs.iter().map(|(_, log)| log.processed).collect();
        assert!(
            report.consumed <= *processed.iter().min().expect("a stage"),
            "{report:?}: {processed:?}"
        );
        assert_eq!(report.late, [""; 0], "{shape:?}");
        assert_eq!(report.is_drained(), lost_nothing && report.failure.is_none(), "{report:?}");
    }
    let is_left = shared.stages.iter().any(StageState::is_dead);
    assert!(
        is_left || lost_nothing,
        "no stage failed or was late, and something was lost: {shape:?}"
    );
}

fn attach(lane: &mut Lane<Tag>, stage: Stage<Tag>, log: Log) -> Rc<RefCell<Log>> {
    let log = Rc::new(RefCell::new(log));
    let shared = Rc::clone(&log);
    lane.attach(stage, move |view| shared.borrow_mut().show(&view))
        .expect("it is inline, and its own");
    log
}
