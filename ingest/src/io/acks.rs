//! What answers say about the disk: stored answers are held until the disk has their rows, and
//! other connections are told what is stored, in answers and by watermarks.
//!
//! It costs a lane whose connections want to know of nothing two loads a round, and a connection
//! that only wants its vectors received a mark for each request. Nothing here waits: the thread
//! that commits rings the lane's bell if the lane sleeps and something here waits for the disk.

use std::ops::Range;

use super::buffers::IoBuffers;
use super::conn::{Conn, ConnPhase, ConnTable};
use super::counters::{Counter, Counters};
use super::disk::LaneDisk;
use super::held::{HeldAnswer, HeldQueue};
use super::marks::MarkedConns;
use crate::stage::{ConnId, Request};
use crate::wire::frames::{
    ANSWER_HEADER_BYTES, AckLevel, Answer, AnswerEvent, Mode, Status, Watermark, answer_bytes,
    answer_event, set_stored_through, write_answer, write_watermark,
};

/// The most answers released in one round.
const RELEASES_MAX: usize = 1024;

/// The rows that an answer speaks of.
#[derive(Clone, Debug)]
pub(super) struct AnswerRows {
    /// Those that may not be on the disk yet.
    pub(super) rows: Range<u64>,
    /// Vectors that the answer accepts; 0: it is a refusal.
    pub(super) vectors: u32,
    /// They were accepted before.
    pub(super) is_repeat: bool,
}

/// What waits for a lane's disk.
#[derive(Debug)]
pub(super) struct LaneAcks {
    disk: LaneDisk,
    held: HeldQueue,
    marked: MarkedConns,
    /// Connections that get a watermark.
    due: Vec<ConnId>,
    lane: u16,
}

impl LaneAcks {
    pub(super) fn new(disk: LaneDisk, lane: u16) -> Self {
        let (held, marked) = (HeldQueue::default(), MarkedConns::default());
        Self { disk, held, marked, due: Vec::new(), lane }
    }

    /// Whether stored answers are held.
    pub(super) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether a watermark waits for something else than the disk.
    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Whether the disk is full.
    pub(super) fn is_disk_full(&self) -> bool {
        self.disk.is_full()
    }

    /// The thread is about to sleep. Returns whether it may: it is woken for what waits here.
    pub(super) fn may_sleep(&self) -> bool {
        (self.held.is_empty() && self.marked.is_empty()) || self.disk.is_behind()
    }

    pub(super) fn awake(&self) {
        self.disk.awake();
    }

    /// What an answer in header mode says about what is stored.
    #[inline]
    pub(super) fn stored_through(
        &mut self,
        conn: &mut Conn,
        request: &Request,
        rows: &AnswerRows,
    ) -> u64 {
        let is_accepted = rows.vectors > 0;
        if conn.ack == AckLevel::Stored {
            // It isn't sent before its own rows are stored.
            if is_accepted {
                conn.marks.said = conn.marks.said.max(request.sequence);
            }
        } else if is_accepted {
            return self.marked.note(
                (conn.id, &mut conn.marks),
                &rows.rows,
                request.sequence,
                self.disk.rows(),
            );
        } else {
            conn.marks.said = conn.marks.through(self.disk.rows());
        }
        conn.marks.said
    }

    /// Holds an answer, which was just encoded, if it must wait. Returns whether it must.
    #[inline]
    pub(super) fn hold(
        &mut self,
        conn: &mut Conn,
        request: &Request,
        rows: &AnswerRows,
        bytes: usize,
    ) -> bool {
        if rows.vectors == 0 {
            if conn.held.requests > 0 {
                self.held.extend(&mut conn.held, bytes);
            }
            return conn.held.requests > 0;
        }
        if request.ack == AckLevel::Stored {
            let answer = HeldAnswer {
                row_end: rows.rows.end,
                received_ns: request.received_ns,
                conn: conn.id,
                vectors: request.vectors,
                bytes: bytes as u32,
                answers: 1,
                is_repeat: rows.is_repeat,
            };
            self.held.push(&mut conn.held, answer);
        }
        request.ack == AckLevel::Stored
    }

