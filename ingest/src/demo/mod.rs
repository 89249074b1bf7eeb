//! The demonstration, `slipring demo`: a service and its clients in one process, with every answer
//! and every stored vector checked.
//!
//! The life cycle: create a data folder, start a service on a free loopback port with the command
//! line's defaults, send the 1797 digits of `examples/data/` one at a time, send a mixed load,
//! stop, read back, check ([`DemoReport`]).
//!
//! It promises: if [`DemoReport::is_verified`] is true, all vectors that were sent were answered
//! correctly, once and in order, and the segments hold the same number of vectors with the same
//! sum, and the digits bit for bit. The folder is kept for inspection; it is removed if the run is
//! interrupted or doesn't start.
//!
//! It doesn't measure what a machine can do: service, sink and load share its CPUs, and the mixed
//! load keeps requests waiting on purpose.
#![forbid(unsafe_code)]

mod check;
mod error;
mod folder;
mod options;
mod report;
mod send;
mod service;
mod text;

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

pub use check::Check;
pub use error::DemoError;
pub use options::DemoOptions;
pub use report::DemoReport;

use crate::load::Rows;
use crate::server::Totals;
use folder::DemoFolder;
use service::Service;

/// Components of the demo's vectors.
const DIM: u32 = 64;
/// In the binary, so that the demo works from any folder.
const DIGITS: &[u8] = include_bytes!("../../../examples/data/digits-64.npy");
/// What the file's README says of it: a damaged copy is noticed.
const DIGITS_ROWS: u64 = 1797;
const DIGITS_SUM: f64 = 561_718.0;

/// Runs the demonstration and reports its progress on `out`; the results are in the report. Ends
/// early, and removes its folder, soon after `interrupted` becomes true.
///
/// # Errors
/// Whatever prevented a verdict. A negative verdict is in the report.
pub fn run(
    options: &DemoOptions,
    out: &mut dyn Write,
    interrupted: &AtomicBool,
) -> Result<DemoReport, DemoError> {
    let digits = Rows::from_npy(DIGITS, DIM).map_err(DemoError::Digits)?;
    send::check(options.seconds, options.bytes.0)?;
    let mut folder = DemoFolder::create(options.data.as_deref())?;
    let room = folder.room()?;
    let bytes_max = room.bound(options.bytes.0)?;
    let service = Service::start(folder.path())?;
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
    let mut sent = send::digits(&service, digits.clone(), interrupted).and_then(|digits| {
        let (seconds, mib) = (options.seconds, text::mib(bytes_max));
        text::say(
            out,
            &format!("sending   generated vectors, 1 to 8 a request, for {seconds} s or {mib} MiB"),
        );
        Ok((digits, send::mixed(&service, options.seconds, bytes_max, interrupted)?))
    });
    let totals = service.stop();
    if interrupted.load(Ordering::Relaxed) {
        sent = Err(DemoError::Interrupted);
    }
    if !matches!(sent, Err(DemoError::Interrupted)) {
        folder.keep();
    }
    let (digits_load, mixed) = sent.map_err(|error| error.with_failures(&totals, folder.path()))?;
    let report = read_back(&folder, &digits, digits_load, mixed, &totals)?;
    if interrupted.load(Ordering::Relaxed) {
        folder.discard();
        return Err(DemoError::Interrupted);
    }
    Ok(report)
}

fn read_back(
    folder: &DemoFolder,
    digits: &Rows,
    digits_load: crate::load::LoadReport,
    mixed: crate::load::LoadReport,
    totals: &Totals,
) -> Result<DemoReport, DemoError> {
    let read = check::read(folder.path(), digits)
        .map_err(|error| DemoError::Read { data: folder.path().to_owned(), error })?;
    let checks = check::all(&digits_load, &mixed, totals, &read);
    let (data, data_bytes) = (folder.path().to_owned(), totals.segment_bytes);
    Ok(DemoReport { digits: digits_load, mixed, checks, read: read.summary, data, data_bytes })
}
