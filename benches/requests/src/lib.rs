//! The service's own driver, on a thread that is also its client. `benches/requests.rs` counts its
//! instructions under callgrind.
//!
//! ```text
//!   client's end of a Unix socket: 32 requests ─▶ receive, cut, validate, score, answer, send ─▶ 32 answers
//! ```
//! There is no sink and no second thread. The client makes two system calls per batch.
#![allow(missing_debug_implementations, reason = "it is never printed")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use slipring::pipeline::{LaneSpec, Reclaim, StageSpec, Started, Wait};
use slipring::region::Numa;
use slipring::ring::RingOptions;
use slipring_ingest::io::{
    AnswerStage, Bell, Driver, DriverOptions, IoBuffers, Listener, Lobby, TimeLimits, clock,
    output_bytes, receive_bytes_max,
};
use slipring_ingest::stage::{Request, Score, Verdict, scorer, validator};
use slipring_ingest::wire::frames::{
    AckLevel, HELLO_ANSWER_BYTES, Hello, Limits, Mode, Status, answer_bytes, decode_answer,
    encode_hello, encode_request,
};

const DIM: u32 = 128;
const LIMITS: Limits = Limits::new(DIM, 64);
/// Requests that are sent in one system call.
pub const BATCH: usize = 32;
const IN_FLIGHT: u32 = 64;
/// Every answer arrives within this many turns. The first turn finds that the socket is readable.
const TURNS_MAX: usize = 100;

/// A driver, and the client's end of its one connection.
pub struct Service {
    driver: Driver,
    client: UnixStream,
    mode: Mode,
    requests: Vec<u8>,
    answers: Vec<u8>,
    /// The scores of each request.
    scores: Vec<u8>,
}

impl Service {
    /// A service for requests of `vectors` vectors. It has answered a few batches already.
    ///
    /// # Panics
    /// If the machine has no memory, socket or temporary folder for it.
    #[must_use]
    pub fn new(mode: Mode, vectors: usize) -> Self {
        let path = std::env::temp_dir().join(format!("slipring-requests-{}", std::process::id()));
        let _absent = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket in the temporary folder");
        listener.set_nonblocking(true).expect("a socket can be nonblocking");
        let client = UnixStream::connect(&path).expect("the listener listens");
        std::fs::remove_file(&path).expect("the file was made");
        client.set_nonblocking(true).expect("a socket can be nonblocking");
        let values: Vec<f32> = (0..DIM as usize * vectors).map(|i| (i % 7) as f32).collect();
        let score = |vector: &[f32]| vector.iter().sum::<f32>().to_le_bytes();
        let scores = values.chunks_exact(DIM as usize).flat_map(score).collect();
        let driver = driver(Listener::Unix(listener));
        let mut service =
            Self { driver, client, mode, requests: Vec::new(), answers: Vec::new(), scores };
        if mode == Mode::Header {
            encode_hello(&Hello::new(DIM), &mut service.requests);
            service.answers.resize(HELLO_ANSWER_BYTES, 0);
            service.batch();
            service.requests.clear();
        }
        for number in 0..BATCH as u64 {
            encode_request(mode, DIM, number, &values, &mut service.requests);
        }
        service.answers.resize(BATCH * answer_bytes(mode, vectors), 0);
        service.batches(4);
        service
    }

    /// Sends batches one after the other, waits for all of their answers, and compares those of the
    /// last one.
    ///
    /// # Panics
    /// If an answer is missing or wrong.
    pub fn batches(&mut self, batches: usize) {
        for _ in 0..batches {
            self.batch();
        }
        self.compare();
    }

    fn compare(&self) {
        let mut rest = self.answers.as_slice();
        for number in 0..BATCH as u64 {
            let (head, scores) =
                decode_answer(self.mode, rest).expect("an answer").expect("a complete one");
            let sequence = if self.mode == Mode::Count { 0 } else { number };
            assert_eq!((head.status, head.sequence), (Some(Status::Ok), sequence));
            assert_eq!(rest[scores], self.scores, "request {number} is answered with its scores");
            rest = &rest[head.bytes_total..];
        }
        assert!(rest.is_empty(), "each request has one answer");
    }

