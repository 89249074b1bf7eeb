//! Bytes as vectors: checked casts to `f32` and to rows.
#![allow(unsafe_code)]

use core::fmt;
use core::iter::FusedIterator;
use core::slice::ChunksExact;

/// Why bytes can't be read as `f32` values or as rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CastError {
    /// The first byte isn't at a multiple of four: cut slices at multiples of four.
    Misaligned {
        /// The start modulo four.
        remainder: usize,
    },
    /// The length isn't a multiple of the unit.
    Length {
        /// The number of bytes.
        bytes: usize,
        /// The size of one `f32`, or of one row.
        unit_bytes: usize,
    },
    /// A row with no components.
    NoDimension,
}

impl fmt::Display for CastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Misaligned { remainder } => {
                write!(
                    f,
                    "the slice starts {remainder} bytes after a multiple of 4: cut it at a multiple"
                )
            }
            Self::Length { bytes, unit_bytes } => {
                write!(
                    f,
                    "{bytes} bytes aren't a multiple of {unit_bytes}: check `dim` and the length"
                )
            }
            Self::NoDimension => write!(f, "`dim` is 0: it must be at least 1"),
        }
    }
}

impl std::error::Error for CastError {}

/// `bytes` as `f32` in the machine's byte order, without a copy.
pub(crate) fn as_f32s(bytes: &[u8]) -> Result<&[f32], CastError> {
    const UNIT: usize = size_of::<f32>();
    let remainder = bytes.as_ptr() as usize % align_of::<f32>();
    if remainder != 0 {
        return Err(CastError::Misaligned { remainder });
    }
    if !bytes.len().is_multiple_of(UNIT) {
        return Err(CastError::Length { bytes: bytes.len(), unit_bytes: UNIT });
    }
    // SAFETY: I27. It is aligned, a whole number of units and inside `bytes`; every bit pattern is
    // an `f32`.
    Ok(unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / UNIT) })
}

/// Vectors of one dimension, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    values: &'a [f32],
    dim: usize,
}

impl<'a> Rows<'a> {
    /// `bytes` as rows of `dim` components.
    ///
    /// # Errors
    /// See [`CastError`].
    pub fn new(bytes: &'a [u8], dim: usize) -> Result<Self, CastError> {
        let unit_bytes = dim.saturating_mul(size_of::<f32>());
        if dim == 0 {
            return Err(CastError::NoDimension);
        }
        let values = as_f32s(bytes)?;
        if values.len() % dim != 0 {
            return Err(CastError::Length { bytes: bytes.len(), unit_bytes });
        }
        Ok(Self { values, dim })
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Row `index`, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'a [f32]> {
        let start = index.checked_mul(self.dim)?;
        self.values.get(start..start.checked_add(self.dim)?)
    }

    /// All rows in order.
    pub fn iter(&self) -> RowsIter<'a> {
        RowsIter(self.values.chunks_exact(self.dim))
    }

    /// All components, row after row.
    #[must_use]
    pub fn values(&self) -> &'a [f32] {
        self.values
    }
}

impl<'a> IntoIterator for Rows<'a> {
    type Item = &'a [f32];
    type IntoIter = RowsIter<'a>;

    #[inline]
    fn into_iter(self) -> RowsIter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &Rows<'a> {
    type Item = &'a [f32];
    type IntoIter = RowsIter<'a>;

    #[inline]
    fn into_iter(self) -> RowsIter<'a> {
        self.iter()
    }
}

/// The rows of [`Rows`], first to last.
#[derive(Clone, Debug)]
#[must_use = "an iterator does nothing until it is asked"]
pub struct RowsIter<'a>(ChunksExact<'a, f32>);

impl<'a> Iterator for RowsIter<'a> {
    type Item = &'a [f32];

    #[inline]
    fn next(&mut self) -> Option<&'a [f32]> {
        self.0.next()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }

    #[inline]
    fn nth(&mut self, n: usize) -> Option<&'a [f32]> {
        self.0.nth(n)
    }
}

impl DoubleEndedIterator for RowsIter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back()
    }
}

impl ExactSizeIterator for RowsIter<'_> {}
impl FusedIterator for RowsIter<'_> {}
