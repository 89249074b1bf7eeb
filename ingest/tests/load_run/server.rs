//! A tiny blocking server for one test: correct, or wrong in one named way.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use slipring_ingest::client::Target;
use slipring_ingest::wire::frames::{
    ANSWER_HEADER_BYTES, Answer, Detected, FrameHead, Front, HelloAnswer, Limits, Mode, Reply,
    Status, Watermark, decode_hello, detect, encode_answer, front, hello_answer, write_watermark,
};

pub const LIMITS: Limits = Limits::new(4, 64);

/// How the server behaves. Requests are numbered from 0 on each connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Conduct {
    Right,
    Weighted,
    Zeros,
    /// Sends answers one byte per write.
    Trickle,
    /// The same, with a watermark behind each answer.
    Watermarks,
    /// Accepts NaN as if it were a number.
    Credulous,
    RefuseEvery(u64, Status),
    WrongScore(u64),
    WrongCount(u64),
    /// Accepts the hello with this byte of the answer changed.
    HelloByte(usize, u8),
    /// Names another lane than the hello's answer did.
    OtherLane(u64),
    /// Names a row that an earlier answer has named.
    RowAgain(u64),
    /// Names the rows on every connection as if it were the only one.
    RowsAlone,
    /// Answers as if framing were lost, and goes on.
    LostAsBusy(u64),
    /// Refuses as busy, and names a row or a vector at fault.
    RefusedRow(u64),
    RefusedDetail(u64),
    /// Says that something is stored, and from the next answer on that nothing is.
    StoredOnce(u64),
    Missing(u64),
    SwapWithNext(u64),
    Twice(u64),
    Garbage(u64),
    CloseAfter(u64),
    Silent,
    NeverCloses,
}

/// The requests that all connections together have accepted.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub requests: u64,
    pub vectors: u64,
    pub sum: f64,
    pub connections: u64,
}

trait Socket: Read + Write {
    fn end(&self);
}

impl Socket for TcpStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Socket for UnixStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// Starts a TCP server on a free port. It runs until the test program ends.
pub fn start(conduct: Conduct, limits: Limits) -> (Target, Arc<Mutex<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::Tcp(listener.local_addr().unwrap().to_string());
    let seen = Arc::new(Mutex::new(Seen::default()));
    let counted = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, seen) = (stream.unwrap(), counted.clone());
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || serve(stream, conduct, &limits, &seen));
        }
    });
    (target, seen)
}

/// The same on a Unix socket.
pub fn start_unix(conduct: Conduct, path: PathBuf) -> (Target, Arc<Mutex<Seen>>) {
    let listener = UnixListener::bind(&path).unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let counted = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, seen) = (stream.unwrap(), counted.clone());
            thread::spawn(move || serve(stream, conduct, &LIMITS, &seen));
        }
    });
    (Target::Unix(path), seen)
}

fn serve(mut stream: impl Socket, conduct: Conduct, limits: &Limits, seen: &Mutex<Seen>) {
    seen.lock().unwrap().connections += 1;
    let (mut input, mut piece) = (Vec::new(), [0; 4096]);
    let mut mode = None;
    let mut answers = Answers { conduct, number: 0, row: 0, delayed: None, out: Vec::new() };
    'stream: loop {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(count) => input.extend_from_slice(&piece[..count]),
        }
        if mode.is_none() {
            mode = match detect(&input) {
                Detected::Need => continue,
                Detected::Mode(mode) => Some(mode),
                Detected::Unknown => break,
            };
        }
        let mode = mode.unwrap();
        let mut at = 0;
        let mut broken = false;
        while !broken {
            match front(mode, &input[at..], limits) {
                Front::Partial => break,
                Front::Broken(status) => {
                    encode_answer(mode, &Answer { status, ..Answer::default() }, &mut answers.out);
                    broken = true;
                }
                Front::Frame(head) if head.reply == Reply::Hello => {
                    let status = head.refusal.unwrap_or(Status::Ok);
                    let (limits, in_flight_max) = (*limits, u16::MAX);
                    let ack = decode_hello(input[at..].first_chunk().unwrap()).ack;
                    let answer = HelloAnswer { status, limits, lane: 3, in_flight_max, ack };
                    let mut hello = hello_answer(&answer);
                    if let Conduct::HelloByte(at, byte) = conduct {
                        hello[at] = byte;
                    }
                    answers.out.extend(hello);
                    at += head.frame_bytes();
                    broken = status != Status::Ok;
                }
                Front::Frame(head) => {
                    let Some(frame) = input.get(at..at + head.frame_bytes()) else { break };
                    let payload = &frame[head.header_bytes as usize..];
                    answers.answer(mode, &head, payload, limits.dim as usize, seen);
                    at += head.frame_bytes();
                }
            }
            if conduct == Conduct::CloseAfter(answers.number) {
                let _ = stream.write_all(&answers.out);
                break 'stream;
            }
        }
        input.drain(..at);
        if !send(&mut stream, conduct, &mut answers.out) || broken {
            break;
        }
    }
    if conduct == Conduct::NeverCloses {
        thread::park();
    }
    stream.end();
}

