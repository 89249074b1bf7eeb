//! An image of vectors: the bytes of a file or an object, and the positions of its rows.

use std::borrow::Cow;

use super::arrow::{self, ArrowError, ArrowRows, WantedColumns};
use super::element::Element;
use super::finite::{RefusedRows, is_finite_row};
use super::foreign::{ForeignFormat, has_ending};
use super::fvecs::{self, FvecsError};
use super::ids::{ImageIds, NoIds, NumbersBeyond, RowIds};
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
    pub(crate) fn of(bytes: &[u8], name: &str) -> Result<ImageFormat, FormatError> {
        if bytes.starts_with(npy::MAGIC) {
            return Ok(ImageFormat::Npy);
        } else if bytes.starts_with(arrow::FILE_MAGIC) {
            return Ok(ImageFormat::ArrowFile);
        } else if bytes.starts_with(arrow::CONTINUATION) {
            return Ok(ImageFormat::ArrowStream);
        }
        match ForeignFormat::of(bytes, name) {
            Some(format) => Err(FormatError::Foreign(format)),
            None if has_ending(name, ".arrows") => Ok(ImageFormat::ArrowStream),
            None if has_ending(name, ".fvecs") => Ok(ImageFormat::Fvecs),
            None if bytes.is_empty() => Err(FormatError::Empty),
            None => Err(FormatError::Unknown),
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
    /// A known format that isn't read.
    #[error("{0}")]
    Foreign(ForeignFormat),
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
    /// A component that the conversion can't carry over.
    #[error(
        "--convert: row {row} holds a component beyond the range of f32; scale the vectors, or drop that row"
    )]
    Range {
        /// Number of the row, counted from 0.
        row: u64,
    },
    /// A column of a format that has none.
    #[error("{format} has no columns, and so none named {column:?}: leave --column out for it")]
    NoColumns {
        /// The format.
        format: &'static str,
        /// The column that was asked for.
        column: String,
    },
    /// Rows without ids, where ids are needed.
    #[error("{0}")]
    NoIds(NoIds),
    /// Numbers of rows that don't fit ids.
    #[error("{0}")]
    Numbers(NumbersBeyond),
}

/// How an image is read.
#[derive(Clone, Copy, Debug)]
pub struct ImageOptions<'o> {
    /// The Arrow column of the vectors. Without it: the one named `vector`, else the only
    /// fixed-size list of f32, else the only list of f32.
    pub column: Option<&'o str>,
    /// Convert components of f64, f16, int8 and uint8 to f32, and ids of other integers than
    /// uint64. Without it they are refused.
    pub convert: bool,
    /// Where the ids of the rows come from.
    pub ids: RowIds<'o>,
    /// The most bytes that a record batch of Arrow takes, also once it is unpacked.
    pub batch_bytes_max: u64,
}

impl Default for ImageOptions<'_> {
    /// The usual column, without conversion, without ids, and batches of any size.
    fn default() -> Self {
        ImageOptions { column: None, convert: false, ids: RowIds::None, batch_bytes_max: u64::MAX }
    }
}

impl<'o> ImageOptions<'o> {
    /// The columns of Arrow.
    pub(crate) fn columns(&self) -> WantedColumns<'o> {
        let ImageOptions { column: vectors, convert, ids, .. } = *self;
        WantedColumns { vectors, ids, convert }
    }
}

impl ImageOptions<'_> {
    /// Refuses a column where there can be none.
    pub(super) fn check_bare_rows(&self, format: &'static str) -> Result<(), FormatError> {
        match self.column {
            Some(column) => Err(FormatError::NoColumns { format, column: column.to_owned() }),
            None => Ok(()),
        }
    }
}

/// Vectors of one dimension in an image. Rows are borrowed from it, unless they were unpacked or
/// converted.
#[derive(Clone, Debug)]
pub struct VectorImage<'a> {
    dim: u32,
    /// Number of the first row, in the image that these rows are a piece of.
    first_row: u64,
    ranges: Vec<RowRange<'a>>,
    ids: ImageIds<'a>,
    /// The first row with a component that became infinite, because f32 can't hold it.
    beyond_f32: Option<u64>,
}

/// Rows that follow each other without a gap: little-endian f32.
#[derive(Clone, Debug)]
struct RowRange<'a> {
    bytes: Cow<'a, [u8]>,
    /// Bytes before the components of each row.
    skip_bytes: usize,
}

