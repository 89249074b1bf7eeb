//! The result of a demonstration: text for people, one JSON object for programs.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::check::Check;
use super::text::{counted, grouped, quoted};
use crate::latency::Latency;
use crate::load::LoadReport;
use crate::sink::Summary;

/// A demonstration that came to a verdict.
#[derive(Clone, Debug)]
pub struct DemoReport {
    /// The digits, one at a time.
    pub digits: LoadReport,
    /// The mixed load.
    pub mixed: LoadReport,
    /// What was checked.
    pub checks: Vec<Check>,
    /// What was read back from the segments.
    pub read: Summary,
    /// The data folder; it is still there.
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

    /// One object with all of it.
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
            "  always under way, so most of it is waiting in line. Load and service share this machine.\n"
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
        writeln!(f, "\ndata      {data}: {segments}, {mib:.1} MiB, kept")?;
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