    fn batch(&mut self) {
        let (mut written, mut read) = (0, 0);
        for _ in 0..TURNS_MAX {
            // An error means that the socket is full or empty. The next turn tries again.
            written += self.client.write(&self.requests[written..]).unwrap_or(0);
            assert!(self.driver.turn().is_none(), "the lane goes on");
            read += self.client.read(&mut self.answers[read..]).unwrap_or(0);
            if read == self.answers.len() {
                return;
            }
        }
        panic!("{written} bytes were sent and {read} of {} came back", self.answers.len());
    }
}

/// The lane of `serve`, without its sink.
fn driver(listener: Listener) -> Driver {
    let frame_bytes = LIMITS.frame_bytes_max(Mode::Header);
    let pool = RingOptions {
        bytes: 8 << 20,
        max_slice_bytes: frame_bytes,
        chunk_bytes: Some(256 << 10),
        window_bytes: Some(2 << 20),
        pinned_chunks_max: Some(0),
        ..RingOptions::default()
    };
    let spec =
        LaneSpec::new(pool, 4096).reclaim(Reclaim::OnConsume).wait(Wait::Spin).timed(clock());
    let spec = ["validate", "score", "answer"]
        .into_iter()
        .fold(spec, |spec, name| spec.layer([StageSpec::inline(name)]));
    let vectors_max = LIMITS.max_vectors as usize;
    let (verdict_writer, verdicts) = spec.column::<Verdict>("validate", 1).expect("a column");
    let (result_writer, results) = spec.column::<f32>("validate", vectors_max).expect("a column");
    let (score_writer, scores) = spec.column::<f32>("score", vectors_max).expect("a column");
    let receive_bytes = receive_bytes_max(&LIMITS);
    let mut classes = IoBuffers::new(
        output_bytes(&LIMITS, IN_FLIGHT),
        frame_bytes,
        receive_bytes,
        1 << 20,
        1 << 20,
        Numa::Any,
    )
    .expect("classes");
    let Started { mut lane, mut stages, .. } =
        spec.start::<Request>().expect("the pool fits this machine");
    classes.map().expect("memory");
    let mut take = |name| stages.remove(name).expect("it was specified");
    let validate = validator(Score::Sum, LIMITS, 0, None, verdict_writer, result_writer);
    lane.attach(take("validate"), validate).expect("it is inline");
    lane.attach(take("score"), scorer(Score::Sum, score_writer)).expect("it is inline");
    let scores = Score::Sum.column(results, scores);
    let (stage, repeats, log) = (take("answer"), None, None);
    let end = AnswerStage { stage, verdicts, scores, repeats, lane: 0, first_row: 0, log };
    let options = DriverOptions {
        limits: LIMITS,
        connections_max: 4,
        in_flight_max: IN_FLIGHT,
        ack: AckLevel::Received,
        times: TimeLimits::default(),
        wait: Wait::Spin,
        drain: Duration::from_secs(1),
        clock: clock(),
    };
    let (bell, stop) = (Bell::new().expect("an event"), Arc::new(AtomicBool::new(false)));
    let seat = Lobby::new(vec![bell], 4, 4).seat(0);
    Driver::new(lane, end, classes, vec![listener], seat, stop, &options).expect("epoll")
}

#[cfg(test)]
mod tests {
    use slipring_ingest::wire::frames::Mode;

    use super::Service;

    #[test]
    fn every_answer_is_right() {
        for mode in [Mode::Count, Mode::Header1, Mode::Header] {
            for vectors in [1, 8, 64] {
                let mut service = Service::new(mode, vectors);
                (0..3).for_each(|_| service.batches(1));
            }
        }
    }
}
