//! Why an assembler didn't do it.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

use crate::class::GetError;

/// Why an assembler didn't do it; it stays usable.
#[derive(Debug)]
#[non_exhaustive]
pub enum AssembleError {
    /// `message_bytes_max` doesn't fit.
    Limit {
        /// The figure given.
        given: usize,
    },
    /// No message is under way: call [`super::Assembler::begin`].
    NotBegun,
    /// A message is under way: finish or abort it.
    InProgress {
        /// Bytes of it so far.
        bytes: usize,
    },
    /// The message would be larger than the limit. It was given up.
    TooLarge {
        /// Bytes that it would have.
        asked_bytes: usize,
        /// The limit.
        message_bytes_max: usize,
    },
    /// More bytes than were declared. The message was given up.
    Overrun {
        /// Bytes that it would have.
        asked_bytes: usize,
        /// Bytes that were declared.
        declared_bytes: usize,
    },
    /// Fewer bytes than were declared. The message stays.
    Short {
        /// Bytes of it so far.
        bytes: usize,
        /// Bytes that were declared.
        declared_bytes: usize,
    },
    /// More was committed than was lent.
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
            Self::NotBegun => f.write_str("no message is under way: begin one"),
            Self::InProgress { bytes } => {
                write!(f, "a message of {bytes} bytes so far is under way: finish or abort it")
            }
            Self::TooLarge { asked_bytes, message_bytes_max } => write!(
                f,
                "a message of {asked_bytes} bytes, `message_bytes_max` is {message_bytes_max}: refuse the stream, or raise it"
            ),
            Self::Overrun { asked_bytes, declared_bytes } => {
                write!(
                    f,
                    "{asked_bytes} bytes of a message that was declared with {declared_bytes}: refuse the stream"
                )
            }
            Self::Short { bytes, declared_bytes } => {
                write!(
                    f,
                    "{bytes} bytes of a message that was declared with {declared_bytes}: receive the rest, or abort it"
                )
            }
            Self::Commit { asked_bytes, lent_bytes } => {
                write!(
                    f,
                    "{asked_bytes} bytes committed of a space of {lent_bytes}: commit what was received into it"
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
