//! Errors of a load, from a mistyped option to a wrong score.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;

use crate::client::{CONNECTIONS_HINT, GreetError, WrongAnswer};
use crate::printable::Printable;
use crate::units::Time;
use crate::vectors::FileError;
use crate::wire::frames::{AnswerError, Mode, Status};

/// Errors of a load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An option that can't be run.
    #[error("--{field} is {value}: {limit}; {fix}")]
    Option {
        /// The option's name without the dashes.
        field: &'static str,
        /// The value given.
        value: String,
        /// The legal values.
        limit: String,
        /// The fix.
        fix: &'static str,
    },
    /// The file of vectors can't be read.
    #[error("--file {}: {error}{}", Printable(path.display()), file_fix(error))]
    File {
        /// The file.
        path: PathBuf,
        /// Why it can't be read.
        error: FileError,
    },
    /// A connection couldn't be opened.
    #[error("connection {connection} to {to}: {error}; {}", connect_fix(error))]
    Connect {
        /// Index of the connection, from 0.
        connection: u32,
        /// Address of the service.
        to: String,
        /// The cause.
        error: io::Error,
    },
    /// The server refused the hello, or can't take what would be sent.
    #[error("connection {connection} to {to}: {}", greet_text(error))]
    Greet {
        /// Index of the connection, from 0.
        connection: u32,
        /// Address of the service.
        to: String,
        /// The cause.
        error: GreetError,
    },
    /// A connection broke the rules of the protocol, stalled, or ended early.
    #[error("connection {connection}, request {request}: {error}")]
    Connection {
        /// Index of the connection, from 0.
        connection: u32,
        /// The oldest request without an answer, numbered from 0 on its connection.
        request: u64,
        /// The cause.
        error: ConnectionError,
    },
    /// The system's readiness calls failed.
    #[error("waiting for sockets: {0}")]
    Poll(#[from] io::Error),
}

impl LoadError {
    /// The exit code of `slipring load`: 2 for options and files, 1 for everything that the server
    /// or the network did.
    pub fn exit_code(&self) -> u8 {
        match self {
            LoadError::Option { .. } | LoadError::File { .. } => 2,
            LoadError::Connect { .. }
            | LoadError::Greet { .. }
            | LoadError::Connection { .. }
            | LoadError::Poll(_) => 1,
        }
    }
}

/// Errors on one connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The stream ended before every request was answered, or before all were sent.
    #[error(
        "the connection ended early: {answered} requests answered, {unanswered} unanswered{}{}",
        after(refusal),
        because(cause, *answered)
    )]
    Closed {
        /// Requests answered until then.
        answered: u64,
        /// Requests that were sent and not answered.
        unanswered: u64,
        /// The last refusal on this connection, which may be the reason.
        refusal: Option<&'static str>,
        /// The system's error; None is an orderly end of the stream.
        cause: Option<io::Error>,
    },
    /// No progress for the whole timeout.
    #[error("no progress for {time}, {unanswered} requests unanswered", time = Time(*timeout))]
    Stalled {
        /// The option `--timeout`.
        timeout: Duration,
        /// Requests without an answer; 0 if only the end of the stream is missing.
        unanswered: u64,
    },
    /// More answers than requests.
    #[error(
        "{bytes} bytes of answer to a request that was never sent; do --dim and --mode fit the \
        service?"
    )]
    Extra {
        /// Number of these bytes.
        bytes: usize,
    },
    /// An answer that isn't the one to its request.
    #[error(transparent)]
    Answer(#[from] WrongAnswer),
    /// A score beyond the tolerance.
    #[error("vector {vector} has score {got}, expected {expected}; is --score the service's?")]
    WrongScore {
        /// Index of the vector in the request.
        vector: usize,
        /// The f64 reference.
        expected: f64,
        /// The score in the answer.
        got: f32,
    },
    /// With `--verify`: finite vectors of the right dimension were refused.
    #[error("good vectors were refused ({0})")]
    Refused(&'static str),
    /// The server stores ids, which this mode doesn't carry.
    #[error(
        "the server stores an id for every vector (--columns id), and --mode {} carries none; \
        say --mode header, or leave --mode out",
        mode.label()
    )]
    IdsMissing {
        /// The option `--mode`.
        mode: Mode,
    },
    /// With `--verify`: vectors with a NaN or an infinity were accepted.
    #[error("vectors that aren't finite were accepted")]
    Accepted,
}

/// What to do about a file that can't be opened.
fn file_fix(error: &FileError) -> &'static str {
    match error {
        FileError::Read(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            "; give this user the right to read it, or name another file"
        }
        FileError::Read(_) | FileError::NotAFile | FileError::UnknownFormat => {
            "; name a .npy or .fvecs file that exists"
        }
        _ => "",
    }
}

/// What to do about a connection that can't be opened.
fn connect_fix(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "no service listens there: start it, or correct --to",
        io::ErrorKind::NotFound => "there is no such socket or host: correct --to",
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            "nothing answers there: correct --to, or raise --timeout"
        }
        io::ErrorKind::PermissionDenied => "this user may not connect there",
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no port left for it: lower --connections"
        }
        _ if is_out_of_descriptors(error) => {
            "raise the limit of descriptors (ulimit -n), or lower --connections"
        }
        _ => "correct --to, or look at the service's log",
    }
}

/// The same with the names of the options.
fn greet_text(error: &GreetError) -> String {
    match error {
        GreetError::Refused { status: Status::WrongDimension, server, dim } => {
            format!("the server's dimension is {}, --dim is {dim}", server.dim)
        }
        GreetError::Refused { status: Status::NoSuchAck, .. } => {
            format!("{error}; start it with --data, or leave --ack out")
        }
        GreetError::Refused { status: Status::NoSuchProducer, .. } => {
            format!("{error}; start it with --data, or leave --producer out")
        }
        GreetError::Unreadable(AnswerError::Version { got: 1, .. }) => {
            format!("{error}: say --mode header1")
        }
        _ => error.to_string(),
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

fn after(refusal: &Option<&'static str>) -> String {
    refusal
        .map(|label| format!(", after a refusal ({label}: do --dim and --vectors fit the server?)"))
        .unwrap_or_default()
}

fn because(cause: &Option<io::Error>, answered: u64) -> String {
    let cause = cause.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    match answered {
        0 => format!("{cause}; {CONNECTIONS_HINT}"),
        _ => cause,
    }
}

/// The name of a refusal. Count mode doesn't say why.
pub(super) fn refusal_label(status: Option<Status>) -> &'static str {
    status.map_or("refused", Status::label)
}
