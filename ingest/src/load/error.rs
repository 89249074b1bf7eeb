//! Errors of a load, from a mistyped option to a wrong score.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::wire::frames::AnswerError;

use super::rows::FILE_BYTES_MAX;

/// Errors of a load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An option that can't be run.
    #[error("--{field} is {value}: {limit}; {fix}")]
    Option {
        /// The option's name without the dashes.
        field: &'static str,
        /// What was given.
        value: String,
        /// What is legal.
        limit: String,
        /// What to do.
        fix: &'static str,
    },
    /// The file of vectors can't be used.
    #[error("--file {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: FileError,
    },
    /// A connection couldn't be made.
    #[error(
        "connection {connection} to {to}: {error}; is the service running there, and may this process open so many files?"
    )]
    Connect {
        /// Index of the connection, from 0.
        connection: u32,
        /// Where to.
        to: String,
        /// The cause.
        error: io::Error,
    },
    /// A connection broke the rules of the protocol, or ended.
    #[error("connection {connection}, request {request}: {fault}")]
    Connection {
        /// Index of the connection, from 0.
        connection: u32,
        /// The oldest request without an answer, numbered from 0 on its connection.
        request: u64,
        /// What happened.
        fault: Fault,
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
            LoadError::Connect { .. } | LoadError::Connection { .. } | LoadError::Poll(_) => 1,
        }
    }
}

/// Errors of one connection.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The stream ended before every request was answered, or before all were sent.
    #[error(
        "the connection ended early: {answered} requests answered, {unanswered} unanswered{}{}",
        after(refusal),
        because(cause)
    )]
    Closed {
        /// Requests answered before.
        answered: u64,
        /// Requests sent and not answered.
        unanswered: u64,
        /// The last refusal on this connection, which may be the reason.
        refusal: Option<&'static str>,
        /// The system's error; None is an orderly end of the stream.
        cause: Option<io::Error>,
    },
    /// No progress for the whole timeout.
    #[error("no progress for {timeout:?}, {unanswered} requests unanswered")]
    Stalled {
        /// The option `--timeout`.
        timeout: Duration,
        /// Requests without an answer; 0 if only the end of the stream is missing.
        unanswered: u64,
    },
    /// More answers than requests.
    #[error("{bytes} bytes of answer to a request that was never sent")]
    Extra {
        /// Bytes that nobody asked for.
        bytes: usize,
    },
    /// Bytes that are no answer.
    #[error("{0}")]
    NoAnswer(#[from] AnswerError),
    /// An answer with another count than its request.
    #[error("the answer has {got} scores for {expected} vectors")]
    WrongCount {
        /// Vectors of the request.
        expected: u32,
        /// Scores of the answer.
        got: u32,
    },
    /// An answer to another request: the order is broken.
    #[error("the answer carries sequence {got}: an answer is missing or out of order")]
    WrongSequence {
        /// Sequence of the answer.
        got: u64,
    },
    /// A score beyond the tolerance.
    #[error("vector {vector} has score {got}, expected {expected}")]
    WrongScore {
        /// Index of the vector in the request.
        vector: usize,
        /// The f64 reference.
        expected: f64,
        /// The answer.
        got: f32,
    },
    /// Finite vectors of the right dimension were refused while verifying.
    #[error("good vectors were refused ({0})")]
    Refused(&'static str),
    /// NaN or infinity was accepted while verifying.
    #[error("vectors that aren't finite were accepted")]
    Accepted,
}

fn after(refusal: &Option<&'static str>) -> String {
    refusal
        .map(|label| format!(", after a refusal ({label}: do --dim and --vectors fit the server?)"))
        .unwrap_or_default()
}

fn because(cause: &Option<io::Error>) -> String {
    cause.as_ref().map(|error| format!(": {error}")).unwrap_or_default()
}

/// Errors of a file of vectors.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{0}")]
    Read(io::Error),
    /// A folder, a pipe or a device.
    #[error("not a regular file")]
    NotAFile,
    /// Too many bytes to keep in memory.
    #[error("{bytes} bytes, at most {FILE_BYTES_MAX} are kept in memory; cut it")]
    TooLarge {
        /// Size of the file.
        bytes: u64,
    },
    /// Neither format.
    #[error("neither a .npy file (by its first bytes) nor named .fvecs")]
    UnknownFormat,
    /// No row.
    #[error("holds no vector")]
    Empty,
    /// Another dimension than the option's.
    #[error("its vectors have {found} components, --dim is {dim}; pass --dim {found}")]
    Dimension {
        /// Of the file.
        found: u64,
        /// Of the option.
        dim: u32,
    },
    /// A .npy version that numpy writes only for exotic types.
    #[error(".npy version {0}, 1 and 2 are read; write it again with numpy.save")]
    NpyVersion(u8),
    /// The .npy header can't be read.
    #[error("its .npy header is cut off or damaged")]
    NpyHeader,
    /// Another type than little-endian f32.
    #[error("its type is {0}, only '<f4' is read; save array.astype('<f4')")]
    NpyType(String),
    /// Fortran order.
    #[error("it is in Fortran order; save numpy.ascontiguousarray(array)")]
    NpyOrder,
    /// One axis, or three.
    #[error("it has {0} axes, 2 are needed; save array.reshape(-1, dim)")]
    NpyAxes(usize),
    /// Shape and size disagree.
    #[error(
        "its shape ({rows}, {dim}) doesn't fit its {bytes} bytes of components; it may be cut off"
    )]
    NpySize {
        /// First axis.
        rows: u64,
        /// Second axis.
        dim: u64,
        /// Bytes after the header.
        bytes: u64,
    },
    /// The size isn't whole rows of the first row's dimension.
    #[error(
        "its first row has {dim} components, but {bytes} bytes aren't whole rows of that; it may be cut off"
    )]
    FvecsSize {
        /// Of the first row.
        dim: u32,
        /// Size of the file.
        bytes: u64,
    },
    /// Rows of two dimensions.
    #[error("row {row} has {found} components, row 0 has {dim}; all must have the same")]
    FvecsRow {
        /// The row.
        row: u64,
        /// Its dimension.
        found: u32,
        /// Of the first row.
        dim: u32,
    },
}
