//! The IO thread of one lane: starts the lane, serves until it is stopped, and waits for its sink.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use slipring::pipeline::{
    ColumnReader, Lane, LaneReport, LaneSpec, Outcome, SpawnError, Stage, Started, View,
    WrongPlacement,
};

use super::options::ServeError;
use super::plan::{LanePlan, ServePlan};
use crate::io::{AnswerStage, Bell, DiskCall, Driver, IoReport, IoWatch, Listener, LobbySeat};
use crate::log::{LogProgress, ProducerTable};
use crate::printable::panic_text;
use crate::sink::{Sink, SinkCounts};
use crate::stage::{
    LaneProducers, RepeatRow, Request, SinkReport, SinkStage, Verdict, scorer, validator,
};
use crate::units::{Size, THREAD_FIX};

/// How long a sink that has nothing left to write may take after the deadline.
const GRACE: Duration = Duration::from_millis(50);

/// The outcome of a lane.
#[derive(Clone, Debug, Default)]
pub(super) struct LaneEnd {
    pub(super) io: IoReport,
    pub(super) sink: SinkReport,
    /// Stages that hadn't ended by the deadline.
    pub(super) late: Vec<String>,
}

/// A lane's thread, as the server holds it.
#[derive(Debug)]
pub(super) struct LaneThread {
    pub(super) report: LaneReport,
    pub(super) watch: IoWatch,
    pub(super) window: Size,
    bell: Bell,
    thread: JoinHandle<LaneEnd>,
}

/// The input of a lane's thread.
pub(super) struct LaneInputs {
    pub(super) listeners: Vec<Listener>,
    pub(super) seat: LobbySeat,
    pub(super) sink: Box<dyn Sink>,
    /// The lane's log, and the call that its committer makes.
    pub(super) log: Option<(LogProgress, DiskCall)>,
    /// What is known of its producers, if it knows any.
    pub(super) known: Option<ProducerTable>,
    pub(super) stop: Arc<AtomicBool>,
    /// When a stop has to be over, once there is one.
    pub(super) stop_by: Arc<OnceLock<Instant>>,
    /// Called when the thread ends, for any reason.
    pub(super) on_end: Arc<dyn Fn() + Send + Sync>,
}

/// A lane that is started and ready to serve.
struct ReadyLane {
    driver: Driver,
    sink_done: Receiver<SinkReport>,
    counts: SinkCounts,
    report: LaneReport,
    watch: IoWatch,
    window: Size,
}

/// What a running lane reports to its server.
type Running = (LaneReport, IoWatch, Size);

/// Reports to the server that a lane's thread has ended, even by a panic. Otherwise a lane could
/// end unnoticed and leave its clients waiting.
struct OnEnd(Arc<dyn Fn() + Send + Sync>);

impl Drop for OnEnd {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl LaneThread {
    /// Starts the thread and waits until its memory is mapped and its stages run.
    pub(super) fn start(
        plan: &ServePlan,
        lane: &LanePlan,
        inputs: LaneInputs,
    ) -> Result<Self, ServeError> {
        let bell = inputs.seat.bell().clone();
        let (started, result) = sync_channel(1);
        let (plan, lane, name) = (plan.clone(), lane.clone(), format!("lane-{}", lane.number));
        let on_end = OnEnd(Arc::clone(&inputs.on_end));
        let run = move || {
            let _on_end = on_end;
            serve_lane(&plan, &lane, inputs, &started)
        };
        let thread = thread::Builder::new()
            .name(name)
            .spawn(run)
            .map_err(|error| ServeError::io("a lane's thread", &error, THREAD_FIX))?;
        match result.recv() {
            Ok(Ok((report, watch, window))) => Ok(Self { report, watch, window, bell, thread }),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                Err(ServeError::Refused("a lane's thread ended before it was ready".to_owned()))
            }
        }
    }

    pub(super) fn wake(&self) {
        self.bell.ring();
    }

    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    pub(super) fn join(self) -> LaneEnd {
        self.thread.join().unwrap_or_else(|panic| {
            let failure = format!("the IO thread panicked: {}", panic_text(&*panic));
            LaneEnd {
                io: IoReport { failure: Some(failure), ..IoReport::default() },
                ..LaneEnd::default()
            }
        })
    }
}

