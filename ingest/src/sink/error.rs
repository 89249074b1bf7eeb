//! Errors of a sink.
//!
//! Each error names what was asked for, the obstacle and the fix. Errors of the data folder start
//! with `--data`, the option that names the folder.

use std::io;
use std::path::{Path, PathBuf};

use super::Columns;
use crate::log::{LogError, fix_of};

/// Errors of the data folder, a segment log, or the reader of segments.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The data folder's path leads to a file.
    #[error("--data {}: there is a file at this path or above it; name a folder", path.display())]
    NotAFolder {
        /// The path asked for.
        path: PathBuf,
    },
    /// There is nothing at the path of a folder to look at.
    #[error("--data {}: there is no folder at this path; name one that a service has made",
        path.display())]
    Missing {
        /// The path asked for.
        path: PathBuf,
    },
    /// The data folder's path leads through a symbolic link whose target is missing.
    #[error("--data {}: {} is a symbolic link to nothing; make its target, remove the link, or \
        name another folder", path.display(), link.display())]
    DanglingLink {
        /// The path asked for.
        path: PathBuf,
        /// The link.
        link: PathBuf,
    },
    /// Another process, or another [`DataDir`](super::DataDir) of this process, holds the folder.
    #[error("--data {}: the folder is in use by process {holder}; stop that service or name \
        another folder", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The id of the process that holds the lock, as recorded in the lock's file; `unknown` if
        /// it isn't recorded.
        holder: String,
    },
    /// The folder was made for vectors of another dimension.
    #[error(
        "--data {}: the folder holds vectors of dimension {recorded}, not {asked}; use --dim \
        {recorded} or name another folder",
        path.display()
    )]
    OtherDimension {
        /// The folder, or the segment with the other dimension.
        path: PathBuf,
        /// The dimension found.
        recorded: u32,
        /// The dimension asked for.
        asked: u32,
    },
    /// The folder was made for segments with other columns.
    #[error(
        "--data {}: the folder's segments have the columns {recorded}, not {asked}; {} or name \
        another folder",
        path.display(),
        use_columns(*recorded)
    )]
    OtherColumns {
        /// The folder, or the segment with the other columns.
        path: PathBuf,
        /// The columns found.
        recorded: Columns,
        /// The columns asked for.
        asked: Columns,
    },
    /// One of our names below the data folder is taken by something else.
    #[error("{} is {found}; nothing is written there, put a {needed} in its place or remove it",
        path.display())]
    Place {
        /// The file or folder.
        path: PathBuf,
        /// What is there.
        found: &'static str,
        /// What may be there.
        needed: &'static str,
    },
    /// A lane has a folder of an earlier version besides its own.
    #[error("{} and {} are folders of the same lane; an earlier version of slipring worked here \
        after this one: move one of them away", path.display(), other.display())]
    TwoFolders {
        /// One folder.
        path: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// A dimension beyond the limit.
    #[error("--dim {asked}: must be between 1 and {max}")]
    Dimension {
        /// The dimension asked for.
        asked: u32,
        /// The largest dimension.
        max: u32,
    },
    /// The folder's record is missing or was written by another version.
    #[error("{}: {why}; name a data folder of this version of slipring", path.display())]
    Record {
        /// The record's file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The operating system refused. For writes the usual cause is a full disk.
    #[error("can't {action} {}: {source}{}", path.display(), fix_of(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file already has the name of the segment to be completed.
    #[error("{} already exists and isn't overwritten; move it away and try again", path.display())]
    Exists {
        /// The name wanted.
        path: PathBuf,
    },
    /// A file named as a complete segment can't be read as one.
    #[error("{} isn't a whole segment: {why}; move it out of the folder", path.display())]
    Segment {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An error of a lane's log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Rows are missing inside of a segment, or duplicated.
    #[error("{}: found sequence {found}, expected {expected}; a segment was changed or added",
        path.display())]
    Gap {
        /// The segment with the unexpected sequence.
        path: PathBuf,
        /// The sequence expected.
        expected: u64,
        /// The sequence found.
        found: u64,
    },
}

impl SinkError {
    /// For `map_err`: a [`SinkError::Io`] that names the action and the path.
    pub(super) fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

fn use_columns(recorded: Columns) -> String {
    let names: Vec<&str> = recorded.names().collect();
    match names.as_slice() {
        [] => "leave --columns out".to_owned(),
        names => format!("use --columns {}", names.join(",")),
    }
}
