//! A client that speaks the wire byte by byte, on either kind of socket, and never waits longer
//! than [`PATIENCE`].

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use slipring_ingest::wire::frames::{
    ANSWER_HEADER_BYTES, AnswerError, AnswerEvent, AnswerPlace, HELLO_ANSWER_BYTES, Hello,
    HelloAnswer, Mode, Status, Watermark, answer_event, decode_answer, decode_hello_answer,
    encode_hello, encode_request,
};

use super::PATIENCE;

/// Where a service listens.
#[derive(Clone, Debug)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    pub mode: Mode,
    pub dim: u32,
    /// Bytes received and not yet returned.
    input: Vec<u8>,
    /// Watermarks that came before, between or behind answers.
    pub watermarks: Vec<Watermark>,
}

/// A decoded answer. Count mode has no status except "not refused".
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: Option<Status>,
    pub sequence: u64,
    pub credits: u16,
    pub scores: Vec<f32>,
    pub place: Option<AnswerPlace>,
}

impl Answer {
    pub fn is_ok(&self) -> bool {
        self.status == Some(Status::Ok)
    }
}

impl Client {
    /// A connection that has said hello, if its mode begins with one. A service that has no room
    /// for it closes it, which the next call shows.
    pub fn new(address: &Address, mode: Mode, dim: u32) -> Self {
        let mut client = Self::silent(address, mode, dim);
        if mode == Mode::Header {
            let _closed = client.greet(&Hello::new(dim));
        }
        client
    }

    /// Says hello. None: the service has closed the connection.
    #[track_caller]
    pub fn greet(&mut self, hello: &Hello) -> Option<HelloAnswer> {
        let mut bytes = Vec::new();
        encode_hello(hello, &mut bytes);
        self.try_send_bytes(&bytes).ok()?;
        self.hello_answer()
    }

    /// The answer to a hello. None: the service has closed the connection.
    #[track_caller]
    pub fn hello_answer(&mut self) -> Option<HelloAnswer> {
        loop {
            if let Some(answer) =
                decode_hello_answer(&self.input).expect("an answer that follows the protocol")
            {
                self.input.drain(..HELLO_ANSWER_BYTES);
                return Some(answer);
            }
            match self.try_read_more() {
                Ok(0) => return None,
                Err(error) if is_reset(&error) => return None,
                other => drop(other.expect("an answer in time")),
            }
        }
    }

    /// Whether the next answer is one to a hello, which it takes. A frame that is no hello is
    /// answered as a request.
    #[track_caller]
    pub fn hello_answered(&mut self) -> bool {
        loop {
            match decode_hello_answer(&self.input) {
                Ok(None) => {}
                Ok(Some(_)) => return self.input.drain(..HELLO_ANSWER_BYTES).count() > 0,
                Err(AnswerError::NoHello(_)) => return false,
                Err(error) => panic!("an answer that follows the protocol, not {error}"),
            }
            if !matches!(self.try_read_more(), Ok(count) if count > 0) {
                return false;
            }
        }
    }

    /// A connection on which nothing was sent.
    pub fn silent(address: &Address, mode: Mode, dim: u32) -> Self {
        let socket = match address {
            Address::Tcp(address) => {
                let stream =
                    TcpStream::connect_timeout(address, PATIENCE).expect("the service accepts");
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                Socket::Tcp(stream)
            }
            Address::Unix(path) => Socket::Unix(unix(path)),
        };
        Self { socket, mode, dim, input: Vec::new(), watermarks: Vec::new() }
    }

    pub fn count(address: &Address, dim: u32) -> Self {
        Self::new(address, Mode::Count, dim)
    }

    pub fn header1(address: &Address, dim: u32) -> Self {
        Self::new(address, Mode::Header1, dim)
    }

    pub fn header(address: &Address, dim: u32) -> Self {
        Self::new(address, Mode::Header, dim)
    }

    /// Another handle on the same connection, for a thread that only reads or only writes.
    pub fn second_handle(&self) -> Self {
        let socket = match &self.socket {
            Socket::Tcp(stream) => Socket::Tcp(stream.try_clone().unwrap()),
            Socket::Unix(stream) => Socket::Unix(stream.try_clone().unwrap()),
        };
        let (mode, dim) = (self.mode, self.dim);
        Self { socket, mode, dim, input: Vec::new(), watermarks: Vec::new() }
    }

    /// The bytes of a request.
    pub fn request(&self, sequence: u64, vectors: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_request(self.mode, self.dim, sequence, vectors, &mut bytes);
        bytes
    }

