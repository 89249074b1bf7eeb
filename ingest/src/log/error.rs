//! Errors of the log. Each names the file, what was found, what may be there, and the fix.

use std::io;
use std::path::{Path, PathBuf};

use super::shape::RowShape;

/// Errors of the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused.
    #[error("can't {action} {}: {source}{}", path.display(), fix_of(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The disk failed to store bytes that it had accepted: they may be lost, although they can
    /// still be read from the page cache. The segment takes no more records; see
    /// [`LaneLog::replace_dead`](super::LaneLog::replace_dead).
    #[error("the disk failed while syncing {}: {source}; what it holds is read again from the \
        disk, and vectors that aren't there are lost: check the disk", path.display())]
    SyncFailed {
        /// The segment's file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file already has the name that a segment gets.
    #[error("{} already exists and isn't overwritten; move it out of the folder", path.display())]
    Exists {
        /// The name wanted.
        path: PathBuf,
    },
    /// A file was written by a later version.
    #[error("{} has format {found}, this version knows formats up to {known}; start the version \
        that wrote it, or name another folder", path.display())]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A file holds other rows.
    #[error("{} holds vectors of dimension {} with the columns {}, not of dimension {} with the \
        columns {}; start with those, or name another folder", path.display(), recorded.dim,
        recorded.columns, asked.dim, asked.columns)]
    OtherShape {
        /// The file.
        path: PathBuf,
        /// What it holds.
        recorded: RowShape,
        /// What the log was opened for.
        asked: RowShape,
    },
    /// A file isn't what its name says.
    #[error("{} isn't a segment: {why}", path.display())]
    NoSegment {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An option is out of its range.
    #[error("{field} is {value}: must be {allowed}")]
    Option {
        /// The name of the option.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it may be.
        allowed: String,
    },
    /// The rows given don't fit the log's columns.
    #[error(
        "{vector_bytes} bytes of vectors with {id_bytes} bytes of ids and {time_bytes} of \
        times aren't rows of {row}; nothing was taken"
    )]
    Rows {
        /// Bytes of vectors given.
        vector_bytes: usize,
        /// Bytes of ids given.
        id_bytes: usize,
        /// Bytes of times given; 0 where one time stands for all.
        time_bytes: usize,
        /// What a row has.
        row: String,
    },
    /// A buffer without rows has no record.
    #[error("a record needs rows, and the buffer has none; append rows to it first")]
    NoRows,
    /// A buffer's record has its place in a segment that was sealed or replaced without it.
    #[error(
        "a record with the rows from {first_sequence} on was left out of its segment; clear \
        its buffer, its rows aren't in the log"
    )]
    LeftOut {
        /// The sequence of its first row.
        first_sequence: u64,
    },
    /// The sequences of a lane end here.
    #[error("{}: sequences end at {}; name another folder", path.display(), u64::MAX)]
    SequencesEnd {
        /// The lane's folder.
        path: PathBuf,
    },
}

impl LogError {
    /// Whether the same call may succeed later without a restart, for example once space has been
    /// freed.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Exists { .. })
    }

    /// Whether the file system is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if [StorageFull, QuotaExceeded].contains(&source.kind()))
    }

    /// For `map_err`: a [`LogError::Io`] that names the action and the path.
    pub(super) fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// The same for a sync that failed.
    pub(super) fn sync<'a>(path: &'a Path) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::SyncFailed { path: path.to_owned(), source }
    }

    pub(super) fn no_segment(path: &Path, why: impl Into<String>) -> Self {
        Self::NoSegment { path: path.to_owned(), why: why.into() }
    }
}

/// What a person can do about an error of the system.
pub(crate) fn fix_of(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free space on this disk",
        io::ErrorKind::FileTooLarge => {
            "; raise the file size limit (ulimit -f) or lower the segment size"
        }
        io::ErrorKind::PermissionDenied => {
            "; give this user the right to write there or name another folder"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; the file system is mounted read-only: name another folder, or mount it for writing"
        }
        io::ErrorKind::CrossesDevices => "; keep a data folder on one file system",
        _ => "",
    }
}

/// Why bytes aren't the record that should be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// No record begins there.
    #[error("no record begins there")]
    NoRecord,
    /// It ends behind the end of the file.
    #[error("it needs {needed} bytes, and {left} are left")]
    Cut {
        /// Bytes that it says it has.
        needed: u64,
        /// Bytes of the file from its beginning on.
        left: u64,
    },
    /// The header isn't one of ours.
    #[error("its header: {0}")]
    Header(String),
    /// A figure isn't the one that this place of this file asks for.
    #[error("its {field} is {found}, not {expected}")]
    Other {
        /// Which figure.
        field: &'static str,
        /// What it says.
        found: u64,
        /// What it has to say.
        expected: u64,
    },
    /// The checksum isn't that of its bytes.
    #[error("its checksum is {found:08x}, that of its bytes is {expected:08x}")]
    Checksum {
        /// What it says.
        found: u32,
        /// That of the bytes.
        expected: u32,
    },
}
