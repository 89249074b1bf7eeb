//! What must hold at the end of a demonstration.

use std::path::Path;

use super::text::{counted, grouped};
use super::{DIGITS_ROWS, DIGITS_SUM, DIM};
use crate::load::{LoadReport, Rows};
use crate::server::Totals;
use crate::sink::{SinkError, Summary, for_each_batch};

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// With which figures.
    pub detail: String,
    /// Whether it holds.
    pub holds: bool,
}

/// What was read back.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) summary: Summary,
    /// Rows at the beginning that are the digits, bit for bit.
    digits_rows: u64,
    /// The sum of the digits that were read.
    digits_sum: f64,
}

/// Reads all segments of `data` and compares the first rows with the digits.
pub(super) fn read(data: &Path, digits: &Rows) -> Result<Read, SinkError> {
    let row_bytes = DIM as usize * size_of::<f32>();
    let (mut sum, mut digits_rows, mut digits_sum) = (0.0, 0, 0.0);
    let expected: Vec<&[u8]> = digits.bytes().chunks_exact(row_bytes).collect();
    let summary = for_each_batch(data, |lane, first, values| {
        for (row, sequence) in values.chunks_exact(DIM as usize).zip(first..) {
            let row_sum = row.iter().fold(0.0, |sum, value| sum + f64::from(*value));
            sum += row_sum;
            let digit = expected.get(sequence as usize).filter(|_| lane == 0);
            if digit.is_some_and(|digit| *digit == bytemuck::cast_slice::<f32, u8>(row)) {
                digits_rows += 1;
                digits_sum += row_sum;
            }
        }
    })?;
    Ok(Read { summary: Summary { sum, ..summary }, digits_rows, digits_sum })
}

/// The verdicts. Sums are compared exactly: all components are multiples of 1/64, so f64 adds them
/// without rounding in any order.
pub(super) fn all(
    digits: &LoadReport,
    mixed: &LoadReport,
    totals: &Totals,
    read: &Read,
) -> Vec<Check> {
    let loads = [digits, mixed];
    let total = |of: fn(&LoadReport) -> u64| loads.iter().map(|load| of(load)).sum::<u64>();
    let sent = total(|load| load.sent.vectors);
    let accepted = total(|load| load.accepted.vectors);
    let verified = total(|load| load.vectors_verified);
    let accepted_sum: f64 = loads.iter().map(|load| load.accepted.sum).sum();
    let refused = total(|load| load.refusals.total());
    let (rows, segments) = (read.summary.rows, counted(read.summary.segments, "segment"));
    let check = |name, holds, detail| Check { name, detail, holds };
    vec![
        check(
            "answers",
            verified == sent && refused == 0,
            format!(
                "{} of {} scores are right; one answer a request, in order",
                grouped(verified),
                grouped(sent)
            ),
        ),
        check(
            "stop",
            totals.is_drained() && totals.vectors_in_segments == accepted,
            drained(totals),
        ),
        check(
            "count",
            rows == accepted,
            format!(
                "{} vectors accepted, {} read back from {segments}",
                grouped(accepted),
                grouped(rows)
            ),
        ),
        check(
            "sum",
            read.summary.sum == accepted_sum,
            format!("all components: {accepted_sum} accepted, {} read back", read.summary.sum),
        ),
        check(
            "digits",
            read.digits_rows == DIGITS_ROWS && read.digits_sum == DIGITS_SUM,
            format!(
                "the first {} rows are the file's, bit for bit; their sum is {}",
                grouped(read.digits_rows),
                read.digits_sum
            ),
        ),
    ]
}

fn drained(totals: &Totals) -> String {
    if totals.is_drained() {
        return "drained: everything that was answered is in a segment".to_owned();
    }
    let why: Vec<&str> = totals.failures.iter().chain(&totals.late).map(String::as_str).collect();
    format!(
        "{} answered vectors aren't in a segment; {}",
        grouped(totals.vectors_missing()),
        why.join("; ")
    )
}

#[cfg(test)]
mod tests;
