//! The stage that feeds a lane's sink, on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use slipring::machine::{PinPolicy, pin_current, unpin_current};
use slipring::pipeline::{ColumnReader, Outcome, Stage, StageError, View};

use super::request::Request;
use crate::notice::try_notice;
use crate::protocol::Status;
use crate::sink::{Sink, SinkError, Totals};

/// The pause before a sink that can't be finished is asked again.
const FINISH_PAUSE: Duration = Duration::from_millis(100);

/// A sink and what was refused on the way to it.
pub struct SinkStage {
    sink: Box<dyn Sink>,
    verdicts: ColumnReader<u8>,
    /// Rows in complete segments, for the code that gives up waiting for this thread.
    in_segments: Arc<AtomicU64>,
    finish_time: Duration,
    retries: u64,
    complaint: Option<String>,
}

/// How the sink of a lane ended.
#[derive(Clone, Debug, Default)]
pub struct SinkReport {
    /// What is in complete segments.
    pub totals: Totals,
    /// Times that the sink couldn't take a request and was asked again.
    pub retries: u64,
    /// Why the stage ended before the stream did, or why the last segment isn't complete.
    pub error: Option<String>,
}

impl SinkStage {
    /// Feeds `sink` with the vectors that validate accepted. After the end of the stream the sink
    /// may take `finish_time` to complete its last segment.
    #[must_use]
    pub fn new(sink: Box<dyn Sink>, verdicts: ColumnReader<u8>, finish_time: Duration) -> Self {
        Self {
            sink,
            verdicts,
            in_segments: Arc::default(),
            finish_time,
            retries: 0,
            complaint: None,
        }
    }

    /// Rows in complete segments so far; readable from any thread while the sink's runs.
    #[must_use]
    pub fn rows_in_segments(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.in_segments)
    }

    /// Runs to the end of the stream on the calling thread, then completes the last segment.
    pub fn run(mut self, stage: Stage<Request>, cpu: Option<usize>) -> SinkReport {
        match cpu {
            // The lane's own check has reported an unavailable CPU.
            Some(cpu) => drop(pin_current(cpu, PinPolicy::Prefer)),
            None => drop(unpin_current()),
        }
        let ended = stage.run(|view| self.take(&view));
        let finished = self.finish();
        self.note_rows();
        let failed = ended
            .error
            .as_ref()
            .map(StageError::to_string)
            .or(finished.as_ref().err().map(ToString::to_string));
        let totals =
            finished.unwrap_or(Totals { rows: self.sink.rows_in_segments(), ..Totals::default() });
        SinkReport { totals, retries: self.retries, error: failed }
    }

    fn take(&mut self, view: &View<'_, Request>) -> Outcome {
        match self.verdicts.row(view) {
            Ok(row) if row[0] == Status::Ok as u8 => {}
            Ok(_) => return Outcome::Done,
            Err(error) => return Outcome::Fail(format!("the sink's column: {error}")),
        }
        let Ok(values) = view.as_f32s() else {
            return Outcome::Fail("the sink: a payload isn't floats".to_owned());
        };
        match self.sink.append(values) {
            Ok(()) => {
                self.note_rows();
                if self.complaint.take().is_some() {
                    try_notice("the sink takes vectors again");
                }
                Outcome::Done
            }
            Err(error) if error.may_retry() => {
                self.complain(&error);
                Outcome::Retry
            }
            Err(error) => Outcome::Fail(format!("the sink: {error}")),
        }
    }

    fn note_rows(&self) {
        self.in_segments.store(self.sink.rows_in_segments(), Ordering::Relaxed);
    }

    /// Completes the last segment. While the disk is full, it waits for space.
    fn finish(&mut self) -> Result<Totals, SinkError> {
        let until = Instant::now() + self.finish_time;
        loop {
            match self.sink.finish() {
                Err(error) if error.may_retry() && Instant::now() < until => {
                    self.complain(&error);
                    std::thread::sleep(FINISH_PAUSE);
                }
                done => return done,
            }
        }
    }

    /// Reports a problem once, not at every try.
    fn complain(&mut self, error: &SinkError) {
        self.retries += 1;
        let text = error.to_string();
        if self.complaint.as_ref() != Some(&text) {
            try_notice(format_args!("the sink can't take vectors, and tries again: {text}"));
            self.complaint = Some(text);
        }
    }
}
