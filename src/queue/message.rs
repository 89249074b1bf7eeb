//! A message that was dequeued.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Deref;

use crate::class::PooledBuf;

/// A message that was dequeued. Its slot is already free. Dropping it returns the buffer to its
/// pool, on any thread, also after the queue is gone. Any number of messages may be held; the pool
/// counts them as in use ([`crate::class::ClassPoolStats`]).
pub struct Message(PooledBuf);

impl Message {
    pub(crate) fn new(buf: PooledBuf) -> Self {
        Self(buf)
    }

    /// Turns it into the buffer, to change it, keep it, cut it into shared parts, or enqueue it
    /// elsewhere.
    #[must_use]
    pub fn into_buf(self) -> PooledBuf {
        self.0
    }
}

impl Deref for Message {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("bytes", &self.0.len()).finish()
    }
}
