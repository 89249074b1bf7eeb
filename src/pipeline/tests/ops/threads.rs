//! Stages on threads: each polls, reads ahead, releases, fails or ends at random, while the owner
//! does what owners do.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::LONG;
use super::draw::Then;
use super::payload::{Columns, Seen, Tag, assert_shows, shows};
use super::remove_any;
use super::stages::answer;
use crate::pipeline::{Held, Outcome, Polled, Stage, StageError, StageThread, View};
use crate::ring::{Retained, Sequence};

/// Long enough for anything but a hang, also in an interpreter that shares its CPU.
pub(super) const DEADLINE: Duration = if cfg!(miri) { Duration::from_secs(600) } else { LONG };

/// A cheap generator of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Draw(pub(super) u64);

impl Draw {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// `Held`s that stages have put where others can drop them; None once the owner is done.
pub(super) type Table = Arc<Mutex<Option<Vec<Held<Tag>>>>>;

/// What a stage does with events, and what it has seen.
pub(super) struct Log {
    pub(super) draw: Draw,
    columns: Columns,
    /// One event in this many is a failure.
    trouble: u64,
    retries: bool,
    next: Sequence,
    seen: Vec<Seen>,
    /// What should have been shown, and what was.
    gaps: Vec<(Sequence, Sequence)>,
    pub(super) retained: Vec<(Retained, u64, usize)>,
    pub(super) processed: u64,
    pub(super) ended: bool,
}

impl Log {
    pub(super) fn new(draw: Draw, columns: Columns, trouble: u64, retries: bool) -> Self {
        let (seen, gaps, retained) = Default::default();
        Self {
            draw,
            columns,
            trouble,
            retries,
            next: 0,
            seen,
            gaps,
            retained,
            processed: 0,
            ended: false,
        }
    }

    pub(super) fn show(&mut self, view: &View<'_, Tag>) -> Outcome {
        let then = match self.draw.below(self.trouble) {
            0 => Then::Fail,
            1 => Then::Panic,
            _ if self.retries && self.draw.one_in(16) => Then::Retry,
            _ => Then::Done,
        };
        if view.sequence() != self.next {
            self.gaps.push((self.next, view.sequence()));
        }
        self.note(view, then == Then::Done);
        if then == Then::Done {
            self.next += 1;
        }
        answer(then)
    }

    /// Checked by [`Seen::check`], once everything has ended.
    fn note(&mut self, view: &View<'_, Tag>, processed: bool) {
        self.seen.push(Seen::look(view, &mut self.columns, processed));
        if self.draw.one_in(16) {
            let handle =
                view.retain().ok().map(|handle| (handle, view.meta().serial, view.meta().len));
            self.retained.extend(handle);
        }
    }
}

/// A hand-written loop over a stage.
struct Hand {
    stage: Stage<Tag>,
    log: Log,
    helds: Vec<Held<Tag>>,
    read: Sequence,
    table: Table,
}

impl Hand {
    fn run(mut self) -> Log {
        let error = loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => break None,
                Err(error) => break Some(error),
            }
        };
        if let Some(error) = error {
            self.stays_dead(&error);
        }
        self.log.processed = (self.stage.released() + 1) as u64;
        self.log.ended = self.stage.has_ended();
        // In either order.
        if self.log.draw.one_in(2) {
            drop(self.stage);
            drop(self.helds);
        } else {
            drop(self.helds);
            drop(self.stage);
        }
        self.log
    }

    /// Returns false once it has ended.
    fn step(&mut self) -> Result<bool, StageError> {
        let pick = self.log.draw.below(64) as usize;
        match self.log.draw.below(32) {
            0..16 if self.helds.is_empty() => return self.poll(),
            16..22 => return self.read(),
            22..29 => self.release(pick),
            29 if self.log.draw.one_in(2 * self.log.trouble) => {
                drop(remove_any(&mut self.helds, pick))
            }
            30 if self.log.draw.one_in(self.log.trouble) => {
                let held = remove_any(&mut self.helds, pick);
                if let Some(table) =
                    &mut *self.table.lock().expect("no thread panics while it holds the lock")
                {
                    table.extend(held);
                }
            }
            31 if self.log.draw.one_in(4 * self.log.trouble) => return Ok(false),
            _ => {}
        }
        Ok(true)
    }

    fn poll(&mut self) -> Result<bool, StageError> {
        let (max, log) = (1 + self.log.draw.below(4) as usize, &mut self.log);
        log.next = self.stage.released() + 1;
        match self.stage.poll(max, |view| log.show(&view)) {
            Ok(Polled::Ended) => return Ok(false),
            Ok(Polled::Idle) => self.stage.wait_for_work(),
            Ok(Polled::Advanced(_) | Polled::Retry(_)) => {}
            // One that another stage has put there.
            Err(StageError::Holding { .. }) => return self.read(),
            Err(error) => return Err(error),
        }
        assert_eq!(
            log.next,
            self.stage.released() + 1,
            "what is processed is released, and no more"
        );
        self.read = self.stage.released();
        Ok(true)
    }

    fn read(&mut self) -> Result<bool, StageError> {
        let Some(held) = self.stage.read(1 + self.log.draw.below(3) as usize)? else {
            if self.helds.is_empty() {
                self.stage.wait_for_work();
                thread::yield_now();
            }
            self.release(0);
            return Ok(!self.stage.has_ended());
        };
        assert_eq!(held.first_sequence(), self.read + 1, "without a gap");
        self.read += held.len() as i64;
        assert!(held.views().all(|view| shows(view.bytes(), view.meta().serial)));
        self.helds.push(held);
        Ok(true)
    }

    fn release(&mut self, pick: usize) {
        let Some(held) = remove_any(&mut self.helds, pick) else { return };
        held.views().for_each(|view| self.log.note(&view, true));
        self.stage.release(held).map_err(drop).expect("it is its own");
    }

    /// After its own death, or after what a dead stage had processed, nothing is shown.
    fn stays_dead(&mut self, error: &StageError) {
        assert!(
            matches!(error, StageError::Failed(_) | StageError::Left { .. }),
            "{error:?} doesn't contain the failure"
        );
        for _ in 0..2 {
            let polled = self.stage.poll(1, |_| Outcome::Retry);
            assert!(
                matches!(
                    polled,
                    Err(StageError::Failed(_)
                        | StageError::Left { .. }
                        | StageError::Holding { .. })
                ),
                "{polled:?} after {error}"
            );
            let read = self.stage.read(1).map(|held| held.map(|held| held.len()));
            assert!(
                matches!(read, Err(StageError::Failed(_) | StageError::Left { .. })),
                "{read:?} after {error}"
            );
        }
    }
}

