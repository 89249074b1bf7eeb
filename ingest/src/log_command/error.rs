//! Why a command of the log can't do what was asked for.

use std::io;

use arrow_schema::ArrowError;

use crate::log::LogError;
use crate::sink::SinkError;

/// Why a command of the log can't do what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum LogCommandError {
    /// The command line asks for what there isn't.
    #[error("{0}")]
    Usage(String),
    /// Of the folder.
    #[error(transparent)]
    Folder(#[from] SinkError),
    /// Of a lane's log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file that isn't as it was written.
    #[error("{0}")]
    Damaged(String),
    /// What is asked for can't be written.
    #[error(
        "the result can't be written to standard output: {0}; free space there or name \
        another file"
    )]
    Output(io::Error),
}

impl LogCommandError {
    /// The exit code: 2 for what is wrong with the command line, otherwise 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { 2 } else { 1 }
    }
}

impl From<ArrowError> for LogCommandError {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, source) => Self::Output(source),
            other => Self::Output(io::Error::other(other)),
        }
    }
}