    #[track_caller]
    pub fn send(&mut self, sequence: u64, vectors: &[f32]) {
        let bytes = self.request(sequence, vectors);
        self.send_bytes(&bytes);
    }

    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).expect("the service reads");
    }

    /// As [`Client::send_bytes`], for a service that may close the connection meanwhile.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.write_all(bytes),
            Socket::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Sends without blocking, and returns how many bytes the socket accepted.
    pub fn send_some(&mut self, bytes: &[u8]) -> usize {
        self.set_nonblocking(true);
        let mut sent = 0;
        while sent < bytes.len() {
            let written = match &mut self.socket {
                Socket::Tcp(stream) => stream.write(&bytes[sent..]),
                Socket::Unix(stream) => stream.write(&bytes[sent..]),
            };
            match written {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the service has closed: {error}"),
            }
        }
        self.set_nonblocking(false);
        sent
    }

    /// Sends these requests repeatedly, without reading an answer, until the service has accepted
    /// nothing for a second: every buffer on the way is full. Returns how many bytes were sent.
    pub fn send_until_stopped(&mut self, requests: &[u8]) -> usize {
        let (mut sent, mut last) = (0, Instant::now());
        while last.elapsed() < Duration::from_secs(1) {
            let some = self.send_some(&requests[sent % requests.len()..]);
            if some > 0 {
                (sent, last) = (sent + some, Instant::now());
            }
            assert!(sent < 1 << 30, "the service reads without a bound");
            std::thread::sleep(Duration::from_millis(1));
        }
        sent
    }

    fn set_nonblocking(&self, on: bool) {
        match &self.socket {
            Socket::Tcp(stream) => stream.set_nonblocking(on).unwrap(),
            Socket::Unix(stream) => stream.set_nonblocking(on).unwrap(),
        }
    }

    /// The next answer; the test fails if none comes.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.answer_or_end().expect("an answer, not the end of the stream")
    }

    /// The next answer; None if the service has closed the connection.
    #[track_caller]
    pub fn answer_or_end(&mut self) -> Option<Answer> {
        loop {
            self.take_watermarks();
            let decoded =
                decode_answer(self.mode, &self.input).expect("an answer that follows the protocol");
            if let Some((head, scores)) = decoded {
                let floats = self.input[scores]
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|bytes| f32::from_le_bytes(*bytes));
                let (status, sequence, credits) = (head.status, head.sequence, head.credits);
                let (scores, place) = (floats.collect(), head.place);
                let answer = Answer { status, sequence, credits, scores, place };
                self.input.drain(..head.bytes_total);
                return Some(answer);
            }
            if self.read_more() == 0 {
                assert!(
                    self.input.is_empty(),
                    "the stream ends within an answer: {:?}",
                    self.input
                );
                return None;
            }
        }
    }

    /// The bytes of the next answer; nothing if the connection ends instead, by a close or a reset.
    #[track_caller]
    pub fn bytes_of_answer(&mut self) -> Vec<u8> {
        loop {
            self.take_watermarks();
            if let Some((head, _)) =
                decode_answer(self.mode, &self.input).expect("an answer that follows the protocol")
            {
                return self.input.drain(..head.bytes_total).collect();
            }
            match self.try_read_more() {
                Ok(0) => return Vec::new(),
                Err(error) if is_reset(&error) => return Vec::new(),
                other => drop(other.expect("an answer in time")),
            }
        }
    }

    /// Sequence and scores of the next answer; None if the connection ends instead, by a close or a
    /// reset.
    #[track_caller]
    pub fn next_if_served(&mut self) -> Option<(u64, Vec<f32>)> {
        let bytes = self.bytes_of_answer();
        let (head, scores) =
            decode_answer(self.mode, &bytes).expect("an answer that follows the protocol")?;
        let floats =
            bytes[scores].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        Some((head.sequence, floats.collect()))
    }

    /// The answers that have arrived; never waits.
    pub fn take_answers(&mut self) -> Vec<Answer> {
        self.set_nonblocking(true);
        while self.try_read_more().is_ok_and(|count| count > 0) {}
        self.set_nonblocking(false);
        let mut answers = Vec::new();
        self.take_watermarks();
        while decode_answer(self.mode, &self.input)
            .expect("an answer that follows the protocol")
            .is_some()
        {
            answers.extend(self.answer_or_end());
            self.take_watermarks();
        }
        answers
    }

    /// All bytes until the service closes the connection, which it must do. With `reset_too` a
    /// reset also counts as the end.
    #[track_caller]
    pub fn bytes_to_end(&mut self, reset_too: bool) -> Vec<u8> {
        loop {
            match self.try_read_more() {
                Ok(0) => break,
                Err(error) if reset_too && is_reset(&error) => break,
                other => drop(other.expect("the end of the stream")),
            }
        }
        self.take_watermarks();
        std::mem::take(&mut self.input)
    }

    /// Expects that the service closes the connection without another answer.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.answer_or_end(), None, "an answer to nothing");
    }

    #[track_caller]
    fn read_more(&mut self) -> usize {
        self.try_read_more().expect("an answer in time")
    }

    fn try_read_more(&mut self) -> std::io::Result<usize> {
        let mut bytes = [0; 16 << 10];
        let count = match &mut self.socket {
            Socket::Tcp(stream) => stream.read(&mut bytes),
            Socket::Unix(stream) => stream.read(&mut bytes),
        }?;
        self.input.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Takes the watermarks at the front.
    fn take_watermarks(&mut self) {
        while let Ok(Some(AnswerEvent::Watermark(watermark))) = answer_event(self.mode, &self.input)
        {
            self.watermarks.push(watermark);
            self.input.drain(..ANSWER_HEADER_BYTES);
        }
    }

    /// Half-close: no more is sent.
    pub fn end_sending(&self) {
        let _gone = match &self.socket {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Ends both sides, for all handles.
    pub fn end(&self) {
        let _gone = match &self.socket {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    /// Sends one byte of urgent data (only on TCP).
    pub fn send_urgent(&mut self, byte: u8) {
        if let Socket::Tcp(stream) = &self.socket {
            let sent = rustix::net::send(stream, &[byte], rustix::net::SendFlags::OOB);
            assert_eq!(sent, Ok(1));
        }
    }

    /// Limits what the system holds for it (only on TCP).
    pub fn receive_buffer(&self, bytes: usize) {
        if let Socket::Tcp(stream) = &self.socket {
            rustix::net::sockopt::set_socket_recv_buffer_size(stream, bytes).unwrap();
        }
    }

    /// Closes the connection with a reset (only on TCP; a Unix socket has no reset).
    pub fn reset(self) {
        if let Socket::Tcp(stream) = &self.socket {
            rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO))
                .unwrap();
        }
    }
}

/// Whether a read failed because the other side reset the connection.
pub fn is_reset(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}

fn unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("the service accepts");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}
