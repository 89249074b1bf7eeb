//! The sink stage: passes a lane's accepted vectors to its sink, on its own thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use slipring::machine::{PinPolicy, pin_current, unpin_current};
use slipring::pipeline::{ColumnReader, Outcome, Stage, StageError, View};

use super::request::{Request, Verdict};
use super::validate::vectors;
use crate::notice;
use crate::sink::{Sink, SinkError, SinkRows, SinkTotals};
use crate::wire::frames::{Limits, Reply, Status};

/// The pause before another attempt to close a sink.
const CLOSE_PAUSE: Duration = Duration::from_millis(100);

/// A sink, and the state of the attempts to append to it.
pub struct SinkStage {
    sink: Box<dyn Sink>,
    verdicts: ColumnReader<Verdict>,
    limits: Limits,
    /// The lower half of the sequence that the next row gets.
    next_row: u32,
    /// Rows in complete segments, for the lane if it stops waiting for this thread.
    in_segments: Arc<AtomicU64>,
    close_time: Duration,
    retries: u64,
    /// The problem last reported.
    complaint: Option<String>,
}

/// How the sink of a lane ended.
#[derive(Clone, Debug, Default)]
pub struct SinkReport {
    /// What is in complete segments.
    pub totals: SinkTotals,
    /// Times that the sink refused and was asked again.
    pub retries: u64,
    /// Why the stage ended before the lane was closed, or why the last segment isn't complete.
    pub error: Option<String>,
}

impl SinkStage {
    /// Passes the vectors that validate accepted to `sink`. After the last event the sink has
    /// `close_time` to complete its last segment.
    #[must_use]
    pub fn new(
        sink: Box<dyn Sink>,
        verdicts: ColumnReader<Verdict>,
        limits: Limits,
        close_time: Duration,
    ) -> Self {
        Self {
            next_row: sink.next_sequence() as u32,
            sink,
            verdicts,
            limits,
            in_segments: Arc::default(),
            close_time,
            retries: 0,
            complaint: None,
        }
    }

    /// Rows in complete segments so far. Any thread may read it while the sink's thread runs.
    #[must_use]
    pub fn rows_in_segments(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.in_segments)
    }

    /// Processes all events on the calling thread until the lane is closed, then completes the last
    /// segment.
    pub fn run(mut self, stage: Stage<Request>, cpu: Option<usize>) -> SinkReport {
        match cpu {
            // An unavailable CPU has been reported when the lane was started.
            Some(cpu) => drop(pin_current(cpu, PinPolicy::Prefer)),
            None => drop(unpin_current()),
        }
        let ended = stage.run(|view| self.append(&view));
        let closed = self.close();
        self.note_rows();
        let failed = ended
            .error
            .as_ref()
            .map(StageError::to_string)
            .or(closed.as_ref().err().map(ToString::to_string));
        let totals = closed
            .unwrap_or(SinkTotals { rows: self.sink.rows_in_segments(), ..SinkTotals::default() });
        SinkReport { totals, retries: self.retries, error: failed }
    }

    fn append(&mut self, view: &View<'_, Request>) -> Outcome {
        let request = view.meta();
        let verdict = match self.verdicts.row(view) {
            Ok(row) => row[0],
            Err(error) => return Outcome::Fail(format!("the sink's column: {error}")),
        };
        if verdict.status != Status::Ok || request.reply == Reply::Hello {
            return Outcome::Done;
        }
        // The client is told the row that validate counted. It must be the one in the segment.
        if verdict.number != self.next_row {
            return Outcome::Fail(format!(
                "the sink: a request was answered as row {} modulo 2^32 and would be stored as row \
                {}",
                verdict.number,
                self.sink.next_sequence()
            ));
        }
        let Some(values) = vectors(view, &self.limits) else {
            return Outcome::Fail("the sink: a payload isn't floats".to_owned());
        };
        let ids = &view.bytes()[..self.limits.id_bytes(request.vectors)];
        match self.sink.append(SinkRows { values, ids, time_us: request.time_us }) {
            Ok(()) => {
                self.next_row = self.next_row.wrapping_add(request.vectors);
                self.note_rows();
                if self.complaint.take().is_some() {
                    notice::info("the sink takes vectors again");
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

    /// Completes the last segment. While the disk is full, this waits for space.
    fn close(&mut self) -> Result<SinkTotals, SinkError> {
        let until = Instant::now() + self.close_time;
        loop {
            match self.sink.close() {
                Err(error) if error.may_retry() && Instant::now() < until => {
                    self.complain(&error);
                    std::thread::sleep(CLOSE_PAUSE);
                }
                done => return done,
            }
        }
    }

    /// Reports a problem once, not at every attempt.
    fn complain(&mut self, error: &SinkError) {
        self.retries += 1;
        let text = error.to_string();
        if self.complaint.as_ref() != Some(&text) {
            notice::warn(format_args!(
                "the sink can't take vectors; it keeps those accepted, and tries again: {text}"
            ));
            self.complaint = Some(text);
        }
    }
}
