//! A client of the service: one connection, frames in header mode, every answer checked.
//!
//! It uses header mode because its frames carry the dimension: in count mode, a service with
//! another dimension would read different rows. The first frame is sent alone; its answer says how
//! many frames the service allows in flight on a connection. From then on up to [`WINDOW_MAX`] are
//! in flight. Their answers fit into a socket's buffer, so the service never waits for this side to
//! read, and writing without reading can't deadlock.
//!
//! It blocks, so it runs on a thread that may, and checks for an interruption every [`LOOK`]. After
//! an error the connection can't be used again.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{ClientError, Vectors};
use crate::load::check::check_head;
use crate::load::target::Stream;
use crate::load::{Fault, Target};
use crate::wire::frames::{
    AnswerHead, Mode, Status, answer_bytes, answer_head, encode_request_head,
};

/// The most unanswered frames.
const WINDOW_MAX: usize = 32;
/// The most bytes of answers in flight: a small part of any socket's default buffer.
const ANSWERS_BYTES_MAX: usize = 32 << 10;
/// Frames gathered for one write, unless one is longer.
const OUT_BYTES: usize = 256 << 10;
/// The longest wait without checking for an interruption and the timeout.
const LOOK: Duration = Duration::from_millis(100);
const MODE: Mode = Mode::Header;

/// The outcome of an object's vectors. If an object failed midway, the service may have accepted
/// more than were answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Vectors in the frames made for the service. After a failure midway, the last frame may not
    /// have been sent completely.
    pub vectors: u64,
    /// Of those, answered with a score: received.
    pub answered: u64,
    /// Of those, in refused frames.
    pub refused: u64,
}

/// A frame without an answer.
struct Pending {
    sequence: u64,
    vectors: u32,
    /// Its rows in the object.
    rows: Range<u64>,
}

/// A connection to a service.
pub(crate) struct Client {
    to: String,
    stream: Box<dyn ReadWrite>,
    timeout: Duration,
    sequence: u64,
    window: usize,
    /// Received bytes that aren't processed yet.
    input: Vec<u8>,
}

trait ReadWrite: Read + Write + Send {
    fn set_nonblocking(&self, on: bool) -> io::Result<()>;
}

impl ReadWrite for TcpStream {
    fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        TcpStream::set_nonblocking(self, on)
    }
}

impl ReadWrite for UnixStream {
    fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        UnixStream::set_nonblocking(self, on)
    }
}

