//! Ids of rows: where they come from, and those of an image.

use std::borrow::Cow;
use std::fmt;

use crate::wire::frames::ID_BYTES;

/// Where the ids of an image's rows come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowIds<'o> {
    /// Rows are read without ids.
    #[default]
    None,
    /// An Arrow column of this name; without one, the column named `id`.
    Column(Option<&'o str>),
    /// The row's number in the image, counted from this number.
    NumbersFrom(u64),
}

impl RowIds<'_> {
    /// The ids of rows that carry none themselves.
    pub(super) fn of_bare_rows(self, format: &'static str) -> Result<ImageIds<'static>, NoIds> {
        match self {
            RowIds::None => Ok(ImageIds::None),
            RowIds::NumbersFrom(first) => Ok(ImageIds::NumbersFrom(first)),
            RowIds::Column(_) => Err(NoIds { format }),
        }
    }
}

/// A format whose rows carry no ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoIds {
    format: &'static str,
}

impl fmt::Display for NoIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an id is needed for every vector, and {} has none: write the vectors and a column of \
            ids (uint64) as Arrow, or say --number-rows-from 0 to take the numbers of the rows",
            self.format
        )
    }
}

/// The ids of an image's rows.
#[derive(Clone, Debug)]
pub(super) enum ImageIds<'a> {
    None,
    /// The row's number in the image, counted from this number.
    NumbersFrom(u64),
    /// Little-endian u64, for each range of rows.
    Column(Vec<Cow<'a, [u8]>>),
}

/// Numbers of rows that don't fit ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumbersBeyond {
    first: u64,
    rows: u64,
}

impl fmt::Display for NumbersBeyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "--number-rows-from is {}: with {} rows the numbers would go beyond {}; lower it",
            self.first,
            self.rows,
            u64::MAX
        )
    }
}

impl ImageIds<'_> {
    /// Refuses numbers that don't fit ids, of this many rows.
    pub(super) fn check(&self, rows: u64) -> Result<(), NumbersBeyond> {
        match self {
            ImageIds::NumbersFrom(first) if first.checked_add(rows).is_none() => {
                Err(NumbersBeyond { first: *first, rows })
            }
            _ => Ok(()),
        }
    }

    /// Appends the ids of `count` rows of one range, from its row `row` on, which has this number
    /// in the image.
    pub(super) fn append(
        &self,
        range: usize,
        row: usize,
        number: u64,
        count: usize,
        out: &mut Vec<u8>,
    ) {
        match self {
            ImageIds::None => {}
            ImageIds::NumbersFrom(first) => {
                let first = first.wrapping_add(number);
                (0..count as u64)
                    .for_each(|row| out.extend_from_slice(&first.wrapping_add(row).to_le_bytes()));
            }
            ImageIds::Column(ranges) => {
                out.extend_from_slice(&ranges[range][row * ID_BYTES..(row + count) * ID_BYTES]);
            }
        }
    }
}
