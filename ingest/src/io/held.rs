//! Answers that are encoded and mustn't be sent yet, because they say that rows are stored and the
//! disk hasn't taken these rows.
//!
//! ```text
//! a connection's output: | sent | may be sent |  ok, row 7  |  refusal  ok, row 9  |
//!                                             └─ one entry ─┴────── another ───────┘   bytes
//! the lane's queue:      (row 8, conn a)  (row 9, conn b)  (row 10, conn a) ...        by row
//! ```
//! An answer behind a held one waits with it, so that the order on the connection is kept. A
//! refusal waits for no row of its own: its bytes belong to the entry before it.
//!
//! Rows are numbered in the order of the answers, so the queue is in the order of rows, repeats
//! aside, which wait for those before them; and the entries of one connection are in the order of
//! its answers. An entry of a connection that is gone
//! stays until its row is stored: so the queue is never longer than the rows that aren't.

use std::collections::VecDeque;
use std::ops::Range;

use crate::stage::ConnId;

/// An answer that waits for the disk, with the refusals directly behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldAnswer {
    /// The row behind those of the request; 0 if they are on the disk.
    pub(super) row_end: u64,
    /// When the request was received.
    pub(super) received_ns: u64,
    pub(super) conn: ConnId,
    /// Vectors of the request.
    pub(super) vectors: u32,
    /// Bytes in the connection's output, and how many answers they are.
    pub(super) bytes: u32,
    pub(super) answers: u32,
    /// The request was accepted before, as rows that may be anywhere.
    pub(super) is_repeat: bool,
}

impl HeldAnswer {
    /// The rows of the request.
    pub(super) fn rows(&self) -> Range<u64> {
        self.row_end.saturating_sub(u64::from(self.vectors))..self.row_end
    }
}

/// Bytes of an entry of the queue.
pub const HELD_ANSWER_BYTES: usize = size_of::<HeldAnswer>();

/// What a connection has in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HeldShare {
    /// The last bytes of its output, which mustn't be sent yet.
    pub(super) bytes: usize,
    /// Requests whose answers are held: they count as in flight.
    pub(super) requests: u32,
    /// The number of its last entry, counted from the first one of the lane.
    last: u64,
}

/// All held answers of a lane.
#[derive(Debug, Default)]
pub(super) struct HeldQueue {
    entries: VecDeque<HeldAnswer>,
    /// Entries that were taken out.
    taken: u64,
}

impl HeldQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Requests whose answers are held, those of connections that are gone included.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Holds an answer, which has just been encoded behind everything else in its output.
    pub(super) fn push(&mut self, share: &mut HeldShare, answer: HeldAnswer) {
        let is_next = |back: &HeldAnswer| back.is_repeat || back.row_end < answer.row_end;
        debug_assert!(answer.is_repeat || self.entries.back().is_none_or(is_next));
        share.bytes += answer.bytes as usize;
        share.requests += 1;
        share.last = self.taken + self.entries.len() as u64;
        self.entries.push_back(answer);
    }

    /// Holds a refusal of a connection that has held answers, until the last of them may be sent.
    pub(super) fn extend(&mut self, share: &mut HeldShare, bytes: usize) {
        debug_assert!(share.requests > 0);
        let Some(last) = self.entries.get_mut((share.last - self.taken) as usize) else {
            unreachable!("a connection's last entry is there while it has any")
        };
        last.bytes += bytes as u32;
        last.answers += 1;
        share.bytes += bytes;
    }

    /// Takes out the first answer, if the disk has passed its rows. The caller takes it from its
    /// connection's share.
    pub(super) fn pop(&mut self, durable: u64) -> Option<HeldAnswer> {
        let first = self.entries.pop_front_if(|first| first.row_end <= durable)?;
        self.taken += 1;
        Some(first)
    }
}

impl HeldShare {
    /// An answer may be sent.
    pub(super) fn note_released(&mut self, answer: &HeldAnswer) {
        self.bytes -= answer.bytes as usize;
        self.requests -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        /// A connection's request is accepted, with this many vectors.
        Accept(u32, u32),
        Refuse(u32),
        /// The disk gets this many rows further.
        Store(u64),
        /// A connection ends, and another takes its place.
        End(u32),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            8 => (0u32..4, 1u32..5).prop_map(|(conn, vectors)| Op::Accept(conn, vectors)),
            4 => (0u32..4).prop_map(Op::Refuse),
            4 => (0u64..8).prop_map(Op::Store),
            1 => (0u32..4).prop_map(Op::End),
        ]
    }

    /// What a client of the model has been promised: its answers, each with the row that it waits
    /// for; None for a refusal.
    #[derive(Default)]
    struct Client {
        generation: u32,
        share: HeldShare,
        owed: VecDeque<(Option<u64>, u32)>,
        released: u64,
        sent: u64,
    }

    impl Client {
        /// Bytes that may be sent: answers up to the first whose row isn't stored.
        fn sendable(&mut self, durable: u64) -> u64 {
            while let Some((_, bytes)) =
                self.owed.pop_front_if(|(row, _)| row.is_none_or(|row| row <= durable))
            {
                self.sent += u64::from(bytes);
            }
            self.sent
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            cases: 2000,
            ..ProptestConfig::default()
        })]

        #[test]
        fn answers_are_released_in_order_and_not_before_their_rows_are_stored(
            ops in prop::collection::vec(op(), 1..80),
        ) {
            let (mut queue, mut clients) = (HeldQueue::default(), HashMap::new());
            for index in 0..4u32 {
                clients.insert(index, Client::default());
            }
            let (mut next_row, mut durable) = (0u64, 0u64);
            for (number, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Accept(index, vectors) => {
                        let client = clients.get_mut(&index).unwrap();
                        next_row += u64::from(vectors);
                        let bytes = 40 + 4 * vectors;
                        let answer = HeldAnswer {
                            row_end: next_row,
                            received_ns: number as u64,
                            conn: ConnId { index, generation: client.generation },
                            vectors,
                            bytes,
                            answers: 1,
                            is_repeat: false,
                        };
                        prop_assert_eq!(answer.rows(), next_row - u64::from(vectors)..next_row);
                        queue.push(&mut client.share, answer);
                        client.owed.push_back((Some(next_row), bytes));
                    }
                    Op::Refuse(index) => {
                        let client = clients.get_mut(&index).unwrap();
                        client.owed.push_back((None, 40));
                        if client.share.requests > 0 {
                            queue.extend(&mut client.share, 40);
                        } else {
                            client.released += 40;
                        }
                    }
                    Op::Store(rows) => {
                        durable = next_row.min(durable + rows);
                        while let Some(answer) = queue.pop(durable) {
                            let client = clients.get_mut(&answer.conn.index).unwrap();
                            if client.generation == answer.conn.generation {
                                client.share.note_released(&answer);
                                client.released += u64::from(answer.bytes);
                            }
                        }
                    }
                    Op::End(index) => {
                        let client = clients.get_mut(&index).unwrap();
                        let generation = client.generation + 1;
                        *client = Client { generation, ..Client::default() };
                    }
                }
                for client in clients.values_mut() {
                    let sendable = client.sendable(durable);
                    prop_assert_eq!(client.released, sendable);
                    let owed: u64 = client.owed.iter().map(|(_, bytes)| u64::from(*bytes)).sum();
                    prop_assert_eq!(client.share.bytes as u64, owed);
                    let requests = client.owed.iter().filter(|(row, _)| row.is_some()).count();
                    prop_assert_eq!(client.share.requests as usize, requests);
                }
                prop_assert!(queue.len() as u64 <= next_row - durable);
            }
        }
    }
}
