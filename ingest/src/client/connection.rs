//! A connection of a client: sends bytes of requests, receives answers and checks each one.
//!
//! ```text
//! requests ─▶ write ─▶ socket ─▶ receive ─▶ input ─▶ next_answer
//! ```
//! It doesn't wait by itself. A load registers it with a poller; `slipring get` lets it block for
//! short times.

use std::io;
use std::ops::Range;
use std::time::Duration;

use mio::{Registry, Token};

pub(crate) use super::check::ExpectedAnswer;
use super::check::{RowsAhead, WrongAnswer, check_head, closing_refusal};
use super::target::{ClientSocket, Target};
use crate::wire::frames::{AnswerHead, HELLO_ANSWER_BYTES, HelloAnswer, Mode, answer_head};

/// A connection to a service.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    socket: ClientSocket,
    mode: Mode,
    /// Received bytes: those from `answered` to `received` aren't processed yet.
    input: Box<[u8]>,
    answered: usize,
    received: usize,
    rows: RowsAhead,
    /// The refusal that closes the connection: nothing comes after it.
    closing: Option<&'static str>,
    in_flight_max: u32,
}

/// An answer that belongs to its request. [`ClientConnection::scores`] has its scores until the
/// next [`ClientConnection::receive`].
#[derive(Debug)]
pub(crate) struct CheckedAnswer {
    pub(crate) head: AnswerHead,
    scores: Range<usize>,
}

/// The result of one read from the socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientRead {
    /// Bytes received; 0 at the end of the stream.
    pub(crate) bytes: usize,
    /// Whether they fill the input, so that the socket may hold more.
    pub(crate) is_full: bool,
}

impl ClientConnection {
    /// Connects within `timeout`. `input_bytes` hold at least the largest answer. In header mode
    /// [`Self::greet`] comes before the first request.
    pub(crate) fn open(
        target: &Target,
        mode: Mode,
        input_bytes: usize,
        timeout: Duration,
    ) -> io::Result<ClientConnection> {
        let socket = target.connect(timeout)?;
        let input = vec![0; input_bytes.max(HELLO_ANSWER_BYTES)].into_boxed_slice();
        let (rows, in_flight_max) = (RowsAhead::default(), u32::MAX);
        Ok(ClientConnection {
            socket,
            mode,
            input,
            answered: 0,
            received: 0,
            rows,
            closing: None,
            in_flight_max,
        })
    }

    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        self.socket.register(registry, token)
    }

    /// Writes some of `bytes`, which are requests.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    /// Half-close: no more requests follow, answers still come.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.socket.shutdown_write()
    }

    /// Reads once from the socket.
    pub(crate) fn receive(&mut self) -> io::Result<ClientRead> {
        self.input.copy_within(self.answered..self.received, 0);
        self.received -= self.answered;
        self.answered = 0;
        let room = &mut self.input[self.received..];
        let bytes = self.socket.read(room)?;
        let is_full = bytes == room.len();
        self.received += bytes;
        Ok(ClientRead { bytes, is_full })
    }

    /// Received bytes that aren't processed yet.
    pub(crate) fn unprocessed_bytes(&self) -> usize {
        self.received - self.answered
    }

    pub(super) fn unprocessed(&self) -> &[u8] {
        &self.input[self.answered..self.received]
    }

    /// Waits until there is something to read, or for `timeout`.
    pub(super) fn wait_readable(&self, timeout: Duration) -> io::Result<()> {
        self.socket.wait_readable(timeout)
    }

    /// The hello's answer, which is at the front of the input, holds from now on.
    pub(super) fn note_greeted(&mut self, answer: &HelloAnswer) {
        self.answered += HELLO_ANSWER_BYTES;
        self.rows.lane = answer.lane;
        self.in_flight_max = match answer.in_flight_max {
            u16::MAX => u32::MAX,
            most => u32::from(most),
        };
    }

    /// The most requests in flight, as the hello's answer said.
    pub(crate) fn in_flight_max(&self) -> u32 {
        self.in_flight_max
    }

    /// The next answer, once it is complete. It must be the one that `request` gets.
    pub(crate) fn next_answer(
        &mut self,
        request: &ExpectedAnswer,
    ) -> Result<Option<CheckedAnswer>, WrongAnswer> {
        let bytes = &self.input[self.answered..self.received];
        let Some(head) = answer_head(self.mode, bytes)? else { return Ok(None) };
        if let Some(refusal) = self.closing {
            return Err(WrongAnswer::AfterLast { refusal });
        }
        check_head(self.mode, &head, request)?;
        if bytes.len() < head.bytes_total {
            return Ok(None);
        }
        self.rows.pass(&head)?;
        self.closing = closing_refusal(&head, request);
        let end = self.answered + head.bytes_total;
        let scores = self.answered + self.mode.answer_header_bytes()..end;
        self.answered = end;
        Ok(Some(CheckedAnswer { head, scores }))
    }

    /// The scores of the last answer, as the wire carries them.
    pub(crate) fn scores(&self, answer: &CheckedAnswer) -> &[u8] {
        &self.input[answer.scores.clone()]
    }
}

/// For clients that block.
#[cfg(feature = "objects")]
impl ClientConnection {
    /// Makes reads and writes block, for `timeout` at most.
    pub(crate) fn block_for(&self, timeout: Duration) -> io::Result<()> {
        self.socket.set_timeout(timeout)?;
        self.socket.set_blocking(true)
    }

    /// Whether the service has neither closed the connection nor sent anything unasked since its
    /// last answer. The connection must block, and blocks again afterwards.
    pub(crate) fn is_silent(&self) -> bool {
        let read = self.socket.set_blocking(false).and_then(|()| self.socket.read(&mut [0]));
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            && self.socket.set_blocking(true).is_ok()
    }
}
