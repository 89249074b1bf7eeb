//! Answers: the answering stage, the outputs that it fills, and sending them.
//!
//! The answering stage comes after every stage that can change an outcome, and emits one answer per
//! slot, in sequence order. The IO thread polls it here, and the reclaimer comes after it: a slot
//! isn't reused before its answer is encoded. So encoding can't fail for lack of room in the ring,
//! and no queue is needed in between.

use slipring::pipeline::{ColumnReader, Outcome, Polled, Stage, View};

use super::classes::{Classes, drop_front};
use super::conn::{Conn, Phase};
use super::counters::{Counter, Counters};
use super::driver::Driver;
use super::stream::Moved;
use super::table::Table;
use crate::stage::{ConnId, Request};
use crate::wire::frames::{Limits, Mode, Status, answer_bytes, write_answer};

/// The most answers encoded in one round.
const ANSWERS_MAX: usize = 1024;

/// The answering stage and what it reads; and the sizes of outputs.
#[derive(Debug)]
pub(super) struct Answers {
    /// None once the stream has ended or the stage has failed.
    stage: Option<Stage<Request>>,
    verdicts: ColumnReader<u8>,
    scores: ColumnReader<f32>,
    output_bytes: usize,
    answer_bytes_max: usize,
    refusal_bytes: usize,
    /// With at most this many bytes in it, an output has room for one more answer and all refusals.
    owed_max: usize,
    in_flight_max: u32,
    /// Connections with something to send.
    pub(super) dirty: Vec<ConnId>,
}

impl Answers {
    /// Up to `in_flight_max` requests of a connection may wait for their answers, and as many
    /// refusals as well. `output_bytes` suffice for all of these and for the last refusal, when
    /// framing is lost.
    pub(super) fn new(
        stage: Stage<Request>,
        verdicts: ColumnReader<u8>,
        scores: ColumnReader<f32>,
        limits: &Limits,
        output_bytes: usize,
        in_flight_max: u32,
    ) -> Self {
        let answer_bytes_max = answer_bytes(Mode::Header, limits.max_vectors as usize);
        let refusal_bytes = answer_bytes(Mode::Header, 0);
        assert!(in_flight_max > 0, "a connection may have a request under way");
        let owed_max =
            output_bytes - (in_flight_max as usize + 1) * refusal_bytes - answer_bytes_max;
        Self {
            stage: Some(stage),
            verdicts,
            scores,
            output_bytes,
            answer_bytes_max,
            refusal_bytes,
            owed_max,
            in_flight_max,
            dirty: Vec::new(),
        }
    }

    /// Whether a connection has as many requests in flight as it may, or its output has no room for
    /// one more answer besides those that are owed.
    #[inline]
    pub(super) fn is_full(&self, conn: &Conn) -> bool {
        conn.in_flight >= self.in_flight_max || self.owed(conn) > self.owed_max
    }

    /// The same for refusals, including the last one.
    pub(super) fn is_full_for_refusals(&self, conn: &Conn) -> bool {
        conn.busy_in_flight >= self.in_flight_max
            || self.owed(conn) + 2 * self.refusal_bytes > self.output_bytes
    }

    /// Whether the stage has seen the end of the stream, or failed.
    pub(super) fn has_ended(&self) -> bool {
        self.stage.is_none()
    }

    fn owed(&self, conn: &Conn) -> usize {
        conn.unsent_bytes()
            + conn.in_flight as usize * self.answer_bytes_max
            + conn.busy_in_flight as usize * self.refusal_bytes
    }

    /// Encodes decided answers and returns their number.
    fn drain(
        &mut self,
        table: &mut Table,
        counters: &mut Counters,
        classes: &mut Classes,
    ) -> usize {
        let Some(mut stage) = self.stage.take() else { return 0 };
        let polled = stage.poll(ANSWERS_MAX, |view| self.answer(&view, table, counters, classes));
        match polled {
            Ok(Polled::Idle) => self.stage = Some(stage),
            Ok(Polled::Advanced(count) | Polled::Retry(count)) => {
                self.stage = Some(stage);
                return count;
            }
            // The lane already knows of a failure.
            Ok(Polled::Ended) | Err(_) => {}
        }
        0
    }

