//! An image of vectors: the bytes of a file or an object, and the positions of its rows.

use std::ops::Range;

use super::arrow::{self, ArrowError};
use super::fvecs::{self, FvecsError};
use super::npy::{self, NpyError};
use crate::wire::frames::{Limits, LimitsError};

/// The formats of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageFormat {
    Npy,
    Fvecs,
    ArrowFile,
    ArrowStream,
}

impl ImageFormat {
    /// The format of an image with this name: by its first bytes, and for those that don't have to
    /// begin with fixed ones by the name.
    pub(crate) fn of(bytes: &[u8], name: &str) -> Option<ImageFormat> {
        if bytes.starts_with(npy::MAGIC) {
            Some(ImageFormat::Npy)
        } else if bytes.starts_with(arrow::FILE_MAGIC) {
            Some(ImageFormat::ArrowFile)
        } else if bytes.starts_with(arrow::CONTINUATION) || name.ends_with(".arrows") {
            Some(ImageFormat::ArrowStream)
        } else if name.ends_with(".fvecs") {
            Some(ImageFormat::Fvecs)
        } else {
            None
        }
    }
}

/// Errors of an image.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// An unknown format: neither its first bytes nor its name are those of a known one.
    #[error(
        "neither .npy nor Arrow IPC by its first bytes, nor named .fvecs: only those are ingested"
    )]
    Unknown,
    /// No row.
    #[error("holds no vector")]
    Empty,
    /// A `.npy` image that can't be read.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// An `.fvecs` image that can't be read.
    #[error(transparent)]
    Fvecs(#[from] FvecsError),
    /// An Arrow image that can't be read.
    #[error("Arrow: {0}")]
    Arrow(#[from] ArrowError),
    /// Vectors that no request can carry.
    #[error("its vectors: {0}")]
    Limits(LimitsError),
}

/// Vectors of one dimension in an image, which they borrow.
#[derive(Clone, Debug)]
pub struct VectorImage<'a> {
    bytes: &'a [u8],
    dim: u32,
    ranges: Vec<RowRange>,
}

/// Rows that follow each other without a gap.
#[derive(Clone, Debug)]
struct RowRange {
    bytes: Range<usize>,
    /// Bytes before the components of each row.
    skip_bytes: usize,
}

impl<'a> VectorImage<'a> {
    /// Finds the vectors of an image of any format that has this name. Nothing is copied. Formats
    /// that record the dimension may have no rows.
    ///
    /// # Errors
    /// An unknown format, or an image that can't be read.
    pub fn parse(
        bytes: &'a [u8],
        name: &str,
        column: Option<&str>,
    ) -> Result<VectorImage<'a>, FormatError> {
        match ImageFormat::of(bytes, name) {
            Some(format) => VectorImage::parse_as(format, bytes, column),
            None if bytes.is_empty() => Err(FormatError::Empty),
            None => Err(FormatError::Unknown),
        }
    }

    /// As [`VectorImage::parse`], for a known format.
    pub(crate) fn parse_as(
        format: ImageFormat,
        bytes: &'a [u8],
        column: Option<&str>,
    ) -> Result<VectorImage<'a>, FormatError> {
        let packed = |bytes| RowRange { bytes, skip_bytes: 0 };
        let batches = |(dim, rows): arrow::ArrowRows| (dim, rows.into_iter().map(packed).collect());
        let (dim, ranges) = match format {
            ImageFormat::Npy => {
                let (dim, components) = npy::parse(bytes)?;
                let dim = u32::try_from(dim).unwrap_or(u32::MAX);
                (dim, vec![packed(bytes.len() - components.len()..bytes.len())])
            }
            ImageFormat::Fvecs => {
                let all = RowRange { bytes: 0..bytes.len(), skip_bytes: fvecs::DIM_BYTES };
                (fvecs::parse(bytes)?, vec![all])
            }
            ImageFormat::ArrowFile => batches(arrow::file(bytes, column)?),
            ImageFormat::ArrowStream => batches(arrow::stream(bytes, column)?),
        };
        Ok(VectorImage { bytes, dim, ranges })
    }

    /// Refuses vectors that requests of up to `max_vectors` can't carry.
    ///
    /// # Errors
    /// [`FormatError::Limits`].
    pub fn check_limits(&self, max_vectors: u32) -> Result<(), FormatError> {
        Limits::new(self.dim, max_vectors).check().map_err(FormatError::Limits)
    }

    /// Components per row.
    pub fn dim(&self) -> u32 {
        self.dim
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.ranges.iter().map(|range| self.rows_of(range) as u64).sum()
    }

    /// A cursor before the first row.
    pub fn cursor(&self) -> RowCursor<'_> {
        RowCursor { image: self, range: 0, row: 0, left: self.rows() }
    }

    fn stride_bytes(&self, range: &RowRange) -> usize {
        range.skip_bytes + self.dim as usize * 4
    }

    /// Rows without components and without bytes before them don't count.
    fn rows_of(&self, range: &RowRange) -> usize {
        range.bytes.len().checked_div(self.stride_bytes(range)).unwrap_or(0)
    }
}

/// A position in the rows of an image.
#[derive(Debug)]
pub struct RowCursor<'a> {
    image: &'a VectorImage<'a>,
    range: usize,
    /// Index in the range.
    row: usize,
    left: u64,
}

impl RowCursor<'_> {
    /// Number of rows from here to the end.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Appends the components of the next `count` rows to `out`, as requests carry them.
    ///
    /// # Panics
    /// If fewer rows are left.
    pub fn append_rows(&mut self, count: u64, out: &mut Vec<u8>) {
        assert!(count <= self.left, "{count} rows of {}", self.left);
        self.left -= count;
        let mut count = count as usize;
        while count > 0 {
            let range = &self.image.ranges[self.range];
            let stride_bytes = self.image.stride_bytes(range);
            let rows = count.min(self.image.rows_of(range) - self.row);
            let first = range.bytes.start + self.row * stride_bytes;
            let bytes = &self.image.bytes[first..first + rows * stride_bytes];
            if range.skip_bytes == 0 {
                out.extend_from_slice(bytes);
            } else {
                bytes
                    .chunks_exact(stride_bytes)
                    .for_each(|row| out.extend_from_slice(&row[range.skip_bytes..]));
            }
            (self.row, count) = (self.row + rows, count - rows);
            if self.row == self.image.rows_of(range) {
                (self.range, self.row) = (self.range + 1, 0);
            }
        }
    }
}
