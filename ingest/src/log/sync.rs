//! Making a segment durable.
//!
//! A sync is a value, [`SyncRound`], so that another thread can run it while records are written.
//! It promises what was written when it was made, and no more: what came later may be on the disk
//! too, but nobody is told so.
//!
//! The kernel reports lost pages once to each descriptor. So all syncs of a segment run one after
//! the other on the descriptor that wrote, and none is believed after one has failed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{Disk, sync_uninterrupted};
use super::error::LogError;

/// How far a segment is in one respect: its bytes, and the sequence after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// The first sequence of the segment.
    pub segment: u64,
    /// Bytes from the beginning of the file.
    pub file_bytes: u64,
    /// The sequence that follows.
    pub next_sequence: u64,
}

/// Makes a segment's bytes durable: those that were written when it was made. On the descriptor
/// that wrote them, and with the file's name the first time.
#[derive(Debug)]
#[must_use = "nothing is durable before it has run"]
pub struct SyncRound<D: Disk> {
    pub(super) disk: D,
    pub(super) file: Arc<D::File>,
    pub(super) path: PathBuf,
    pub(super) folder: Option<PathBuf>,
    pub(super) syncs: Arc<SyncState>,
    pub(super) position: LogPosition,
}

impl<D: Disk> SyncRound<D> {
    /// How far the segment is durable once this round has succeeded.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// Syncs, and returns how far the segment is durable.
    ///
    /// # Errors
    /// What the system says of the file or its folder: nothing more is certain than before.
    pub fn run(self) -> Result<LogPosition, LogError> {
        self.syncs.run(&self.path, || {
            sync_uninterrupted(&*self.file).map_err(LogError::sync(&self.path))?;
            match &self.folder {
                Some(folder) => self.disk.sync_folder(folder).map_err(LogError::sync(folder)),
                None => Ok(()),
            }
        })?;
        Ok(self.position)
    }
}

/// What all syncs of a segment share. One runs at a time: the kernel reports an error to one of
/// two, and the other would be believed.
#[derive(Debug, Default)]
pub(super) struct SyncState {
    one: Mutex<()>,
    /// 0, or the system's number of the error after which nothing is certain, or -1 without one.
    failed: AtomicI32,
}

impl SyncState {
    /// Whether a sync has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire) != 0
    }

    /// Refuses after an error.
    pub fn check(&self, path: &Path) -> Result<(), LogError> {
        let source = match self.failed.load(Ordering::Acquire) {
            0 => return Ok(()),
            -1 => io::ErrorKind::Other.into(),
            number => io::Error::from_raw_os_error(number),
        };
        Err(LogError::SyncFailed { path: path.to_owned(), source })
    }

    /// Runs one sync. After an error none is believed any more.
    pub fn run(
        &self,
        path: &Path,
        sync: impl FnOnce() -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(path)?;
        sync().inspect_err(|error| {
            let number = number_of(error).filter(|number| *number > 0).unwrap_or(-1);
            self.failed.store(number, Ordering::Release);
        })
    }
}

fn number_of(error: &LogError) -> Option<i32> {
    match error {
        LogError::Io { source, .. } | LogError::SyncFailed { source, .. } => source.raw_os_error(),
        _ => None,
    }
}