fn serve_lane(
    plan: &ServePlan,
    lane: &LanePlan,
    inputs: LaneInputs,
    started: &SyncSender<Result<Running, ServeError>>,
) -> LaneEnd {
    let ready = match start_lane(plan, lane, inputs) {
        Ok(ready) => ready,
        Err(error) => {
            // The server waits for this message, unless it is gone itself.
            let _gone = started.send(Err(error));
            return LaneEnd::default();
        }
    };
    let _gone = started.send(Ok((ready.report, ready.watch, ready.window)));
    let (io, close, until) = ready.driver.run();
    let sink =
        ready.sink_done.recv_timeout(GRACE.max(until.saturating_duration_since(Instant::now())));
    let mut late = close.late;
    let sink = sink.unwrap_or_else(|why| {
        let mut report = SinkReport { totals: ready.counts.totals(), ..SinkReport::default() };
        match why {
            RecvTimeoutError::Timeout if late.iter().any(|name| name == "sink") => {}
            RecvTimeoutError::Timeout => late.push("sink".to_owned()),
            // The sink isn't late; it will never report.
            RecvTimeoutError::Disconnected => {
                report.error = Some("the sink's thread panicked".to_owned())
            }
        }
        report
    });
    LaneEnd { io, sink, late }
}

fn start_lane(
    plan: &ServePlan,
    lane: &LanePlan,
    inputs: LaneInputs,
) -> Result<ReadyLane, ServeError> {
    let wrong = |error| ServeError::lane(lane.number, error);
    let spec = plan.spec(lane);
    let (verdict_writer, verdicts) = spec.column::<Verdict>("validate", 1).map_err(wrong)?;
    let vectors_max = plan.limits.max_vectors as usize;
    let (result_writer, results) = spec.column::<f32>("validate", vectors_max).map_err(wrong)?;
    let known = inputs.known.zip(inputs.log.as_ref().map(|(progress, _)| progress.clone()));
    let (producers, repeats) =
        known.map(|known| producers(&spec, lane, known)).transpose()?.unzip();
    let (score_writer, scores) = spec.column::<f32>("score", vectors_max).map_err(wrong)?;
    // Created before this thread is pinned, so that the ticker's thread isn't pinned. The memory is
    // mapped afterwards.
    let no_classes = |error| ServeError::classes(lane.number, &error);
    let mut classes = plan.classes().map_err(no_classes)?;
    let Started { lane: mut running, mut stages, report } =
        spec.start::<Request>().map_err(wrong)?;
    classes.map().map_err(no_classes)?;
    let window = Size(running.stats().pool.window_bytes as u64);
    let missing = || ServeError::Refused("a stage of the lane is missing".to_owned());
    let first_row = inputs.sink.next_sequence();
    let validate = validator(
        plan.options.score,
        plan.limits,
        first_row,
        producers,
        verdict_writer,
        result_writer,
    );
    let score = scorer(plan.options.score, score_writer);
    let scores = plan.options.score.column(results, scores);
    let is_inline = plan.options.stages == super::options::StagesWord::Inline;
    let stage = stages.remove("validate").ok_or_else(missing)?;
    start_stage(&mut running, stage, is_inline, validate)?;
    let stage = stages.remove("score").ok_or_else(missing)?;
    start_stage(&mut running, stage, is_inline, score)?;
    let (drain, stop_by) = (plan.options.drain, inputs.stop_by);
    let sink = SinkStage::new(inputs.sink, verdicts.clone(), plan.limits, drain, stop_by);
    let counts = sink.counts();
    let sink_done = start_sink(sink, stages.remove("sink").ok_or_else(missing)?, lane)?;
    let end = AnswerStage {
        stage: stages.remove("answer").ok_or_else(missing)?,
        verdicts,
        scores,
        repeats,
        lane: u16::try_from(lane.number).unwrap_or(u16::MAX),
        first_row,
        log: inputs.log,
    };
    let driver = Driver::new(
        running,
        end,
        classes,
        inputs.listeners,
        inputs.seat,
        inputs.stop,
        &plan.driver(),
    );
    let driver =
        driver.map_err(|error| ServeError::io("epoll", &error, "raise the descriptor limit"))?;
    let watch = driver.watch();
    Ok(ReadyLane { driver, sink_done, counts, report, watch, window })
}

