//! Where the thread that has a lane's rows meets the thread that writes them.
//!
//! ```text
//!   sink's thread                         committer
//!   append ──copy──▶ open ──full──▶ queue ──take──▶ written ──┐
//!     ▲ sleeps without a buffer                               │
//!     └──────────────── spare ◀────────────── give back ──────┘
//! ```
//! Both hold the lock for one copy or one exchange, never while a file is written.
//!
//! Promises:
//! - Rows are taken in order, each once, also when one call takes only the first of them.
//! - No call is lost: whatever the committer has to do is in the state before it is called.
//! - Nothing is allocated after the feed is made.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::buffer::{LogRows, RecordBuffer};
use super::error::LogError;
use super::progress::{LogProgress, LogState};

/// How long [`LaneFeed::append`] waits for a buffer before it lets its caller look around.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long the disk may refuse what a feed has left that was dropped.
const DROPPED_CLOSE: Duration = Duration::from_secs(1);

/// Why rows weren't taken, or not all of them.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// All buffers are full, and the disk takes none. The next call with the same rows goes on
    /// where this one stopped.
    #[error("the disk has taken no vectors for {} ms", PATIENCE.as_millis())]
    Full,
    /// The log takes no more rows.
    #[error("the log has ended: {0}")]
    Ended(String),
    /// A producer's request doesn't fit a buffer, which must hold the largest one.
    #[error("a producer's request of {rows} vectors is larger than a record")]
    TooLarge {
        /// Its rows.
        rows: usize,
    },
    /// The rows don't fit the log's columns.
    #[error(transparent)]
    Rows(LogError),
}

/// What calls the committer. All lanes share it.
#[derive(Debug, Default)]
pub(super) struct CommitCalls {
    is_called: Mutex<bool>,
    called: Condvar,
}

impl CommitCalls {
    pub fn call(&self) {
        *self.lock() = true;
        self.called.notify_one();
    }

