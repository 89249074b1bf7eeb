//! The service that a demonstration runs, what it was granted, and the loads that are sent to it.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use clap::{Args, FromArgMatches};
use slipring::machine::{CpuMask, PinPolicy, Topology, pin_current, window_default_bytes};
use slipring::pipeline::LaneReport;
use slipring::region::PageKind;

use super::options::{DIM, DemoError};
use super::text::{counted, mib, wrap};
use crate::client::Target;
use crate::load::{LoadOptions, LoadReport, VectorRange, run_rows};
use crate::server::{ServeOptions, Server, Totals};
use crate::units::Size;
use crate::vectors::VectorRows;

/// Bytes of the pool if the default one is refused.
const POOL_BYTES_SMALL: u64 = 8 << 20;
/// Smallest default window of the service, and the chunks that its window consists of.
const WINDOW_BYTES_MIN: usize = 2 << 20;
const CHUNK_BYTES: usize = 256 << 10;

/// The interval of checking for an interruption.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// A running service on a free loopback port.
#[derive(Debug)]
pub(super) struct DemoService {
    server: Server,
    options: ServeOptions,
    /// The error of the default pool, if it was refused.
    refused: Option<String>,
}

impl DemoService {
    /// Starts a service with the command line's defaults. If the pool is refused, it has a small
    /// one.
    pub(super) fn start(data: &Path) -> Result<Self, DemoError> {
        let mut options = defaults();
        options.listen = Some("127.0.0.1:0".to_owned());
        options.data = Some(data.to_owned());
        // The service's own default, set here so that it can be shown.
        let window_bytes = window_default_bytes(Topology::read().l3_bytes_min(), 1)
            .max(WINDOW_BYTES_MIN)
            / CHUNK_BYTES
            * CHUNK_BYTES;
        options.window = Some(Size(window_bytes as u64));
        let first = match Server::start(&options, Arc::new(|| ())) {
            Ok(server) => return Ok(Self { server, options, refused: None }),
            Err(error) => error,
        };
        options.pool = Size(POOL_BYTES_SMALL);
        match Server::start(&options, Arc::new(|| ())) {
            Ok(server) => Ok(Self { server, options, refused: Some(first.to_string()) }),
            // The pool wasn't the cause.
            Err(_) => Err(DemoError::Serve(first)),
        }
    }

    /// The address that the service listens at.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.server.tcp()
    }

    /// Stops the service, which drains it.
    pub(super) fn stop(self) -> Totals {
        self.server.stop()
    }

    /// Text about the machine, the service and what it was granted.
    pub(super) fn granted(&self) -> String {
        let mut text = format!("machine   {}\n", machine());
        if cfg!(debug_assertions) {
            text += "          built without --release: everything is many times slower than it should be\n";
        }
        let address =
            self.address().map_or_else(|| "nowhere".to_owned(), |address| address.to_string());
        writeln!(
            text,
            "service   {address}, vectors of {DIM}, {}",
            counted(self.options.lanes.into(), "lane")
        )
        .expect("a String grows");
        for report in self.server.reports() {
            text += &self.lane(report);
        }
        if let Some(refused) = &self.refused {
            text += &wrap(&format!("a larger pool was refused: {refused}"));
        }
        text.trim_end().to_owned()
    }

    fn lane(&self, report: &LaneReport) -> String {
        let load =
            load_cpu().map_or_else(String::new, |cpu| format!("; the load asks for cpu {cpu}"));
        let mut text = format!("granted   IO thread {}{load}\n", report.pin);
        let (region, pages) = (&report.region, &report.region.pages);
        let kinds = [
            (PageKind::Small, pages.small_bytes),
            (PageKind::Thp, pages.thp_bytes),
            (PageKind::Huge2M, pages.huge_2m_bytes),
            (PageKind::Huge1G, pages.huge_1g_bytes),
        ];
        let kinds: Vec<String> = kinds
            .iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(kind, bytes)| format!("{} MiB in {kind}", mib(*bytes as u64)))
            .collect();
        let node = region.node.map_or_else(String::new, |node| format!(", node {node}"));
        let (pool, window) =
            (mib(self.options.pool.0), mib(self.options.window.map_or(0, |window| window.0)));
        let touch_ms = region.touch_ns as f64 / 1e6;
        text += &format!(
            "          pool of {pool} MiB: {}{node}, touched in {touch_ms:.1} ms\n",
            kinds.join(", ")
        );
        text += &format!(
            "          window of {window} MiB: the part in rotation; the remainder is for bursts\n"
        );
        let missing = region
            .downgrades
            .iter()
            .map(ToString::to_string)
            .chain(report.downgrades.iter().cloned());
        missing.for_each(|downgrade| text += &wrap(&format!("not granted: {downgrade}")));
        text
    }
}

