//! What a log has to say while it works, as values.

use std::fmt;
use std::path::PathBuf;

/// What has happened to a lane's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogNote {
    /// The disk takes nothing; it is tried again.
    Refused(String),
    /// It takes vectors again.
    TakesAgain,
    /// A sync has failed.
    DiskFailed(String),
    /// A segment whose sync has failed was read again.
    Replaced {
        /// What became of its file.
        file: String,
        /// Rows that it doesn't have.
        lost: u64,
    },
    /// Somebody has removed or moved the file of the live segment.
    Removed {
        /// Its path.
        path: PathBuf,
        /// Rows that it had.
        rows: u64,
    },
    /// An old segment can't be removed; it is tried again.
    NotRemoved(String),
    /// A sealed segment keeps its small records.
    Unmerged {
        /// Its path.
        path: PathBuf,
        /// Why they weren't merged.
        why: String,
    },
    /// The log has ended without everything in it.
    Failed(String),
}

impl LogNote {
    /// Whether rows are, or may be, lost: the service can't go on as if nothing had happened.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::DiskFailed(_) | Self::Failed(_))
    }

    /// Whether it isn't as it should be.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        *self != Self::TakesAgain
    }
}

impl fmt::Display for LogNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => {
                write!(
                    f,
                    "the log can't take vectors; it keeps those that it has accepted, and tries \
                     again: {why}"
                )
            }
            Self::TakesAgain => f.write_str("the log takes vectors again"),
            Self::DiskFailed(why) => write!(f, "the log: {why}"),
            Self::Replaced { file, lost } => {
                write!(f, "the log: {file}; {lost} vectors of it are lost")
            }
            Self::Removed { path, rows } => write!(
                f,
                "the log: somebody has removed or moved {}, with {rows} vectors in it; the next \
                 ones begin a new segment",
                path.display()
            ),
            Self::NotRemoved(why) => {
                write!(f, "an old segment can't be removed, and is tried again: {why}")
            }
            Self::Unmerged { path, why } => write!(
                f,
                "the log: {} stays in small batches, which readers read slowly: {why}",
                path.display()
            ),
            Self::Failed(why) => write!(f, "the log has ended: {why}"),
        }
    }
}