    /// Returns once it is called, or at that time, and whether it was called.
    pub fn wait(&self, until: Option<Instant>) -> bool {
        let mut is_called = self.lock();
        while !*is_called {
            let Some(until) = until else {
                is_called = self.called.wait(is_called).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.called.wait_timeout(is_called, left);
            is_called = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut *is_called)
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_called.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What both ends of a feed share.
#[derive(Debug)]
pub(super) struct FeedShared {
    filling: Mutex<Filling>,
    /// A buffer is free, or the log has ended.
    changed: Condvar,
    calls: Arc<CommitCalls>,
    progress: LogProgress,
}

#[derive(Debug)]
struct Filling {
    open: Option<RecordBuffer>,
    full: VecDeque<RecordBuffer>,
    spares: Vec<RecordBuffer>,
    /// Somebody waits for these rows.
    is_wanted: bool,
    /// When the first of these rows came.
    oldest: Option<Instant>,
    /// The segment is to be sealed.
    is_seal_asked: bool,
    /// The log is to be closed, with everything in it, and until when that is tried.
    close_until: Option<Instant>,
    /// How the log has ended.
    end: Option<Result<(), String>>,
}

impl Filling {
    fn is_empty(&self) -> bool {
        self.full.is_empty() && self.open.as_ref().is_none_or(|open| open.rows() == 0)
    }
}

/// What the committer finds in a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FeedNeeds {
    pub is_empty: bool,
    /// A buffer is full.
    pub is_full: bool,
    pub is_wanted: bool,
    pub oldest: Option<Instant>,
    pub close_until: Option<Instant>,
}

impl FeedShared {
    fn lock(&self) -> MutexGuard<'_, Filling> {
        // Every change is whole before the lock is released.
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn needs(&self) -> FeedNeeds {
        let filling = self.lock();
        FeedNeeds {
            is_empty: filling.is_empty(),
            is_full: !filling.full.is_empty(),
            is_wanted: filling.is_wanted,
            oldest: filling.oldest,
            close_until: filling.close_until,
        }
    }

    /// The next buffer: a full one, or with `all` the open one too, if it has rows.
    pub fn take_buffer(&self, all: bool) -> Option<RecordBuffer> {
        let mut filling = self.lock();
        let taken = match filling.full.pop_front() {
            Some(full) => full,
            None => {
                let open = filling.open.take_if(|open| all && open.rows() > 0)?;
                filling.open = filling.spares.pop();
                open
            }
        };
        if filling.is_empty() {
            filling.is_wanted = false;
            filling.oldest = None;
        }
        Some(taken)
    }

    /// Gives an empty buffer back.
    pub fn give_back(&self, buffer: RecordBuffer) {
        let mut filling = self.lock();
        match filling.open {
            Some(_) => filling.spares.push(buffer),
            None => filling.open = Some(buffer),
        }
        drop(filling);
        self.changed.notify_one();
    }

    /// Whether somebody has asked for the live segment to be sealed since the last call.
    pub fn take_seal_ask(&self) -> bool {
        std::mem::take(&mut self.lock().is_seal_asked)
    }

    /// The log has ended. What wasn't taken stays here.
    pub fn end(&self, end: Result<(), String>) {
        self.lock().end.get_or_insert(end);
        self.progress.set_state(LogState::Ended);
        self.changed.notify_all();
    }

    /// Asks for the live segment to be sealed.
    pub fn ask_seal(&self) {
        self.lock().is_seal_asked = true;
        self.calls.call();
    }

    /// Asks for the log to be closed by then, if nobody has yet.
    pub fn ask_close(&self, until: Instant) {
        self.lock().close_until.get_or_insert(until);
        self.calls.call();
    }
}

/// The end of a lane's log for the thread that has its rows.
#[derive(Debug)]
pub struct LaneFeed {
    shared: Arc<FeedShared>,
    vector_bytes: usize,
    /// Rows of the call under way that are taken.
    taken: usize,
    next_sequence: u64,
}

impl LaneFeed {
    /// A feed with these buffers, of which there are at least two, and its other end.
    pub(super) fn new(
        mut buffers: Vec<RecordBuffer>,
        vector_bytes: usize,
        calls: Arc<CommitCalls>,
        progress: LogProgress,
    ) -> (Self, Arc<FeedShared>) {
        let next_sequence = progress.durable_through();
        let filling = Filling {
            open: buffers.pop(),
            full: VecDeque::with_capacity(buffers.len() + 1),
            spares: buffers,
            is_wanted: false,
            oldest: None,
            is_seal_asked: false,
            close_until: None,
            end: None,
        };
        let (filling, changed) = (Mutex::new(filling), Condvar::new());
        let shared = Arc::new(FeedShared { filling, changed, calls, progress });
        (Self { shared: Arc::clone(&shared), vector_bytes, taken: 0, next_sequence }, shared)
    }

    /// The sequence of the first row of the next call. A call that goes on keeps its own.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence - self.taken as u64
    }

    /// How far the log is.
    #[must_use]
    pub fn progress(&self) -> &LogProgress {
        &self.shared.progress
    }

    /// Copies rows into the log's buffers, and sleeps while all of them are full. With `is_wanted`
    /// they become durable as soon as the disk can; otherwise within the commit interval.
    ///
    /// # Errors
    /// [`FeedError::Full`] after a short time without a buffer: then the caller repeats the call
    /// with the same rows. The others are final.
    pub fn append(&mut self, rows: &LogRows<'_>, is_wanted: bool) -> Result<(), FeedError> {
        let until = Instant::now() + PATIENCE;
        while !self.offer(rows, is_wanted, Instant::now)? {
            let filling = self.shared.lock();
            if filling.open.is_some() || filling.end.is_some() {
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(FeedError::Full);
            }
            let waited = self.shared.changed.wait_timeout(filling, left);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        Ok(())
    }

    /// Copies rows as far as there are buffers, and returns whether all are taken. If not, the next
    /// call has the same rows.
    pub(super) fn offer(
        &mut self,
        rows: &LogRows<'_>,
        is_wanted: bool,
        clock: impl Fn() -> Instant,
    ) -> Result<bool, FeedError> {
        let mut filling = self.shared.lock();
        if let Some(end) = &filling.end {
            let why = end.clone().err().unwrap_or_else(|| "it was closed".to_owned());
            return Err(FeedError::Ended(why));
        }
        let before = (filling.full.len(), filling.is_wanted, filling.oldest.is_some());
        let mut is_done = false;
        while let Some(open) = &mut filling.open {
            let rest = rows.behind(self.taken, self.vector_bytes);
            let now = open.append(&rest).map_err(FeedError::Rows)?;
            // A request that is kept in one record may be too large for what is left of this one.
            let is_left = now == 0 && !rest.vectors.is_empty();
            if is_left && open.rows() == 0 {
                return Err(FeedError::TooLarge { rows: rest.vectors.len() / self.vector_bytes });
            }
            let is_full = open.is_closed() || is_left;
            self.taken += now;
            self.next_sequence += now as u64;
            if now > 0 {
                filling.oldest.get_or_insert_with(&clock);
            }
            if is_full {
                let full = filling.open.take();
                filling.full.extend(full);
                filling.open = filling.spares.pop();
            }
            is_done = now * self.vector_bytes == rest.vectors.len();
            if is_done {
                break;
            }
        }
        if is_done {
            self.taken = 0;
            filling.is_wanted |= is_wanted && !filling.is_empty();
        }
        self.shared.progress.note_appended(self.next_sequence);
        let after = (filling.full.len(), filling.is_wanted, filling.oldest.is_some());
        drop(filling);
        if before != after {
            self.shared.calls.call();
        }
        Ok(is_done)
    }

    /// Closes the log, with everything in it, and waits for that. Until `until` the disk may
    /// refuse.
    ///
    /// # Errors
    /// Why the log isn't closed, or not with all of its rows.
    pub fn close(&mut self, until: Instant) -> Result<(), String> {
        self.shared.ask_close(until);
        let mut filling = self.shared.lock();
        loop {
            if let Some(end) = &filling.end {
                return end.clone();
            }
            let waited = self.shared.changed.wait(filling);
            filling = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for LaneFeed {
    fn drop(&mut self) {
        // A feed that isn't closed is one whose thread has ended before its time. What it has taken
        // is written nevertheless.
        self.shared.ask_close(Instant::now() + DROPPED_CLOSE);
    }
}
