//! The two loads of a demonstration, each on a thread of its own so that it can be interrupted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::service::{Service, load_cpu};
use super::{DIM, DemoError};
use crate::load::{LoadOptions, LoadReport, Rows, Target, VectorRange, run_rows};
use slipring::machine::{PinPolicy, pin_current};

/// How often an interruption is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Sends the digits, once each and in order, one at a time: measures a request when nothing else
/// waits.
pub(super) fn digits(
    service: &Service,
    rows: Rows,
    interrupted: &AtomicBool,
) -> Result<LoadReport, DemoError> {
    let count = Some(rows.count() as u64);
    send(LoadOptions { connections: 1, window: 1, count, ..options(service) }, rows, interrupted)
}

/// Sends requests of 1 to 8 generated vectors, as fast as four windows of 32 allow.
pub(super) fn mixed(
    service: &Service,
    seconds: u64,
    bytes_max: u64,
    interrupted: &AtomicBool,
) -> Result<LoadReport, DemoError> {
    let options = mixed_options(options(service), seconds, bytes_max);
    let rows = Rows::generated(DIM, options.seed);
    send(options, rows, interrupted)
}

/// Refuses bounds that no load can meet, before anything is started.
pub(super) fn check(seconds: u64, bytes_max: u64) -> Result<(), DemoError> {
    let to = Target::Tcp(String::new());
    Ok(mixed_options(LoadOptions::new(to, DIM), seconds, bytes_max).check()?)
}

fn mixed_options(options: LoadOptions, seconds: u64, bytes_max: u64) -> LoadOptions {
    LoadOptions {
        vectors: VectorRange { least: 1, most: 8 },
        duration: Some(Duration::from_secs(seconds)),
        warmup: Some(Duration::ZERO),
        bytes_max: Some(bytes_max),
        ..options
    }
}

fn options(service: &Service) -> LoadOptions {
    let address = service.address().map_or_else(String::new, |address| address.to_string());
    LoadOptions { verify: true, ..LoadOptions::new(Target::Tcp(address), DIM) }
}

/// An interrupted load's thread isn't joined: it ends when the service is stopped and closes its
/// connections.
fn send(
    options: LoadOptions,
    rows: Rows,
    interrupted: &AtomicBool,
) -> Result<LoadReport, DemoError> {
    let (done, report) = sync_channel(1);
    let run = move || {
        if let Some(cpu) = load_cpu() {
            // Unpinned it is only slower.
            drop(pin_current(cpu, PinPolicy::Prefer));
        }
        // After an interruption nobody listens any more.
        let _gone = done.send(run_rows(&options, rows));
    };
    thread::Builder::new().name("load".to_owned()).spawn(run).map_err(DemoError::Thread)?;
    loop {
        match report.recv_timeout(LOOK_INTERVAL) {
            Ok(report) => return Ok(report?),
            Err(RecvTimeoutError::Disconnected) => return Err(DemoError::Panicked),
            Err(RecvTimeoutError::Timeout) if interrupted.load(Ordering::Relaxed) => {
                return Err(DemoError::Interrupted);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
