//! How a queue ends: once, and by whoever is first.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

use crate::sync::lock;
use crate::sync::{AtomicU32, Mutex, Ordering};

/// The error that a queue was closed with; its two ends share it.
pub type CloseError = std::sync::Arc<dyn Error + Send + Sync>;

/// How a queue ended.
#[derive(Clone, Debug)]
pub enum End {
    /// The enqueuer has finished: every message was queued.
    Finished,
    /// Somebody closed it with an error.
    Closed(CloseError),
    /// The dequeuer is gone: nobody takes messages any more.
    Abandoned,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("the queue is finished"),
            Self::Closed(error) => write!(f, "the queue was closed: {error}"),
            Self::Abandoned => f.write_str("the queue's dequeuer is gone: nobody takes messages any more"),
        }
    }
}

/// The enqueuer was dropped by a panic: what it had queued may be half of what it meant to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnqueuerPanicked;

impl fmt::Display for EnqueuerPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue's enqueuer was dropped by a panic: what follows is missing")
    }
}

impl Error for EnqueuerPanicked {}

const OPEN: u32 = 0;
const FINISHED: u32 = 1;
const CLOSED: u32 = 2;

/// The end as both ends of a queue see it: a word to look at, and what it means.
#[derive(Debug)]
pub(crate) struct EndState {
    word: AtomicU32,
    end: Mutex<Option<End>>,
}

impl EndState {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(OPEN), end: Mutex::new(None) }
    }

    /// Ends it; false if somebody else had.
    pub(crate) fn set(&self, end: End) -> bool {
        let mut set = lock(&self.end);
        if set.is_some() {
            return false;
        }
        let word = if matches!(end, End::Finished) { FINISHED } else { CLOSED };
        debug_assert!(!self.is_set(), "the word follows the end");
        *set = Some(end);
        // SYNC S13: whoever sees it finds the error, and what was enqueued before a clean end.
        self.word.store(word, Ordering::Release);
        true
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        // SYNC S13
        self.word.load(Ordering::Acquire) != OPEN
    }

    /// Whether it ended by the enqueuer's own doing: nothing more can come.
    pub(crate) fn is_finished(&self) -> bool {
        // SYNC S13
        self.word.load(Ordering::Acquire) == FINISHED
    }

    pub(crate) fn get(&self) -> Option<End> {
        let end = lock(&self.end);
        debug_assert_eq!(end.is_some(), self.is_set(), "the word follows the end");
        end.clone()
    }
}
