//! Errors of `slipring get`: of the whole run, and of one object.

use std::io;
use std::path::PathBuf;

use slipring_objects::{DownloadError, OptionsError, UrlError};

use super::ingest::{ClientError, FormatError, Sent};

/// The engine's fields in the words of the command line, for errors.
const WORDS: &[(&str, &str)] = &[
    ("`part_bytes`", "--part-size"),
    ("`concurrency`", "--concurrency"),
    ("`request_timeout`", "--timeout"),
    ("`total_timeout`", "--total-timeout"),
    ("turn `enabled` off", "say --no-ranges"),
    ("the engine's `retry_budget`", "the run's budget for retries"),
];

/// Errors that prevent or interrupt a run.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// An option that can't be run.
    #[error("--{field} is {value}: {fix}")]
    Option {
        /// The option's name without the dashes.
        field: &'static str,
        /// What was given.
        value: String,
        /// What can be given.
        fix: String,
    },
    /// A URL of no object.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// An object that no file can be named by.
    #[error("{url}: its last part, {name:?}, is no name for a file; get it without --output")]
    Name {
        /// The object.
        url: String,
        /// The last part of its key.
        name: String,
    },
    /// Two objects for one file.
    #[error(
        "{first} and {second} would both be written to {name:?}; get them into two folders, one after the other"
    )]
    SameName {
        /// One object.
        first: String,
        /// The other.
        second: String,
        /// The last part of both keys.
        name: String,
    },
    /// The folder can't be made.
    #[error("--output {}: {error}; name a folder that can be made and written", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The service isn't there: nothing was fetched.
    #[error(transparent)]
    Service(ClientError),
    /// The system gives no threads, or no signals.
    #[error("{what}: {error}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// SIGINT or SIGTERM.
    #[error("interrupted: {done} of {all} objects were finished; {others}")]
    Interrupted {
        /// Objects that came to an end, good or bad.
        done: usize,
        /// Objects that were asked for.
        all: usize,
        /// The outcome of the other objects.
        others: &'static str,
    },
}

impl GetError {
    pub(super) fn option(field: &'static str, value: impl ToString, fix: String) -> GetError {
        GetError::Option { field, value: value.to_string(), fix }
    }

    pub(super) fn from_engine(error: OptionsError) -> GetError {
        let field = match error.field {
            "part_bytes" => "part-size",
            "max_buffers_per_class" => "buffer-pool-size",
            "request_timeout" => "timeout",
            "total_timeout" => "total-timeout",
            other => other,
        };
        let limit =
            error.limit.trim_end_matches(", or none").trim_end_matches(", or leave the pool out");
        GetError::option(field, error.value, format!("give {limit}, or leave it out"))
    }

    /// The exit code of `slipring get`: 2 for options, URLs and folders, 130 after an interruption
    /// (as shells say it), else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            GetError::Interrupted { .. } => 130,
            GetError::Service(_) | GetError::System { .. } => 1,
            _ => 2,
        }
    }
}

/// Errors of one object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// It wasn't fetched.
    #[error("{}", in_our_words(.0))]
    Download(Box<DownloadError>),
    /// Its file couldn't be written.
    #[error("{}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It holds no vectors that can be sent.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The service didn't take all of them.
    #[error(transparent)]
    Service(#[from] ClientError),
    /// The run was interrupted before anything of it had gone anywhere.
    #[error("interrupted")]
    Cancelled,
    /// The run was interrupted while its vectors were sent.
    #[error("interrupted when {} of its vectors were sent and {} answered", .0.vectors, .0.answered)]
    CancelledSending(Sent),
}

/// Range, retries and cause. The URL names the object.
fn in_our_words(error: &DownloadError) -> String {
    let object = format!("object {}", error.object);
    let said = error.to_string();
    let said = said.strip_prefix(&object).unwrap_or(&said).trim_start_matches([',', ':', ' ']);
    WORDS.iter().fold(said.to_owned(), |text, (field, option)| text.replace(field, option))
}
