//! Spans: an offset and a length, and the arithmetic about them.
//!
//! Promises that nothing overflows silently: every sum is checked once, in [`Span::new`] or
//! [`align_up`]. It owns no memory and holds no pointer. Offsets are relative to a base that the
//! caller chooses.
#![forbid(unsafe_code)]

use std::fmt;

/// The most bytes one span may end at: a Rust allocation can't be larger than `isize::MAX`.
pub(crate) const SPAN_BYTES_MAX: usize = isize::MAX as usize;

/// `len` bytes from `offset` on; never empty, never past [`SPAN_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    offset: usize,
    len: usize,
}

impl Span {
    /// A span, or why there can't be one.
    pub(crate) fn new(offset: usize, len: usize) -> Result<Span, SpanError> {
        if len == 0 {
            return Err(SpanError::Empty);
        }
        match offset.checked_add(len) {
            Some(end) if end <= SPAN_BYTES_MAX => Ok(Span { offset, len }),
            _ => Err(SpanError::TooLarge { offset, len }),
        }
    }

    #[inline]
    pub(crate) fn offset(self) -> usize {
        self.offset
    }

    #[inline]
    pub(crate) fn len(self) -> usize {
        assert!(self.len > 0, "an empty span was built");
        self.len
    }

    /// The first offset behind the span.
    #[inline]
    pub(crate) fn end(self) -> usize {
        assert!(self.len > 0 && self.len <= SPAN_BYTES_MAX - self.offset, "a span overflows");
        self.offset + self.len
    }

    /// Whether all of `other` is inside.
    pub(crate) fn contains(self, other: Span) -> bool {
        self.offset <= other.offset && other.end() <= self.end()
    }

    /// Whether the two share a byte.
    pub(crate) fn overlaps(self, other: Span) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

/// `bytes` rounded up to a multiple of `align`, a power of two.
pub(crate) fn align_up(bytes: usize, align: usize) -> Result<usize, SpanError> {
    if !align.is_power_of_two() {
        return Err(SpanError::Align { align });
    }
    let too_large = SpanError::TooLarge { offset: 0, len: bytes };
    let rounded = bytes.checked_add(align - 1).ok_or(too_large)? & !(align - 1);
    if rounded > SPAN_BYTES_MAX {
        return Err(too_large);
    }
    assert!(rounded >= bytes && rounded - bytes < align, "rounding moved by a whole unit");
    Ok(rounded)
}

/// Why a span can't exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanError {
    /// It would hold no byte.
    Empty,
    /// It would end past [`SPAN_BYTES_MAX`].
    TooLarge { offset: usize, len: usize },
    /// The alignment isn't a power of two.
    Align { align: usize },
}

impl fmt::Display for SpanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            SpanError::Empty => write!(f, "a span of zero bytes"),
            SpanError::TooLarge { offset, len } => {
                write!(f, "a span of {len} bytes from {offset} on ends past {SPAN_BYTES_MAX}")
            }
            SpanError::Align { align } => {
                write!(f, "an alignment of {align} bytes isn't a power of two")
            }
        }
    }
}

impl std::error::Error for SpanError {}

#[cfg(test)]
mod tests;