    /// Looks at the disk, and releases the answers whose rows it has, or has lost. `list` gets each
    /// connection that may be sent to. Returns whether there were any.
    pub(super) fn release(
        &mut self,
        table: &mut ConnTable,
        counters: &mut Counters,
        mut list: impl FnMut(&mut Conn),
    ) -> bool {
        self.disk.look();
        let mut released = 0;
        while released < RELEASES_MAX
            && let Some(answer) = self.held.pop(self.disk.rows().through)
        {
            released += 1;
            let is_lost = self.disk.rows().is_lost(&answer.rows());
            counters.add_answer(if is_lost { Status::Failed } else { Status::Ok });
            let stored = if is_lost || answer.is_repeat { 0 } else { answer.vectors };
            counters.add(Counter::VectorsAnswered, u64::from(stored));
            counters.add(Counter::Repeats, u64::from(answer.is_repeat));
            let Some(conn) = table.get_mut(answer.conn) else {
                counters.add(Counter::Orphans, 1);
                continue;
            };
            if is_lost {
                self.fail(conn, answer);
            } else {
                self.note_stored(conn, &answer);
            }
            conn.unsent.add(answer.received_ns, answer.answers);
            list(conn);
        }
        while let Some(id) = self.marked.pop(self.disk.rows()) {
            let Some(conn) = table.get_mut(id) else { continue };
            self.marked.look(id, &mut conn.marks, self.disk.rows());
            if conn.marks.is_due {
                self.due.push(id);
            }
        }
        released > 0
    }

    fn note_stored(&self, conn: &mut Conn, answer: &HeldAnswer) {
        if let (Some(Mode::Header), Some(out)) = (conn.mode, &conn.out) {
            let encoded = &out[out.len() - conn.held.bytes..];
            if let Ok(Some(AnswerEvent::Answer(head))) = answer_event(Mode::Header, encoded) {
                conn.marks.set_through(head.sequence);
            }
        }
        conn.held.note_released(answer);
    }

    /// The rows of an answer are lost: it becomes a refusal, and those behind it don't say either
    /// that it is stored.
    #[cold]
    fn fail(&self, conn: &mut Conn, answer: HeldAnswer) {
        let mode = conn.mode.unwrap_or(Mode::Count);
        let Some(out) = &mut conn.out else { unreachable!("what is held is in the output") };
        let at = out.len() - conn.held.bytes;
        let Ok(Some(AnswerEvent::Answer(head))) = answer_event(mode, &out[at..]) else {
            unreachable!("it was encoded whole")
        };
        let through = conn.marks.before_lost();
        let refusal_bytes = answer_bytes(mode, 0);
        let refusal = Answer {
            status: Status::Failed,
            sequence: head.sequence,
            credits: head.credits,
            lane: self.lane,
            stored_through: through,
            ..Answer::default()
        };
        write_answer(mode, &refusal, &mut out[at..at + refusal_bytes]);
        out.copy_within(at + head.bytes_total.., at + refusal_bytes);
        let cut = head.bytes_total - refusal_bytes;
        out.truncate(out.len() - cut);
        if mode == Mode::Header {
            let refusals = &mut out[at..][..refusal_bytes * answer.answers as usize];
            for bytes in refusals.chunks_exact_mut(refusal_bytes) {
                set_stored_through(bytes, through);
            }
        }
        conn.held.bytes -= cut;
        conn.held.note_released(&HeldAnswer { bytes: answer.bytes - cut as u32, ..answer });
        if conn.held.requests == 0 {
            conn.marks.said = through;
        }
    }

    /// A connection has nothing left to send: the watermark that is due comes next.
    pub(super) fn note_sent(&mut self, conn: &Conn) {
        if conn.marks.is_due {
            self.due.push(conn.id);
        }
    }

    /// Writes the watermarks that are due to connections that are owed nothing else. With
    /// `memory_wanted` those without memory for answers wait. `list` gets each connection that may
    /// be sent to.
    pub(super) fn write_watermarks(
        &mut self,
        table: &mut ConnTable,
        buffers: &mut IoBuffers,
        (credits, memory_wanted): (u16, bool),
        mut list: impl FnMut(&mut Conn),
    ) {
        let Self { due, disk, lane, .. } = self;
        due.retain(|id| {
            let Some(conn) = table.get_mut(*id) else { return false };
            let stored_through = conn.marks.through(disk.rows());
            let is_answered = conn.in_flight == 0 && conn.small_in_flight == 0;
            conn.marks.is_due &= conn.phase == ConnPhase::Open
                && stored_through != conn.marks.said
                // An answer will say it.
                && is_answered;
            if !conn.marks.is_due || conn.out.is_some() {
                return false;
            }
            if !conn.may_be_owed && (memory_wanted || !buffers.may_owe()) {
                return true;
            }
            conn.may_be_owed = true;
            let Some(mut out) = buffers.output() else { return true };
            let Ok(()) = out.set_len(ANSWER_HEADER_BYTES) else {
                unreachable!("an output holds an answer")
            };
            let Some(bytes) = out.first_chunk_mut() else { unreachable!("it is that long") };
            write_watermark(&Watermark { credits, lane: *lane, stored_through }, bytes);
            conn.out = Some(out);
            (conn.marks.said, conn.marks.is_due) = (stored_through, false);
            list(conn);
            false
        });
    }

    /// Stored answers that are still held, whose connections get none.
    pub(super) fn left(&self) -> u64 {
        self.held.len() as u64
    }
}

#[cfg(test)]
mod tests;
