//! Answers: the answering stage, and the outputs that it fills.
//!
//! The answering stage comes after every stage that can change an outcome, and emits one answer per
//! slot, in sequence order. The IO thread polls it here, and the reclaimer comes after it: a slot
//! isn't reused before its answer is encoded. So encoding can't fail for lack of room in the ring,
//! and no queue is needed in between.

use std::ops::Range;

use slipring::class::PooledBuf;
use slipring::pipeline::{ColumnReader, Outcome, Polled, Stage, View};

use super::acks::{AnswerRows, LaneAcks};
use super::buffers::{IoBuffers, drop_front};
use super::conn::{Conn, ConnCaps, ConnTable, Moved, note_answered};
use super::counters::{Counter, Counters};
use super::disk::{DiskCall, LaneDisk};
use super::duty::IoMeters;
use crate::log::LogProgress;
use crate::stage::{ConnId, RepeatRow, Request, Verdict, repeat_row};
use crate::wire::frames::{
    AckLevel, Answer, HelloAnswer, Mode, Reply, Status, answer_bytes, hello_answer, write_answer,
    write_count_answer,
};

/// The most answers encoded in one round.
const ANSWERS_MAX: usize = 1024;

/// The stage that answers, and the columns it reads.
pub struct AnswerStage {
    /// The inline stage of the last layer.
    pub stage: Stage<Request>,
    /// What validate wrote.
    pub verdicts: ColumnReader<Verdict>,
    /// Where the scores are: see [`Score`](crate::stage::Score).
    pub scores: ColumnReader<f32>,
    /// Where the rows of repeated requests are, if the lane knows producers.
    pub repeats: Option<ColumnReader<RepeatRow>>,
    /// The lane's number, which answers carry.
    pub lane: u16,
    /// The sequence that the lane's next accepted vector gets.
    pub first_row: u64,
    /// The lane's log, and the call that its committer makes, if its rows are stored.
    pub log: Option<(LogProgress, DiskCall)>,
}

/// The answering side of a lane's connections.
#[derive(Debug)]
pub(super) struct Answers {
    /// None once the stream has ended or the stage has failed.
    stage: Option<Stage<Request>>,
    encoder: Encoder,
}

/// What the answering stage reads and writes.
#[derive(Debug)]
struct Encoder {
    verdicts: ColumnReader<Verdict>,
    scores: ColumnReader<f32>,
    repeats: Option<Repeats>,
    /// The sequence that the next accepted vector has: this stage sees every slot, in order.
    next_row: u64,
    caps: ConnCaps,
    /// None without a log: then nothing is stored.
    acks: Option<LaneAcks>,
    /// Without a log, and so without repeats.
    is_plain: bool,
    /// The answer to an accepted hello.
    hello: HelloAnswer,
    /// Connections with something to send.
    send_list: Vec<ConnId>,
}

/// What sending to a connection came to.
pub(super) enum SendStep {
    /// Nothing moved.
    Idle,
    /// Bytes moved, as many as the socket accepts now.
    Moved,
    /// The connection is gone.
    Gone,
}

impl Answers {
    pub(super) fn new(end: AnswerStage, caps: ConnCaps) -> Self {
        let AnswerStage { stage, verdicts, scores, repeats, lane, first_row, log } = end;
        let acks = log.map(|(progress, call)| LaneAcks::new(LaneDisk::new(progress, call), lane));
        let (limits, in_flight_max) = (caps.limits, caps.credits(0));
        let hello = HelloAnswer {
            status: Status::Ok,
            limits,
            lane,
            in_flight_max,
            ack: AckLevel::Received,
        };
        let send_list = Vec::new();
        let repeats = repeats.map(|column| Repeats { column, first_row, lane });
        let is_plain = acks.is_none() && repeats.is_none();
        let encoder = Encoder {
            verdicts,
            scores,
            repeats,
            next_row: first_row,
            caps,
            acks,
            is_plain,
            hello,
            send_list,
        };
        Self { stage: Some(stage), encoder }
    }

    /// Whether the stage has seen the end of the stream, or failed.
    pub(super) fn has_ended(&self) -> bool {
        self.stage.is_none()
    }