    fn answer(
        &mut self,
        view: &View<'_, Request>,
        table: &mut Table,
        counters: &mut Counters,
        classes: &mut Classes,
    ) -> Outcome {
        let request = view.meta();
        let mut conn = table.get_mut(request.conn);
        if let Some(conn) = &mut conn
            && conn.out.is_none()
        {
            conn.out = classes.output();
            if conn.out.is_none() {
                // The answer waits, and with it the slot. The ring fills up, and nothing more is
                // read.
                return Outcome::Retry;
            }
        }
        let status = self
            .verdicts
            .row(view)
            .ok()
            .and_then(|row| Status::from_wire(row[0]))
            .unwrap_or(Status::Failed);
        let scores = match self.scores.row(view) {
            Ok(row) if status == Status::Ok => &row[..request.vectors as usize],
            _ => &[],
        };
        counters.add_answer(status);
        counters.add(Counter::VectorsAnswered, scores.len() as u64);
        let Some(conn) = conn else {
            counters.add(Counter::Orphans, 1);
            return Outcome::Done;
        };
        // Counted as the parser counted it, whatever its outcome.
        let in_flight = if request.status == Status::Busy {
            &mut conn.busy_in_flight
        } else {
            &mut conn.in_flight
        };
        debug_assert!(*in_flight > 0);
        *in_flight -= 1;
        let credits =
            self.in_flight_max.saturating_sub(conn.in_flight).min(u32::from(u16::MAX)) as u16;
        let Some(out) = conn.out.as_mut() else { unreachable!("it has an output") };
        let bytes = answer_bytes(request.mode, scores.len());
        if out.len() + bytes > self.output_bytes {
            // Sending makes room; the caps leave enough for everything owed.
            drop_front(out, conn.out_sent);
            conn.out_sent = 0;
        }
        let at = out.len();
        let Ok(()) = out.set_len(at + bytes) else { unreachable!("the caps bound what is owed") };
        write_answer(request.mode, status, request.sequence, credits, scores, &mut out[at..]);
        conn.unsent.add(request.received_ns);
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(request.conn);
        }
        Outcome::Done
    }
}

impl Driver {
    /// Encodes answers. Returns whether there were any.
    pub(super) fn drain_answers(&mut self) -> bool {
        self.answers.drain(&mut self.table, &mut self.counters, &mut self.classes) > 0
    }

    /// Sends encoded answers. Returns whether anything moved.
    pub(super) fn send_all(&mut self) -> bool {
        let mut moved = false;
        while let Some(id) = self.answers.dirty.pop() {
            moved |= self.send(id);
        }
        moved
    }

    fn send(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.table.get_mut(id) else { return false };
        conn.dirty = false;
        let mut moved = false;
        while conn.writable && conn.unsent_bytes() > 0 {
            let Some(out) = conn.out.as_ref() else { break };
            match conn.stream.send(&out[conn.out_sent..]) {
                Moved::Bytes(bytes) => {
                    conn.out_sent += bytes;
                    self.counters.add(Counter::Sends, 1);
                    moved = true;
                }
                Moved::NotNow => conn.writable = false,
                Moved::End | Moved::Gone => {
                    self.close(id);
                    return true;
                }
            }
        }
        if conn.unsent_bytes() == 0
            && let Some(out) = conn.out.take()
        {
            conn.out_sent = 0;
            drop(out);
            self.duty.sent(conn.unsent.take());
        }
        if conn.phase == Phase::Ending {
            self.end_if_answered(id);
        } else {
            // A connection that was at its cap may continue.
            self.queue_read(id);
        }
        moved
    }

    /// Takes back a connection's carry buffer.
    pub(super) fn drop_carry(&mut self, conn: &mut Conn) {
        conn.carry.take().into_iter().for_each(|carry| self.classes.give_carry(carry));
    }
}
