//! One connection: its socket, the bytes that it has sent and we haven't cut, and the answers that
//! we owe it.
//!
//! ```text
//! received: |......carry......|        owed: in flight (slots without an answer yet) + out (encoded, not sent)
//!           ^ frame boundary            `in_flight x largest answer + out` never exceeds the output's size
//! ```

use slipring::class::PooledBuf;

use super::duty::Unsent;
use super::stream::Stream;
use crate::wire::frames::Mode;

/// The phase of a connection's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Requests may come.
    Open,
    /// No more requests are accepted: the client has ended its stream, framing is lost, or the
    /// service drains. Owed answers are still sent.
    Ending,
    /// Everything is answered and our side has ended. Further bytes are read and discarded, so that
    /// the kernel doesn't reset the connection before the client has read its answers.
    Lingering,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: Stream,
    /// Known once four bytes are there.
    pub(super) mode: Option<Mode>,
    pub(super) phase: Phase,
    /// Whether the client's end of stream was seen.
    pub(super) at_end: bool,
    /// Received bytes, starting at a frame boundary, that couldn't be cut in place.
    pub(super) carry: Option<PooledBuf>,
    /// The lane's count of carry buffers when this one was filled: the smaller, the longer it has
    /// waited.
    pub(super) carried_at: u64,
    /// Encoded answers from `out_sent` on.
    pub(super) out: Option<PooledBuf>,
    pub(super) out_sent: usize,
    /// When the requests answered in `out` were received.
    pub(super) unsent: Unsent,
    /// When the carry buffer got its last bytes.
    pub(super) carry_ns: u64,
    /// The number of requests in slots, including those refused as busy.
    pub(super) in_flight: u32,
    pub(super) busy_in_flight: u32,
    pub(super) readable: bool,
    /// The end of its stream, or an error, comes after the bytes still to be read, and no further
    /// event will report it.
    pub(super) hangup: bool,
    pub(super) writable: bool,
    /// Whether it is queued for reading.
    pub(super) queued: bool,
    /// Whether it is in the list of those with something to send.
    pub(super) dirty: bool,
}

impl Conn {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            mode: None,
            phase: Phase::Open,
            at_end: false,
            carry: None,
            carried_at: 0,
            out: None,
            out_sent: 0,
            unsent: Unsent::default(),
            carry_ns: 0,
            in_flight: 0,
            busy_in_flight: 0,
            // A new socket may be ready for both by the time it is registered.
            readable: true,
            writable: true,
            hangup: false,
            queued: false,
            dirty: false,
        }
    }

    /// Bytes that are encoded and not sent.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.out.as_ref().map_or(0, |out| out.len() - self.out_sent)
    }

    /// Whether every accepted request is answered and the answer is sent.
    pub(super) fn owes_nothing(&self) -> bool {
        self.in_flight == 0 && self.busy_in_flight == 0 && self.out.is_none()
    }

    /// A receive of up to `most` bytes returned `bytes`. A short receive has emptied the socket,
    /// and more data will be reported, unless the end is next.
    pub(super) fn received(&mut self, bytes: usize, most: usize) {
        debug_assert!(bytes <= most);
        self.readable = bytes == most || self.hangup;
    }
}
