//! Each check can fail: a small real run is damaged in one way after another.

use std::sync::atomic::AtomicBool;

use super::super::options::DIGITS;
use super::super::{DemoOptions, run};
use super::*;
use crate::io::Counter;
use crate::log::{LaneLog, LogOptions, LogRows, RealDisk, RowShape, RowTimes};
use crate::sink::{Columns, DataDir};
use crate::units::Size;

struct VerifiedRun {
    digits: VectorRows,
    report: DemoReport,
    totals: Totals,
    _folder: tempfile::TempDir,
}

fn verified_run() -> VerifiedRun {
    let folder = tempfile::tempdir().unwrap();
    let data = Some(folder.path().join("new"));
    let options = DemoOptions { seconds: 600, bytes: Size(256 << 10), data, json: false };
    let report = run(&options, &mut Vec::new(), &AtomicBool::new(false)).unwrap();
    let totals = Totals { vectors_in_segments: report.read.rows, ..Totals::default() };
    VerifiedRun {
        digits: VectorRows::from_npy(DIGITS, DIM).unwrap(),
        report,
        totals,
        _folder: folder,
    }
}

impl VerifiedRun {
    /// The names of the checks that don't hold.
    fn wrong(&self) -> Vec<&'static str> {
        let stored = read_segments(&self.report.data, &self.digits).unwrap();
        let checks = check_all(&self.report.digits, &self.report.mixed, &self.totals, &stored);
        let wrong: Vec<&str> =
            checks.iter().filter(|check| !check.holds).map(|check| check.name).collect();
        let report = DemoReport { checks, ..self.report.clone() };
        assert_eq!(report.is_verified(), wrong.is_empty());
        assert_eq!(
            report.to_string().matches("WRONG").count(),
            if wrong.is_empty() { 0 } else { wrong.len() + 1 }
        );
        wrong
    }
}

#[test]
fn every_kind_of_damage_is_noticed() {
    let mut run = verified_run();
    assert_eq!(run.wrong(), [""; 0]);

    run.report.mixed.vectors_verified -= 1;
    assert_eq!(run.wrong(), ["answers"]);
    run.report.mixed.vectors_verified += 1;

    run.totals.counts[Counter::VectorsAnswered] = run.report.read.rows + 1;
    assert_eq!(run.wrong(), ["stop"]);
    run.totals.counts[Counter::VectorsAnswered] = run.report.read.rows;
    run.totals.vectors_in_segments -= 1;
    assert_eq!(run.wrong(), ["stop"]);
    run.totals.vectors_in_segments += 1;

    run.report.digits.accepted.sum += 1.0 / 64.0;
    assert_eq!(run.wrong(), ["sum"]);
    run.report.digits.accepted.sum -= 1.0 / 64.0;

    // One bit of one component of the last digit.
    let mut bytes = DIGITS.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    run.digits = VectorRows::from_npy(&bytes, DIM).unwrap();
    assert_eq!(run.wrong(), ["digits"]);
    run.digits = VectorRows::from_npy(DIGITS, DIM).unwrap();
    assert_eq!(run.wrong(), [""; 0]);

    // A row that wasn't sent.
    let folder = DataDir::open(&run.report.data, DIM).unwrap();
    let options = LogOptions::new(RowShape { dim: DIM, columns: Columns::default() }, 0, 1);
    let (disk, folders) = (RealDisk::new(folder.mode()), folder.lane_folders(0).unwrap());
    let (mut log, _) = LaneLog::open(disk, folders, options).unwrap();
    let mut buffer = log.buffer(1, 0).unwrap();
    let vectors = [0.5_f32; DIM as usize].map(f32::to_le_bytes);
    let rows =
        LogRows { vectors: vectors.as_flattened(), ids: &[], times: RowTimes::One(0), mark: None };
    buffer.append(&rows).unwrap();
    log.append(&mut buffer).unwrap();
    log.close().unwrap();
    assert_eq!(run.wrong(), ["count", "sum"]);
}
