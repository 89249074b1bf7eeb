//! One connection: fills its window with requests, and checks off answers in order.
//!
//! ```text
//! schedule ─▶ out (many frames, one write) ─▶ socket ─▶ input ─▶ in_flight.front() settled
//! ```
//! To end, it closes its sending half; it is done when the server has answered everything and has
//! closed too.

use std::collections::VecDeque;
use std::io;

use mio::{Registry, Token};

use crate::wire::frames::{AnswerHead, Status, answer_head};

use super::check::{Pending, check_head, check_scores};
use super::draw::Draw;
use super::schedule::{Next, Schedule};
use super::tally::{Tally, label};
use super::target::Stream;
use super::worker::Plan;
use super::{Fault, LoadError, VectorRange};

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Sending,
    /// Everything is sent and the sending half closed.
    Ending,
    Done,
}

/// A connection's state. Its memory is bounded by `LoadOptions::check`.
#[derive(Debug)]
pub(super) struct Connection {
    index: u32,
    stream: Stream,
    phase: Phase,
    schedule: Schedule,
    draw: Draw,
    /// First row and vector count of the next request.
    row_next: usize,
    vectors_next: u32,
    in_flight: VecDeque<Pending>,
    /// Frames not yet written; the first `out_at` bytes are.
    out: Vec<u8>,
    out_at: usize,
    /// Answers not yet processed: the first `input_len` bytes.
    input: Vec<u8>,
    input_len: usize,
    readable: bool,
    writable: bool,
    /// The peer has announced its end, so a short read isn't the last one.
    peer_closed: bool,
    /// Requests answered, which is the number of the oldest one without an answer.
    answered: u64,
    /// When bytes moved last.
    progress_ns: u64,
    refusal: Option<&'static str>,
}

