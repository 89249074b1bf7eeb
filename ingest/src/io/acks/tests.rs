//! Held answers, losses and watermarks against a model, in every mode.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;

use proptest::prelude::*;
use slipring::region::Numa;

use super::super::conn::Socket;
use super::super::disk::DiskCall;
use super::super::poller::Bell;
use super::*;
use crate::log::{LogProgress, LogState};
use crate::wire::frames::decode_answer;

const LANE: u16 = 3;
const FIRST_ROW: u64 = 1000;

/// The connections of the model: three that want stored answers, and two that don't.
const CONNS: [(Mode, AckLevel); 5] = [
    (Mode::Header, AckLevel::Stored),
    (Mode::Count, AckLevel::Stored),
    (Mode::Header1, AckLevel::Stored),
    (Mode::Header, AckLevel::Received),
    (Mode::Count, AckLevel::Received),
];

/// An answer that the model expects.
#[derive(Clone, Debug)]
struct Owed {
    sequence: u64,
    /// None: a refusal, whatever the disk does.
    rows: Option<Range<u64>>,
}

struct Bench {
    progress: LogProgress,
    acks: LaneAcks,
    table: ConnTable,
    buffers: IoBuffers,
    counters: Counters,
    ids: Vec<ConnId>,
    _clients: Vec<UnixStream>,
    owed: Vec<VecDeque<Owed>>,
    /// Accepted requests of each connection, in order.
    accepted: Vec<Vec<(u64, Range<u64>)>>,
    watermarks: Vec<u64>,
    sequence: u64,
    next_row: u64,
    durable: u64,
    lost: Vec<Range<u64>>,
}

impl Bench {
    fn new() -> Self {
        let progress = LogProgress::new(FIRST_ROW);
        let call = DiskCall::new(Bell::new().unwrap());
        let mut table = ConnTable::new(CONNS.len(), AckLevel::Received);
        let (mut ids, mut clients) = (Vec::new(), Vec::new());
        for (mode, ack) in CONNS {
            let (ours, client) = UnixStream::pair().unwrap();
            let conn = table.insert(Socket::unix(ours).unwrap());
            (conn.mode, conn.ack) = (Some(mode), ack);
            ids.push(conn.id);
            clients.push(client);
        }
        let mut buffers = IoBuffers::new(64 << 10, 0, 128 << 10, 0, 1 << 20, Numa::Local).unwrap();
        buffers.map().unwrap();
        Self {
            acks: LaneAcks::new(LaneDisk::new(progress.clone(), call), LANE),
            progress,
            table,
            buffers,
            counters: Counters::default(),
            ids,
            _clients: clients,
            owed: vec![VecDeque::new(); CONNS.len()],
            accepted: vec![Vec::new(); CONNS.len()],
            watermarks: vec![0; CONNS.len()],
            sequence: 0,
            next_row: FIRST_ROW,
            durable: FIRST_ROW,
            lost: Vec::new(),
        }
    }

    /// Encodes an answer as the answering stage does. No vectors: a refusal.
    fn answer(&mut self, number: usize, vectors: u32) {
        let (mode, ack) = CONNS[number];
        let rows = self.next_row..self.next_row + u64::from(vectors);
        let rows = if vectors == 0 { 0..0 } else { rows };
        self.next_row += u64::from(vectors);
        self.sequence += 1;
        let sequence = self.sequence;
        let request = Request { sequence, vectors, mode, ack, ..Request::default() };
        let conn = self.table.get_mut(self.ids[number]).unwrap();
        let of = AnswerRows { rows: rows.clone(), vectors, is_repeat: false };
        let stored_through = match mode {
            Mode::Header => self.acks.stored_through(conn, &request, &of),
            _ => 0,
        };
        let scores = vec![sequence as f32; vectors as usize];
        let status = if vectors == 0 { Status::NotFinite } else { Status::Ok };
        let answer = Answer {
            status,
            vectors,
            sequence,
            stored_through,
            credits: 9,
            lane: LANE,
            first_row: rows.start,
            scores: &scores,
            ..Answer::default()
        };
        let bytes = answer_bytes(mode, scores.len());
        let out = conn.out.get_or_insert_with(|| self.buffers.output().unwrap());
        let at = out.len();
        out.set_len(at + bytes).unwrap();
        write_answer(mode, &answer, &mut out[at..]);
        self.acks.hold(conn, &request, &of, bytes);
        let rows = (vectors > 0).then_some(rows);
        self.accepted[number].extend(rows.clone().map(|rows| (sequence, rows)));
        self.owed[number].push_back(Owed { sequence, rows });
    }

