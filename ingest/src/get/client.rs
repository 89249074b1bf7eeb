//! The client of `--ingest`: one connection in header mode, which waits for every answer and checks
//! it.
//!
//! Header mode, because its hello carries the dimension: in count mode, a service with another
//! dimension would read different rows. The hello's answer says how many requests the service
//! allows in flight per connection, and how many vectors in each. Up to [`WINDOW_MAX`] requests are
//! in flight. Their answers fit into a socket's buffer, so the service never waits for this side to
//! read, and writing without reading can't deadlock.
//!
//! It blocks, so it runs on a thread that may block, and checks for an interruption every
//! [`CHECK_INTERVAL`]. After an error the connection can't be used again.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::{ClientError, Sent};
use crate::client::{ClientConnection, ExpectedAnswer, GreetError, Target};
use crate::vectors::{RefusedRows, VectorImage};
use crate::wire::frames::{
    AnswerHead, Hello, Mode, RequestHead, Status, answer_bytes, encode_request_head,
};

/// The most requests in flight.
const WINDOW_MAX: usize = 32;
/// The most bytes of answers in flight: a small part of any socket's default buffer.
const ANSWERS_BYTES_MAX: usize = 32 << 10;
/// Requests are gathered for one write until they have this many bytes.
const OUT_BYTES: usize = 256 << 10;
/// Answers, which carry no scores, are received in reads of up to this many bytes.
const INPUT_BYTES: usize = 16 << 10;
/// The longest wait without checking for an interruption and the timeout.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
const MODE: Mode = Mode::Header;

/// A request in flight.
struct GetRequest {
    sequence: u64,
    vectors: u32,
    /// Its rows in the object.
    rows: Range<u64>,
}

/// A connection to a service.
#[derive(Debug)]
pub(super) struct IngestClient {
    to: String,
    connection: ClientConnection,
    max_vectors: u32,
    timeout: Duration,
    /// Sequence of the next request, from 1 on.
    sequence: u64,
    /// Requests that may be in flight; 0 before the hello.
    window: usize,
    /// Whether requests carry ids, as the hello announced.
    ids: bool,
}

