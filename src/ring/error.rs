//! Errors of the ring pool: small, with the numbers, the field and the fix.

use core::fmt;

use crate::region::RegionError;

/// Why an allocation failed. Each case says what to do; no allocation waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Full {
    /// No chunk can be reused, because something still holds each of them. The statistics say what.
    Pool {
        /// Bytes that were asked for.
        asked_bytes: usize,
        /// The number of the pool's chunks, all of them busy.
        chunks: usize,
    },
    /// No slice can be that large: raise `max_slice_bytes` (and with it `chunk_bytes`).
    TooLarge {
        /// Bytes that were asked for.
        asked_bytes: usize,
        /// The largest slice.
        max_slice_bytes: usize,
    },
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Pool { asked_bytes, chunks } => {
                write!(
                    f,
                    "no chunk of the pool's {chunks} is free for {asked_bytes} bytes: release \
                     slices (a lane: poll it), or raise the pool's `bytes`"
                )
            }
            Self::TooLarge { asked_bytes, max_slice_bytes } => {
                write!(
                    f,
                    "{asked_bytes} bytes asked, `max_slice_bytes` is {max_slice_bytes}: raise it"
                )
            }
        }
    }
}

impl std::error::Error for Full {}

/// Why a pool couldn't be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum RingError {
    /// An option is invalid: its name, the given value, and what it must be.
    Option {
        /// The field of [`super::RingOptions`].
        field: &'static str,
        /// The given value.
        given: usize,
        /// What it must be.
        must: &'static str,
        /// The figure of that limit.
        limit: usize,
    },
    /// The region couldn't be mapped.
    Region(RegionError),
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option { field, given, must, limit } => {
                write!(f, "`{field}` is {given}: it must be {must} {limit}")
            }
            Self::Region(e) => write!(f, "the pool's region: {e}"),
        }
    }
}

impl std::error::Error for RingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Option { .. } => None,
            Self::Region(e) => Some(e),
        }
    }
}

impl From<RegionError> for RingError {
    fn from(e: RegionError) -> Self {
        Self::Region(e)
    }
}

/// More bytes were committed or cut than there are. The value is returned in `back`.
#[derive(Debug)]
#[non_exhaustive]
pub struct TooLong<T> {
    /// The number of bytes asked for.
    pub asked_bytes: usize,
    /// The number of bytes available.
    pub available_bytes: usize,
    /// The grant, token or receive, as it was.
    pub back: T,
}

impl<T> fmt::Display for TooLong<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked_bytes, available_bytes, .. } = self;
        write!(f, "{asked_bytes} bytes asked, {available_bytes} are available: ask for no more")
    }
}

impl<T: fmt::Debug> std::error::Error for TooLong<T> {}

/// A slice was passed to a pool or lane that it doesn't belong to. The slice is returned.
#[derive(Debug)]
pub struct Foreign<T>(pub T);

impl<T> fmt::Display for Foreign<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the slice belongs to another pool: give it to that one")
    }
}

impl<T: fmt::Debug> std::error::Error for Foreign<T> {}

/// Why a handle couldn't be retained: as many chunks as allowed are pinned already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetainError {
    /// Chunks that may be pinned at the same time.
    pub pinned_chunks_max: u32,
}

impl fmt::Display for RetainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} chunks are pinned, as many as `pinned_chunks_max` allows: copy the bytes, or drop \
             retained handles",
            self.pinned_chunks_max
        )
    }
}

impl std::error::Error for RetainError {}
