//! One connection of a load: keeps its requests in flight, and checks their answers in order.
//!
//! ```text
//! schedule ─▶ out (many requests, one write) ─▶ socket ─▶ answers, each to in_flight.front()
//! ```
//! To end, it closes its sending half. It is done when the server has answered everything and has
//! closed the connection too.

use std::collections::VecDeque;
use std::io;

use mio::event::Event;
use mio::{Registry, Token};

use super::error::{ConnectionError, LoadError, refusal_label};
use super::options::VectorRange;
use super::plan::{LoadPlan, LoadRequest, NextRequest};
use super::report::Tally;
use super::schedule::{NextSend, Schedule};
use crate::client::{CheckedAnswer, ClientConnection};
use crate::vectors::Draw;
use crate::wire::frames::Status;

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoadPhase {
    Sending,
    /// Everything is sent and the sending half closed.
    Ending,
    Done,
}

/// A connection's state. Its memory is bounded by `LoadOptions::check`.
#[derive(Debug)]
pub(super) struct LoadConnection {
    index: u32,
    connection: ClientConnection,
    phase: LoadPhase,
    schedule: Schedule,
    draw: Draw,
    /// First row of the next request.
    row_next: usize,
    /// Vectors of the next request, and of all before it.
    vectors_next: u32,
    sent_vectors: u64,
    in_flight: VecDeque<LoadRequest>,
    in_flight_max: usize,
    /// Requests to write. The first `out_at` bytes are written.
    out: Vec<u8>,
    out_at: usize,
    readable: bool,
    writable: bool,
    /// The server has closed its sending half, so a short read needn't be the last one.
    peer_closed: bool,
    /// Number of requests answered, and so the number of the oldest one in flight.
    answered: u64,
    /// When bytes were sent or received last.
    progress_ns: u64,
    refusal: Option<&'static str>,
}

