//! The rows of an object, located in its bytes.

use std::ops::Range;

use bytes::Bytes;

use super::{FormatError, arrow};
use crate::load::{FileError, fvecs, npy};
use crate::wire::frames::Limits;

/// Vectors of one dimension in the bytes of an object, which they borrow.
#[derive(Clone, Debug)]
pub(crate) struct Vectors {
    dim: u32,
    parts: Vec<Part>,
}

/// Rows that lie one after the other.
#[derive(Clone, Debug)]
struct Part {
    bytes: Bytes,
    /// Bytes before the components of each row.
    skip_bytes: usize,
}

impl Vectors {
    /// Finds the vectors of an object named `name`, to be sent in frames of up to `max_vectors`.
    /// Nothing is copied. Formats that record the dimension may have no rows.
    ///
    /// # Errors
    /// A format other than the three, a damaged image, or one that a service can't accept: see
    /// [`FormatError`].
    pub(crate) fn parse(
        bytes: &Bytes,
        name: &str,
        column: Option<&str>,
        max_vectors: u32,
    ) -> Result<Vectors, FormatError> {
        let part = |range, skip_bytes| Part { bytes: bytes.slice(range), skip_bytes };
        let (dim, parts) = if bytes.starts_with(npy::MAGIC) {
            let (dim, payload) = npy::parse(bytes)?;
            let dim = u32::try_from(dim).unwrap_or(u32::MAX);
            (dim, vec![part(bytes.len() - payload.len()..bytes.len(), 0)])
        } else if bytes.starts_with(arrow::FILE_MAGIC) {
            batches(arrow::file(bytes, column)?, part)
        } else if bytes.starts_with(arrow::CONTINUATION) || name.ends_with(".arrows") {
            batches(arrow::stream(bytes, column)?, part)
        } else if name.ends_with(".fvecs") {
            (fvecs::parse(bytes)?, vec![part(0..bytes.len(), fvecs::DIM_BYTES)])
        } else if bytes.is_empty() {
            return Err(FileError::Empty.into());
        } else {
            return Err(FormatError::Unknown);
        };
        Limits { dim, max_vectors }.check().map_err(FormatError::Limits)?;
        Ok(Vectors { dim, parts })
    }

    /// Components of a row: 1 to 65535.
    pub(crate) fn dim(&self) -> u32 {
        self.dim
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> u64 {
        self.parts.iter().map(|part| self.rows_of(part) as u64).sum()
    }

    /// Begins at the first row.
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor { vectors: self, part: 0, row: 0, left: self.rows() }
    }

    fn stride_bytes(&self, part: &Part) -> usize {
        part.skip_bytes + self.dim as usize * 4
    }

    fn rows_of(&self, part: &Part) -> usize {
        part.bytes.len() / self.stride_bytes(part)
    }
}

fn batches(found: arrow::Found, part: impl Fn(Range<usize>, usize) -> Part) -> (u32, Vec<Part>) {
    let (dim, rows) = found;
    (dim, rows.into_iter().map(|rows| part(rows, 0)).collect())
}

/// A sender's position in the rows.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    vectors: &'a Vectors,
    part: usize,
    /// Within the part.
    row: usize,
    left: u64,
}

impl Cursor<'_> {
    /// Rows that weren't taken.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Appends the next `count` rows to `out`. That many must be left.
    pub(crate) fn take(&mut self, count: u32, out: &mut Vec<u8>) {
        assert!(u64::from(count) <= self.left, "{count} rows of {}", self.left);
        self.left -= u64::from(count);
        let mut count = count as usize;
        while count > 0 {
            let part = &self.vectors.parts[self.part];
            let stride_bytes = self.vectors.stride_bytes(part);
            let rows = count.min(self.vectors.rows_of(part) - self.row);
            let bytes = &part.bytes[self.row * stride_bytes..(self.row + rows) * stride_bytes];
            if part.skip_bytes == 0 {
                out.extend_from_slice(bytes);
            } else {
                bytes
                    .chunks_exact(stride_bytes)
                    .for_each(|row| out.extend_from_slice(&row[part.skip_bytes..]));
            }
            (self.row, count) = (self.row + rows, count - rows);
            if self.row == self.vectors.rows_of(part) {
                (self.part, self.row) = (self.part + 1, 0);
            }
        }
    }
}
