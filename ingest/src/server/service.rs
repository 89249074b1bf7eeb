//! The service: starts the lanes, watches them and stops them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use slipring::pipeline::LaneReport;

use super::admin::{self, Admin, Health};
use super::lane_thread::{LaneInputs, LaneThread};
use super::listen::Listeners;
use super::metrics::Exporter;
use super::options::{ServeError, ServeOptions, SinkWord};
use super::plan::ServePlan;
use super::report::{Reporter, Totals};
use super::writer::{LaneLogEnd, LogWriter};
use crate::io::{DiskCall, IoWatch, Listener, LobbySeat};
use crate::log::{FolderProgress, LaneFeed, LogProgress};
use crate::notice;
use crate::printable::Printable;
use crate::sink::{DataDir, DataOptions, NullSink, Sink, SinkError};
use crate::units::Size;

/// The part of a stop's time that is left for the end of the logs, at most: until then the disk may
/// refuse.
const LOG_END_MAX: Duration = Duration::from_millis(500);

/// The feed of each lane's log, with the call that the committer makes to the lane.
type LaneFeeds = Vec<(LaneLogEnd, DiskCall)>;

/// Called when the service can't go on.
type OnServerEnd = Arc<dyn Fn() + Send + Sync>;

/// A running service. Dropping it stops it as [`Server::stop`] does.
#[derive(Debug)]
pub struct Server {
    plan: ServePlan,
    listeners: Listeners,
    lanes: Vec<LaneThread>,
    log: Option<LogWriter>,
    health: Arc<Health>,
    stop_by: Arc<OnceLock<Instant>>,
    reporter: Option<Reporter>,
    admin: Option<Admin>,
}

impl Server {
    /// Starts all lanes and returns once they accept connections. Every lane's thread calls
    /// `on_end` when it ends, for any reason.
    ///
    /// # Errors
    /// An invalid option, or the cause of a refusal. Nothing is left running or bound.
    pub fn start(
        options: &ServeOptions,
        on_end: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self, ServeError> {
        notice::start();
        let plan = ServePlan::new(options)?;
        if plan.connections_max < options.max_connections {
            notice::warn(format_args!(
                "a lane takes {} connections, not --max-connections {}: the limit of descriptors \
                leaves no more (ulimit -n)",
                plan.connections_max, options.max_connections
            ));
        }
        if let Some(shared) = plan.shared_cpus() {
            notice::warn(shared);
        }
        // The threads of this port are started from this thread, which isn't pinned, because a
        // thread inherits the CPUs of the thread that starts it.
        let admin = plan.options.metrics.as_deref().map(admin::bind).transpose()?;
        let mut listeners = Listeners::bind(
            plan.listen.as_deref(),
            options.unix.as_deref(),
            plan.lanes.len(),
            options.keepalive,
        )?;
        let per_lane = listeners.take_lanes();
        let lobby = plan.lobby()?;
        // After what may be refused for its address, so that such a start leaves no folder, and
        // before the first lane serves: a folder without a record is recorded for these options.
        let data = match (options.sink, &options.data) {
            (SinkWord::Log, Some(path)) => Some(open_folder(path, &plan)?),
            _ => None,
        };
        let health = Arc::new(Health::default());
        let ended = Arc::clone(&health);
        let on_end: OnServerEnd = Arc::new(move || {
            ended.lane_ended.store(true, Ordering::Release);
            on_end();
        });
        let seats: Vec<LobbySeat> = (0..plan.lanes.len()).map(|lane| lobby.seat(lane)).collect();
        let (log, feeds) = match data {
            Some(data) => start_log(data, &plan, &seats, &on_end)?,
            None => (None, Vec::new()),
        };
        let mut server = Self {
            plan,
            listeners,
            lanes: Vec::new(),
            log,
            health,
            stop_by: Arc::default(),
            reporter: None,
            admin: None,
        };
        // An error drops the server, which stops the lanes that are already running.
        server.start_lanes(per_lane.into_iter().zip(seats), feeds, &on_end)?;
        let watches: Arc<[IoWatch]> = server.watches().cloned().collect();
        if let Some(every) = server.plan.options.report_every {
            let logs = (server.logs().to_vec(), server.folder().cloned());
            server.reporter = Some(Reporter::start(Arc::clone(&watches), logs, every)?);
        }
        if let Some(listener) = admin {
            let exporter = Exporter::new(&watches, server.logs(), server.folder());
            server.admin = Some(Admin::start(listener, Arc::clone(&server.health), exporter)?);
        }
        server.health.accepts.store(true, Ordering::Release);
        Ok(server)
    }

    fn start_lanes(
        &mut self,
        seats: impl Iterator<Item = (Vec<Listener>, LobbySeat)>,
        feeds: LaneFeeds,
        on_end: &OnServerEnd,
    ) -> Result<(), ServeError> {
        let mut feeds = feeds.into_iter();
        for (lane, (listeners, seat)) in self.plan.lanes.clone().iter().zip(seats) {
            let (end, call) = feeds.next().unzip();
            let (feed, known) = end.map(|end: LaneLogEnd| (end.feed, end.known)).unzip();
            let log = feed.as_ref().map(|feed: &LaneFeed| feed.progress().clone()).zip(call);
            let sink = self.sink(feed)?;
            let inputs = LaneInputs {
                listeners,
                seat,
                sink,
                log,
                known: known.filter(|_| self.plan.limits.has_producers),
                stop: Arc::clone(&self.health.drains),
                stop_by: Arc::clone(&self.stop_by),
                on_end: Arc::clone(on_end),
            };
            self.lanes.push(LaneThread::start(&self.plan, lane, inputs)?);
        }
        Ok(())
    }

    /// A watch on each lane, which any thread may read.
    pub fn watches(&self) -> impl Iterator<Item = &IoWatch> {
        self.lanes.iter().map(|lane| &lane.watch)
    }

    /// What memory it may come to hold, in one line.
    #[must_use]
    pub fn memory(&self) -> String {
        self.plan.memory.to_string()
    }

    /// The address of `/metrics`.
    #[must_use]
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// The TCP address that it listens on.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        self.listeners.tcp
    }

