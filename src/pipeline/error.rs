//! Errors of lanes: each names the field, the figure and the fix.
#![forbid(unsafe_code)]

use core::fmt;

use crate::machine::PinError;
use crate::ring::{Full, PoolSlice, RingError, Sequence};

/// Why a lane couldn't be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum LaneError {
    /// An option doesn't fit.
    Option {
        /// The field of [`super::LaneSpec`].
        field: &'static str,
        /// What was given.
        given: String,
        /// What it has to be.
        must: String,
    },
    /// The pool couldn't be made.
    Pool(RingError),
    /// The thread couldn't be pinned, and the policy is `Require`.
    Pin(PinError),
    /// A system call failed.
    Os {
        /// Which one.
        what: &'static str,
        /// The system's error.
        error: std::io::Error,
    },
}

impl LaneError {
    /// An option that doesn't fit.
    pub(super) fn option(field: &'static str, given: impl ToString, must: &str) -> Self {
        Self::Option { field, given: given.to_string(), must: must.to_owned() }
    }
}

impl fmt::Display for LaneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option { field, given, must } => {
                write!(f, "`{field}` is {given}: it must be {must}")
            }
            Self::Pool(e) => write!(f, "the lane's pool: {e}"),
            Self::Pin(e) => write!(f, "the lane's thread: {e}"),
            Self::Os { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for LaneError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Option { .. } => None,
            Self::Pool(e) => Some(e),
            Self::Pin(e) => Some(e),
            Self::Os { error, .. } => Some(error),
        }
    }
}

impl From<RingError> for LaneError {
    fn from(e: RingError) -> Self {
        Self::Pool(e)
    }
}

impl From<PinError> for LaneError {
    fn from(e: PinError) -> Self {
        Self::Pin(e)
    }
}

/// Why a lane accepts nothing now, or never will again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// Every slot of the ring is in use: poll the lane, and stop reading until it has room. What
    /// was pushed is published.
    Ring {
        /// Slots of the ring.
        slots: usize,
    },
    /// The pool has no room. [`Full::Pool`] calls for the same reaction as [`Refused::Ring`];
    /// [`Full::TooLarge`] will never succeed.
    Pool(Full),
    /// A stage failed under the policy `Poison`: close the lane. The number is the stage's.
    Poisoned(u32),
    /// The lane is closing or closed.
    Closed,
}

impl Refused {
    /// Whether there may be room once stages have progressed: poll the lane, and try again.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Ring { .. } | Self::Pool(Full::Pool { .. }))
    }
}

impl From<Full> for Refused {
    fn from(full: Full) -> Self {
        Self::Pool(full)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ring { slots } => {
                write!(
                    f,
                    "all {slots} slots of the ring are in use: poll the lane, or raise `slots`"
                )
            }
            Self::Pool(full) => full.fmt(f),
            Self::Poisoned(stage) => {
                write!(f, "stage {stage} failed and the lane is poisoned: close it")
            }
            Self::Closed => f.write_str("the lane is closed"),
        }
    }
}

impl std::error::Error for Refused {}

/// A slice that wasn't pushed, returned with its metadata and the reason.
#[derive(Debug)]
#[non_exhaustive]
pub struct NotPushed<M> {
    /// Why.
    pub why: PushRefusal,
    /// The slice, if there was one.
    pub slice: Option<PoolSlice>,
    /// The metadata.
    pub meta: M,
}

/// Why a slice wasn't pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushRefusal {
    /// The ring is full, the lane is poisoned or closed.
    Refused(Refused),
    /// The slice belongs to another lane.
    Foreign,
}

impl fmt::Display for PushRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Foreign => f.write_str("the slice belongs to another lane"),
        }
    }
}

impl<M> fmt::Display for NotPushed<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl<M: fmt::Debug> std::error::Error for NotPushed<M> {}

/// A slice that wasn't moved into an event of a [`SliceRing`](super::SliceRing), returned with its
/// metadata and the reason.
#[derive(Debug)]
#[non_exhaustive]
pub struct NotPublished<M> {
    /// Why.
    pub why: PublishRefusal,
    /// The slice.
    pub slice: PoolSlice,
    /// The metadata.
    pub meta: M,
}

/// Why a slice wasn't moved into an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishRefusal {
    /// A reader hasn't released the event that is to be overwritten: wait for it, and stop reading
    /// until the ring has room.
    Full {
        /// Events of the ring.
        slots: usize,
    },
    /// The ring is full, and a reader that was dropped will never release its events: drop the
    /// ring.
    ReaderGone {
        /// The reader's number.
        reader: usize,
    },
    /// The slice belongs to another pool.
    Foreign,
}

impl fmt::Display for PublishRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Full { slots } => {
                write!(
                    f,
                    "a reader hasn't released the oldest of {slots} events: wait for it, or raise `slots`"
                )
            }
            Self::ReaderGone { reader } => {
                write!(
                    f,
                    "the ring is full, and reader {reader}, which was dropped, won't release its events: drop the ring"
                )
            }
            Self::Foreign => f.write_str("the slice belongs to another pool"),
        }
    }
}

impl<M> fmt::Display for NotPublished<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl<M: fmt::Debug> std::error::Error for NotPublished<M> {}

/// Why a stage sees no more events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StageError {
    /// A stage has failed: this one, or one that it waits for.
    Failed(Failure),
    /// The lane was dropped before a stage had processed all of its events: this stage, or one that
    /// it waits for.
    Left {
        /// The stage's name.
        stage: String,
        /// The first sequence that it didn't process.
        sequence: Sequence,
    },
    /// Events that were read ahead aren't released yet: release them before you poll.
    Holding {
        /// The oldest of them.
        since: Sequence,
    },
    /// The stage has ended.
    Ended,
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Left { stage, sequence } => {
                write!(
                    f,
                    "the lane was dropped, and stage `{stage}` won't process sequence {sequence}: close the lane with a longer deadline"
                )
            }
            Self::Holding { since } => {
                write!(f, "events from sequence {since} on are held: release them before `poll`")
            }
            Self::Ended => f.write_str("the stage has ended"),
        }
    }
}

impl std::error::Error for StageError {}

/// The first failure of a lane: which stage failed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The stage's name.
    pub stage: String,
    /// Its number, in the order of the specification.
    pub index: u32,
    /// The panic's message, or the reason the handler gave.
    pub reason: String,
    /// The first sequence that it didn't process.
    pub sequence: Sequence,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stage `{}` failed at sequence {}: {}", self.stage, self.sequence, self.reason)
    }
}

/// The first event that a stage rejected, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// The event's sequence.
    pub sequence: Sequence,
    /// The reason that the handler gave.
    pub reason: String,
}

/// A stage that can't be attached or spawned as it was specified, or that holds events. The handle
/// is returned.
#[derive(Debug)]
pub struct WrongPlacement<S>(pub S);

impl<S> fmt::Display for WrongPlacement<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "`attach` accepts inline stages of the same lane, `spawn` accepts stages specified with `thread`, and neither accepts one \
             that holds events: change the specification, or release them first",
        )
    }
}

impl<S: fmt::Debug> std::error::Error for WrongPlacement<S> {}