/// A stage that runs somewhere.
pub(super) enum Runner {
    Hand(JoinHandle<Log>),
    Spawned(StageThread, Arc<Mutex<Log>>),
}

impl Runner {
    pub(super) fn by_hand(stage: Stage<Tag>, log: Log, table: &Table) -> Self {
        let hand = Hand { stage, log, helds: Vec::new(), read: -1, table: Arc::clone(table) };
        Self::Hand(thread::spawn(|| hand.run()))
    }

    pub(super) fn spawned(stage: Stage<Tag>, log: Log) -> Self {
        let log = Arc::new(Mutex::new(log));
        let shared = Arc::clone(&log);
        let show = move |view: View<'_, Tag>| crate::sync::lock(&shared).show(&view);
        Self::Spawned(stage.spawn(show).expect("it has a thread"), log)
    }

    /// Waits until it has ended, within the time limit.
    pub(super) fn join(self) -> Log {
        let until = Instant::now() + DEADLINE;
        let is_finished = || match &self {
            Self::Hand(thread) => thread.is_finished(),
            Self::Spawned(thread, _) => thread.is_finished(),
        };
        while !is_finished() {
            assert!(Instant::now() < until, "a stage hangs");
            thread::yield_now();
        }
        match self {
            Self::Hand(thread) => {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
            Self::Spawned(thread, log) => {
                let report = thread.join();
                let mut log = Arc::into_inner(log)
                    .expect("its thread is over")
                    .into_inner()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                (log.processed, log.ended) = (report.processed, report.error.is_none());
                assert_eq!(log.next as u64, report.processed, "{report:?}");
                log
            }
        }
    }
}

impl Log {
    /// Everything that it saw was right, whatever happened to the stages.
    pub(super) fn check(&self, stage: usize, layers: &[usize], died_at: &[Option<Sequence>]) {
        self.seen.iter().for_each(|seen| seen.check(stage, layers, died_at, true));
        self.retained.iter().for_each(|(handle, serial, len)| assert_shows(handle, *serial, *len));
        assert_eq!(self.gaps, [], "stage {stage}");
        let seen: HashSet<_> = self.seen.iter().map(|seen| seen.sequence as u64).collect();
        assert!(
            (0..self.processed).all(|at| seen.contains(&at)),
            "stage {stage} has processed what it never saw"
        );
    }

    /// For an attached stage, whose handle the lane has.
    pub(super) fn processed_by_next(&mut self) {
        self.processed = self.next as u64;
    }
}
