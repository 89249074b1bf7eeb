//! Errors of sending an object's vectors to the service.

use std::io;
use std::ops::Range;
use std::time::Duration;

use crate::load::{Fault, FileError};
use crate::wire::frames::{LimitsError, Status};

/// Errors of an object's format.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Not by its first bytes, not by its name.
    #[error(
        "neither .npy nor Arrow IPC by its first bytes, nor named .fvecs: only those are ingested"
    )]
    Unknown,
    /// A bad `.npy` or `.fvecs`.
    #[error(transparent)]
    File(#[from] FileError),
    /// Bad or other Arrow.
    #[error("Arrow: {0}")]
    Arrow(#[from] ArrowError),
    /// Frames that the wire can't express.
    #[error("its vectors: {0}")]
    Limits(LimitsError),
}

/// Errors of an Arrow image, and unsupported features of Arrow.
#[derive(Debug, thiserror::Error)]
pub enum ArrowError {
    /// The end of a file isn't there.
    #[error("the file has no footer at its end; it may be cut off")]
    NoFooter,
    /// A stream without its first message.
    #[error("the stream doesn't begin with a schema")]
    NoSchema,
    /// A message longer than what is left.
    #[error(
        "the message at byte {at} goes beyond the {bytes} bytes that are there; it may be cut off"
    )]
    CutOff {
        /// Where the message begins.
        at: u64,
        /// Of the image.
        bytes: u64,
    },
    /// Metadata that is empty or impossible.
    #[error("the message at byte {at} is damaged: {why}")]
    Damaged {
        /// Where the message begins.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// Before Arrow 0.8, or newer than what is known here.
    #[error("metadata of version V{}, V4 and V5 are read; write it again with an Arrow that writes V5", i32::from(*.0) + 1)]
    Version(i16),
    /// Written for another kind of machine.
    #[error("it is big-endian; write it again little-endian")]
    BigEndian,
    /// No column of that name holds vectors.
    #[error(
        "--column is {wanted}: no column of that name is a fixed-size list of f32; such columns: {vectors}; others: {others}"
    )]
    NoColumn {
        /// The option.
        wanted: String,
        /// Names of columns of vectors.
        vectors: String,
        /// Names and types of the others.
        others: String,
    },
    /// No column holds vectors.
    #[error(
        "no column is a fixed-size list of f32, but {others}; cast one, with pyarrow to pa.list_(pa.float32(), dim)"
    )]
    NoVectors {
        /// Names and types of the columns.
        others: String,
    },
    /// More than one column holds vectors, and none has the usual name.
    #[error(
        "several columns are fixed-size lists of f32, and none is named vector; choose with --column: {vectors}"
    )]
    Several {
        /// Their names.
        vectors: String,
    },
    /// A compressed body.
    #[error("its batches are compressed ({codec}); write it without compression")]
    Compressed {
        /// LZ4_FRAME or ZSTD.
        codec: &'static str,
    },
    /// A vector or a component that isn't there.
    #[error("column {column} holds nulls; drop those rows")]
    Nulls {
        /// The column.
        column: String,
    },
}

/// Errors of sending an object's vectors.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("--ingest {to}: {error}; is the service running there?")]
    Connect {
        /// Where to.
        to: String,
        /// The cause.
        error: io::Error,
    },
    /// The connection ended before all was answered.
    #[error(
        "--ingest {to}: the connection ended with {unanswered} frames unanswered{}",
        because(cause)
    )]
    Closed {
        /// Where to.
        to: String,
        /// Frames sent and not answered.
        unanswered: usize,
        /// The system's error; None is an orderly end.
        cause: Option<io::Error>,
    },
    /// No progress for the whole timeout.
    #[error(
        "--ingest {to}: nothing moved for {timeout:?} with {unanswered} frames unanswered; is its disk full? raise --timeout to wait longer"
    )]
    Stalled {
        /// Where to.
        to: String,
        /// The option `--timeout`.
        timeout: Duration,
        /// Frames sent and not answered.
        unanswered: usize,
    },
    /// An answer against the rules of the protocol.
    #[error("--ingest {to}: {fault}")]
    Fault {
        /// Where to.
        to: String,
        /// What was wrong.
        fault: Fault,
    },
    /// A refusal after which nothing more is sent.
    #[error("--ingest {to}: the service refused {vectors} vectors of {dim} components a frame ({status}); {}", advice(*status))]
    Refused {
        /// Where to.
        to: String,
        /// What the service says.
        status: Status,
        /// Of the refused frame.
        vectors: u32,
        /// Of the object.
        dim: u32,
    },
    /// The service accepted the rest.
    #[error(
        "--ingest {to}: the service refused {refused} of {all} vectors ({}), the first ones in the frame of rows {} to {}",
        Status::NotFinite, rows.start, rows.end.saturating_sub(1)
    )]
    NotFinite {
        /// Where to.
        to: String,
        /// Vectors of refused frames.
        refused: u64,
        /// Vectors of the object.
        all: u64,
        /// Rows of the first refused frame, counted from 0.
        rows: Range<u64>,
    },
    /// The run was interrupted.
    #[error("interrupted")]
    Cancelled,
}

fn because(cause: &Option<io::Error>) -> String {
    cause.as_ref().map(|error| format!(": {error}")).unwrap_or_default()
}

fn advice(status: Status) -> &'static str {
    match status {
        Status::WrongDimension => "its --dim is another one: use a service of this dimension",
        Status::TooManyVectors => "lower --max-vectors to that of the service",
        Status::Busy => {
            "its limits for one connection are reached: raise its --in-flight or --carry-bytes"
        }
        Status::ShuttingDown => "it is stopping: try again when it runs",
        Status::Failed => "see the service's own log",
        _ => "service and client don't speak the same version",
    }
}
