//! The sink stage: passes a lane's accepted vectors to its sink, on its own thread.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use slipring::machine::{PinPolicy, pin_current, unpin_current};
use slipring::pipeline::{ColumnReader, Outcome, Stage, StageError, View};

use super::producers::{ConnProducers, is_hello};
use super::request::{Request, Verdict};
use crate::log::{FeedError, LogRows, RequestMark, RowTimes};
use crate::sink::{Sink, SinkCounts, SinkTotals};
use crate::wire::frames::{AckLevel, Limits, Reply, Status};

/// A sink, and the state of the attempts to append to it.
pub struct SinkStage {
    sink: Box<dyn Sink>,
    verdicts: ColumnReader<Verdict>,
    limits: Limits,
    /// The lower half of the sequence that the next row gets.
    next_row: u32,
    producers: ConnProducers,
    close_time: Duration,
    stop_by: Arc<OnceLock<Instant>>,
    retries: u64,
}

/// How the sink of a lane ended.
#[derive(Clone, Debug, Default)]
pub struct SinkReport {
    /// What is in sealed segments.
    pub totals: SinkTotals,
    /// Times that the sink refused and was asked again.
    pub retries: u64,
    /// Why the stage ended before the lane was closed, or why not everything is sealed.
    pub error: Option<String>,
}

impl SinkStage {
    /// Passes the vectors that validate accepted to `sink`. After the last event the sink has until
    /// `stop_by` to complete everything, or `close_time` if the lane ends without a stop.
    #[must_use]
    pub fn new(
        sink: Box<dyn Sink>,
        verdicts: ColumnReader<Verdict>,
        limits: Limits,
        close_time: Duration,
        stop_by: Arc<OnceLock<Instant>>,
    ) -> Self {
        let next_row = sink.next_sequence() as u32;
        let producers = ConnProducers::default();
        Self { sink, verdicts, limits, next_row, producers, close_time, stop_by, retries: 0 }
    }

    /// What the sink has completed, for the lane if it stops waiting for this thread.
    #[must_use]
    pub fn counts(&self) -> SinkCounts {
        self.sink.counts()
    }

    /// Processes all events on the calling thread until the lane is closed, then closes the sink.
    pub fn run(mut self, stage: Stage<Request>, cpu: Option<usize>) -> SinkReport {
        match cpu {
            // An unavailable CPU has been reported when the lane was started.
            Some(cpu) => drop(pin_current(cpu, PinPolicy::Prefer)),
            None => drop(unpin_current()),
        }
        let ended = stage.run(|view| self.append(&view));
        let stop_by = self.stop_by.get().copied();
        let closed = self.sink.close(stop_by.unwrap_or_else(|| Instant::now() + self.close_time));
        let error = ended.error.as_ref().map(StageError::to_string).or(closed.err());
        SinkReport { totals: self.sink.counts().totals(), retries: self.retries, error }
    }

    fn append(&mut self, view: &View<'_, Request>) -> Outcome {
        let request = view.meta();
        let verdict = match self.verdicts.row(view) {
            Ok(row) => row[0],
            Err(error) => return Outcome::Fail(format!("the sink's column: {error}")),
        };
        if verdict.status != Status::Ok || request.reply == Reply::Hello || verdict.is_repeat {
            if is_hello(request) {
                self.producers.note_hello(request);
            }
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
        // The parser cuts payloads at whole vectors.
        let id_bytes = self.limits.id_bytes(request.vectors);
        let Some((ids, vectors)) = view.bytes().split_at_checked(id_bytes) else {
            return Outcome::Fail("the sink: a payload ends within its ids".to_owned());
        };
        let sequence = request.sequence;
        let producer = self.producers.of(request);
        let mark = producer.map(|producer| RequestMark { producer, sequence });
        let rows = LogRows { vectors, ids, times: RowTimes::One(request.time_us), mark };
        match self.sink.append(&rows, request.ack == AckLevel::Stored) {
            Ok(()) => {
                self.next_row = self.next_row.wrapping_add(request.vectors);
                Outcome::Done
            }
            Err(FeedError::Full) => {
                self.retries += 1;
                Outcome::Retry
            }
            Err(error) => Outcome::Fail(format!("the sink: {error}")),
        }
    }
}