impl LoadConnection {
    pub(super) fn new(plan: &LoadPlan, index: u32, connection: ClientConnection) -> LoadConnection {
        let options = &plan.options;
        // A server in header mode says how many it takes before it refuses as busy.
        let in_flight_max = options.in_flight.min(connection.in_flight_max()) as usize;
        let mut draw = Draw::new(options.seed ^ (u64::from(index) + 1).rotate_left(32));
        LoadConnection {
            index,
            connection,
            phase: LoadPhase::Sending,
            schedule: Schedule::new(options, index, plan.ids),
            vectors_next: vectors(&mut draw, options.vectors),
            sent_vectors: 0,
            draw,
            row_next: plan.row_first(index),
            in_flight: VecDeque::with_capacity(in_flight_max),
            in_flight_max,
            out: Vec::with_capacity(options.out_bytes(plan.ids)),
            out_at: 0,
            readable: false,
            writable: true,
            peer_closed: false,
            answered: 0,
            progress_ns: 0,
            refusal: None,
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.connection.register(registry, token)
    }

    /// Records an event. An edge comes only once, so readiness holds until the socket says "would
    /// block".
    pub(super) fn note(&mut self, event: &Event) {
        self.peer_closed |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.peer_closed;
        self.writable |= event.is_writable() || event.is_error();
    }

    pub(super) fn is_done(&self) -> bool {
        self.phase == LoadPhase::Done
    }

    pub(super) fn missed(&self) -> u64 {
        self.schedule.missed()
    }

    /// When this connection wants to send next, without other events; None while it has all of
    /// its requests in flight, or while its socket is full.
    pub(super) fn due_ns(&self, now_ns: u64) -> Option<u64> {
        if self.phase != LoadPhase::Sending || self.in_flight.len() >= self.in_flight_max {
            return None;
        }
        match self.schedule.next(now_ns) {
            NextSend::At(at_ns) => Some(at_ns),
            // The time has come since the last call. With unsent bytes, the socket's next edge
            // continues instead.
            NextSend::Now(at_ns) => self.out.is_empty().then_some(at_ns),
            NextSend::Over => None,
        }
    }

    /// An error if the connection waits and nothing has moved for the whole timeout.
    pub(super) fn check_stall(&self, plan: &LoadPlan, now_ns: u64) -> Result<(), LoadError> {
        let timeout = plan.options.timeout;
        let waits = self.phase == LoadPhase::Ending
            || (self.phase == LoadPhase::Sending && !self.in_flight.is_empty());
        if waits && now_ns.saturating_sub(self.progress_ns) > timeout.as_nanos() as u64 {
            let unanswered = self.in_flight.len() as u64;
            return Err(self.with_position(ConnectionError::Stalled { timeout, unanswered }));
        }
        Ok(())
    }

    /// Does everything that the socket, `--in-flight` and the schedule allow now.
    pub(super) fn drive(&mut self, plan: &LoadPlan, tally: &mut Tally) -> Result<(), LoadError> {
        self.try_drive(plan, tally).map_err(|error| self.with_position(error))
    }

    /// After a failure: counts the answers that have arrived. What is wrong with one of them
    /// changes nothing any more.
    pub(super) fn count_arrived(&mut self, plan: &LoadPlan, tally: &mut Tally) {
        if self.phase != LoadPhase::Done {
            self.readable = true;
            let _failed_already = self.read(plan, tally);
        }
    }

    fn with_position(&self, error: ConnectionError) -> LoadError {
        LoadError::Connection { connection: self.index, request: self.answered, error }
    }

    fn try_drive(&mut self, plan: &LoadPlan, tally: &mut Tally) -> Result<(), ConnectionError> {
        self.read(plan, tally)?;
        while self.phase == LoadPhase::Sending {
            let now_ns = plan.now_ns();
            self.fill(plan, tally, now_ns);
            if self.out.is_empty() {
                if self.schedule.next(now_ns) == NextSend::Over {
                    self.connection.shutdown_write().map_err(|error| self.closed(Some(error)))?;
                    self.phase = LoadPhase::Ending;
                    self.progress_ns = now_ns;
                }
                break;
            }
            self.write(plan, tally)?;
            if !self.out.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Gathers requests while `--in-flight` and the buffer have room and the schedule allows it.
    fn fill(&mut self, plan: &LoadPlan, tally: &mut Tally, now_ns: u64) {
        let options = &plan.options;
        while self.in_flight.len() < self.in_flight_max {
            let NextSend::Now(intended_ns) = self.schedule.next(now_ns) else { break };
            let count = self.vectors_next;
            let request_bytes = plan.request_bytes(count);
            if self.out.len() + request_bytes > options.out_bytes(plan.ids) {
                break;
            }
            if self.in_flight.is_empty() {
                // The wait for an answer starts here, however long the connection was idle.
                self.progress_ns = now_ns;
            }
            let next = NextRequest {
                connection: self.index,
                sequence: self.answered + self.in_flight.len() as u64 + 1,
                row: self.row_next,
                vectors: count,
                sent_vectors: self.sent_vectors,
            };
            plan.append_request(&next, &mut self.out);
            self.connection.note_sent(next.sequence);
            self.sent_vectors += u64::from(count);
            let sum = plan.sum(self.row_next, count);
            tally.sent.add(count, request_bytes, sum);
            tally.last_sent_ns = now_ns;
            let measured = self.schedule.is_measured(intended_ns);
            self.in_flight.push_back(LoadRequest {
                row: self.row_next as u32,
                vectors: count,
                intended_ns,
                measured,
            });
            self.schedule.count_sent(request_bytes as u64);
            self.row_next = (self.row_next + count as usize) % plan.rows.count();
            self.vectors_next = vectors(&mut self.draw, options.vectors);
        }
    }

    fn write(&mut self, plan: &LoadPlan, tally: &mut Tally) -> Result<(), ConnectionError> {
        while self.writable && self.out_at < self.out.len() {
            match self.connection.write(&self.out[self.out_at..]) {
                Ok(written) => {
                    self.out_at += written;
                    self.progress_ns = plan.now_ns();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // The server may have given a reason before it closed.
                    self.readable = true;
                    self.peer_closed = true;
                    self.read(plan, tally)?;
                    return Err(self.closed(Some(error)));
                }
            }
        }
        if self.out_at == self.out.len() {
            self.out.clear();
            self.out_at = 0;
        }
        Ok(())
    }

    fn read(&mut self, plan: &LoadPlan, tally: &mut Tally) -> Result<(), ConnectionError> {
        while self.readable {
            match self.connection.receive() {
                Ok(received) if received.bytes == 0 => {
                    self.readable = false;
                    if self.phase != LoadPhase::Ending || !self.in_flight.is_empty() {
                        return Err(self.closed(None));
                    }
                    self.phase = LoadPhase::Done;
                }
                Ok(received) => {
                    // A read that doesn't fill the input has emptied the socket, and bytes that
                    // come later make a new edge.
                    self.readable = received.is_full || self.peer_closed;
                    self.process_answers(plan, tally)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.closed(Some(error))),
            }
        }
        Ok(())
    }

    /// Checks and counts every complete answer that was received.
    fn process_answers(
        &mut self,
        plan: &LoadPlan,
        tally: &mut Tally,
    ) -> Result<(), ConnectionError> {
        let now_ns = plan.now_ns();
        self.progress_ns = now_ns;
        tally.last_answer_ns = now_ns;
        while self.connection.unprocessed_bytes() > 0 {
            let Some(request) = self.in_flight.front().copied() else {
                if !self.connection.take_watermarks()? {
                    break;
                }
                return Err(ConnectionError::Extra { bytes: self.connection.unprocessed_bytes() });
            };
            match self.connection.next_answer(&plan.expected(&request, self.answered + 1))? {
                Some(answer) => self.count_answer(plan, tally, &request, &answer, now_ns)?,
                None => break,
            }
        }
        Ok(())
    }

    fn count_answer(
        &mut self,
        plan: &LoadPlan,
        tally: &mut Tally,
        request: &LoadRequest,
        answer: &CheckedAnswer,
        now_ns: u64,
    ) -> Result<(), ConnectionError> {
        let head = &answer.head;
        if head.status != Some(Status::Ok) && plan.lacks_ids(request, head.status) {
            return Err(ConnectionError::IdsMissing { mode: plan.options.mode });
        }
        if plan.options.verify {
            let scores = self.connection.scores(answer);
            tally.vectors_verified += plan.check_scores(request, head, scores)?;
        }
        let request_bytes = plan.request_bytes(request.vectors);
        if head.status == Some(Status::Ok) {
            let sum = plan.sum(request.row as usize, request.vectors);
            tally.accepted.add(request.vectors, request_bytes, sum);
            if request.measured {
                tally.measured.add(request.vectors, request_bytes, sum);
            }
        } else {
            tally.refusals.add(head.status);
            tally.rejected += u64::from(plan.is_rejection(request, head.status));
            self.refusal = Some(refusal_label(head.status));
        }
        if request.measured {
            tally.latency_ns.saturating_record(now_ns.saturating_sub(request.intended_ns));
        }
        tally.answer_bytes += head.bytes_total as u64;
        self.in_flight.pop_front();
        self.answered += 1;
        Ok(())
    }

    fn closed(&self, cause: Option<io::Error>) -> ConnectionError {
        let unanswered = self.in_flight.len() as u64;
        ConnectionError::Closed {
            answered: self.answered,
            unanswered,
            refusal: self.refusal,
            cause,
        }
    }
}

fn vectors(draw: &mut Draw, range: VectorRange) -> u32 {
    if range.least == range.most { range.least } else { draw.between(range.least, range.most) }
}