impl IngestClient {
    /// Connects. `timeout` bounds this and every wait for progress. Connecting runs on its own
    /// thread, because a name look-up or a handshake can't be cancelled; after an interruption it
    /// is abandoned.
    pub(super) fn connect(
        target: &Target,
        max_vectors: u32,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> Result<IngestClient, ClientError> {
        let (to, target, (done, wait)) = (target.to_string(), target.clone(), channel());
        let failed = |error| ClientError::Connect { to: to.clone(), error };
        let connecting = move || drop(done.send(open(&target, timeout)));
        thread::Builder::new().name("connect".to_owned()).spawn(connecting).map_err(failed)?;
        let opened = loop {
            match wait.recv_timeout(CHECK_INTERVAL) {
                Ok(opened) => break opened,
                Err(RecvTimeoutError::Timeout) if cancel.is_cancelled() => {
                    return Err(ClientError::Cancelled);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    break Err(io::Error::other("its thread ended"));
                }
            }
        };
        let connection = opened.map_err(failed)?;
        let (sequence, window, ids) = (1, 0, false);
        Ok(IngestClient { to, connection, max_vectors, timeout, sequence, window, ids })
    }

    /// The client, unless the service has closed the connection or sent something unasked since
    /// its last answer.
    pub(super) fn if_usable(mut self) -> Option<IngestClient> {
        self.connection.is_silent().then_some(self)
    }

    /// Whether the hello was answered.
    pub(super) fn is_greeted(&self) -> bool {
        self.window > 0
    }

    /// Whether every request carries an id for each vector.
    pub(super) fn sends_ids(&self) -> bool {
        self.ids
    }

    /// Sends all vectors, with their ids if the hello announced them, and waits for every answer.
    /// Rows that aren't finite are left out, because a service refuses a request with all of its
    /// vectors. `sent` is updated even if this fails.
    ///
    /// # Errors
    /// The end of the connection, no progress for the whole timeout, a wrong answer, a refusal: see
    /// [`ClientError`].
    ///
    /// # Panics
    /// Before the hello, or if ids were announced and the vectors have none.
    pub(super) fn send(
        &mut self,
        vectors: &VectorImage<'_>,
        cancel: &CancellationToken,
        sent: &mut Sent,
    ) -> Result<(), ClientError> {
        assert!(self.is_greeted() && (vectors.has_ids() || !self.ids), "the hello is kept");
        let (mut cursor, mut out, mut first_refused) = (vectors.cursor(), Vec::new(), None);
        let mut not_finite = RefusedRows::default();
        let mut in_flight: VecDeque<GetRequest> = VecDeque::with_capacity(WINDOW_MAX);
        loop {
            while cursor.left() > 0 && in_flight.len() < self.window && out.len() < OUT_BYTES {
                let count = cursor.next_run(self.max_vectors.into(), &mut not_finite);
                sent.not_finite = not_finite.count();
                if count == 0 {
                    break;
                }
                let head = RequestHead {
                    dim: vectors.dim(),
                    vectors: count as u32,
                    sequence: self.sequence,
                    ids: self.ids,
                    scores: false,
                };
                encode_request_head(MODE, &head, &mut out);
                self.connection.note_sent(self.sequence);
                if self.ids {
                    cursor.append_ids(count, &mut out);
                }
                let rows = cursor.number()..cursor.number() + count;
                cursor.append_rows(count, &mut out);
                sent.vectors += count;
                let (sequence, vectors) = (self.sequence, count as u32);
                in_flight.push_back(GetRequest { sequence, vectors, rows });
                self.sequence += 1;
            }
            self.write_all(&out, in_flight.len(), cancel)?;
            out.clear();
            let Some(request) = in_flight.front() else { break };
            let head = self.await_answer(request, in_flight.len(), cancel)?;
            match head.status {
                Some(Status::Ok) => sent.answered += u64::from(request.vectors),
                Some(status) => {
                    sent.refused += u64::from(request.vectors);
                    if status != Status::NotFinite {
                        let (to, vectors, dim) = (self.to.clone(), request.vectors, vectors.dim());
                        return Err(ClientError::Refused { to, status, vectors, dim });
                    }
                    first_refused.get_or_insert(request.rows.clone());
                }
                None => unreachable!("header mode has a status"),
            }
            in_flight.pop_front();
        }
        let all = vectors.rows();
        match first_refused {
            Some(rows) => {
                let (to, refused) = (self.to.clone(), sent.refused);
                Err(ClientError::NotFinite { to, refused, all, rows })
            }
            None if sent.not_finite > 0 => Err(ClientError::NotSent { rows: not_finite, all }),
            None => Ok(()),
        }
    }

    /// Tells the service the dimension and whether ids will come, and takes its limits.
    pub(super) fn greet(
        &mut self,
        dim: u32,
        ids: bool,
        cancel: &CancellationToken,
    ) -> Result<(), ClientError> {
        let hello = Hello { ids, ..Hello::new(dim) };
        let answer = self.connection.greet(&hello, self.timeout, || cancel.is_cancelled());
        let answer = answer.map_err(|error| match error {
            GreetError::Cancelled => ClientError::Cancelled,
            error => ClientError::Greet { to: self.to.clone(), error },
        })?;
        self.max_vectors = self.max_vectors.min(answer.limits.max_vectors);
        let fits = ANSWERS_BYTES_MAX / answer_bytes(MODE, 0);
        let allowed = self.connection.in_flight_max() as usize;
        self.window = fits.min(allowed).clamp(1, WINDOW_MAX);
        self.ids = ids;
        Ok(())
    }

    /// Waits for the next answer, which must be the one to `request`.
    fn await_answer(
        &mut self,
        request: &GetRequest,
        unanswered: usize,
        cancel: &CancellationToken,
    ) -> Result<AnswerHead, ClientError> {
        let mut progress = Instant::now();
        loop {
            let GetRequest { vectors, sequence, .. } = *request;
            let expected = ExpectedAnswer { vectors, sequence, scores: false };
            let answer = self.connection.next_answer(&expected);
            match answer {
                Ok(Some(answer)) => return Ok(answer.head),
                Ok(None) => {}
                Err(error) => return Err(ClientError::Answer { to: self.to.clone(), error }),
            }
            match self.connection.receive() {
                Ok(received) if received.bytes == 0 => return Err(self.closed(unanswered, None)),
                Ok(_) => progress = Instant::now(),
                Err(error) => self.check_wait(error, progress, unanswered, cancel)?,
            }
        }
    }

    fn write_all(
        &mut self,
        mut bytes: &[u8],
        unanswered: usize,
        cancel: &CancellationToken,
    ) -> Result<(), ClientError> {
        let mut progress = Instant::now();
        while !bytes.is_empty() {
            if cancel.is_cancelled() {
                return Err(ClientError::Cancelled);
            }
            match self.connection.write(bytes) {
                Ok(written) => {
                    bytes = &bytes[written..];
                    progress = Instant::now();
                }
                // If the service has an explanation, it is in its answers; otherwise the end of the
                // connection is the cause.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                    ) =>
                {
                    return Ok(());
                }
                Err(error) => self.check_wait(error, progress, unanswered, cancel)?,
            }
        }
        Ok(())
    }

    /// Whether to try again after a read or a write that failed or took too long.
    fn check_wait(
        &self,
        error: io::Error,
        progress: Instant,
        unanswered: usize,
        cancel: &CancellationToken,
    ) -> Result<(), ClientError> {
        if cancel.is_cancelled() {
            return Err(ClientError::Cancelled);
        }
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut if progress.elapsed() < self.timeout => {
                Ok(())
            }
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                Err(ClientError::Stalled { to: self.to.clone(), timeout: self.timeout, unanswered })
            }
            ErrorKind::Interrupted => Ok(()),
            _ => Err(self.closed(unanswered, Some(error))),
        }
    }

    fn closed(&self, unanswered: usize, cause: Option<io::Error>) -> ClientError {
        ClientError::Closed { to: self.to.clone(), unanswered, cause }
    }
}