    /// Encodes the answers that are decided. Returns whether there were any.
    pub(super) fn encode(
        &mut self,
        table: &mut ConnTable,
        buffers: &mut IoBuffers,
        counters: &mut Counters,
    ) -> bool {
        let Self { stage, encoder } = self;
        let Some(polled) = stage.as_mut().map(|stage| {
            stage.poll(ANSWERS_MAX, |view| encoder.encode(&view, table, buffers, counters))
        }) else {
            return false;
        };
        match polled {
            Ok(Polled::Idle) => false,
            Ok(Polled::Advanced(count) | Polled::Retry(count)) => count > 0,
            // The lane already knows of a failure.
            Ok(Polled::Ended) | Err(_) => {
                *stage = None;
                false
            }
        }
    }

    /// Releases the held answers whose rows the disk has, or has lost, and writes the watermarks
    /// that are due. `memory_wanted`: connections wait for the memory of answers. Returns whether
    /// answers were released.
    #[inline]
    pub(super) fn release(
        &mut self,
        table: &mut ConnTable,
        buffers: &mut IoBuffers,
        counters: &mut Counters,
        memory_wanted: bool,
    ) -> bool {
        let Encoder { acks, send_list, caps, .. } = &mut self.encoder;
        let Some(acks) = acks else { return false };
        let has_released = acks.release(table, counters, |conn| list(send_list, conn));
        if acks.has_due() {
            let given = (caps.credits(0), memory_wanted);
            acks.write_watermarks(table, buffers, given, |conn| list(send_list, conn));
        }
        has_released
    }

    /// What waits for the lane's disk, if it has one.
    pub(super) fn acks(&mut self) -> Option<&mut LaneAcks> {
        self.encoder.acks.as_mut()
    }

    /// A connection with something to send.
    pub(super) fn next_to_send(&mut self) -> Option<ConnId> {
        self.encoder.send_list.pop()
    }

    /// A connection's socket accepts bytes again.
    pub(super) fn note_writable(&mut self, conn: &mut Conn) {
        if !conn.writable {
            conn.writable = true;
            if conn.sendable_bytes() > 0 {
                list(&mut self.encoder.send_list, conn);
            }
        }
    }

    /// Sends a connection's encoded answers, as far as its socket accepts them.
    pub(super) fn send(&mut self, conn: &mut Conn, meters: &mut IoMeters) -> SendStep {
        conn.in_send_list = false;
        let mut step = SendStep::Idle;
        while conn.writable && conn.sendable_bytes() > 0 {
            match conn.send() {
                Moved::Bytes(_) => {
                    meters.counters.add(Counter::Sends, 1);
                    step = SendStep::Moved;
                }
                Moved::NotNow => {}
                Moved::End | Moved::Gone => return SendStep::Gone,
            }
        }
        if conn.out.is_some() && conn.sendable_bytes() == 0 {
            meters.duty.sent(conn.unsent.take_runs());
            if conn.held.bytes == 0 {
                (conn.out, conn.out_sent) = (None, 0);
                self.encoder.acks.iter_mut().for_each(|acks| acks.note_sent(conn));
            }
        }
        step
    }
}

impl Encoder {
    #[inline]
    fn encode(
        &mut self,
        view: &View<'_, Request>,
        table: &mut ConnTable,
        buffers: &mut IoBuffers,
        counters: &mut Counters,
    ) -> Outcome {
        let request = view.meta();
        let Some(conn) = table.get_mut(request.conn) else { return self.orphan(view, counters) };
        if conn.out.is_none() {
            conn.out = buffers.output();
        }
        // Without memory the answer waits, and with it the slot. The ring fills up, and nothing
        // more is read.
        let Some(out) = conn.out.as_mut() else { return Outcome::Retry };
        let verdict = self.verdict(view);
        if !self.is_plain || request.reply == Reply::Hello {
            return self.encode_logged(view, conn, verdict, counters);
        }
        let vectors = accepted(verdict.status, request);
        let Ok((first_row, detail)) = self.number(verdict.number, vectors) else {
            return self.miscounted(verdict);
        };
        note_answered(request.status, &mut conn.in_flight, &mut conn.small_in_flight);
        let place = Place { out, sent: &mut conn.out_sent, in_flight: conn.in_flight };
        let words = Words { vectors, lane: self.hello.lane, first_row, detail, stored_through: 0 };
        self.write(view, place, verdict.status, words);
        conn.unsent.add(request.received_ns, 1);
        list(&mut self.send_list, conn);
        counters.add_answer(verdict.status);
        counters.add(Counter::VectorsAnswered, u64::from(vectors));
        Outcome::Done
    }

