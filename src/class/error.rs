//! Errors of the class pool: with the field or the class, the numbers and the fix.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use super::direct;
use super::options::Limit;
use super::table::{CLASS_BYTES_MAX, CLASS_UNIT_BYTES, CLASSES_MAX};
use crate::region::{Pages, RegionError};

/// Errors of making or warming up a pool.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClassError {
    /// A table has no class, or too many.
    TableLength {
        /// The number of classes.
        classes: usize,
    },
    /// A size is invalid.
    ClassBytes {
        /// The index in the table.
        class: usize,
        /// Its size.
        bytes: usize,
    },
    /// The sizes don't ascend.
    TableOrder {
        /// The index in the table.
        class: usize,
        /// Its size.
        bytes: usize,
        /// The size before it.
        before_bytes: usize,
    },
    /// The limit is below one buffer of a class.
    LimitBelowOne {
        /// The limit.
        limit: Limit,
        /// The class.
        class_bytes: usize,
    },
    /// `shrink_after` is zero.
    ShrinkAfterZero,
    /// A page kind that can't be given back in parts.
    Pages {
        /// The requested page kind.
        pages: Pages,
    },
    /// No memory was available.
    Region(RegionError),
    /// The calling process was forked from the pool's own.
    Forked,
}

impl fmt::Display for ClassError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableLength { classes } => {
                write!(f, "a table of {classes} classes: give 1 to {CLASSES_MAX} sizes")
            }
            Self::ClassBytes { class, bytes } => write!(
                f,
                "size {class} of the table is {bytes} bytes: give a multiple of {CLASS_UNIT_BYTES} up to {CLASS_BYTES_MAX}"
            ),
            Self::TableOrder { class, bytes, before_bytes } => write!(
                f,
                "size {class} of the table is {bytes} bytes, the one before {before_bytes}: sort the sizes and leave duplicates out"
            ),
            Self::LimitBelowOne { limit: Limit { buffers, bytes }, class_bytes } => write!(
                f,
                "`limit` ({buffers} buffers, {bytes} bytes) holds no buffer of the class of {class_bytes} bytes: raise it, or leave the class out"
            ),
            Self::ShrinkAfterZero => {
                write!(f, "`shrink_after` is 0: give a time, or none to keep all memory")
            }
            Self::Pages { pages } => {
                write!(
                    f,
                    "`pages` is {pages}, which can't be given back in parts: take 4k or prefer-thp"
                )
            }
            Self::Region(cause) => write!(f, "no memory for a class: {cause}"),
            Self::Forked => write!(f, "{FORKED}"),
        }
    }
}

impl std::error::Error for ClassError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Region(cause) => Some(cause),
            _ => None,
        }
    }
}

/// Errors of getting a buffer.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError {
    /// The class is at its limit, no buffer is free, and this `get` doesn't wait. All are in use,
    /// or briefly in transit: a thread may have lost its CPU while moving some to or from the
    /// class's store, and a [`tick`](super::ClassPool::tick) or
    /// [`warm_up`](super::ClassPool::warm_up) holds the buffers whose pages it changes, for tens of
    /// milliseconds per hundreds of MiB. So this error is possible for a moment while nothing is in
    /// use. A `get` that waits gets the next buffer that comes back.
    Exhausted {
        /// The class.
        class_bytes: usize,
        /// The number of buffers that it may have.
        buffers_max: usize,
    },
    /// As `Exhausted`, and no buffer came back in time.
    TimedOut {
        /// The class.
        class_bytes: usize,
        /// The number of buffers that it may have.
        buffers_max: usize,
        /// The limit on this wait.
        timeout: Duration,
    },
    /// No allocation can be that large.
    TooLarge {
        /// Bytes asked for.
        asked_bytes: usize,
    },
    /// The system allocator has no memory for a direct buffer.
    OutOfMemory {
        /// Bytes asked for.
        asked_bytes: usize,
    },
    /// The kernel has no memory for the class, or a limit forbids it.
    Region(Box<RegionError>),
    /// The calling process was forked from the pool's own.
    Forked,
}

const FORKED: &str =
    "this process was forked from the one that made the pool: make a pool after the fork";

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted { class_bytes, buffers_max } => {
                write!(
                    f,
                    "all {buffers_max} buffers of the class of {class_bytes} bytes are in use, or on their way for a moment: drop some, wait, or raise `limit`"
                )
            }
            Self::TimedOut { class_bytes, buffers_max, timeout } => write!(
                f,
                "all {buffers_max} buffers of the class of {class_bytes} bytes stayed in use for {timeout:?}: drop some, or raise `limit`"
            ),
            Self::TooLarge { asked_bytes } => {
                write!(f, "{asked_bytes} bytes asked, a buffer holds at most {}", direct::BYTES_MAX)
            }
            Self::OutOfMemory { asked_bytes } => {
                write!(
                    f,
                    "the allocator has no {asked_bytes} bytes for a direct buffer: ask for less, or free memory"
                )
            }
            Self::Region(cause) => write!(f, "no memory for the class: {cause}"),
            Self::Forked => write!(f, "{FORKED}"),
        }
    }
}

impl std::error::Error for GetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Region(cause) => Some(cause.as_ref()),
            _ => None,
        }
    }
}

/// A length beyond a buffer's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LenError {
    /// Bytes asked for.
    pub asked_bytes: usize,
    /// The buffer's capacity.
    pub capacity_bytes: usize,
}

impl fmt::Display for LenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked_bytes, capacity_bytes } = self;
        write!(
            f,
            "{asked_bytes} bytes don't fit into a buffer of {capacity_bytes}: get a larger one"
        )
    }
}

impl std::error::Error for LenError {}
