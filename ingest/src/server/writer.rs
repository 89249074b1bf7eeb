//! The log of a service: opens the logs of all lanes of its data folder, and runs the thread that
//! commits them.
//!
//! Before the service is ready, each lane's folders have taken a file, synced and removed it. While
//! it works, the folder's lock is looked at in each round: nothing is written to a folder that
//! somebody else may have.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::options::{DiskErrorWord, ServeError};
use crate::io::{clock, home_of};
use crate::log::{
    AlignedBytes, BLOCK_BYTES, BufferSizes, CommitAsks, CommitTimes, Committer, Disk, DiskFile,
    FolderProgress, LaneFeed, LaneLog, LogError, LogFolders, LogNote, LogOptions, LogProgress,
    ProducerLimits, ProducerTable, RealDisk, Recovery, RetentionLimits, RowShape, SPACE_KEPT_BYTES,
    SealedFiles, fix_of, random_epoch,
};
use crate::notice;
use crate::sink::{DataDir, LockLoss, SinkError};
use crate::units::THREAD_FIX;

/// How the logs of a service are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriterOptions {
    pub lanes: u32,
    pub segment_bytes: u64,
    pub buffers: BufferSizes,
    pub times: CommitTimes,
    pub producers: ProducerLimits,
    pub on_disk_error: DiskErrorWord,
    /// Whether records are written past the page cache.
    pub is_direct: bool,
    pub retention: RetentionLimits,
}

/// The thread that commits, as the server holds it.
#[derive(Debug)]
pub(super) struct LogWriter {
    asks: CommitAsks,
    progress: Vec<LogProgress>,
    folder: FolderProgress,
    outcome: Arc<WriterOutcome>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

/// What a lane gets of its log.
#[derive(Debug)]
pub(super) struct LaneLogEnd {
    pub feed: LaneFeed,
    /// The requests of its producers that all logs of the folder hold.
    pub known: ProducerTable,
}

/// What has become of the writer.
#[derive(Debug, Default)]
struct WriterOutcome {
    has_failed: AtomicBool,
    failures: Mutex<Vec<String>>,
}

impl WriterOutcome {
    fn fail(&self, why: String) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(why);
        self.has_failed.store(true, Ordering::Release);
    }
}

/// How the writer has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WriterEnd {
    pub failures: Vec<String>,
    pub is_late: bool,
}

impl LogWriter {
    /// Opens all logs of the folder, makes whole what a crash has left, and starts the thread.
    /// `bells[lane]` is called when the lane's log has got on; `on_end` when the service can't go
    /// on.
    pub(super) fn start(
        dir: DataDir,
        options: WriterOptions,
        bells: Vec<Box<dyn Fn() + Send>>,
        on_end: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<(Self, Vec<LaneLogEnd>), ServeError> {
        let mut committer = Committer::new(options.times);
        let mut feeds = Vec::new();
        let OpenedLogs { logs, known, sealed } = open_logs(&dir, options)?;
        for ((log, known), on_durable) in logs.into_iter().zip(known).zip(bells) {
            let lane = feeds.len();
            let refused = |error: LogError| ServeError::Refused(format!("lane {lane}: {error}"));
            let feed = committer.add_lane(log, options.buffers, on_durable).map_err(refused)?;
            feeds.push(LaneLogEnd { feed, known });
        }
        committer.retain(options.retention, sealed);
        let folder = committer.folder().clone();
        let progress = feeds.iter().map(|end| end.feed.progress().clone()).collect();
        let (asks, outcome) = (committer.asks(), Arc::new(WriterOutcome::default()));
        let (alive, ended) = sync_channel(0);
        let thread = WriterThread {
            committer,
            dir,
            is_strict: options.on_disk_error == DiskErrorWord::Stop,
            outcome: Arc::clone(&outcome),
            guard: WriterGuard { asks: asks.clone(), on_end, _alive: alive },
        };
        thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || thread.run())
            .map_err(|error| ServeError::io("the log's thread", &error, THREAD_FIX))?;
        Ok((Self { asks, progress, folder, outcome, ended }, feeds))
    }

