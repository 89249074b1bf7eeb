//! How a queue ends: once. The first end wins.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::sync::OnceLock;

use crate::process::Process;
use crate::sync::{AtomicU32, Ordering, pause};

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
            Self::Abandoned => {
                f.write_str("the queue's dequeuer is gone: nobody takes messages any more")
            }
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

/// This process was forked while the queue was open, and a call of one of its ends would have
/// waited. The queue is the parent's: make another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forked;

impl fmt::Display for Forked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this process was forked from the one that made the queue: make a queue after the fork",
        )
    }
}

impl Error for Forked {}

const OPEN: u32 = 0;
/// Somebody ends it, and will have said how in a moment.
const ENDING: u32 = 1;
const FINISHED: u32 = 2;
const CLOSED: u32 = 3;
/// In a forked child: nobody will end it. Needs no word of `end`, which somebody may have been
/// about to set at the fork.
const FORKED: u32 = 4;

/// The end as both ends of a queue see it: a word to look at, and what it means. There is no lock:
/// a forked child, or a waker, may be anywhere.
#[derive(Debug)]
pub(crate) struct EndState {
    word: AtomicU32,
    /// Set by the thread that moved the word on from `OPEN`, so no thread waits here.
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
            // In a forked child, the thread that did it doesn't exist, so the end is never set.
            self.end_if_forked();
            // A moment later it is said. Not by spinning: a thread of a higher priority would keep
            // the CPU from the one that says it.
            let mut looks = 0;
            while !self.is_set() {
                pause(looks);
                looks += 1;
            }
            return false;
        }
        let word = if matches!(end, End::Finished) { FINISHED } else { CLOSED };
        let is_first = self.end.set(end).is_ok();
        assert!(is_first, "who claims the end is alone");
        // SYNC S13: a thread that sees it finds the error, and what was enqueued before a clean
        // end.
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

    /// Called before a wait: in a forked child an open queue ends here, because those who would
    /// wake the caller aren't there.
    pub(crate) fn end_if_forked(&self) {
        if !self.made_by.is_current() && !self.is_set() {
            // SYNC S13
            self.word.store(FORKED, Ordering::Release);
        }
    }

    pub(crate) fn get(&self) -> Option<End> {
        // SYNC S13
        match self.word.load(Ordering::Acquire) {
            OPEN | ENDING => None,
            FORKED => Some(End::Closed(std::sync::Arc::new(Forked))),
            _ => self.end.get().cloned(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// As in a child that was forked while a thread, which the child doesn't have, was about to say
    /// how the queue ended.
    #[test]
    fn a_forked_child_does_not_wait_for_who_was_ending_it() {
        let (word, end, made_by) = (AtomicU32::new(ENDING), OnceLock::new(), Process::other());
        let state = EndState { word, end, made_by };
        assert!(!state.set(End::Finished));
        assert!(
            state.is_set()
                && matches!(state.get(), Some(End::Closed(error)) if error.is::<Forked>())
        );
    }
}
