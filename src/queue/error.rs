//! Errors of enqueuing, dequeuing and assembling. A buffer that wasn't enqueued is handed back.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

use super::options::Bound;
use super::shared::{CloseError, End};
use crate::class::{GetError, PooledBuf};

/// A buffer that wasn't enqueued.
#[derive(Debug)]
#[non_exhaustive]
pub enum EnqueueError {
    /// A bound is reached; with a time limit, it still was when the time was over.
    Full {
        /// The message.
        buf: PooledBuf,
        /// The bound that is reached.
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
            Self::Closed { end: End::Error(error), .. } => Some(&**error),
            _ => None,
        }
    }
}

/// Bytes that weren't copied into the queue.
#[derive(Debug)]
#[non_exhaustive]
pub enum CopyError {
    /// A bound is reached; with a time limit, it still was when the time was over. Nothing was
    /// copied.
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
            Self::Closed(End::Error(error)) => Some(&**error),
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

/// The queue was closed with an error, and everything that was queued before has been dequeued.
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
    /// No message is queued; with a time limit, none came before the time was over.
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

/// Why a call of an assembler failed. The assembler stays usable.
#[derive(Debug)]
#[non_exhaustive]
pub enum AssembleError {
    /// `message_bytes_max` is out of range.
    Limit {
        /// The given value.
        given: usize,
    },
    /// No message is in progress: call [`super::Assembler::begin`].
    NotBegun,
    /// A message is in progress: complete or abort it.
    InProgress {
        /// Bytes of the message so far.
        bytes: usize,
    },
    /// The message would be larger than the limit. It was given up.
    TooLarge {
        /// Bytes that the message would have.
        asked_bytes: usize,
        /// The limit.
        message_bytes_max: usize,
    },
    /// More bytes than were declared. The message was given up.
    Overrun {
        /// Bytes that the message would have.
        asked_bytes: usize,
        /// Bytes that were declared.
        declared_bytes: usize,
    },
    /// Fewer bytes than were declared. The message stays.
    Short {
        /// Bytes of the message so far.
        bytes: usize,
        /// Bytes that were declared.
        declared_bytes: usize,
    },
    /// More bytes were committed than were lent.
    Commit {
        /// Bytes to be committed.
        asked_bytes: usize,
        /// Bytes of the space that aren't committed.
        lent_bytes: usize,
    },
    /// The pool has no buffer now. What was received stays.
    Pool(GetError),
}

impl fmt::Display for AssembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { given } => {
                write!(f, "`message_bytes_max` is {given}: give 1 to {}", isize::MAX)
            }
            Self::NotBegun => f.write_str("no message is in progress: begin one"),
            Self::InProgress { bytes } => {
                write!(f, "a message of {bytes} bytes so far is in progress: complete or abort it")
            }
            Self::TooLarge { asked_bytes, message_bytes_max } => write!(
                f,
                "a message of {asked_bytes} bytes, `message_bytes_max` is {message_bytes_max}: \
                 refuse the stream, or raise the limit"
            ),
            Self::Overrun { asked_bytes, declared_bytes } => {
                write!(
                    f,
                    "{asked_bytes} bytes of a message that was declared with {declared_bytes}: \
                     refuse the stream"
                )
            }
            Self::Short { bytes, declared_bytes } => {
                write!(
                    f,
                    "{bytes} bytes of a message that was declared with {declared_bytes}: receive \
                     the rest, or abort it"
                )
            }
            Self::Commit { asked_bytes, lent_bytes } => {
                write!(
                    f,
                    "{asked_bytes} bytes committed of a space of {lent_bytes}: commit what was \
                     received into it"
                )
            }
            Self::Pool(error) => write!(f, "no buffer for the message: {error}"),
        }
    }
}

impl Error for AssembleError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Pool(error) => Some(error),
            _ => None,
        }
    }
}

impl From<GetError> for AssembleError {
    fn from(error: GetError) -> Self {
        Self::Pool(error)
    }
}