fn send(stream: &mut impl Socket, conduct: Conduct, out: &mut Vec<u8>) -> bool {
    let trickles = matches!(conduct, Conduct::Trickle | Conduct::Watermarks);
    let step = if trickles { 1 } else { out.len().max(1) };
    let sent = out.chunks(step).try_for_each(|piece| stream.write_all(piece));
    out.clear();
    !matches!(sent, Err(error) if error.kind() != ErrorKind::Interrupted)
}

struct Answers {
    conduct: Conduct,
    number: u64,
    /// The row of the next vector, without other connections.
    row: u64,
    /// An answer that waits to be sent after the next one.
    delayed: Option<Vec<u8>>,
    out: Vec<u8>,
}

impl Answers {
    fn answer(
        &mut self,
        mode: Mode,
        head: &FrameHead,
        payload: &[u8],
        dim: usize,
        seen: &Mutex<Seen>,
    ) {
        let components: Vec<f32> =
            payload.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let number = self.number;
        self.number += 1;
        let finite = components.iter().all(|component| component.is_finite())
            || self.conduct == Conduct::Credulous;
        let status = match (head.refusal, self.conduct) {
            (Some(status), _) => status,
            (None, Conduct::RefuseEvery(every, status)) if number.is_multiple_of(every) => status,
            (
                None,
                Conduct::LostAsBusy(at) | Conduct::RefusedRow(at) | Conduct::RefusedDetail(at),
            ) if number == at => Status::Busy,
            _ if !finite => Status::NotFinite,
            _ => Status::Ok,
        };
        let mut scores: Vec<f32> = Vec::new();
        let mut first_row = u64::from(self.conduct == Conduct::RefusedRow(number));
        if status == Status::Ok {
            scores.extend(components.chunks_exact(dim).map(|row| score(self.conduct, row)));
            let mut seen = seen.lock().unwrap();
            first_row = if self.conduct == Conduct::RowsAlone { self.row } else { seen.vectors };
            seen.requests += 1;
            seen.vectors += scores.len() as u64;
            seen.sum += components.iter().map(|component| f64::from(*component)).sum::<f64>();
        }
        if self.conduct == Conduct::WrongScore(number) {
            *scores.last_mut().unwrap() += 0.01;
        }
        if self.conduct == Conduct::WrongCount(number) {
            scores.push(0.0);
        }
        let mut answer = Vec::new();
        let lost = self.conduct == Conduct::LostAsBusy(number);
        let (vectors, sequence) = (scores.len() as u32, if lost { 0 } else { head.sequence });
        if head.reply == Reply::Plain {
            scores.clear();
        }
        let (lane, scores) =
            (3 + u16::from(self.conduct == Conduct::OtherLane(number)), &scores[..]);
        if self.conduct == Conduct::RowAgain(number) {
            first_row = 0;
        }
        self.row += u64::from(vectors);
        let detail = u32::from(self.conduct == Conduct::RefusedDetail(number));
        let answer_fields = Answer {
            status,
            vectors,
            sequence,
            lane,
            detail,
            first_row,
            scores,
            ..Answer::default()
        };
        encode_answer(mode, &answer_fields, &mut answer);
        self.note_stored(number, mode, &mut answer);
        self.emit(number, answer);
    }

    fn note_stored(&self, number: u64, mode: Mode, answer: &mut Vec<u8>) {
        if self.conduct == Conduct::StoredOnce(number) {
            answer[32] = 1;
        }
        if self.conduct == Conduct::Watermarks && mode == Mode::Header {
            // A request's sequence is one more than its number.
            let watermark = Watermark { credits: 1, lane: 3, stored_through: number + 1 };
            let mut bytes = [0; ANSWER_HEADER_BYTES];
            write_watermark(&watermark, &mut bytes);
            answer[32..40].copy_from_slice(&number.to_le_bytes());
            answer.extend(bytes);
        }
    }

    fn emit(&mut self, number: u64, answer: Vec<u8>) {
        match self.conduct {
            Conduct::Silent => {}
            Conduct::Missing(missing) if missing == number => {}
            Conduct::SwapWithNext(first) if first == number => self.delayed = Some(answer),
            Conduct::Twice(twice) if twice == number => {
                self.out.extend([&answer[..], &answer[..]].concat())
            }
            Conduct::Garbage(from) if from == number => self.out.extend([0xee; 64]),
            _ => self.out.extend(answer),
        }
        if let Conduct::SwapWithNext(first) = self.conduct
            && number == first + 1
        {
            self.out.extend(self.delayed.take().unwrap());
        }
    }
}

fn score(conduct: Conduct, row: &[f32]) -> f32 {
    match conduct {
        Conduct::Weighted => {
            row.iter().zip(1u16..).map(|(component, weight)| component * f32::from(weight)).sum()
        }
        Conduct::Zeros => 0.0,
        _ => row.iter().sum(),
    }
}
