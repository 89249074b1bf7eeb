//! The options of `slipring demo`, the vectors that it sends, and its errors.

use std::io;
use std::path::{Path, PathBuf};

use super::text::mib;
use crate::load::{BrokenLoad, LoadError};
use crate::server::{ServeError, Totals};
use crate::sink::SinkError;
use crate::units::{Size, THREAD_FIX, whole};
use crate::vectors::FileError;

/// Components of the demo's vectors.
pub(super) const DIM: u32 = 64;
/// Handwritten digits, in the binary so that the demo works from any folder.
pub(super) const DIGITS: &[u8] = include_bytes!("../../../examples/data/digits-64.npy");
/// Rows and sum of the digits, from the README of `examples/data`: a damaged copy is noticed.
pub(super) const DIGITS_ROWS: u64 = 1797;
pub(super) const DIGITS_SUM: f64 = 561_718.0;

/// How long the demonstration runs, how much it sends, and where the segments go.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoOptions {
    /// Maximum duration of the mixed load in seconds, 1 to 3600
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = whole(1, 3600_u64))]
    pub seconds: u64,
    /// Maximum size of all requests of the mixed load, in bytes
    #[arg(long, default_value = "512MiB", value_name = "SIZE")]
    pub bytes: Size,
    /// New folder for the segments, made with those above it and not removed afterwards [default:
    /// one in the temporary folder]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Errors that end a demonstration without a verdict.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// SIGINT or SIGTERM.
    #[error("interrupted; its folder is removed")]
    Interrupted,
    /// The data folder can't be created or examined.
    #[error("--data {}: {error}; name a new folder where this user may write", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// There is too little free space even for a small demonstration.
    #[error(
        "{} MiB are free at {}, at least {} are needed; free some, or name a folder elsewhere with --data",
        mib(*free_bytes), path.display(), mib(*least_bytes)
    )]
    Room {
        /// The folder.
        path: PathBuf,
        /// Bytes that may be written there.
        free_bytes: u64,
        /// Bytes that are needed.
        least_bytes: u64,
    },
    /// The digits in the binary are damaged.
    #[error("the digits in this binary: {0}; build it again")]
    Digits(FileError),
    /// The service doesn't start.
    #[error("the service doesn't start: {0}")]
    Serve(ServeError),
    /// The system refuses another thread.
    #[error("the load's thread: {0}; {fix}", fix = THREAD_FIX)]
    Thread(io::Error),
    /// The load's thread panicked.
    #[error("the load's thread panicked, see above")]
    Panicked,
    /// A wrong answer, or none.
    #[error("{error}{failures}")]
    Load {
        /// The load's error.
        error: LoadError,
        /// The service's totals, and the path of the data.
        failures: String,
    },
    /// The segments can't be read back.
    #[error("the segments in {}: {error}", data.display())]
    Read {
        /// The data folder.
        data: PathBuf,
        /// The error of reading them.
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

    /// Adds the service's totals to the error of a load.
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

impl From<BrokenLoad> for DemoError {
    fn from(broken: BrokenLoad) -> Self {
        broken.error.into()
    }
}

impl From<LoadError> for DemoError {
    fn from(error: LoadError) -> Self {
        Self::Load { error, failures: String::new() }
    }
}
