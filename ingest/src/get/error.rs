//! Errors of `slipring get`: of the whole run, of one object, and of sending its vectors.

use std::any::Any;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use slipring_objects::{DownloadError, OptionsError, UrlError};

use crate::client::{GreetError, WrongAnswer};
use crate::printable::{Printable, panic_text};
use crate::units::THREAD_FIX;
use crate::vectors::{FormatError, RefusedRows};
use crate::wire::frames::Status;

/// Fields of the engine, and the options that set them.
const FIELDS: &[(&str, &str)] = &[
    ("`part_bytes`", "--part-size"),
    ("`concurrency`", "--concurrency"),
    ("`request_timeout`", "--timeout"),
    ("`total_timeout`", "--total-timeout"),
    ("turn `enabled` off", "say --no-ranges"),
    ("turn `insecure_redirects` on", "say --allow-insecure-redirects"),
    ("`unsized_bytes_max`", "--unsized-max"),
    ("the engine's `retry_budget`", "the run's budget for retries"),
];

/// Errors that prevent or interrupt a run.
#[derive(Debug, thiserror::Error)]
pub enum GetRunError {
    /// An option that can't be run.
    #[error("--{field} is {value}: {fix}")]
    Option {
        /// The option's name without the dashes.
        field: &'static str,
        /// The value given.
        value: String,
        /// Values that can be given.
        fix: String,
    },
    /// A URL that doesn't name an object.
    #[error("{}", Printable(.0))]
    Url(#[from] UrlError),
    /// An object whose name can't be a file's.
    #[error(
        "{}: its last part, {name:?}, can't be the name of a file; get it without --output",
        Printable(url)
    )]
    Name {
        /// The object.
        url: String,
        /// The last part of its key.
        name: String,
    },
    /// Two objects whose files would have the same name.
    #[error(
        "{} and {} would both be written to {name:?}; get them into two folders, in two runs",
        Printable(first),
        Printable(second)
    )]
    SameName {
        /// One object.
        first: String,
        /// The other.
        second: String,
        /// The last part of both keys.
        name: String,
    },
    /// The folder can't be created.
    #[error(
        "--output {}: {error}; name a folder that can be created and written",
        Printable(path.display())
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The service can't be reached; nothing was fetched.
    #[error(transparent)]
    Service(ClientError),
    /// The system refuses a thread, or a handler of signals.
    #[error("{what}: {error}; {fix}", fix = THREAD_FIX)]
    System {
        /// The request that was refused.
        what: &'static str,
        /// The system's error.
        error: io::Error,
    },
    /// SIGINT or SIGTERM.
    #[error("interrupted: {done} of {all} objects were finished; {others}")]
    Interrupted {
        /// Objects that were completed or failed.
        done: usize,
        /// Objects that were requested.
        all: usize,
        /// The outcome of the other objects.
        others: &'static str,
    },
}

impl ClientError {
    /// Whether the service refused a hello because it announced no ids.
    pub(super) fn asks_for_ids(&self) -> bool {
        matches!(self, ClientError::Greet { error, .. } if error.asks_for_ids())
    }
}

impl GetRunError {
    pub(super) fn option(field: &'static str, value: impl ToString, fix: String) -> GetRunError {
        GetRunError::Option { field, value: value.to_string(), fix }
    }

    pub(super) fn from_engine(error: OptionsError) -> GetRunError {
        let field = match error.field {
            "part_bytes" => "part-size",
            "max_buffers_per_class" | "buffers" => "buffer-pool-size",
            "request_timeout" => "timeout",
            "total_timeout" => "total-timeout",
            other => other,
        };
        let limit =
            error.limit.trim_end_matches(", or none").trim_end_matches(", or leave the pool out");
        // The engine doesn't know that the command line's least time is in seconds.
        let value = if error.value == "0ns" { "0s".to_owned() } else { error.value };
        GetRunError::option(field, value, format!("give {limit}, or leave it out"))
    }

    /// The exit code of `slipring get`: 2 for options, URLs and folders, 130 after an interruption
    /// (as shells say it), else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            GetRunError::Interrupted { .. } => 130,
            GetRunError::Service(_) | GetRunError::System { .. } => 1,
            _ => 2,
        }
    }
}

/// Errors of one object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The object couldn't be downloaded.
    #[error("{}", Printable(with_options(.0)))]
    Download(Box<DownloadError>),
    /// The object's file couldn't be written.
    #[error("{}: {error}", Printable(path.display()))]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The object's vectors can't be read.
    #[error("{}", Printable(.0))]
    Format(#[from] FormatError),
    /// The same, after some of its rows were sent.
    #[error(
        "{error}; rows 0 to {} were sent before, but for any that aren't finite",
        rows.saturating_sub(1)
    )]
    AfterRows {
        /// Rows from the first one on that were sent, or left out.
        rows: u64,
        /// Why the others weren't.
        error: Box<ObjectError>,
    },
    /// The service didn't accept all of the object's vectors.
    #[error(transparent)]
    Service(#[from] ClientError),
    /// A panic of ours, which ends this object and none of the others.
    #[error(
        "slipring panicked ({}), which is a defect: report it with what stands on standard error; some of the object's vectors may have been sent",
        Printable(message)
    )]
    Panicked {
        /// What it said.
        message: String,
    },
    /// The run was interrupted before the object was written or any of its vectors sent.
    #[error("interrupted")]
    Cancelled,
    /// The run was interrupted while the object's vectors were being sent.
    #[error("interrupted after {} of its vectors were sent and {} answered", .0.vectors, .0.answered)]
    CancelledSending(Sent),
}

