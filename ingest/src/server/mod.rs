//! The service: lanes that share a port and nothing else.
//!
//! By life cycle: options are checked ([`ServeOptions`]), the data folder is locked, listeners are bound, each lane starts on its own
//! pinned thread; [`Server::stop`] drains them all with one deadline and says what became of every vector ([`Totals`]).

mod descriptors;
mod error;
mod hint;
mod lane_thread;
mod listen;
mod options;
mod plan;
mod totals;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use slipring::pipeline::LaneReport;

pub use error::ServeError;
pub use options::{CpuIds, Node, ReclaimWord, ServeOptions, SinkWord, Size, StagesWord, WaitWord};
pub use totals::Totals;

use crate::notice::notice;
use crate::sink::{DataDir, NullSink, SegmentLog, SegmentOptions, Sink};
use lane_thread::{LaneGear, LaneThread};
use listen::Listeners;
use plan::Plan;

/// A service that runs. Dropped, it stops as [`Server::stop`] does.
#[derive(Debug)]
pub struct Server {
    plan: Plan,
    listeners: Listeners,
    lanes: Vec<LaneThread>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Starts all lanes and returns once they accept. `on_end` is called by every lane's thread that ends, also by itself.
    ///
    /// # Errors
    /// The option that doesn't fit, or what refused; nothing is left running or bound.
    pub fn start(options: &ServeOptions, on_end: Arc<dyn Fn() + Send + Sync>) -> Result<Self, ServeError> {
        let plan = Plan::new(options)?;
        if plan.connections_max < options.max_connections {
            notice(format_args!(
                "a lane takes {} connections, not --max-connections {}: the limit of descriptors leaves no more (ulimit -n)",
                plan.connections_max, options.max_connections
            ));
        }
        let data = match (options.sink, &options.data) {
            (SinkWord::Log, Some(path)) => Some(
                DataDir::open(path, options.dim).map_err(|error| ServeError::Refused(format!("--data: {error}")))?,
            ),
            _ => None,
        };
        let mut listeners = Listeners::bind(plan.listen.as_deref(), options.unix.as_deref(), plan.lanes.len())?;
        let per_lane = listeners.take_lanes();
        let mut server = Self { plan, listeners, lanes: Vec::new(), stop: Arc::default() };
        for (lane, listeners) in server.plan.lanes.clone().iter().zip(per_lane) {
            let sink = server.sink(data.as_ref(), lane.number)?;
            let gear = LaneGear { listeners, sink, stop: Arc::clone(&server.stop), on_end: Arc::clone(&on_end) };
            // An error drops the server, which stops the lanes that run already.
            let thread = LaneThread::start(&server.plan, lane, gear)?;
            server.lanes.push(thread);
        }
        Ok(server)
    }

    /// Where it listens on TCP.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        self.listeners.tcp
    }

    /// Where it listens on a Unix socket.
    #[must_use]
    pub fn unix(&self) -> Option<&Path> {
        self.listeners.unix.as_deref()
    }

    /// What each lane was granted.
    pub fn reports(&self) -> impl Iterator<Item = &LaneReport> {
        self.lanes.iter().map(|lane| &lane.report)
    }

    /// Whether a lane has ended by itself, which it does only when it fails.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        !self.stop.load(Ordering::Acquire) && self.lanes.iter().any(LaneThread::is_finished)
    }

    /// The one line that says that it accepts, and what it is.
    #[must_use]
    pub fn ready_line(&self) -> String {
        let options = &self.plan.options;
        let mut line = "ready".to_owned();
        if let Some(tcp) = self.tcp() {
            line += &format!(" tcp={tcp}");
        }
        if let Some(unix) = self.unix() {
            line += &format!(" unix={}", unix.display());
        }
        let cpus: Vec<String> = self
            .reports()
            .map(|report| report.pin.granted.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string()))
            .collect();
        line += &format!(
            " dim={} max-vectors={} lanes={} cpus={}",
            options.dim,
            options.max_vectors,
            options.lanes,
            cpus.join(",")
        );
        if let Some(data) = &options.data {
            line += &format!(" data={}", data.display());
        }
        line
    }

    /// Stops: nothing more is accepted or read, what was received is answered, and segments are completed; all within the
    /// options' `drain`.
    #[must_use]
    pub fn stop(mut self) -> Totals {
        self.end()
    }

    fn end(&mut self) -> Totals {
        self.stop.store(true, Ordering::Release);
        self.lanes.iter().for_each(LaneThread::ring);
        let mut totals = Totals::default();
        for (number, lane) in self.lanes.drain(..).enumerate() {
            totals.add(number, &lane.join());
        }
        totals
    }

    fn sink(&self, data: Option<&DataDir>, lane: u32) -> Result<Box<dyn Sink>, ServeError> {
        let refused = |error: crate::sink::SinkError| ServeError::Refused(format!("lane {lane}: {error}"));
        let Some(data) = data else { return Ok(Box::new(NullSink::new(self.plan.options.dim).map_err(refused)?)) };
        let options = SegmentOptions { segment_bytes: self.plan.options.segment_bytes.0, ..SegmentOptions::default() };
        let log = SegmentLog::open(data, lane, options).map_err(refused)?;
        for torn in log.torn() {
            notice(format_args!("lane {lane}: a crash left an unfinished segment; it is kept as {}", torn.display()));
        }
        Ok(Box::new(log))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end());
    }
}
