//! The thread of a stage: it polls, waits, and ends with the stream.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::error::{LaneError, StageError, WrongPlacement};
use super::policy::{Meta, StagePlacement};
use super::stage::{Outcome, Polled, Stage};
use super::timing::{StageActivity, StageTimer};
use super::view::View;
use super::wait::{ASLEEP, Idle};
use crate::machine::{PinPolicy, PinReport, pin_current, unpin_current};
use crate::wake::shielded;

/// The first pause after a handler returned Retry, and the longest.
const RETRY_MIN: Duration = Duration::from_millis(1);
const RETRY_MAX: Duration = Duration::from_millis(100);

/// How the thread of a stage ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageReport {
    /// The stage's name.
    pub stage: String,
    /// Events it processed, including rejected ones.
    pub processed: u64,
    /// Events it rejected.
    pub rejected: u64,
    /// Where it ran.
    pub pin: PinReport,
    /// Why it ended before the end of the stream, if it did.
    pub error: Option<StageError>,
}

/// The running thread of a stage. If this is dropped, the thread continues on its own.
#[derive(Debug)]
pub struct StageThread {
    thread: JoinHandle<StageReport>,
}

impl StageThread {
    /// Waits until the stage has ended.
    ///
    /// # Panics
    /// Not because of the handler, whose panics are caught and reported.
    #[must_use]
    pub fn join(self) -> StageReport {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Whether the stage has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Why a stage's thread wasn't started. The handle is returned.
#[non_exhaustive]
pub enum SpawnError<M: Meta> {
    /// The stage is specified as inline, or holds events that it read ahead.
    Placement(WrongPlacement<Stage<M>>),
    /// The system couldn't start a thread.
    Os {
        /// The system's error.
        error: LaneError,
        /// The handle: spawn it again, or run it on the calling thread.
        stage: Stage<M>,
    },
}

impl<M: Meta> std::fmt::Debug for SpawnError<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl<M: Meta> std::fmt::Display for SpawnError<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Placement(e) => e.fmt(f),
            Self::Os { error, .. } => error.fmt(f),
        }
    }
}

impl<M: Meta> std::error::Error for SpawnError<M> {}

impl<M: Meta> Stage<M> {
    /// Starts the stage's thread, pinned as specified, and runs `handler` there to the end of the
    /// stream.
    ///
    /// # Errors
    /// The stage is specified as inline or holds events, or the system couldn't start a thread. The
    /// handle is returned.
    #[expect(
        clippy::result_large_err,
        reason = "the handle is returned by value: once per stage, never in the hot path"
    )]
    pub fn spawn(
        self,
        handler: impl FnMut(View<'_, M>) -> Outcome + Send + 'static,
    ) -> Result<StageThread, SpawnError<M>> {
        let cpu = match self.state().placement {
            StagePlacement::Thread { cpu } if !self.is_holding() => cpu,
            _ => return Err(SpawnError::Placement(WrongPlacement(self))),
        };
        let builder = thread::Builder::new().name(self.name().to_owned());
        // If the thread doesn't start, its closure is dropped. A handle that the closure owned
        // would be dropped with it, and the stage would fail.
        let handle = Arc::new(Mutex::new(Some(self)));
        let shared_handle = Arc::clone(&handle);
        let take_stage = |handle: &Mutex<Option<Self>>| {
            let stage = handle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            stage.unwrap_or_else(|| {
                unreachable!("taken once: by the thread, or here if it didn't start")
            })
        };
        let thread = builder.spawn(move || {
            let pin = pin_as_specified(cpu);
            let mut handler = handler;
            let report = take_stage(&shared_handle).run_with(&mut handler, pin);
            // If the handler panics in its drop, the panic hook has reported it. The report is
            // returned all the same.
            shielded(|| drop(handler));
            report
        });
        thread.map(|thread| StageThread { thread }).map_err(|error| {
            let error = LaneError::Os { what: "starting a stage's thread", error };
            SpawnError::Os { error, stage: take_stage(&handle) }
        })
    }

    /// Runs `handler` on the calling thread to the end of the stream. A stage that is specified as
    /// inline never sleeps: while there are no events, it yields the CPU and looks again.
    #[must_use]
    pub fn run(self, handler: impl FnMut(View<'_, M>) -> Outcome) -> StageReport {
        self.run_with(handler, PinReport::unpinned())
    }

    fn run_with(
        mut self,
        mut handler: impl FnMut(View<'_, M>) -> Outcome,
        pin: PinReport,
    ) -> StageReport {
        let (mut idle, mut retry, batch_max) =
            (self.state().idle(), RETRY_MIN, self.state().batch_max);
        let mut time = self.timer_mut().and_then(StageTimer::take_thread_clock);
        if let Some(time) = &mut time {
            time.begin(StageActivity::Idle);
        }
        let error = loop {
            let begin = || {
                if let Some(time) = &mut time {
                    time.begin(StageActivity::Busy);
                }
            };
            match self.poll_batch(batch_max, begin, &mut handler) {
                Ok(Polled::Advanced(_)) => {
                    idle.reset();
                    retry = RETRY_MIN;
                }
                Ok(Polled::Idle) => {
                    if let (Some(time), Some(timer)) = (&mut time, self.timer_mut()) {
                        time.begin_at(StageActivity::Idle, timer.recorded_ns());
                    }
                    self.wait(&mut idle);
                }
                Ok(Polled::Retry(done)) => {
                    if let Some(time) = &mut time {
                        time.begin(StageActivity::Retry);
                    }
                    retry = if done > 0 { RETRY_MIN } else { (2 * retry).min(RETRY_MAX) };
                    thread::sleep(retry);
                }
                Ok(Polled::Ended) => break None,
                Err(error) => break Some(error),
            }
        };
        let (state, processed) = (self.state(), (self.released() + 1) as u64);
        StageReport { stage: state.name.clone(), processed, rejected: state.rejected(), pin, error }
    }

    /// Waits, by the stage's strategy, until there may be something to read or to report. Made for
    /// loops over [`Stage::read`]. At the end of the stream it returns immediately, even while
    /// events are held: release them.
    pub fn wait_for_work(&mut self) {
        let mut idle = self.state().idle();
        while !self.is_ready() {
            self.wait(&mut idle);
        }
    }

    /// Spins, yields or sleeps once.
    fn wait(&self, idle: &mut Idle) {
        if !idle.pass() {
            return;
        }
        idle.reset();
        // An inline stage sleeps with the IO thread, never here.
        let Some(sleeper) = self.state().sleeper() else { return thread::yield_now() };
        if !sleeper.sleep(self.shared().barrier, ASLEEP, || self.is_ready()) {
            self.state().count_lost_wake();
        }
    }
}

/// A thread inherits the affinity of the IO thread. If it has no CPU of its own, it gets back the
/// process's mask.
fn pin_as_specified(cpu: Option<usize>) -> PinReport {
    let Some(cpu) = cpu else {
        unpin_current();
        return PinReport::unpinned();
    };
    pin_current(cpu, PinPolicy::Prefer).unwrap_or_else(|_| PinReport::unpinned())
}
