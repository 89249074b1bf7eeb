//! Producers: which of a lane's connections are theirs, and which of their requests are repeats.

use slipring::pipeline::{ColumnReader, ColumnWriter, View};

use super::request::{Request, Verdict};
use crate::log::{KnownRequest, LogProgress, ProducerTable, ProducerVerdict};
use crate::wire::frames::{Mode, Reply, Status};

/// The producers of a lane's connections, as a stage that sees every slot learns them from hellos.
#[derive(Debug, Default)]
pub(super) struct ConnProducers {
    /// By the connection's index; 0 for none. Empty until a hello names one.
    by_index: Vec<u64>,
}

impl ConnProducers {
    /// The producer of a request, if it has one. A connection in header mode has said hello since
    /// it got its index.
    #[inline(always)]
    pub fn of(&self, request: &Request) -> Option<u64> {
        if self.by_index.is_empty() || request.mode != Mode::Header {
            return None;
        }
        self.by_index.get(request.conn.index as usize).copied().filter(|producer| *producer != 0)
    }

    /// Notes the hello of a connection. Its slot has the producer where requests have a sequence.
    #[cold]
    pub fn note_hello(&mut self, hello: &Request) {
        let (index, producer) = (hello.conn.index as usize, hello.sequence);
        if producer != 0 && self.by_index.len() <= index {
            self.by_index.resize(index + 1, 0);
        }
        if let Some(place) = self.by_index.get_mut(index) {
            *place = producer;
        }
    }
}

/// Where the rows of a repeated request are: its lane, and the sequence of its first row there.
pub type RepeatRow = [u64; 2];

/// What a lane's validate knows of producers.
pub struct LaneProducers {
    conns: ConnProducers,
    table: ProducerTable,
    lane: u32,
    progress: LogProgress,
    repeats: ColumnWriter<RepeatRow>,
}

impl LaneProducers {
    /// Of the lane with that number, which knows these requests. What its log has lost may come
    /// again. Where the rows of a repeat are goes into `repeats`, for the answer.
    #[must_use]
    pub fn new(
        lane: u32,
        table: ProducerTable,
        progress: LogProgress,
        repeats: ColumnWriter<RepeatRow>,
    ) -> Self {
        Self { conns: ConnProducers::default(), table, lane, progress, repeats }
    }

    /// Reviews a verdict on a request whose first row would be `row`: a producer's may be one that
    /// was accepted before. An error: the column of repeats.
    #[inline(never)]
    pub(super) fn review(
        &mut self,
        verdict: Verdict,
        row: u64,
        view: &View<'_, Request>,
    ) -> Result<Verdict, String> {
        let request = view.meta();
        let verdict = match self.conns.of(request) {
            Some(producer) if verdict.status == Status::Ok && request.reply != Reply::Hello => {
                self.decide(producer, row, view)?
            }
            _ => verdict,
        };
        if verdict.status != Status::Ok || request.reply == Reply::Hello {
            self.note_other(request);
        }
        Ok(verdict)
    }

    /// Decides about a request that is good in itself.
    #[cold]
    fn decide(
        &mut self,
        producer: u64,
        row: u64,
        view: &View<'_, Request>,
    ) -> Result<Verdict, String> {
        let Request { sequence, vectors: rows, received_ns, .. } = *view.meta();
        let lane = self.lane;
        let asked = KnownRequest { sequence, row, rows, lane };
        let progress = &self.progress;
        let is_lost = |known: &KnownRequest| {
            known.lane == lane && progress.losses() > 0 && progress.is_lost(known.row)
        };
        match self.table.decide(producer, asked, received_ns, is_lost) {
            ProducerVerdict::Fresh => Ok(Verdict { number: row as u32, ..Verdict::of(Status::Ok) }),
            ProducerVerdict::Unknown => Ok(Verdict::of(Status::UnknownProducer)),
            ProducerVerdict::Repeat(known) => match self.repeats.row(view) {
                Ok(place) => {
                    place[0] = [known.lane.into(), known.row];
                    Ok(Verdict { is_repeat: true, ..Verdict::of(Status::Ok) })
                }
                Err(error) => Err(format!("validate's repeats: {error}")),
            },
        }
    }

    /// Notes a hello, or a request that was refused and may come again.
    fn note_other(&mut self, request: &Request) {
        if is_hello(request) {
            self.conns.note_hello(request);
        } else if let Some(producer) = self.conns.of(request)
            && request.reply != Reply::Hello
        {
            self.table.begin(producer, request.sequence, request.received_ns);
        }
    }
}

/// Where the rows of a repeated request are, as validate has found.
#[cold]
pub fn repeat_row(repeats: &ColumnReader<RepeatRow>, view: &View<'_, Request>) -> RepeatRow {
    repeats.row(view).map_or([0; 2], |row| row[0])
}

/// Whether this is the slot of an accepted hello.
#[inline(always)]
pub(super) fn is_hello(request: &Request) -> bool {
    request.reply == Reply::Hello && request.status == Status::Ok
}
