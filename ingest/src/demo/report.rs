//! The verdict of a demonstration: reads the segments back, checks them, and reports everything as
//! text for people and one JSON object for programs.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::options::{DIGITS_ROWS, DIGITS_SUM, DIM};
use super::text::{counted, grouped, quoted};
use crate::latency::Latency;
use crate::load::LoadReport;
use crate::printable::Printable;
use crate::server::Totals;
use crate::sink::{SinkError, Summary, for_each_batch};
use crate::vectors::VectorRows;

/// A demonstration with its verdict.
#[derive(Clone, Debug)]
pub struct DemoReport {
    /// The digits, one at a time.
    pub digits: LoadReport,
    /// The mixed load.
    pub mixed: LoadReport,
    /// The checks.
    pub checks: Vec<DemoCheck>,
    /// Summary of the segments that were read back.
    pub read: Summary,
    /// The data folder, which isn't removed.
    pub data: PathBuf,
    /// Bytes of the segments in it.
    pub data_bytes: u64,
}

impl DemoReport {
    /// Whether every check holds.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    /// The whole report as one object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let checks: Vec<Value> = self
            .checks
            .iter()
            .map(|check| json!({"name": check.name, "detail": check.detail, "holds": check.holds}))
            .collect();
        json!({
            "verified": self.is_verified(),
            "checks": checks,
            "read": {"vectors": self.read.rows, "segments": self.read.segments, "sum": self.read.sum},
            "data": self.data.display().to_string(),
            "data_bytes": self.data_bytes,
            "digits": self.digits.to_json(),
            "mixed": self.mixed.to_json(),
        })
    }

    fn loads(&self) -> [(&'static str, &LoadReport); 2] {
        [("digits", &self.digits), ("mixed", &self.mixed)]
    }
}

impl fmt::Display for DemoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nload      {:>10} {:>10} {:>8} {:>8} {:>11}",
            "requests", "vectors", "MiB", "seconds", "vectors/s"
        )?;
        for (name, load) in self.loads() {
            let total = &load.accepted;
            let (requests, vectors) = (grouped(total.requests), grouped(total.vectors));
            let (mib, rate) =
                (total.bytes as f64 / f64::from(1 << 20), grouped(load.vectors_per_s() as u64));
            writeln!(
                f,
                "  {name:<7} {requests:>10} {vectors:>10} {mib:>8.1} {:>8.2} {rate:>11}",
                load.seconds
            )?;
        }
        writeln!(f, "\nlatency us{}", Latency::head())?;
        for (name, load) in self.loads() {
            writeln!(f, "  {name:<8}{}", load.latency)?;
        }
        writeln!(
            f,
            "  From sending a request to reading its answer. digits: one request at a time. mixed: 128 are"
        )?;
        writeln!(
            f,
            "  always in flight, so most of it is waiting in line. Load and service share this machine.\n"
        )?;
        for check in &self.checks {
            writeln!(
                f,
                "{} {:<8} {}",
                if check.holds { "ok   " } else { "WRONG" },
                check.name,
                check.detail
            )?;
        }
        let (data, first) =
            (self.data.to_string_lossy(), self.data.join("lane-0/seg-00000000000000000000.arrow"));
        let (segments, mib) =
            (counted(self.read.segments, "segment"), self.data_bytes as f64 / f64::from(1 << 20));
        writeln!(f, "\ndata      {}: {segments}, {mib:.1} MiB, kept", Printable(&data))?;
        writeln!(f, "          Look with pyarrow (pip install pyarrow), then remove it:\n")?;
        writeln!(
            f,
            r#"python3 -c "import pyarrow.ipc as ipc, sys; print(ipc.open_file(sys.argv[1]).read_all())" \"#
        )?;
        writeln!(f, "  {}", quoted(&first.to_string_lossy()))?;
        writeln!(f, "rm -r {}", quoted(&data))?;
        let verdict = if self.is_verified() {
            "Everything was checked and is right."
        } else {
            "Something is WRONG, see above."
        };
        write!(f, "\n{verdict}")
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoCheck {
    /// Name of the check.
    pub name: &'static str,
    /// The figures that were compared.
    pub detail: String,
    /// Whether it holds.
    pub holds: bool,
}

/// The contents of the segments.
#[derive(Clone, Debug)]
pub(super) struct StoredVectors {
    pub(super) summary: Summary,
    /// First rows of lane 0 that are equal to the digits, bit for bit.
    digits_rows: u64,
    /// The sum of the components of these rows.
    digits_sum: f64,
}

/// Reads all segments of `data` and compares the first rows with the digits.
pub(super) fn read_segments(data: &Path, digits: &VectorRows) -> Result<StoredVectors, SinkError> {
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
    Ok(StoredVectors { summary: Summary { sum, ..summary }, digits_rows, digits_sum })
}

/// All checks. Sums are compared exactly: all components are multiples of 1/64, so f64 adds them
/// without rounding in any order.
pub(super) fn check_all(
    digits: &LoadReport,
    mixed: &LoadReport,
    totals: &Totals,
    stored: &StoredVectors,
) -> Vec<DemoCheck> {
    let loads = [digits, mixed];
    let total = |of: fn(&LoadReport) -> u64| loads.iter().map(|load| of(load)).sum::<u64>();
    let sent = total(|load| load.sent.vectors);
    let accepted = total(|load| load.accepted.vectors);
    let verified = total(|load| load.vectors_verified);
    let accepted_sum: f64 = loads.iter().map(|load| load.accepted.sum).sum();
    let refused = total(|load| load.refusals.total());
    let (rows, segments) = (stored.summary.rows, counted(stored.summary.segments, "segment"));
    let check = |name, holds, detail| DemoCheck { name, detail, holds };
    vec![
        check(
            "answers",
            verified == sent && refused == 0,
            format!(
                "{} of {} scores are right; one answer per request, in order",
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
            stored.summary.sum == accepted_sum,
            format!("all components: {accepted_sum} accepted, {} read back", stored.summary.sum),
        ),
        check(
            "digits",
            stored.digits_rows == DIGITS_ROWS && stored.digits_sum == DIGITS_SUM,
            format!(
                "the first {} rows are the file's, bit for bit; their sum is {}",
                grouped(stored.digits_rows),
                stored.digits_sum
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