impl ObjectError {
    /// The error of an object of which this many rows had been sent, or left out.
    pub(super) fn after_rows(self, rows: u64) -> ObjectError {
        match self {
            ObjectError::Download(_) | ObjectError::Format(_) if rows > 0 => {
                ObjectError::AfterRows { rows, error: Box::new(self) }
            }
            error => error,
        }
    }

    /// From what a panic carries.
    pub(super) fn panicked(payload: &(dyn Any + Send)) -> ObjectError {
        ObjectError::Panicked { message: panic_text(payload).to_owned() }
    }
}

/// The vectors of one object that were sent. If sending fails midway, the service may have accepted
/// more than it answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Vectors in the requests that were encoded. After a failure midway, the last request may not
    /// have been sent completely.
    pub vectors: u64,
    /// Of those, answered with a score: received.
    pub answered: u64,
    /// Of those, in refused requests.
    pub refused: u64,
    /// Vectors that weren't sent, because a component is NaN or infinite as f32. They are in none
    /// of the other counts.
    pub not_finite: u64,
}

/// Errors of sending an object's vectors.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The service can't be connected to.
    #[error("--ingest {to}: {error}; is the service running there?")]
    Connect {
        /// Address of the service.
        to: String,
        /// The cause.
        error: io::Error,
    },
    /// The connection ended before every request was answered.
    #[error(
        "--ingest {to}: the connection ended with {unanswered} requests unanswered{}",
        because(cause)
    )]
    Closed {
        /// Address of the service.
        to: String,
        /// Requests that were sent and not answered.
        unanswered: usize,
        /// The system's error; None is an orderly end.
        cause: Option<io::Error>,
    },
    /// No progress for the whole timeout.
    #[error(
        "--ingest {to}: no progress for {timeout:?} with {unanswered} requests unanswered; is its disk full? raise --timeout to wait longer"
    )]
    Stalled {
        /// Address of the service.
        to: String,
        /// The option `--timeout`.
        timeout: Duration,
        /// Requests that were sent and not answered.
        unanswered: usize,
    },
    /// The service refused the hello.
    #[error("--ingest {to}: {}", greet_text(error))]
    Greet {
        /// Address of the service.
        to: String,
        /// The cause.
        error: GreetError,
    },
    /// An answer against the rules of the protocol.
    #[error("--ingest {to}: {error}")]
    Answer {
        /// Address of the service.
        to: String,
        /// The rule that it breaks.
        error: WrongAnswer,
    },
    /// A refusal after which nothing more is sent.
    #[error("--ingest {to}: the service refused {vectors} vectors of {dim} components in one request ({status}); {}", advice(*status))]
    Refused {
        /// Address of the service.
        to: String,
        /// The service's reason.
        status: Status,
        /// Vectors of the refused request.
        vectors: u32,
        /// Dimension of the object's vectors.
        dim: u32,
    },
    /// The service refused some requests because of their components, and accepted the others.
    #[error(
        "--ingest {to}: the service refused {refused} of {all} vectors ({}), the first ones in the request of rows {} to {}",
        Status::NotFinite, rows.start, rows.end.saturating_sub(1)
    )]
    NotFinite {
        /// Address of the service.
        to: String,
        /// Vectors in refused requests.
        refused: u64,
        /// Vectors of the object.
        all: u64,
        /// Rows of the first refused request, counted from 0.
        rows: Range<u64>,
    },
    /// Some vectors weren't sent, and the service accepted the others.
    #[error(
        "{} of {all} vectors weren't sent, because a component is NaN or infinite as f32: {rows}{}",
        rows.count(),
        if rows.count() < *all { "; the others were accepted" } else { "" }
    )]
    NotSent {
        /// The rows.
        rows: RefusedRows,
        /// Vectors of the object.
        all: u64,
    },
    /// The run was interrupted.
    #[error("interrupted")]
    Cancelled,
}

fn because(cause: &Option<io::Error>) -> String {
    cause.as_ref().map(|error| format!(": {error}")).unwrap_or_default()
}

fn greet_text(error: &GreetError) -> String {
    match error {
        GreetError::Refused { status, server, dim } if *status == Status::WrongDimension => {
            format!(
                "{status}: the service's dimension is {}, and the vectors are of {dim} components; \
                use a service of this dimension",
                server.dim
            )
        }
        GreetError::Refused { status: status @ Status::NoSuchColumns, .. } => format!(
            "{status}: the service stores no ids; leave out --id-column and --number-rows-from, or \
            start it with --columns id"
        ),
        _ => error.to_string(),
    }
}

fn advice(status: Status) -> &'static str {
    match status {
        Status::WrongDimension => "its --dim is different: use a service of this dimension",
        Status::TooManyVectors => "lower --max-vectors to the service's",
        Status::Busy => {
            "its limits per connection are reached: raise its --in-flight or --carry-bytes"
        }
        Status::NoSpace => "its disk is full: free space there",
        Status::ShuttingDown => "it is stopping: try again when it runs",
        Status::Failed => "see the service's own log",
        _ => "service and client don't speak the same version",
    }
}

/// The engine's error, with the names of options instead of the engine's fields, and without the
/// object's key: the URL is printed before it.
fn with_options(error: &DownloadError) -> String {
    let object = format!("object {}", error.object);
    let full = error.to_string();
    let text = full.strip_prefix(&object).unwrap_or(&full).trim_start_matches([',', ':', ' ']);
    FIELDS.iter().fold(text.to_owned(), |text, (field, option)| text.replace(field, option))
}