/// What validate knows of producers, and the column by which answers find the rows of repeats.
fn producers(
    spec: &LaneSpec,
    lane: &LanePlan,
    (table, progress): (ProducerTable, LogProgress),
) -> Result<(LaneProducers, ColumnReader<RepeatRow>), ServeError> {
    let column = spec.column::<RepeatRow>("validate", 1);
    let (writer, reader) = column.map_err(|error| ServeError::lane(lane.number, error))?;
    Ok((LaneProducers::new(lane.number, table, progress, writer), reader))
}

/// Starts a stage on the lane's thread, or on one of its own.
fn start_stage(
    lane: &mut Lane<Request>,
    stage: Stage<Request>,
    is_inline: bool,
    handler: impl FnMut(View<'_, Request>) -> Outcome + Send + 'static,
) -> Result<(), ServeError> {
    if is_inline {
        let refused =
            |error: WrongPlacement<Stage<Request>>| ServeError::Refused(error.to_string());
        return lane.attach(stage, handler).map_err(refused);
    }
    let refused = |error: SpawnError<Request>| {
        let fix = if matches!(error, SpawnError::Os { .. }) { THREAD_FIX } else { "" };
        ServeError::Refused(format!("{error}; {fix}"))
    };
    // The thread ends by itself when the lane is closed.
    stage.spawn(handler).map(drop).map_err(refused)
}

/// Starts the thread of a lane's sink, which sends its report when it ends.
fn start_sink(
    sink: SinkStage,
    stage: Stage<Request>,
    lane: &LanePlan,
) -> Result<Receiver<SinkReport>, ServeError> {
    let (done, sink_done) = sync_channel(1);
    let cpu = lane.sink_cpu;
    thread::Builder::new()
        .name(format!("sink-{}", lane.number))
        .spawn(move || drop(done.send(sink.run(stage, cpu))))
        .map_err(|error| ServeError::io("a sink's thread", &error, THREAD_FIX))?;
    Ok(sink_done)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use clap::{Args, FromArgMatches};

    use super::*;
    use crate::log::{FeedError, LogRows};
    use crate::server::ServeOptions;

    #[test]
    fn a_lane_that_panics_is_reported() {
        let reports = Arc::new(AtomicU64::new(0));
        let on_end = OnEnd(Arc::new({
            let reports = Arc::clone(&reports);
            move || {
                reports.fetch_add(1, Ordering::Relaxed);
            }
        }));
        let thread = thread::spawn(move || {
            let _on_end = on_end;
            panic!("made up");
        });
        assert!(thread.join().is_err());
        assert_eq!(reports.load(Ordering::Relaxed), 1);
    }

    #[derive(Debug)]
    struct Panics;

    impl Sink for Panics {
        fn append(&mut self, _: &LogRows<'_>, _: bool) -> Result<(), FeedError> {
            Ok(())
        }

        fn next_sequence(&self) -> u64 {
            0
        }

        fn close(&mut self, _: Instant) -> Result<(), String> {
            panic!("made up")
        }

        fn counts(&self) -> SinkCounts {
            SinkCounts::Rows(Arc::default())
        }
    }

    #[test]
    fn a_sink_that_panics_has_failed_and_isnt_late() {
        let words = "serve --dim 4 --sink null --pool 1MiB --slots 256 --pages 4k --wait park";
        let command = ServeOptions::augment_args(clap::Command::new("serve"));
        let matches = command.try_get_matches_from(words.split(' ')).unwrap();
        let plan = ServePlan::new(&ServeOptions::from_arg_matches(&matches).unwrap()).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let inputs = LaneInputs {
            listeners: Vec::new(),
            seat: plan.lobby().unwrap().seat(0),
            sink: Box::new(Panics),
            known: None,
            log: None,
            stop: Arc::clone(&stop),
            stop_by: Arc::default(),
            on_end: Arc::new(|| ()),
        };
        let lane = LaneThread::start(&plan, &plan.lanes[0], inputs).unwrap();
        stop.store(true, Ordering::Release);
        lane.wake();
        let end = lane.join();
        assert_eq!(
            (end.late, end.sink.error.as_deref()),
            (Vec::new(), Some("the sink's thread panicked"))
        );
    }
}
