//! The service that a demonstration runs, and what it was granted.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use clap::{Args, FromArgMatches};
use slipring::machine::{CpuMask, Topology, window_default_bytes};
use slipring::pipeline::LaneReport;
use slipring::region::PageKind;

use super::text::{counted, mib, wrap};
use super::{DIM, DemoError};
use crate::server::{ServeOptions, Server, Size, Totals};

/// The pool when the usual one is refused.
const POOL_BYTES_SMALL: u64 = 8 << 20;
/// The service's own smallest default, and the chunks that a window is made of.
const WINDOW_BYTES_MIN: usize = 2 << 20;
const CHUNK_BYTES: usize = 256 << 10;

/// A running service on a free loopback port.
#[derive(Debug)]
pub(super) struct Service {
    server: Server,
    options: ServeOptions,
    /// Why the pool is smaller than usual.
    refused: Option<String>,
}

impl Service {
    /// Starts it with the command line's defaults or, if the pool is refused, with a small one.
    pub(super) fn start(data: &Path) -> Result<Self, DemoError> {
        let mut options = defaults();
        options.listen = Some("127.0.0.1:0".to_owned());
        options.data = Some(data.to_owned());
        // The service's own default, made explicit so that it can be shown.
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
            // It wasn't the pool.
            Err(_) => Err(DemoError::Serve(first)),
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.server.tcp()
    }

    /// Drains it.
    pub(super) fn stop(self) -> Totals {
        self.server.stop()
    }

    /// The machine, the service and what it was granted.
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
            "          window of {window} MiB: the part in rotation; the rest is reserve for bursts\n"
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

/// The CPU that the load is pinned to: the last one, where there is more than one, because the
/// first is the IO thread's.
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

/// CPU, kernel and the CPUs allowed, as far as the system tells.
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