impl<'a> VectorImage<'a> {
    /// Finds the vectors of an image of any format that has this name. Nothing is copied, except
    /// what is unpacked (at most 256 bytes per byte of the image) or converted. Formats that record
    /// the dimension may have no rows.
    ///
    /// # Errors
    /// An unknown format, or an image that can't be read.
    pub fn parse(
        bytes: &'a [u8],
        name: &str,
        options: &ImageOptions<'_>,
    ) -> Result<VectorImage<'a>, FormatError> {
        VectorImage::parse_as(ImageFormat::of(bytes, name)?, bytes, options)
    }

    /// As [`VectorImage::parse`], for a known format.
    pub(crate) fn parse_as(
        format: ImageFormat,
        bytes: &'a [u8],
        options: &ImageOptions<'_>,
    ) -> Result<VectorImage<'a>, FormatError> {
        match format {
            ImageFormat::Npy => {
                options.check_bare_rows(".npy")?;
                let array = npy::parse(bytes, options.convert)?;
                let dim = u32::try_from(array.dim).unwrap_or(u32::MAX);
                let components = vec![Cow::Borrowed(array.components)];
                VectorImage::packed(dim, array.element, components, 0)
                    .with_ids(options.ids.of_bare_rows(".npy").map_err(FormatError::NoIds)?)
            }
            ImageFormat::Fvecs => {
                options.check_bare_rows(".fvecs")?;
                let dim = fvecs::parse(bytes)?;
                VectorImage::of_fvecs(dim, bytes, 0)
                    .with_ids(options.ids.of_bare_rows(".fvecs").map_err(FormatError::NoIds)?)
            }
            ImageFormat::ArrowFile | ImageFormat::ArrowStream => {
                let is_file = format == ImageFormat::ArrowFile;
                let rows =
                    arrow::rows(bytes, is_file, options.batch_bytes_max, &options.columns())?;
                VectorImage::of_arrow(rows, 0, options)
            }
        }
    }

    /// Rows of Arrow batches, the first of which has this number.
    pub(super) fn of_arrow(
        rows: ArrowRows<'a>,
        first_row: u64,
        options: &ImageOptions<'_>,
    ) -> Result<VectorImage<'a>, FormatError> {
        let dim = rows.dim.ok_or(FormatError::Empty)?;
        let ids = match (rows.ids, options.ids) {
            (Some(column), _) => ImageIds::Column(column),
            (None, RowIds::NumbersFrom(first)) => ImageIds::NumbersFrom(first),
            (None, _) => ImageIds::None,
        };
        VectorImage::packed(dim, rows.element, rows.batches, first_row).with_ids(ids)
    }

    /// Rows of an `.fvecs` image, whose dimensions have been checked.
    pub(super) fn of_fvecs(dim: u32, bytes: &'a [u8], first_row: u64) -> VectorImage<'a> {
        let all = RowRange { bytes: Cow::Borrowed(bytes), skip_bytes: fvecs::DIM_BYTES };
        VectorImage { dim, first_row, ranges: vec![all], ids: ImageIds::None, beyond_f32: None }
    }

    /// Rows without bytes between them, converted if their components aren't f32. Rows with a
    /// component that f32 can't hold aren't finite then.
    pub(super) fn packed(
        dim: u32,
        element: Element,
        pieces: Vec<Cow<'a, [u8]>>,
        first_row: u64,
    ) -> VectorImage<'a> {
        let row_bytes = (dim as usize).saturating_mul(element.bytes());
        let (mut ranges, mut row) = (Vec::with_capacity(pieces.len()), first_row);
        let mut beyond_f32 = None;
        for bytes in pieces {
            let rows = bytes.len().checked_div(row_bytes).unwrap_or(0) as u64;
            let bytes = match element {
                Element::F32 => bytes,
                other => {
                    let (floats, beyond) = other.to_f32(&bytes);
                    let row_of = |component| row + component as u64 / u64::from(dim.max(1));
                    beyond_f32 = beyond_f32.or(beyond.map(row_of));
                    Cow::Owned(floats)
                }
            };
            ranges.push(RowRange { bytes, skip_bytes: 0 });
            row += rows;
        }
        VectorImage { dim, first_row, ranges, ids: ImageIds::None, beyond_f32 }
    }

    /// The same rows with ids.
    pub(super) fn with_ids(self, ids: ImageIds<'a>) -> Result<VectorImage<'a>, FormatError> {
        ids.check(self.first_row.saturating_add(self.rows())).map_err(FormatError::Numbers)?;
        Ok(VectorImage { ids, ..self })
    }

    /// Whether the rows have ids.
    pub fn has_ids(&self) -> bool {
        !matches!(self.ids, ImageIds::None)
    }

    /// Refuses vectors that requests of up to `max_vectors` can't carry.
    ///
    /// # Errors
    /// [`FormatError::Limits`].
    pub fn check_limits(&self, max_vectors: u32) -> Result<(), FormatError> {
        Limits::new(self.dim, max_vectors).check().map_err(FormatError::Limits)
    }

    /// Refuses rows with a component that the conversion can't carry over.
    ///
    /// # Errors
    /// [`FormatError::Range`].
    pub fn check_range(&self) -> Result<(), FormatError> {
        self.beyond_f32.map_or(Ok(()), |row| Err(FormatError::Range { row }))
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
        RowCursor { image: self, range: 0, row: 0, left: self.rows(), number: self.first_row }
    }

    fn stride_bytes(&self, range: &RowRange<'_>) -> usize {
        range.skip_bytes + self.dim as usize * 4
    }

    /// Rows without components and without bytes before them don't count.
    fn rows_of(&self, range: &RowRange<'_>) -> usize {
        range.bytes.len().checked_div(self.stride_bytes(range)).unwrap_or(0)
    }
}