impl Connection {
    pub(super) fn new(plan: &Plan, index: u32, stream: Stream, row_first: usize) -> Connection {
        let options = &plan.options;
        let mut draw = Draw::new(options.seed ^ (u64::from(index) + 1).rotate_left(32));
        Connection {
            index,
            stream,
            phase: Phase::Sending,
            schedule: Schedule::new(options, index),
            vectors_next: vectors(&mut draw, options.vectors),
            draw,
            row_next: row_first,
            in_flight: VecDeque::with_capacity(options.window as usize),
            out: Vec::with_capacity(options.out_bytes()),
            out_at: 0,
            input: vec![0; options.input_bytes()],
            input_len: 0,
            readable: false,
            writable: true,
            peer_closed: false,
            answered: 0,
            progress_ns: 0,
            refusal: None,
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.register(registry, token)
    }

    /// Records an event. Edges come only once, so readiness is kept until the socket says "would
    /// block".
    pub(super) fn note(&mut self, event: &mio::event::Event) {
        self.peer_closed |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.peer_closed;
        self.writable |= event.is_writable() || event.is_error();
    }

    pub(super) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    pub(super) fn missed(&self) -> u64 {
        self.schedule.missed()
    }

    /// When this connection wants to send next, without other events; None while its window or its
    /// socket is full.
    pub(super) fn due_ns(&self, plan: &Plan, now_ns: u64) -> Option<u64> {
        if self.phase != Phase::Sending || self.in_flight.len() >= plan.options.window as usize {
            return None;
        }
        match self.schedule.next(now_ns) {
            Next::At(at_ns) => Some(at_ns),
            // Its time has come since the last look. With unsent bytes the socket's next edge
            // drives it instead.
            Next::Now(at_ns) => self.out.is_empty().then_some(at_ns),
            Next::Over => None,
        }
    }

    /// An error if the connection waits and nothing has moved for the whole timeout.
    pub(super) fn check_stall(&self, plan: &Plan, now_ns: u64) -> Result<(), LoadError> {
        let timeout = plan.options.timeout;
        let waits = self.phase == Phase::Ending
            || (self.phase == Phase::Sending && !self.in_flight.is_empty());
        if waits && now_ns.saturating_sub(self.progress_ns) > timeout.as_nanos() as u64 {
            let unanswered = self.in_flight.len() as u64;
            return Err(self.fault(Fault::Stalled { timeout, unanswered }));
        }
        Ok(())
    }

    /// Does everything that the socket, the window and the schedule allow now.
    pub(super) fn drive(&mut self, plan: &Plan, tally: &mut Tally) -> Result<(), LoadError> {
        self.step(plan, tally).map_err(|fault| self.fault(fault))
    }

    fn fault(&self, fault: Fault) -> LoadError {
        LoadError::Connection { connection: self.index, request: self.answered, fault }
    }

    fn step(&mut self, plan: &Plan, tally: &mut Tally) -> Result<(), Fault> {
        self.read(plan, tally)?;
        while self.phase == Phase::Sending {
            let now_ns = plan.now_ns();
            self.fill(plan, tally, now_ns);
            if self.out.is_empty() {
                if self.schedule.next(now_ns) == Next::Over {
                    self.stream.shutdown_write().map_err(|error| self.closed(Some(error)))?;
                    self.phase = Phase::Ending;
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

    /// Gathers frames while the window and the buffer have room and the schedule allows it.
    fn fill(&mut self, plan: &Plan, tally: &mut Tally, now_ns: u64) {
        let options = &plan.options;
        while self.in_flight.len() < options.window as usize {
            let Next::Now(intended_ns) = self.schedule.next(now_ns) else { break };
            let count = self.vectors_next;
            let frame_bytes = plan.request_bytes(count);
            if self.out.len() + frame_bytes > options.out_bytes() {
                break;
            }
            if self.in_flight.is_empty() {
                // The wait for an answer starts here, however long the connection was idle.
                self.progress_ns = now_ns;
            }
            let request = self.answered + self.in_flight.len() as u64;
            plan.append_request(request, self.row_next, count, &mut self.out);
            let sum = plan.sum(self.row_next, count);
            tally.sent.add(count, frame_bytes, sum);
            let measured = self.schedule.is_measured(intended_ns);
            self.in_flight.push_back(Pending {
                row: self.row_next as u32,
                vectors: count,
                intended_ns,
                measured,
            });
            self.schedule.take(frame_bytes as u64);
            self.row_next = (self.row_next + count as usize) % plan.source.count();
            self.vectors_next = vectors(&mut self.draw, options.vectors);
        }
    }

    fn write(&mut self, plan: &Plan, tally: &mut Tally) -> Result<(), Fault> {
        while self.writable && self.out_at < self.out.len() {
            match self.stream.write(&self.out[self.out_at..]) {
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

    fn read(&mut self, plan: &Plan, tally: &mut Tally) -> Result<(), Fault> {
        while self.readable {
            let room = self.input.len() - self.input_len;
            match self.stream.read(&mut self.input[self.input_len..]) {
                Ok(0) => {
                    self.readable = false;
                    if self.phase != Phase::Ending || !self.in_flight.is_empty() {
                        return Err(self.closed(None));
                    }
                    self.phase = Phase::Done;
                }
                Ok(count) => {
                    self.input_len += count;
                    // A short read has emptied the socket, and whatever comes later makes a new
                    // edge.
                    self.readable = count == room || self.peer_closed;
                    self.settle_all(plan, tally)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.closed(Some(error))),
            }
        }
        Ok(())
    }

    /// Processes every complete answer in the input and keeps the rest, which is less than one
    /// answer.
    fn settle_all(&mut self, plan: &Plan, tally: &mut Tally) -> Result<(), Fault> {
        let now_ns = plan.now_ns();
        self.progress_ns = now_ns;
        tally.last_answer_ns = now_ns;
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        while at < self.input_len {
            let bytes = &input[at..self.input_len];
            let Some(pending) = self.in_flight.front().copied() else {
                return Err(Fault::Extra { bytes: bytes.len() });
            };
            let mode = plan.options.mode;
            let Some(head) = answer_head(mode, bytes)? else { break };
            check_head(mode, &head, pending.vectors, self.answered)?;
            let Some(scores) = bytes.get(mode.header_bytes()..head.bytes_total) else { break };
            self.settle(plan, tally, &pending, &head, scores, now_ns)?;
            at += head.bytes_total;
        }
        self.input = input;
        self.input.copy_within(at..self.input_len, 0);
        self.input_len -= at;
        Ok(())
    }

    fn settle(
        &mut self,
        plan: &Plan,
        tally: &mut Tally,
        pending: &Pending,
        head: &AnswerHead,
        scores: &[u8],
        now_ns: u64,
    ) -> Result<(), Fault> {
        if plan.options.verify {
            tally.vectors_verified += check_scores(&plan.source, head, pending, scores)?;
        }
        let request_bytes = plan.request_bytes(pending.vectors);
        if head.status == Some(Status::Ok) {
            let sum = plan.sum(pending.row as usize, pending.vectors);
            tally.accepted.add(pending.vectors, request_bytes, sum);
            if pending.measured {
                tally.measured.add(pending.vectors, request_bytes, sum);
            }
        } else {
            tally.refusals.add(head.status);
            self.refusal = Some(label(head.status));
        }
        if pending.measured {
            tally.latency_ns.saturating_record(now_ns.saturating_sub(pending.intended_ns));
        }
        tally.answer_bytes += head.bytes_total as u64;
        self.in_flight.pop_front();
        self.answered += 1;
        Ok(())
    }

    fn closed(&self, cause: Option<io::Error>) -> Fault {
        let unanswered = self.in_flight.len() as u64;
        Fault::Closed { answered: self.answered, unanswered, refusal: self.refusal, cause }
    }
}

fn vectors(draw: &mut Draw, range: VectorRange) -> u32 {
    if range.least == range.most { range.least } else { draw.between(range.least, range.most) }
}
