//! The bounds of a queue: the options, checked in one place, and the bound that refuses a message.
#![forbid(unsafe_code)]

use std::fmt;

/// The largest allowed number of messages. A queue allocates its slots when it is made, 24 bytes
/// each.
pub(crate) const MESSAGES_MAX: usize = 1 << 20;
/// The largest allowed number of bytes: far above the memory of any host, and far below the point
/// where counters could overflow.
pub(crate) const BYTES_MAX: usize = 1 << 40;

/// The bounds of a queue. Both apply at the same time.
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

/// An option of a queue that is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueError {
    /// The field of [`QueueOptions`].
    pub field: &'static str,
    /// The given value.
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

/// The bound that refused a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// As many messages are queued as `messages` of [`QueueOptions`] allows.
    Messages {
        /// The bound.
        limit: usize,
    },
    /// More bytes would be queued than `bytes` of [`QueueOptions`] allows. A message above
    /// that limit is accepted only when the queue is empty.
    Bytes {
        /// Bytes of the message.
        asked_bytes: usize,
        /// The bound in bytes.
        limit_bytes: usize,
    },
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Messages { limit } => {
                write!(
                    f,
                    "{limit} messages are queued, as many as `messages` allows: dequeue, wait, or \
                     raise it"
                )
            }
            Self::Bytes { asked_bytes, limit_bytes } => write!(
                f,
                "{asked_bytes} bytes more would be above the {limit_bytes} of `bytes`: dequeue, \
                 wait, or raise it"
            ),
        }
    }
}