/// A position in the rows of an image.
#[derive(Clone, Debug)]
pub struct RowCursor<'a> {
    image: &'a VectorImage<'a>,
    range: usize,
    /// Index in the range.
    row: usize,
    left: u64,
    /// Index in the image.
    number: u64,
}

impl<'a> RowCursor<'a> {
    /// Number of rows from here to the end.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Number of the next row, counted from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Skips the rows from here on that hold a component that isn't finite, which no service
    /// accepts, and adds them to `refused`. Returns the number of finite rows that follow each
    /// other from then on, `most` at most. It is 0 only at the end.
    pub fn next_run(&mut self, most: u64, refused: &mut RefusedRows) -> u64 {
        let mut ahead = self.clone();
        let mut rows = 0;
        while rows < most
            && let Some(components) = ahead.next_row()
        {
            if is_finite_row(components) {
                rows += 1;
            } else if rows == 0 {
                refused.add(self.number);
                self.clone_from(&ahead);
            } else {
                break;
            }
        }
        rows
    }

    /// The components of the next row.
    fn next_row(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        self.skip_empty_ranges();
        let range = &self.image.ranges[self.range];
        let stride_bytes = self.image.stride_bytes(range);
        let first = self.row * stride_bytes + range.skip_bytes;
        (self.row, self.number) = (self.row + 1, self.number + 1);
        Some(&range.bytes[first..(self.row) * stride_bytes])
    }

    /// Goes to the range of the next row, of which there must be one.
    fn skip_empty_ranges(&mut self) {
        while self.row == self.image.rows_of(&self.image.ranges[self.range]) {
            (self.range, self.row) = (self.range + 1, 0);
        }
    }

    /// Appends the ids of the next `count` rows to `out`, as requests carry them: nothing if the
    /// rows have none. The cursor stays.
    ///
    /// # Panics
    /// If fewer rows are left.
    pub fn append_ids(&self, count: u64, out: &mut Vec<u8>) {
        assert!(count <= self.left, "{count} rows of {}", self.left);
        let (mut ahead, mut count) = (self.clone(), count as usize);
        while count > 0 {
            ahead.skip_empty_ranges();
            let (range, row) = (ahead.range, ahead.row);
            let rows = count.min(self.image.rows_of(&self.image.ranges[range]) - row);
            self.image.ids.append(range, row, ahead.number, rows, out);
            (ahead.row, ahead.number, count) =
                (row + rows, ahead.number + rows as u64, count - rows);
        }
    }

    /// Appends the components of the next `count` rows to `out`, as requests carry them.
    ///
    /// # Panics
    /// If fewer rows are left.
    pub fn append_rows(&mut self, count: u64, out: &mut Vec<u8>) {
        assert!(count <= self.left, "{count} rows of {}", self.left);
        self.left -= count;
        self.number += count;
        let mut count = count as usize;
        while count > 0 {
            self.skip_empty_ranges();
            let range = &self.image.ranges[self.range];
            let stride_bytes = self.image.stride_bytes(range);
            let rows = count.min(self.image.rows_of(range) - self.row);
            let first = self.row * stride_bytes;
            let bytes = &range.bytes[first..first + rows * stride_bytes];
            if range.skip_bytes == 0 {
                out.extend_from_slice(bytes);
            } else {
                bytes
                    .chunks_exact(stride_bytes)
                    .for_each(|row| out.extend_from_slice(&row[range.skip_bytes..]));
            }
            (self.row, count) = (self.row + rows, count - rows);
        }
    }
}
