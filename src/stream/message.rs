//! A message that was dequeued.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Deref;

use crate::class::PooledBuf;

/// A message that was dequeued: its slot is free already, and dropping it is Done: the buffer goes
/// back to its pool, on any thread, also after the queue is gone. Any number of them may be held;
/// what is held is in use by the pool's own count ([`crate::class::PoolStats`]).
pub struct Message(PooledBuf);

impl Message {
    pub(crate) fn new(buf: PooledBuf) -> Self {
        Self(buf)
    }

    /// The buffer itself: to be changed, kept, cut into shared parts, or enqueued elsewhere.
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
