//! The bounds of a queue, checked in one place.
#![forbid(unsafe_code)]

use std::fmt;

/// The largest allowed number of messages. A queue allocates its slots when it is made, 24 bytes
/// each.
pub(crate) const MESSAGES_MAX: usize = 1 << 20;
/// The largest allowed number of bytes: far above any host's memory, far below where counters could
/// overflow.
pub(crate) const BYTES_MAX: usize = 1 << 40;

/// The bounds of a queue. Both hold at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// Messages, 1 to 2^20. The queue allocates a slot for each, rounded up to a power of two.
    pub messages: usize,
    /// Bytes of all queued messages together, 1 to 2^40: of payload, not of the buffers' classes. A
    /// larger message is accepted only when the queue is empty, so that it gets through at all.
    pub bytes: usize,
}

impl Default for QueueOptions {
    /// 256 messages, 1 MiB.
    fn default() -> Self {
        Self { messages: 256, bytes: 1 << 20 }
    }
}

impl QueueOptions {
    pub(crate) fn check(&self) -> Result<(), QueueError> {
        let fields = [("messages", self.messages, MESSAGES_MAX), ("bytes", self.bytes, BYTES_MAX)];
        for (field, given, limit) in fields {
            if given == 0 || given > limit {
                return Err(QueueError { field, given, limit });
            }
        }
        Ok(())
    }
}

/// An option of a queue that doesn't fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueError {
    /// The field of [`QueueOptions`].
    pub field: &'static str,
    /// The figure given.
    pub given: usize,
    /// The largest allowed value; the smallest is 1.
    pub limit: usize,
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, given, limit } = self;
        write!(f, "`{field}` of the queue is {given}: give 1 to {limit}")
    }
}

impl std::error::Error for QueueError {}