    /// Encodes an answer behind the others of its connection, and returns its bytes.
    #[inline(always)]
    fn write(
        &self,
        view: &View<'_, Request>,
        place: Place<'_>,
        status: Status,
        words: Words,
    ) -> usize {
        let request = view.meta();
        let scores = scores(&self.scores, view, status);
        let bytes = answer_bytes(request.mode, scores.len());
        let Place { out, sent, in_flight } = place;
        if out.len() + bytes > self.caps.output_bytes {
            // Sending makes room; the caps leave enough for everything owed.
            drop_front(out, *sent);
            *sent = 0;
        }
        let at = out.len();
        let Ok(()) = out.set_len(at + bytes) else { unreachable!("the caps bound what is owed") };
        match request.mode {
            Mode::Count => write_count_answer(scores, &mut out[at..]),
            Mode::Header1 | Mode::Header => {
                let Words { vectors, lane, first_row, detail, stored_through } = words;
                let (sequence, credits) = (request.sequence, self.caps.credits(in_flight));
                let answer = Answer {
                    status,
                    vectors,
                    sequence,
                    credits,
                    lane,
                    detail,
                    first_row,
                    stored_through,
                    scores,
                };
                write_answer(request.mode, &answer, &mut out[at..]);
            }
        }
        bytes
    }

    /// The answer to a hello, or one of a lane with a log: it says what is stored, and may be held.
    #[inline(never)]
    fn encode_logged(
        &mut self,
        view: &View<'_, Request>,
        conn: &mut Conn,
        verdict: Verdict,
        counters: &mut Counters,
    ) -> Outcome {
        let request = view.meta();
        let vectors = accepted(verdict.status, request);
        let new_vectors = if verdict.is_repeat { 0 } else { vectors };
        let Ok((first_row, detail)) = self.number(verdict.number, new_vectors) else {
            return self.miscounted(verdict);
        };
        if request.reply == Reply::Hello {
            self.answer_hello(conn, request, verdict.status);
            count(verdict, vectors, counters);
            return Outcome::Done;
        }
        let (lane, first_row, rows) = match &self.repeats {
            Some(repeats) if verdict.is_repeat => repeats.of(view),
            _ => (self.hello.lane, first_row, first_row..first_row + u64::from(vectors)),
        };
        let rows = AnswerRows { rows, vectors, is_repeat: verdict.is_repeat };
        let stored_through = match &mut self.acks {
            Some(acks) if request.mode == Mode::Header => acks.stored_through(conn, request, &rows),
            _ => 0,
        };
        note_answered(request.status, &mut conn.in_flight, &mut conn.small_in_flight);
        let in_flight = conn.in_flight;
        let Some(out) = &mut conn.out else { unreachable!("it has an output") };
        let place = Place { out, sent: &mut conn.out_sent, in_flight };
        let words = Words { vectors, lane, first_row, detail, stored_through };
        let bytes = self.write(view, place, verdict.status, words);
        let is_held = match &mut self.acks {
            Some(acks) => acks.hold(conn, request, &rows, bytes),
            None => false,
        };
        if !is_held {
            conn.unsent.add(request.received_ns, 1);
            list(&mut self.send_list, conn);
        }
        // What becomes of a held one is known when it is released.
        if !is_held || vectors == 0 {
            count(verdict, vectors, counters);
        }
        Outcome::Done
    }

    /// The answer to a hello: always the connection's first one, so the output has room.
    #[cold]
    fn answer_hello(&mut self, conn: &mut Conn, request: &Request, status: Status) {
        let ack = if status == Status::Ok { request.ack } else { AckLevel::Received };
        let answer = hello_answer(&HelloAnswer { status, ack, ..self.hello });
        if conn.out.as_mut().is_none_or(|out| out.extend_from_slice(&answer).is_err()) {
            unreachable!("the caps leave room for it");
        }
        conn.small_in_flight -= 1;
        conn.unsent.add(request.received_ns, 1);
        list(&mut self.send_list, conn);
    }

