//! The run: starts the service, sends the loads, stops, reads back and checks.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use super::folder::DemoFolder;
use super::options::{DIGITS, DIGITS_ROWS, DIM, DemoError, DemoOptions};
use super::report::{DemoReport, check_all, read_segments};
use super::service::{DemoService, check_bounds, send_digits, send_mixed};
use super::text;
use crate::load::LoadReport;
use crate::server::Totals;
use crate::vectors::VectorRows;

/// Runs the demonstration and reports its progress on `out`; the results are in the report. Ends
/// early, and removes its folder, soon after `interrupted` becomes true.
///
/// # Errors
/// The cause that prevented a verdict. A negative verdict is in the report.
pub fn run(
    options: &DemoOptions,
    out: &mut dyn Write,
    interrupted: &AtomicBool,
) -> Result<DemoReport, DemoError> {
    let digits = VectorRows::from_npy(DIGITS, DIM).map_err(DemoError::Digits)?;
    check_bounds(options.seconds, options.bytes.0)?;
    let mut folder = DemoFolder::create(options.data.as_deref())?;
    let room = folder.room()?;
    let bytes_max = room.bound(options.bytes.0)?;
    let service = DemoService::start(folder.path())?;
    text::say(
        out,
        "A service and its clients in one process: every answer and every stored vector is checked.\n",
    );
    text::say(out, &service.granted());
    if bytes_max < options.bytes.0 {
        text::say(out, &room.lowered(bytes_max));
    }
    text::say(
        out,
        &format!(
            "sending   {} real vectors (handwritten digits), one request at a time",
            text::grouped(DIGITS_ROWS)
        ),
    );
    let mut sent = send_digits(&service, digits.clone(), interrupted).and_then(|digits| {
        let (seconds, mib) = (options.seconds, text::mib(bytes_max));
        text::say(
            out,
            &format!(
                "sending   generated vectors, 1 to 8 per request, for {seconds} s or {mib} MiB"
            ),
        );
        Ok((digits, send_mixed(&service, options.seconds, bytes_max, interrupted)?))
    });
    let totals = service.stop();
    if interrupted.load(Ordering::Relaxed) {
        sent = Err(DemoError::Interrupted);
    }
    if !matches!(sent, Err(DemoError::Interrupted)) {
        folder.set_stays(true);
    }
    let (digits_load, mixed) = sent.map_err(|error| error.with_failures(&totals, folder.path()))?;
    let report = read_back(&folder, &digits, digits_load, mixed, &totals)?;
    if interrupted.load(Ordering::Relaxed) {
        folder.set_stays(false);
        return Err(DemoError::Interrupted);
    }
    Ok(report)
}

fn read_back(
    folder: &DemoFolder,
    digits: &VectorRows,
    digits_load: LoadReport,
    mixed: LoadReport,
    totals: &Totals,
) -> Result<DemoReport, DemoError> {
    let stored = read_segments(folder.path(), digits)
        .map_err(|error| DemoError::Read { data: folder.path().to_owned(), error })?;
    let checks = check_all(&digits_load, &mixed, totals, &stored);
    let (data, data_bytes) = (folder.path().to_owned(), totals.segment_bytes);
    Ok(DemoReport { digits: digits_load, mixed, checks, read: stored.summary, data, data_bytes })
}
