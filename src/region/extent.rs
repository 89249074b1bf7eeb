//! Extents: an offset and a length, and the arithmetic of both.
//!
//! Promises that nothing overflows silently: every sum is checked once, in [`Extent::new`] or
//! [`align_up`]. An extent owns no memory and holds no pointer. Offsets are relative to a base that
//! the caller chooses.
#![forbid(unsafe_code)]

use std::fmt;

/// The largest end of an extent: a Rust allocation can't be larger than `isize::MAX`.
pub(crate) const EXTENT_END_MAX: usize = isize::MAX as usize;

/// `len` bytes from `offset` on. Never empty, and never past [`EXTENT_END_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    offset: usize,
    len: usize,
}

impl Extent {
    /// An extent, or the reason why it can't exist.
    pub(crate) fn new(offset: usize, len: usize) -> Result<Extent, ExtentError> {
        if len == 0 {
            return Err(ExtentError::Empty);
        }
        match offset.checked_add(len) {
            Some(end) if end <= EXTENT_END_MAX => Ok(Extent { offset, len }),
            _ => Err(ExtentError::TooLarge { offset, len }),
        }
    }

    #[inline]
    pub(crate) fn offset(self) -> usize {
        self.offset
    }

    #[inline]
    pub(crate) fn len(self) -> usize {
        assert!(self.len > 0, "an empty extent was built");
        self.len
    }

    /// The first offset after the extent.
    #[inline]
    pub(crate) fn end(self) -> usize {
        assert!(self.len > 0 && self.len <= EXTENT_END_MAX - self.offset, "an extent overflows");
        self.offset + self.len
    }

    /// Whether all of `other` is inside this one.
    pub(crate) fn contains(self, other: Extent) -> bool {
        self.offset <= other.offset && other.end() <= self.end()
    }

    /// Whether the two share a byte.
    pub(crate) fn overlaps(self, other: Extent) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

/// `bytes` rounded up to a multiple of `align`, a power of two.
pub(crate) fn align_up(bytes: usize, align: usize) -> Result<usize, ExtentError> {
    if !align.is_power_of_two() {
        return Err(ExtentError::Align { align });
    }
    let too_large = ExtentError::TooLarge { offset: 0, len: bytes };
    let rounded = bytes.checked_add(align - 1).ok_or(too_large)? & !(align - 1);
    if rounded > EXTENT_END_MAX {
        return Err(too_large);
    }
    assert!(rounded >= bytes && rounded - bytes < align, "rounding moved by a whole unit");
    Ok(rounded)
}

/// Why an extent can't exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExtentError {
    /// It would hold no byte.
    Empty,
    /// It would end past [`EXTENT_END_MAX`].
    TooLarge { offset: usize, len: usize },
    /// The alignment isn't a power of two.
    Align { align: usize },
}

impl fmt::Display for ExtentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExtentError::Empty => write!(f, "an extent of zero bytes"),
            ExtentError::TooLarge { offset, len } => {
                write!(f, "an extent of {len} bytes from {offset} on ends past {EXTENT_END_MAX}")
            }
            ExtentError::Align { align } => {
                write!(f, "an alignment of {align} bytes isn't a power of two")
            }
        }
    }
}

impl std::error::Error for ExtentError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use slipring_test_support::random_runs;

    use super::*;

    /// The model of an extent: the set of its offsets.
    fn offsets(extent: Extent) -> Vec<usize> {
        (extent.offset()..extent.end()).collect()
    }

    #[test]
    fn extents_that_cannot_be_are_errors() {
        assert_eq!(Extent::new(0, 0), Err(ExtentError::Empty));
        assert_eq!(Extent::new(7, 0), Err(ExtentError::Empty));
        assert_eq!(
            Extent::new(1, usize::MAX),
            Err(ExtentError::TooLarge { offset: 1, len: usize::MAX })
        );
        assert_eq!(
            Extent::new(1, EXTENT_END_MAX),
            Err(ExtentError::TooLarge { offset: 1, len: EXTENT_END_MAX })
        );
        assert_eq!(Extent::new(0, EXTENT_END_MAX).map(Extent::end), Ok(EXTENT_END_MAX));
    }

    #[test]
    fn rounding_is_checked() {
        assert_eq!(align_up(1, 4096), Ok(4096));
        assert_eq!(align_up(4096, 4096), Ok(4096));
        assert_eq!(align_up(4097, 4096), Ok(8192));
        assert_eq!(align_up(0, 64), Ok(0));
        assert_eq!(align_up(10, 0), Err(ExtentError::Align { align: 0 }));
        assert_eq!(align_up(10, 48), Err(ExtentError::Align { align: 48 }));
        assert!(matches!(align_up(usize::MAX, 4096), Err(ExtentError::TooLarge { .. })));
        assert!(matches!(align_up(EXTENT_END_MAX, 4096), Err(ExtentError::TooLarge { .. })));
    }

    proptest! {
        #![proptest_config(random_runs())]

        #[test]
        fn contains_and_overlaps_agree_with_sets_of_offsets(a in 0usize..20, n in 1usize..12, b in 0usize..20, m in 1usize..12) {
            let (one, two) = (Extent::new(a, n).unwrap(), Extent::new(b, m).unwrap());
            let (ones, twos) = (offsets(one), offsets(two));
            prop_assert_eq!(one.contains(two), twos.iter().all(|x| ones.contains(x)));
            prop_assert_eq!(one.overlaps(two), twos.iter().any(|x| ones.contains(x)));
            prop_assert_eq!(one.overlaps(two), two.overlaps(one));
            prop_assert_eq!(one.len(), ones.len());
        }
    }
}
