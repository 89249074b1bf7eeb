//! How a queue ends: once, and by whoever is first.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::sync::OnceLock;

use crate::process::Process;
use crate::sync::{AtomicU32, Ordering, yield_now};

/// The error that a queue was closed with; its two ends share it.
pub type CloseError = std::sync::Arc<dyn Error + Send + Sync>;

/// How a queue ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
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
#[non_exhaustive]
pub struct EnqueuerPanicked;

impl fmt::Display for EnqueuerPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue's enqueuer was dropped by a panic: what follows is missing")
    }
}

impl Error for EnqueuerPanicked {}

const OPEN: u32 = 0;
/// Somebody ends it, and will have said how in a moment.
const ENDING: u32 = 1;
const FINISHED: u32 = 2;
const CLOSED: u32 = 3;

/// The end as both ends of a queue see it: a word to look at, and what it means. There is no lock: a forked child, or a waker, may be anywhere.
#[derive(Debug)]
pub(crate) struct EndState {
    word: AtomicU32,
    /// Set by whoever moved the word on from `OPEN`, so nobody waits for anybody here.
    end: OnceLock<End>,
    made_by: Process,
}

impl EndState {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(OPEN), end: OnceLock::new(), made_by: Process::current() }
    }

    /// Ends it; false if somebody else had.
    pub(crate) fn set(&self, end: End) -> bool {
        if self.word.compare_exchange(OPEN, ENDING, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            // A moment later it is said how, unless this is a forked child, and whoever did it isn't here.
            while !self.is_set() && self.made_by.is_current() {
                yield_now();
            }
            return false;
        }
        let word = if matches!(end, End::Finished) { FINISHED } else { CLOSED };
        let is_first = self.end.set(end).is_ok();
        assert!(is_first, "who claims the end is alone");
        // SYNC S13: whoever sees it finds the error, and what was enqueued before a clean end.
        self.word.store(word, Ordering::Release);
        true
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        // SYNC S13
        self.word.load(Ordering::Acquire) > ENDING
    }

    /// Whether it ended by the enqueuer's own doing: nothing more can come.
    pub(crate) fn is_finished(&self) -> bool {
        // SYNC S13
        self.word.load(Ordering::Acquire) == FINISHED
    }

    pub(crate) fn get(&self) -> Option<End> {
        self.is_set().then(|| self.end.get().cloned()).flatten()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// As in a child that was forked while a thread, which the child doesn't have, was about to say how the queue ended.
    #[test]
    fn a_forked_child_does_not_wait_for_who_was_ending_it() {
        let (word, end, made_by) = (AtomicU32::new(ENDING), OnceLock::new(), Process::other());
        let state = EndState { word, end, made_by };
        assert!(!state.set(End::Finished));
        assert!(!state.is_set() && state.get().is_none());
    }
}