    /// The path of the Unix socket that it listens on.
    #[must_use]
    pub fn unix(&self) -> Option<&Path> {
        self.listeners.unix.as_deref()
    }

    /// What each lane was granted.
    pub fn reports(&self) -> impl Iterator<Item = &LaneReport> {
        self.lanes.iter().map(|lane| &lane.report)
    }

    /// The part of each lane's pool that is in rotation.
    pub fn windows(&self) -> impl Iterator<Item = Size> {
        self.lanes.iter().map(|lane| lane.window)
    }

    /// Whether a lane has ended without being stopped, which means that it has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        !self.health.drains.load(Ordering::Acquire)
            && (self.lanes.iter().any(LaneThread::is_finished)
                || self.log.as_ref().is_some_and(LogWriter::has_failed))
    }

    /// How far each lane's log is; nothing with a null sink.
    #[must_use]
    pub fn logs(&self) -> &[LogProgress] {
        self.log.as_ref().map_or(&[], LogWriter::progress)
    }

    /// The figures of the data folder; None with a null sink.
    #[must_use]
    pub fn folder(&self) -> Option<&FolderProgress> {
        self.log.as_ref().map(LogWriter::folder)
    }

    /// Seals the live segments of all lanes soon: then readers of the data folder find all vectors.
    pub fn seal(&self) {
        self.log.iter().for_each(LogWriter::seal);
    }

    /// The line that reports readiness, with the addresses and the settings in effect.
    #[must_use]
    pub fn ready_line(&self) -> String {
        let options = &self.plan.options;
        let mut line = "ready".to_owned();
        if let Some(tcp) = self.tcp() {
            line += &format!(" tcp={tcp}");
        }
        if let Some(unix) = self.unix() {
            line += &format!(" unix={}", Printable(unix.display()));
        }
        let cpus: Vec<String> = self
            .reports()
            .map(|report| {
                report.pin.granted.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string())
            })
            .collect();
        line += &format!(
            " dim={} max-vectors={} lanes={} cpus={}",
            options.dim,
            options.max_vectors,
            options.lanes,
            cpus.join(",")
        );
        if let Some(data) = &options.data {
            line += &format!(" data={}", Printable(data.display()));
        }
        if let Some(metrics) = self.metrics() {
            line += &format!(" metrics={metrics}");
        }
        line
    }

    /// Stops the service. Nothing more is accepted or read, received requests are answered, and
    /// segments are completed, all within the time of the option `drain`.
    #[must_use]
    pub fn stop(mut self) -> Totals {
        self.end()
    }

    fn end(&mut self) -> Totals {
        let drain = self.plan.options.drain;
        let until = Instant::now() + drain;
        self.stop_by.get_or_init(|| until - LOG_END_MAX.min(drain / 5));
        self.health.drains.store(true, Ordering::Release);
        self.lanes.iter().for_each(LaneThread::wake);
        let mut totals = Totals::default();
        self.reporter = None;
        for (number, lane) in self.lanes.drain(..).enumerate() {
            let watch = lane.watch.clone();
            totals.add(number, &lane.join());
            totals.figures.push((number, watch.figures()));
        }
        if let Some(log) = self.log.take() {
            let progress = log.progress().to_vec();
            let folder = log.folder().clone();
            totals.add_log(&log.stop(until), &progress);
            totals.removed_segments = folder.figures().removed_segments;
        }
        totals
    }

    fn sink(&self, feed: Option<LaneFeed>) -> Result<Box<dyn Sink>, ServeError> {
        let refused = |error: SinkError| ServeError::Refused(error.to_string());
        Ok(match feed {
            Some(feed) => Box::new(feed),
            None => Box::new(NullSink::new(self.plan.options.dim).map_err(refused)?),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// Opens the logs of all lanes and starts the thread that commits them.
fn start_log(
    data: DataDir,
    plan: &ServePlan,
    seats: &[LobbySeat],
    on_end: &OnServerEnd,
) -> Result<(Option<LogWriter>, LaneFeeds), ServeError> {
    let calls: Vec<DiskCall> =
        seats.iter().map(|seat| DiskCall::new(seat.bell().clone())).collect();
    let bells = calls.iter().cloned().map(|call| Box::new(move || call.call()) as Box<_>);
    let (log, feeds) = LogWriter::start(data, plan.writer(), bells.collect(), Arc::clone(on_end))?;
    Ok((Some(log), feeds.into_iter().zip(calls).collect()))
}

fn open_folder(path: &Path, plan: &ServePlan) -> Result<DataDir, ServeError> {
    let (dim, mode) = (plan.options.dim, plan.options.data_mode.unwrap_or_default());
    let opened = DataDir::open_with(path, DataOptions { dim, columns: plan.columns, mode });
    let data = opened.map_err(|error| {
        let text = error.to_string();
        // Errors about what was asked for name their option themselves.
        let named = text.starts_with("--");
        let text = if named { text } else { format!("--data {}: {text}", path.display()) };
        ServeError::Refused(text)
    })?;
    if data.was_migrated() {
        notice::warn(format_args!(
            "--data {}: the folder is of an earlier version; its lanes are in lane=K now, and our \
            own files in .slipring",
            path.display()
        ));
    }
    Ok(data)
}