/// A connection whose reads and writes block, but no longer than [`CHECK_INTERVAL`].
fn open(target: &Target, timeout: Duration) -> io::Result<ClientConnection> {
    let connection = ClientConnection::open(target, MODE, INPUT_BYTES, timeout)?;
    connection.block_for(CHECK_INTERVAL)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;
    use crate::wire::frames::{ANSWER_HEADER_BYTES, Watermark, write_watermark};

    /// It may be no service at all: nothing is said about a disk.
    #[test]
    fn a_hello_without_an_answer_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target: Target = listener.local_addr().unwrap().to_string().parse().unwrap();
        let (timeout, cancel) = (Duration::from_millis(200), CancellationToken::new());
        let mut client = IngestClient::connect(&target, 64, timeout, &cancel).unwrap();
        let error = client.greet(4, false, &cancel).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ClientError::Greet { .. }), "{text}");
        assert!(text.contains("the hello wasn't answered for 200ms"), "{text}");
    }

    #[test]
    fn a_connection_that_was_ended_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target: Target = listener.local_addr().unwrap().to_string().parse().unwrap();
        let connect = || {
            let (timeout, cancel) = (Duration::from_secs(60), CancellationToken::new());
            IngestClient::connect(&target, 64, timeout, &cancel).unwrap()
        };
        let mut client = connect();
        let (mut service, _) = listener.accept().unwrap();
        for byte in 1..4 {
            client = client.if_usable().expect("the service has only been silent");
            // It blocks again.
            service.write_all(&[byte]).unwrap();
            while client.connection.receive().is_err() {}
            assert_eq!(client.connection.unprocessed_bytes(), usize::from(byte));
        }
        drop(service);
        while let Some(usable) = client.if_usable() {
            client = usable;
        }
        // Nor is a connection that has sent something unasked.
        let mut client = connect();
        let (mut service, _) = listener.accept().unwrap();
        service.write_all(b"unasked").unwrap();
        while let Some(usable) = client.if_usable() {
            client = usable;
        }
    }

    /// A watermark comes when nothing is asked, in any pieces.
    #[test]
    fn a_connection_with_a_watermark_is_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target: Target = listener.local_addr().unwrap().to_string().parse().unwrap();
        let (timeout, cancel) = (Duration::from_secs(60), CancellationToken::new());
        let mut client = IngestClient::connect(&target, 64, timeout, &cancel).unwrap();
        let (mut service, _) = listener.accept().unwrap();
        client.connection.note_sent(5);
        let watermark = Watermark { credits: 1, lane: 0, stored_through: 5 };
        let mut frame = [0; ANSWER_HEADER_BYTES];
        write_watermark(&watermark, &mut frame);
        for piece in frame.chunks(17) {
            service.write_all(piece).unwrap();
            client = client.if_usable().expect("a watermark is no answer");
        }
        // It says nothing new the second time.
        service.write_all(&frame).unwrap();
        while let Some(usable) = client.if_usable() {
            client = usable;
        }
    }
}