    /// How far each lane's log is.
    pub(super) fn progress(&self) -> &[LogProgress] {
        &self.progress
    }

    /// The figures of the data folder.
    pub(super) fn folder(&self) -> &FolderProgress {
        &self.folder
    }

    /// Seals all live segments.
    pub(super) fn seal(&self) {
        self.asks.seal();
    }

    /// Whether the service can't go on.
    pub(super) fn has_failed(&self) -> bool {
        self.outcome.has_failed.load(Ordering::Acquire)
    }

    /// Closes all logs and waits for that until a while after `until`.
    pub(super) fn stop(self, until: Instant) -> WriterEnd {
        const GRACE: Duration = Duration::from_secs(1);
        self.asks.close(until);
        let left = until.saturating_duration_since(Instant::now()) + GRACE;
        // Nothing is ever sent.
        let waited = self.ended.recv_timeout(left);
        let failures = self.outcome.failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_late = waited == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        WriterEnd { failures, is_late }
    }
}

struct WriterThread {
    committer: Committer<RealDisk>,
    dir: DataDir,
    is_strict: bool,
    outcome: Arc<WriterOutcome>,
    /// The last field: dropped when the logs are.
    guard: WriterGuard,
}

/// Ends the feeds even if the thread panics, so that nobody waits for it.
struct WriterGuard {
    asks: CommitAsks,
    on_end: Arc<dyn Fn() + Send + Sync>,
    _alive: SyncSender<()>,
}

impl Drop for WriterGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            self.asks.abandon("the log's thread panicked");
            (self.on_end)();
        }
    }
}

impl WriterThread {
    fn run(mut self) {
        while !self.committer.is_over() {
            self.check_lock();
            let due = self.committer.round(&Instant::now);
            for (lane, note) in self.committer.take_notes() {
                self.say(lane, &note);
            }
            if !self.committer.is_over() {
                self.guard.asks.wait(due);
            }
        }
    }

    fn check_lock(&mut self) {
        match self.dir.check_lock() {
            Ok(()) => {}
            Err(loss @ LockLoss::Restored { .. }) => notice::warn(loss),
            Err(loss) => {
                let why = loss.to_string();
                notice::error(&why);
                self.committer.fail(&why);
                self.fail(why);
            }
        }
    }

    fn say(&self, lane: usize, note: &LogNote) {
        let text = format!("lane {lane}: {note}");
        match note {
            LogNote::TakesAgain => notice::info(text),
            LogNote::Failed(_) => {
                notice::error(text);
                // The lane's sink says why when it is closed.
                self.outcome.has_failed.store(true, Ordering::Release);
                (self.guard.on_end)();
            }
            LogNote::DiskFailed(_) if self.is_strict => {
                notice::error(&text);
                self.fail(text);
            }
            LogNote::Refused(_) => {
                notice::warn(text);
                self.make_folders(lane as u32);
            }
            _ => notice::warn(text),
        }
    }

    /// Makes the folders of a lane again if somebody has removed them: the next try finds them.
    fn make_folders(&self, lane: u32) {
        if let Err(error) = self.dir.lane_folders(lane) {
            notice::warn(format_args!("lane {lane}: {error}"));
        }
    }

    fn fail(&self, why: String) {
        self.outcome.fail(why);
        (self.guard.on_end)();
    }
}

/// The logs of a data folder.
struct OpenedLogs {
    /// Of the lanes that are served.
    logs: Vec<LaneLog<RealDisk>>,
    /// For each of these lanes, what is known of its producers.
    known: Vec<ProducerTable>,
    /// The sealed segments of all lanes, if old ones are removed.
    sealed: Vec<SealedFiles<RealDisk>>,
}