    /// An answer whose connection is gone.
    #[cold]
    fn orphan(&mut self, view: &View<'_, Request>, counters: &mut Counters) -> Outcome {
        let verdict = self.verdict(view);
        let vectors = accepted(verdict.status, view.meta());
        count(verdict, vectors, counters);
        let new_vectors = if verdict.is_repeat { 0 } else { vectors };
        if self.number(verdict.number, new_vectors).is_err() {
            return self.miscounted(verdict);
        }
        counters.add(Counter::Orphans, 1);
        Outcome::Done
    }

    /// The first row of an accepted request, or what its refusal says besides its status. The rows
    /// go on behind it. An error: validate has counted other rows.
    #[inline(always)]
    fn number(&mut self, number: u32, new_vectors: u32) -> Result<(u64, u32), ()> {
        if new_vectors == 0 {
            return Ok((0, number));
        }
        let first_row = self.next_row;
        self.next_row += u64::from(new_vectors);
        if number == first_row as u32 { Ok((first_row, 0)) } else { Err(()) }
    }

    #[cold]
    fn miscounted(&self, verdict: Verdict) -> Outcome {
        Outcome::Fail(format!(
            "the answers: validate counted row {} modulo 2^32, and they are at row {}",
            verdict.number, self.next_row
        ))
    }

    /// What the stages have decided.
    #[inline(always)]
    fn verdict(&self, view: &View<'_, Request>) -> Verdict {
        self.verdicts.row(view).map_or_else(|_| Verdict::default(), |row| row[0])
    }
}

/// The scores that the answer says.
#[inline(always)]
fn scores<'v>(
    column: &'v ColumnReader<f32>,
    view: &'v View<'_, Request>,
    status: Status,
) -> &'v [f32] {
    let request = view.meta();
    match column.row(view) {
        Ok(row) if status == Status::Ok && request.reply == Reply::Scores => {
            &row[..request.vectors as usize]
        }
        _ => &[],
    }
}

/// Where an answer goes: behind the others of its connection.
struct Place<'c> {
    out: &'c mut PooledBuf,
    /// Bytes of it that are sent.
    sent: &'c mut usize,
    /// Requests that the connection has in flight without this one.
    in_flight: u32,
}

/// What an answer says besides its status and the scores.
struct Words {
    vectors: u32,
    lane: u16,
    first_row: u64,
    detail: u32,
    stored_through: u64,
}

/// Puts a connection into the list of those with something to send.
#[inline]
fn list(send_list: &mut Vec<ConnId>, conn: &mut Conn) {
    if !conn.in_send_list {
        conn.in_send_list = true;
        send_list.push(conn.id);
    }
}

/// The number of vectors that an answer accepts.
#[inline(always)]
fn accepted(status: Status, request: &Request) -> u32 {
    if status == Status::Ok { request.vectors } else { 0 }
}

/// Counts an answer.
#[inline]
fn count(verdict: Verdict, vectors: u32, counters: &mut Counters) {
    counters.add_answer(verdict.status);
    if verdict.is_repeat {
        counters.add(Counter::Repeats, 1);
    } else {
        counters.add(Counter::VectorsAnswered, u64::from(vectors));
    }
}

/// Where the rows of repeated requests are.
#[derive(Debug)]
struct Repeats {
    column: ColumnReader<RepeatRow>,
    /// The first row of this start. What is before it, or in another lane, is on the disk.
    first_row: u64,
    lane: u16,
}

impl Repeats {
    /// The lane and the first row of a repeated request: those of the request that it repeats; and
    /// its rows, as far as they may not be on the disk yet.
    #[cold]
    fn of(&self, view: &View<'_, Request>) -> (u16, u64, Range<u64>) {
        let [lane, row] = repeat_row(&self.column, view);
        let lane = u16::try_from(lane).unwrap_or(u16::MAX);
        let is_of_now = lane == self.lane && row >= self.first_row;
        let rows = if is_of_now { row..row + u64::from(view.meta().vectors) } else { 0..0 };
        (lane, row, rows)
    }
}
