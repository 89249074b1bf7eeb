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
use crate::protocol::Mode;

/// How far a connection is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Requests may come.
    Open,
    /// No more requests are taken: the client has ended its stream, framing is lost, or the service
    /// drains. What is owed is still answered.
    Ending,
    /// Everything is answered and our side has ended: what still comes is read and thrown away, so
    /// that the kernel doesn't reset the connection under answers that the client hasn't read yet.
    Lingering,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: Stream,
    /// Known once four bytes are there.
    pub(super) mode: Option<Mode>,
    pub(super) phase: Phase,
    /// The client's end of stream was seen.
    pub(super) at_end: bool,
    /// Received bytes from a frame boundary on, when they couldn't be cut where they were received.
    pub(super) carry: Option<PooledBuf>,
    /// How many had been carried before: the smaller, the longer it waits.
    pub(super) carried_at: u64,
    /// Encoded answers from `out_sent` on.
    pub(super) out: Option<PooledBuf>,
    pub(super) out_sent: usize,
    /// When what is in `out` was received.
    pub(super) unsent: Unsent,
    /// When the carry buffer got its last bytes.
    pub(super) carry_ns: u64,
    /// Requests in slots, good ones and those refused as busy.
    pub(super) in_flight: u32,
    pub(super) busy_in_flight: u32,
    pub(super) readable: bool,
    /// The end of its stream, or an error, waits behind what is to be read, and no further event
    /// will tell.
    pub(super) hangup: bool,
    pub(super) writable: bool,
    /// It stands in the queue of those to read.
    pub(super) queued: bool,
    /// It stands in the list of those with something to send.
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
            // A new socket may have both by the time it is registered.
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

    /// Whether every request that was taken is answered and sent.
    pub(super) fn owes_nothing(&self) -> bool {
        self.in_flight == 0 && self.busy_in_flight == 0 && self.out.is_none()
    }

    /// A receive of `most` bytes gave `bytes`: a short one has emptied the socket, and more will be
    /// told, unless the end is next.
    pub(super) fn received(&mut self, bytes: usize, most: usize) {
        debug_assert!(bytes <= most);
        self.readable = bytes == most || self.hangup;
    }
}