/// The CPU that the load is pinned to: the last one if there are several, because the first is the
/// IO thread's.
pub(super) fn load_cpu() -> Option<usize> {
    match CpuMask::read().cpus() {
        [_, .., last] => Some(*last),
        _ => None,
    }
}

fn defaults() -> ServeOptions {
    let command = ServeOptions::augment_args(clap::Command::new("serve"));
    let matches = command.try_get_matches_from(["serve", "--dim", &DIM.to_string()]);
    let options = matches.and_then(|matches| ServeOptions::from_arg_matches(&matches));
    options.expect("--dim is all that serve needs")
}

/// CPU, kernel and the CPUs allowed, as far as the system reports them.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.split(['-', '\n']).next().unwrap_or_default();
    let (model, mask) = (model.map_or("unknown CPU", |(_, model)| model.trim()), CpuMask::read());
    let cpus = counted(mask.cpus().len() as u64, "CPU");
    format!("{model}, kernel {kernel}, {cpus} allowed ({mask})")
}

/// Sends the digits, once each and in order, one at a time: measures requests that don't wait for
/// others.
pub(super) fn send_digits(
    service: &DemoService,
    rows: VectorRows,
    interrupted: &AtomicBool,
) -> Result<LoadReport, DemoError> {
    let count = Some(rows.count() as u64);
    send(LoadOptions { connections: 1, in_flight: 1, count, ..options(service) }, rows, interrupted)
}

/// Sends requests of 1 to 8 generated vectors, as fast as four connections with 32 requests in flight allow.
pub(super) fn send_mixed(
    service: &DemoService,
    seconds: u64,
    bytes_max: u64,
    interrupted: &AtomicBool,
) -> Result<LoadReport, DemoError> {
    let options = mixed_options(options(service), seconds, bytes_max);
    let rows = VectorRows::generated(DIM, options.seed);
    send(options, rows, interrupted)
}

/// Refuses bounds that no load can meet, before anything is started.
pub(super) fn check_bounds(seconds: u64, bytes_max: u64) -> Result<(), DemoError> {
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

fn options(service: &DemoService) -> LoadOptions {
    let address = service.address().map_or_else(String::new, |address| address.to_string());
    LoadOptions { verify: true, ..LoadOptions::new(Target::Tcp(address), DIM) }
}

/// Runs a load on its own thread, so that it can be interrupted. The thread of an interrupted load
/// isn't joined: it ends when the service stops and closes its connections.
fn send(
    options: LoadOptions,
    rows: VectorRows,
    interrupted: &AtomicBool,
) -> Result<LoadReport, DemoError> {
    let (done, report) = sync_channel(1);
    let run = move || {
        if let Some(cpu) = load_cpu() {
            // Unpinned, it is only slower.
            drop(pin_current(cpu, PinPolicy::Prefer));
        }
        // After an interruption the receiver is gone.
        let _gone = done.send(run_rows(&options, rows));
    };
    thread::Builder::new().name("load".to_owned()).spawn(run).map_err(DemoError::Thread)?;
    loop {
        match report.recv_timeout(CHECK_INTERVAL) {
            Ok(report) => return Ok(report?),
            Err(RecvTimeoutError::Disconnected) => return Err(DemoError::Panicked),
            Err(RecvTimeoutError::Timeout) if interrupted.load(Ordering::Relaxed) => {
                return Err(DemoError::Interrupted);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