impl Client {
    /// Connects. `timeout` bounds this and every wait for progress. It runs on its own thread,
    /// because a name look-up or a handshake can't be cancelled; after an interruption they are
    /// abandoned.
    pub(crate) fn connect(
        target: &Target,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> Result<Client, ClientError> {
        let (to, target, (done, wait)) = (target.to_string(), target.clone(), channel());
        let failed = |error| ClientError::Connect { to: to.clone(), error };
        let connecting = move || drop(done.send(connect(&target, timeout)));
        thread::Builder::new().name("connect".to_owned()).spawn(connecting).map_err(failed)?;
        let connected = loop {
            match wait.recv_timeout(LOOK) {
                Ok(connected) => break connected,
                Err(RecvTimeoutError::Timeout) if cancel.is_cancelled() => {
                    return Err(ClientError::Cancelled);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    break Err(io::Error::other("its thread ended"));
                }
            }
        };
        let stream = connected.map_err(failed)?;
        Ok(Client { to, stream, timeout, sequence: 0, window: 1, input: Vec::new() })
    }

    /// Returns the client, unless the service has closed the connection since its last answer. A
    /// service never sends anything unasked.
    pub(crate) fn if_open(mut self) -> Option<Client> {
        let looked = self.stream.set_nonblocking(true).and_then(|()| self.stream.read(&mut [0]));
        let is_silent = looked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        (is_silent && self.stream.set_nonblocking(false).is_ok()).then_some(self)
    }

    /// Sends all vectors in frames of up to `max_vectors` and waits for every answer. `sent` is
    /// updated even if this fails.
    ///
    /// # Errors
    /// The connection's end, a service that doesn't move, an answer that isn't right, a refusal:
    /// see [`ClientError`].
    pub(crate) fn send(
        &mut self,
        vectors: &Vectors,
        max_vectors: u32,
        cancel: &CancellationToken,
        sent: &mut Sent,
    ) -> Result<(), ClientError> {
        let (mut cursor, mut out, mut first_refused) = (vectors.cursor(), Vec::new(), None);
        let mut in_flight: VecDeque<Pending> = VecDeque::with_capacity(WINDOW_MAX);
        loop {
            while cursor.left() > 0 && in_flight.len() < self.window && out.len() < OUT_BYTES {
                let count = cursor.left().min(u64::from(max_vectors)) as u32;
                encode_request_head(MODE, vectors.dim(), self.sequence, count, &mut out);
                cursor.take(count, &mut out);
                let rows = sent.vectors..sent.vectors + u64::from(count);
                sent.vectors = rows.end;
                in_flight.push_back(Pending { sequence: self.sequence, vectors: count, rows });
                self.sequence += 1;
            }
            self.write_all(&out, in_flight.len(), cancel)?;
            out.clear();
            let Some(pending) = in_flight.front() else { break };
            let head = self.answer(pending, in_flight.len(), cancel)?;
            match head.status {
                Some(Status::Ok) => sent.answered += u64::from(pending.vectors),
                Some(status) => {
                    sent.refused += u64::from(pending.vectors);
                    if status != Status::NotFinite {
                        let (to, vectors, dim) = (self.to.clone(), pending.vectors, vectors.dim());
                        return Err(ClientError::Refused { to, status, vectors, dim });
                    }
                    first_refused.get_or_insert(pending.rows.clone());
                }
                None => unreachable!("header mode has a status"),
            }
            in_flight.pop_front();
            if self.sequence == 1 {
                let fits = ANSWERS_BYTES_MAX / answer_bytes(MODE, max_vectors as usize);
                self.window = fits.min(usize::from(head.credits)).clamp(1, WINDOW_MAX);
            }
        }
        match first_refused {
            Some(rows) => {
                let (to, refused, all) = (self.to.clone(), sent.refused, vectors.rows());
                Err(ClientError::NotFinite { to, refused, all, rows })
            }
            None => Ok(()),
        }
    }

    /// Takes the next complete answer from the input. It must be the answer to `pending`.
    fn answer(
        &mut self,
        pending: &Pending,
        unanswered: usize,
        cancel: &CancellationToken,
    ) -> Result<AnswerHead, ClientError> {
        let mut moved = Instant::now();
        loop {
            let fault = |fault| ClientError::Fault { to: self.to.clone(), fault };
            if let Some(head) =
                answer_head(MODE, &self.input).map_err(|error| fault(Fault::NoAnswer(error)))?
            {
                check_head(MODE, &head, pending.vectors, pending.sequence).map_err(fault)?;
                if self.input.len() >= head.bytes_total {
                    self.input.drain(..head.bytes_total);
                    return Ok(head);
                }
            }
            let mut room = [0; 16 << 10];
            match self.stream.read(&mut room) {
                Ok(0) => return Err(self.closed(unanswered, None)),
                Ok(count) => {
                    self.input.extend_from_slice(&room[..count]);
                    moved = Instant::now();
                }
                Err(error) => self.wait_on(error, moved, unanswered, cancel)?,
            }
        }
    }

    fn write_all(
        &mut self,
        mut bytes: &[u8],
        unanswered: usize,
        cancel: &CancellationToken,
    ) -> Result<(), ClientError> {
        let mut moved = Instant::now();
        while !bytes.is_empty() {
            if cancel.is_cancelled() {
                return Err(ClientError::Cancelled);
            }
            match self.stream.write(bytes) {
                Ok(written) => {
                    bytes = &bytes[written..];
                    moved = Instant::now();
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
                Err(error) => self.wait_on(error, moved, unanswered, cancel)?,
            }
        }
        Ok(())
    }

    /// Whether to go on after a read or a write that didn't succeed.
    fn wait_on(
        &self,
        error: io::Error,
        moved: Instant,
        unanswered: usize,
        cancel: &CancellationToken,
    ) -> Result<(), ClientError> {
        if cancel.is_cancelled() {
            return Err(ClientError::Cancelled);
        }
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut if moved.elapsed() < self.timeout => Ok(()),
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

/// A socket whose reads and writes block, but no longer than [`LOOK`].
fn connect(target: &Target, timeout: Duration) -> io::Result<Box<dyn ReadWrite>> {
    match target.connect(timeout)? {
        Stream::Tcp(stream) => {
            let stream = TcpStream::from(stream);
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(LOOK))?;
            stream.set_write_timeout(Some(LOOK))?;
            Ok(Box::new(stream))
        }
        Stream::Unix(stream) => {
            let stream = UnixStream::from(stream);
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(LOOK))?;
            stream.set_write_timeout(Some(LOOK))?;
            Ok(Box::new(stream))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_connection_that_was_ended_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target: Target = listener.local_addr().unwrap().to_string().parse().unwrap();
        let connect = || {
            Client::connect(&target, Duration::from_secs(60), &CancellationToken::new()).unwrap()
        };
        let mut client = connect();
        let (mut service, _) = listener.accept().unwrap();
        for byte in 1..4 {
            client = client.if_open().expect("the service has only been silent");
            // It blocks again.
            service.write_all(&[byte]).unwrap();
            let mut read = [0];
            while client.stream.read(&mut read).is_err() {}
            assert_eq!(read, [byte]);
        }
        drop(service);
        while let Some(open) = client.if_open() {
            client = open;
        }
        // Nor a connection that has sent something unasked.
        let mut client = connect();
        let (mut service, _) = listener.accept().unwrap();
        service.write_all(b"unasked").unwrap();
        while let Some(open) = client.if_open() {
            client = open;
        }
    }
}
