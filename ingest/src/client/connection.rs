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
use crate::wire::frames::{
    ANSWER_HEADER_BYTES, AnswerEvent, AnswerHead, HELLO_ANSWER_BYTES, Hello, HelloAnswer, Mode,
    answer_event, may_be_watermark,
};

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
    /// The highest sequence of which the server has said that it, and every accepted request before
    /// it, is stored; 0 if it has said nothing yet.
    /// The last sequence that was sent, and the last that is stored; 0 if there is none yet.
    sent_through: u64,
    stored_through: u64,
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
            sent_through: 0,
            stored_through: 0,
        })
    }

    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        self.socket.register(registry, token)
    }

    /// Requests up to this sequence are about to be written. They are numbered from 1 on: a server
    /// says by 0 that none is stored.
    pub(crate) fn note_sent(&mut self, sequence: u64) {
        self.sent_through = sequence;
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
    pub(super) fn note_greeted(&mut self, hello: &Hello, answer: &HelloAnswer) {
        self.answered += HELLO_ANSWER_BYTES;
        self.rows.lane = answer.lane;
        self.rows.may_repeat = hello.producer != 0;
        self.in_flight_max = match answer.in_flight_max {
            u16::MAX => u32::MAX,
            most => u32::from(most),
        };
    }

    /// The most requests in flight, as the hello's answer said.
    pub(crate) fn in_flight_max(&self) -> u32 {
        self.in_flight_max
    }

    /// Takes the watermarks at the front. Returns whether bytes follow that are none, not even the
    /// beginning of one.
    pub(crate) fn take_watermarks(&mut self) -> Result<bool, WrongAnswer> {
        loop {
            let bytes = self.unprocessed();
            if !may_be_watermark(self.mode, bytes) {
                return Ok(!bytes.is_empty());
            }
            let Some(AnswerEvent::Watermark(watermark)) = answer_event(self.mode, bytes)? else {
                return Ok(false);
            };
            let (before, got) = (self.stored_through, watermark.stored_through);
            if got == before {
                return Err(WrongAnswer::StoredBack { before, got });
            }
            self.note_stored(watermark.lane, got)?;
            self.answered += ANSWER_HEADER_BYTES;
        }
    }

    fn note_stored(&mut self, lane: u16, got: u64) -> Result<(), WrongAnswer> {
        let (expected, before) = (self.rows.lane, self.stored_through);
        if lane != expected {
            return Err(WrongAnswer::Lane { expected, got: lane });
        }
        if got > self.sent_through {
            return Err(WrongAnswer::StoredAhead { sent: self.sent_through, got });
        }
        if got < before {
            return Err(WrongAnswer::StoredBack { before, got });
        }
        self.stored_through = got;
        Ok(())
    }

    /// The next answer, once it is complete. It must be the one that `request` gets.
    pub(crate) fn next_answer(
        &mut self,
        request: &ExpectedAnswer,
    ) -> Result<Option<CheckedAnswer>, WrongAnswer> {
        if !self.take_watermarks()? {
            return Ok(None);
        }
        let bytes = &self.input[self.answered..self.received];
        let Some(AnswerEvent::Answer(head)) = answer_event(self.mode, bytes)? else {
            return Ok(None);
        };
        if let Some(refusal) = self.closing {
            return Err(WrongAnswer::AfterLast { refusal });
        }
        check_head(self.mode, &head, request)?;
        if bytes.len() < head.bytes_total {
            return Ok(None);
        }
        self.rows.pass(&head)?;
        if let Some(place) = &head.place {
            self.note_stored(self.rows.lane, place.stored_through)?;
        }
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

    /// Whether the service has neither closed the connection nor sent anything unasked, watermarks
    /// aside, since its last answer. The connection must block, and blocks again afterwards.
    pub(crate) fn is_silent(&mut self) -> bool {
        let emptied = self.socket.set_blocking(false).and_then(|()| {
            while self.receive()?.bytes > 0 && matches!(self.take_watermarks(), Ok(false)) {}
            Ok(())
        });
        emptied.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            && self.socket.set_blocking(true).is_ok()
    }
}