    fn is_lost(&self, rows: &Range<u64>) -> bool {
        self.lost.iter().any(|lost| lost.start < rows.end && rows.start < lost.end)
    }

    /// Rows have become durable, or are lost.
    fn pass(&mut self, rows: u64, is_lost: bool) {
        let end = self.next_row.min(self.durable + rows);
        if is_lost && end > self.durable {
            self.progress.note_lost(self.durable..end);
            self.lost.push(self.durable..end);
        }
        self.progress.note_durable(end);
        self.durable = end;
    }

    fn release(&mut self) {
        let Self { acks, table, buffers, counters, .. } = self;
        while acks.release(table, counters, |_| ()) {}
        acks.write_watermarks(table, buffers, (9, false), |_| ());
    }

    /// Through which sequence a connection's requests are stored, in fact: those before the first
    /// that isn't, or that is lost.
    fn stored_prefix(&self, number: usize) -> u64 {
        let stored =
            |(_, rows): &&(u64, Range<u64>)| rows.end <= self.durable && !self.is_lost(rows);
        self.accepted[number].iter().take_while(stored).last().map_or(0, |(sequence, _)| *sequence)
    }

    /// Takes what may be sent to a connection, and compares it with the model.
    fn check_sent(&mut self, number: usize) {
        let (mode, ack) = CONNS[number];
        let conn = self.table.get_mut(self.ids[number]).unwrap();
        let Some(out) = &mut conn.out else { return };
        let sendable = out[conn.out_sent..out.len() - conn.held.bytes].to_vec();
        conn.out_sent += sendable.len();
        if conn.held.bytes == 0 {
            (conn.out, conn.out_sent) = (None, 0);
            self.acks.note_sent(conn);
        }
        let mut rest = &sendable[..];
        while !rest.is_empty() {
            if let Ok(Some(AnswerEvent::Watermark(watermark))) = answer_event(mode, rest) {
                assert_eq!((watermark.lane, watermark.credits), (LANE, 9));
                assert_eq!((mode, ack), CONNS[3]);
                let through = watermark.stored_through;
                assert!(through > self.watermarks[number], "it says something new");
                assert!(through <= self.stored_prefix(number));
                self.watermarks[number] = through;
                rest = &rest[ANSWER_HEADER_BYTES..];
                continue;
            }
            let (head, scores) = decode_answer(mode, rest).unwrap().unwrap();
            let owed = self.owed[number].pop_front().expect("an answer to a request");
            let is_lost = ack == AckLevel::Stored
                && owed.rows.as_ref().is_some_and(|rows| self.is_lost(rows));
            let accepted = owed.rows.clone().filter(|_| !is_lost);
            let vectors = accepted.as_ref().map_or(0, |rows| (rows.end - rows.start) as u32);
            assert_eq!((head.vectors, head.scores), (vectors, vectors));
            let scores: Vec<f32> = rest[scores]
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
                .collect();
            assert!(scores.iter().all(|score| *score == owed.sequence as f32));
            if ack == AckLevel::Stored
                && let Some(rows) = &owed.rows
            {
                assert!(rows.end <= self.durable, "it isn't sent before its rows are stored");
            }
            if mode != Mode::Count {
                let status = match (&owed.rows, is_lost) {
                    (None, _) => Status::NotFinite,
                    (Some(_), true) => Status::Failed,
                    (Some(_), false) => Status::Ok,
                };
                let said = (head.status, head.sequence, head.credits);
                assert_eq!(said, (Some(status), owed.sequence, 9));
            }
            if let Some(place) = head.place {
                assert_eq!(place.first_row, accepted.map_or(0, |rows| rows.start));
                self.check_through(number, ack, owed.sequence, place.stored_through);
            }
            rest = &rest[head.bytes_total..];
        }
    }

    fn check_through(&mut self, number: usize, ack: AckLevel, sequence: u64, through: u64) {
        assert!(through >= self.watermarks[number], "it goes back");
        self.watermarks[number] = through;
        if ack == AckLevel::Received {
            assert!(through <= self.stored_prefix(number));
            return;
        }
        let mut before = self.accepted[number].iter().filter(|(other, _)| *other <= sequence);
        let stored = before.rfind(|(_, rows)| !self.is_lost(rows));
        assert_eq!(through, stored.map_or(0, |(sequence, _)| *sequence));
    }