/// Opens the logs of the service's lanes. Other lanes of the folder are made whole and closed: what
/// they know of producers goes to the lanes that have these now.
fn open_logs(dir: &DataDir, options: WriterOptions) -> Result<OpenedLogs, ServeError> {
    let refused =
        |lane: u32| move |error: SinkError| ServeError::Refused(format!("lane {lane}: {error}"));
    let found = dir.lanes().map_err(|error| ServeError::Refused(format!("--data {error}")))?;
    let lanes: BTreeSet<u32> = found.into_iter().chain(0..options.lanes).collect();
    let disk = RealDisk::new(dir.mode()).direct_writes(options.is_direct);
    let epoch = random_epoch();
    let shape = RowShape { dim: dir.dim(), columns: dir.columns() };
    let now = (Instant::now(), SystemTime::now());
    let (mut logs, mut sealed) = (Vec::new(), Vec::new());
    let mut known: Vec<_> =
        (0..options.lanes).map(|_| ProducerTable::new(options.producers)).collect();
    let heard = clock().now_ns();
    for lane in lanes {
        let folders = dir.lane_folders(lane).map_err(refused(lane))?;
        probe(disk, &folders, lane, options.is_direct)?;
        let segment_bytes = options.segment_bytes;
        let log_options = LogOptions { segment_bytes, ..LogOptions::new(shape, lane, epoch) };
        let opened = LaneLog::open(disk, folders.clone(), log_options);
        let (mut log, recovery) = opened.map_err(SinkError::from).map_err(refused(lane))?;
        say_recovered(lane, &recovery);
        for (table, home) in known.iter_mut().zip(0..) {
            let is_here = |producer| home_of(producer, options.lanes) == home;
            table.absorb(log.producers(), is_here, heard);
        }
        let is_served = lane < options.lanes;
        if options.retention.is_set() {
            let found = SealedFiles::found(disk, folders, (lane, is_served), &recovery, now);
            sealed.push(found.map_err(SinkError::from).map_err(refused(lane))?);
        }
        if is_served {
            logs.push(log);
        } else {
            log.close().map_err(SinkError::from).map_err(refused(lane))?;
        }
    }
    Ok(OpenedLogs { logs, known, sealed })
}

fn say_recovered(lane: u32, recovery: &Recovery) {
    for file in &recovery.files {
        notice::warn(format_args!("lane {lane}: after a crash: {file}"));
    }
    if recovery.producers_lost {
        notice::warn(format_args!(
            "lane {lane}: the file that says which requests of producers are stored is damaged: a \
             producer that isn't in the live segment is refused as unknown, unless it begins anew"
        ));
    }
    if !recovery.was_clean {
        notice::warn(format_args!(
            "lane {lane}: the log wasn't closed when it was last written; its sequences go on at {}",
            recovery.next_sequence
        ));
    }
}

/// Finds out before the service is ready whether a lane's files can be written.
fn probe(
    disk: RealDisk,
    folders: &LogFolders,
    lane: u32,
    is_direct: bool,
) -> Result<(), ServeError> {
    let refused = |what: String, error: &io::Error| {
        ServeError::Refused(format!(
            "lane {lane}: {what}: {error}{}; or name another folder with --data",
            fix_of(error)
        ))
    };
    for folder in [&folders.open, &folders.complete] {
        let path = folder.join(".probe");
        let tried = || {
            let _left_by_a_crash = disk.remove(&path);
            let file = disk.create_new(&path)?;
            let block = AlignedBytes::zeroed(BLOCK_BYTES);
            let written = file.write_at(&block, 0).and_then(|_| file.sync_data());
            disk.remove(&path).and(written)?;
            Ok(file.is_direct())
        };
        let was_direct =
            tried().map_err(|error| refused(format!("can't write {}", path.display()), &error))?;
        if is_direct && !was_direct {
            return Err(ServeError::Refused(format!(
                "--direct yes: lane {lane}: the file system of {} doesn't write blocks of \
                 {BLOCK_BYTES} bytes past the page cache; say --direct auto or no, or name \
                 another folder with --data",
                folder.display()
            )));
        }
    }
    match disk.free_bytes(&folders.open) {
        Ok(free) if free < SPACE_KEPT_BYTES + 4096 => {
            let what = format!("{free} bytes are free for {}", folders.open.display());
            Err(refused(what, &io::ErrorKind::StorageFull.into()))
        }
        _ => Ok(()),
    }
}
