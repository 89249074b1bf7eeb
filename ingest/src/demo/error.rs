//! Errors that end a demonstration without a verdict.

use std::io;
use std::path::{Path, PathBuf};

use super::text::mib;
use crate::load::{FileError, LoadError};
use crate::server::{ServeError, Totals};
use crate::sink::SinkError;

/// What went wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// SIGINT or SIGTERM.
    #[error("interrupted; its folder is removed")]
    Interrupted,
    /// The data folder can't be made or looked at.
    #[error("--data {}: {error}; name a new folder in one that exists and can be written", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There isn't even room for a small demonstration.
    #[error(
        "{} MiB are free at {}, at least {} are needed; free some, or name a folder elsewhere with --data",
        mib(*free_bytes), path.display(), mib(*least_bytes)
    )]
    Room {
        /// The folder.
        path: PathBuf,
        /// Bytes that may be written there.
        free_bytes: u64,
        /// Bytes that it takes.
        least_bytes: u64,
    },
    /// The vectors in the binary aren't what they were.
    #[error("the digits in this binary: {0}; build it again")]
    Digits(FileError),
    /// The service doesn't start.
    #[error("the service doesn't start: {0}")]
    Serve(ServeError),
    /// The system gives no further thread.
    #[error("the load's thread: {0}; raise the thread limit")]
    Thread(io::Error),
    /// The load's thread panicked.
    #[error("the load's thread panicked, see above")]
    Panicked,
    /// A wrong answer, or none.
    #[error("{error}{failures}")]
    Load {
        /// What the load says.
        error: LoadError,
        /// What the service says of it, and where the data lies.
        failures: String,
    },
    /// The segments can't be read back.
    #[error("the segments in {}: {error}", data.display())]
    Read {
        /// The data folder.
        data: PathBuf,
        /// What is wrong with them.
        error: SinkError,
    },
}

impl DemoError {
    /// 2 for usage, 130 after an interruption (as shells say it), 1 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted => 130,
            Self::Folder { .. } => 2,
            Self::Load { error, .. } => error.exit_code(),
            Self::Serve(error) => error.exit_code(),
            _ => 1,
        }
    }

    /// The same, with what the service's end tells about a load that failed.
    pub(super) fn with_failures(self, totals: &Totals, data: &Path) -> Self {
        match self {
            Self::Load { error, .. } => Self::Load {
                error,
                failures: format!("\n{totals}\nwhat was stored stays in {}", data.display()),
            },
            other => other,
        }
    }
}

impl From<LoadError> for DemoError {
    fn from(error: LoadError) -> Self {
        Self::Load { error, failures: String::new() }
    }
}