    fn check_all(&mut self) {
        self.release();
        for (number, (_, ack)) in CONNS.into_iter().enumerate() {
            self.check_sent(number);
            let waits = |owed: &Owed| {
                ack == AckLevel::Stored
                    && owed.rows.as_ref().is_some_and(|rows| rows.end > self.durable)
            };
            let first = self.owed[number].front();
            assert!(first.is_none_or(waits), "what may be sent is sent: {first:?}");
        }
        // A watermark follows what has just been sent.
        self.release();
        (0..CONNS.len()).for_each(|number| self.check_sent(number));
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Answer(usize, u32),
    Store(u64),
    Lose(u64),
    Send(usize),
    Check,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..CONNS.len(), 0u32..4).prop_map(|(number, vectors)| Op::Answer(number, vectors)),
        4 => (0u64..12).prop_map(Op::Store),
        1 => (0u64..5).prop_map(Op::Lose),
        2 => (0..CONNS.len()).prop_map(Op::Send),
        2 => Just(Op::Check),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 300,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_answer_is_right_whatever_the_disk_does(
        ops in prop::collection::vec(op(), 1..120),
        is_cut_off: bool,
    ) {
        let mut bench = Bench::new();
        for op in ops {
            match op {
                Op::Answer(number, vectors) => bench.answer(number, vectors),
                Op::Store(rows) => bench.pass(rows, false),
                Op::Lose(rows) => bench.pass(rows, true),
                Op::Send(number) => {
                    bench.release();
                    bench.check_sent(number);
                }
                Op::Check => bench.check_all(),
            }
        }
        if is_cut_off {
            // The log ends without the rest of the rows: they are in no log.
            bench.lost.push(bench.durable..u64::MAX);
            bench.progress.set_state(LogState::Ended);
            bench.durable = u64::MAX;
        } else {
            bench.pass(u64::MAX >> 1, false);
        }
        bench.check_all();
        prop_assert!(bench.owed.iter().all(VecDeque::is_empty));
        prop_assert!(!bench.acks.has_held() && !bench.acks.has_due());
        let counts = bench.counters.reader().counts();
        let stored = (0..3).flat_map(|number| &bench.accepted[number]);
        let vectors: u64 = stored
            .filter(|(_, rows)| !bench.is_lost(rows))
            .map(|(_, rows)| rows.end - rows.start)
            .sum();
        prop_assert_eq!(counts[Counter::VectorsAnswered], vectors);
        if bench.lost.is_empty() {
            let last = bench.accepted[3].last().map_or(0, |(sequence, _)| *sequence);
            prop_assert_eq!(bench.watermarks[3], last, "an idle connection knows everything");
        }
    }
}

/// A watermark is written once, and only when there is nothing else to send.
#[test]
fn an_idle_connection_gets_one_watermark() {
    let mut bench = Bench::new();
    (0..20).for_each(|_| bench.answer(3, 1));
    bench.release();
    // The answers aren't sent yet when their rows are stored.
    bench.pass(20, false);
    bench.release();
    let conn = bench.table.get_mut(bench.ids[3]).unwrap();
    assert_eq!(conn.unsent_bytes(), 20 * (ANSWER_HEADER_BYTES + 4));
    bench.check_all();
    assert_eq!((bench.watermarks[3], bench.acks.has_due()), (20, false));
    bench.release();
    let conn = bench.table.get_mut(bench.ids[3]).unwrap();
    assert!(conn.out.is_none(), "it isn't repeated");
    // Not to one that waits for an answer: that says it.
    conn.in_flight = 1;
    bench.answer(3, 1);
    bench.check_sent(3);
    bench.pass(1, false);
    bench.release();
    assert!(bench.table.get_mut(bench.ids[3]).unwrap().out.is_none());
    bench.answer(3, 0);
    bench.check_sent(3);
    assert_eq!(bench.watermarks[3], 21);
}

/// A lane sleeps for the disk only if it is told, and is told only if it sleeps for it.
#[test]
fn a_lane_that_awaits_the_disk_is_called() {
    let mut bench = Bench::new();
    assert!(bench.acks.may_sleep(), "nothing is awaited");
    bench.answer(0, 1);
    bench.release();
    assert!(bench.acks.may_sleep());
    bench.acks.awake();
    bench.pass(1, false);
    assert!(!bench.acks.may_sleep(), "the log has got on");
    bench.release();
    assert!(bench.acks.may_sleep());
}
