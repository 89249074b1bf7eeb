//! Errors of enqueuing and dequeuing. The caller gets its buffer back.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

use super::end::{CloseError, End};
use super::ring::Bound;
use crate::class::{GetError, PooledBuf};

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Messages { limit } => {
                write!(
                    f,
                    "{limit} messages are queued, as many as `messages` allows: dequeue, wait, or raise it"
                )
            }
            Self::Bytes { asked_bytes, limit_bytes } => write!(
                f,
                "{asked_bytes} bytes more would be above the {limit_bytes} of `bytes`: dequeue, wait, or raise it"
            ),
        }
    }
}

/// A buffer that wasn't enqueued.
#[derive(Debug)]
#[non_exhaustive]
pub enum EnqueueError {
    /// A bound is reached, and with a time limit it still was at the end of it.
    Full {
        /// The message.
        buf: PooledBuf,
        /// Which bound.
        bound: Bound,
    },
    /// The queue has ended.
    Closed {
        /// The message.
        buf: PooledBuf,
        /// How it ended.
        end: End,
    },
}

impl EnqueueError {
    /// The message.
    #[must_use]
    pub fn into_buf(self) -> PooledBuf {
        match self {
            Self::Full { buf, .. } | Self::Closed { buf, .. } => buf,
        }
    }
}

impl fmt::Display for EnqueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { bound, .. } => write!(f, "the queue is full: {bound}"),
            Self::Closed { end, .. } => end.fmt(f),
        }
    }
}

impl Error for EnqueueError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Closed { end: End::Closed(error), .. } => Some(&**error),
            _ => None,
        }
    }
}

/// Bytes that weren't copied into the queue.
#[derive(Debug)]
#[non_exhaustive]
pub enum CopyError {
    /// A bound is reached, and with a time limit it still was at the end of it. Nothing was copied.
    Full(Bound),
    /// The queue has ended.
    Closed(End),
    /// The pool has no buffer for it.
    Pool(GetError),
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(bound) => write!(f, "the queue is full: {bound}"),
            Self::Closed(end) => end.fmt(f),
            Self::Pool(error) => write!(f, "no buffer for the message: {error}"),
        }
    }
}

impl Error for CopyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Closed(End::Closed(error)) => Some(&**error),
            Self::Pool(error) => Some(error),
            Self::Full(_) | Self::Closed(_) => None,
        }
    }
}

impl From<GetError> for CopyError {
    fn from(error: GetError) -> Self {
        Self::Pool(error)
    }
}

/// The queue was closed with an error, and everything queued before is dequeued.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Closed(pub CloseError);

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the queue was closed: {}", self.0)
    }
}

impl Error for Closed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// Errors of dequeuing. The clean end isn't an error.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DequeueError {
    /// Nothing is queued, and with a time limit nothing was until its end.
    Empty,
    /// The queue was closed with an error.
    Closed(Closed),
}

impl fmt::Display for DequeueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no message is queued"),
            Self::Closed(closed) => closed.fmt(f),
        }
    }
}

impl Error for DequeueError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Empty => None,
            Self::Closed(closed) => closed.source(),
        }
    }
}
