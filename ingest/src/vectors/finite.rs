//! Rows that no service accepts, because a component is NaN or infinite as f32.

use std::fmt;

/// Rows that are listed by number.
const LISTED_MAX: usize = 10;
/// The bits of the exponent of an f32; all are set in a NaN and in an infinity.
const EXPONENT: u32 = 0x7f80_0000;

/// Whether every component of a row is finite. The row is little-endian f32.
pub(crate) fn is_finite_row(row: &[u8]) -> bool {
    let is_finite = |component: &[u8; 4]| u32::from_le_bytes(*component) & EXPONENT != EXPONENT;
    // All components are looked at, so that the loop has no branch.
    row.as_chunks::<4>().0.iter().fold(true, |all, component| all & is_finite(component))
}

/// Rows that aren't sent: how many, and the numbers of the first ones, counted from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedRows {
    count: u64,
    first: Vec<u64>,
}

impl RefusedRows {
    /// Adds the row of this number.
    pub(crate) fn add(&mut self, row: u64) {
        self.count += 1;
        if self.first.len() < LISTED_MAX {
            self.first.push(row);
        }
    }

    /// Adds rows that follow these.
    #[cfg(feature = "objects")]
    pub(crate) fn append(&mut self, later: &RefusedRows) {
        self.count += later.count;
        let room = LISTED_MAX - self.first.len();
        self.first.extend(later.first.iter().take(room));
    }

    /// The number of rows.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

impl fmt::Display for RefusedRows {
    /// `row 3`, `rows 3, 4`, or `rows 3, ..., 40 and 17 more`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.first.iter().map(u64::to_string).collect();
        write!(f, "{} {}", if self.count == 1 { "row" } else { "rows" }, numbers.join(", "))?;
        match self.count - self.first.len() as u64 {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_finite_or_not() {
        let row = |components: &[f32]| -> Vec<u8> {
            components.iter().flat_map(|component| component.to_le_bytes()).collect()
        };
        assert!(is_finite_row(&row(&[0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45])));
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!is_finite_row(&row(&[1.0, bad, 1.0])), "{bad}");
        }
        assert!(is_finite_row(&[]));
    }

    #[test]
    fn the_first_rows_are_listed_and_the_others_counted() {
        let mut rows = RefusedRows::default();
        rows.add(25);
        assert_eq!(rows.to_string(), "row 25");
        (30..39).for_each(|row| rows.add(row));
        assert_eq!(rows.to_string(), "rows 25, 30, 31, 32, 33, 34, 35, 36, 37, 38");
        (50..57).for_each(|row| rows.add(row));
        assert_eq!(rows.count(), 17);
        assert_eq!(rows.to_string(), "rows 25, 30, 31, 32, 33, 34, 35, 36, 37, 38 and 7 more");
    }
}
