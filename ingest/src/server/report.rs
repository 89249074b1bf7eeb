//! The reports of the service: each lane's figures while it runs (`--report-every`), and the totals
//! when it stops. The totals include the sizes that would have sufficed for each lane's pool. Those
//! follow from the bursts seen so far and don't predict the next ones.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::lane_thread::LaneEnd;
use super::options::ServeError;
use super::writer::WriterEnd;
use crate::io::{ClassUse, Counter, Counts, IoFigures, IoWatch, PoolUse};
use crate::log::{FolderProgress, LogFigures, LogProgress};
use crate::notice;
use crate::units::{RoundedSize, Size, THREAD_FIX};

/// The sums over all lanes.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// The counters of the IO threads.
    pub counts: Counts,
    /// Vectors in sealed segments; with a null sink, vectors counted.
    pub vectors_in_segments: u64,
    /// Sealed segments.
    pub segments: u64,
    /// Bytes of the sealed segments.
    pub segment_bytes: u64,
    /// Old segments that were removed.
    pub removed_segments: u64,
    /// Vectors that are on the disk in segments that couldn't be sealed; the next start seals them.
    pub vectors_left_open: u64,
    /// Connections still open at the deadline.
    pub connections_left: usize,
    /// Why lanes or sinks failed.
    pub failures: Vec<String>,
    /// Stages that hadn't ended by the deadline.
    pub late: Vec<String>,
    /// By lane, how much of its pool was used, and which sizes would have sufficed.
    pub pools: Vec<(usize, PoolUse)>,
    /// By lane, how often its class pool had an output or a carry buffer ready.
    pub classes: Vec<(usize, ClassUse)>,
    /// By lane, rates, shares of time and latencies from start to stop.
    pub figures: Vec<(usize, IoFigures)>,
}

impl Totals {
    pub(super) fn add(&mut self, number: usize, end: &LaneEnd) {
        self.counts.add(&end.io.counts);
        self.vectors_in_segments += end.sink.totals.rows;
        self.segments += end.sink.totals.segments;
        self.segment_bytes += end.sink.totals.bytes;
        self.vectors_left_open += end.sink.totals.left_open_rows;
        self.connections_left += end.io.left;
        self.pools.extend(end.io.pool.map(|pool| (number, pool)));
        self.classes.extend(end.io.classes.clone().map(|classes| (number, classes)));
        // A sink's failure may also be the lane's failure; it is reported once.
        for failure in end
            .io
            .failure
            .iter()
            .chain(end.sink.error.iter().filter(|&e| end.io.failure.as_ref() != Some(e)))
        {
            self.failures.push(format!("lane {number}: {failure}"));
        }
        self.late.extend(end.late.iter().map(|stage| format!("lane {number}: {stage}")));
    }

    /// Adds how the log has ended, and says what is on the disk now: a lane that didn't wait for
    /// its sink knew less.
    pub(super) fn add_log(&mut self, end: &WriterEnd, logs: &[LogProgress]) {
        let figures: Vec<LogFigures> = logs.iter().map(LogProgress::figures).collect();
        self.vectors_in_segments = figures.iter().map(|log| log.sealed_rows).sum();
        self.segments = figures.iter().map(|log| log.sealed_segments).sum();
        self.segment_bytes = figures.iter().map(|log| log.sealed_bytes).sum();
        self.vectors_left_open = figures.iter().map(|log| log.left_open_rows).sum();
        self.failures.extend(end.failures.iter().cloned());
        self.late.extend(end.is_late.then(|| "the log".to_owned()));
    }

    /// Vectors that were answered and aren't on the disk.
    #[must_use]
    pub fn vectors_missing(&self) -> u64 {
        let stored = self.vectors_in_segments + self.vectors_left_open;
        self.counts[Counter::VectorsAnswered].saturating_sub(stored)
    }

    /// Whether everything that was answered is stored. Clients that don't read their answers don't
    /// change that, see [`Totals::connections_left`]; nor do stages that had nothing left to store
    /// when the time was over.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.failures.is_empty() && self.vectors_missing() == 0
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "totals {} vectors_in_segments={} segments={} segment_bytes={}",
            self.counts, self.vectors_in_segments, self.segments, self.segment_bytes
        )?;
        if self.removed_segments > 0 {
            write!(f, " removed_segments={}", self.removed_segments)?;
        }
        if self.vectors_left_open > 0 {
            write!(f, " vectors_left_open={}", self.vectors_left_open)?;
        }
        if self.connections_left > 0 {
            write!(f, " connections_left={}", self.connections_left)?;
        }
        for (lane, pool) in &self.pools {
            write!(f, "\nlane {lane}: {}", Hint(pool))?;
        }
        for (lane, classes) in &self.classes {
            write!(f, "\nlane {lane}: {classes}")?;
        }
        for (lane, figures) in &self.figures {
            figures.to_string().lines().try_for_each(|line| write!(f, "\nlane {lane}: {line}"))?;
        }
        for failure in &self.failures {
            write!(f, "\nfailed: {failure}")?;
        }
        for late in &self.late {
            write!(f, "\nlate: {late} hadn't ended by the deadline")?;
        }
        if self.vectors_missing() > 0 {
            write!(f, "\nmissing: {} answered vectors aren't on the disk", self.vectors_missing())?;
        }
        Ok(())
    }
}

/// The reporting thread. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Reporter {
    /// Nothing is ever sent. Dropping the sender ends the thread.
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Reports on these lanes, each time on the difference since the last report.
    pub(super) fn start(
        lanes: Arc<[IoWatch]>,
        logs: (Vec<LogProgress>, Option<FolderProgress>),
        every: Duration,
    ) -> Result<Self, ServeError> {
        let (over, is_over) = channel();
        let before: Vec<IoFigures> = lanes.iter().map(IoWatch::figures).collect();
        let thread = thread::Builder::new()
            .name("report".to_owned())
            .spawn(move || report(&lanes, &logs, before, every, &is_over))
            .map_err(|error| ServeError::io("--report-every", &error, THREAD_FIX))?;
        Ok(Self { over: Some(over), thread: Some(thread) })
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.over = None;
        // Its panic has been reported.
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

fn report(
    lanes: &[IoWatch],
    (logs, folder): &(Vec<LogProgress>, Option<FolderProgress>),
    mut before: Vec<IoFigures>,
    every: Duration,
    is_over: &Receiver<()>,
) {
    while is_over.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        let now: Vec<IoFigures> = lanes.iter().map(IoWatch::figures).collect();
        for (number, (now, before)) in now.iter().zip(&before).enumerate() {
            let lines = now.clone().since(before).to_string();
            lines.lines().for_each(|line| notice::info(format_args!("lane {number}: {line}")));
        }
        for (number, log) in logs.iter().enumerate() {
            notice::info(format_args!("lane {number}: log: {}", log.figures()));
        }
        if let Some(folder) = folder {
            notice::info(format_args!("data folder: {}", folder.figures()));
        }
        before = now;
    }
}

/// How much of a lane's pool was used, and which options would have sufficed.
pub(super) struct Hint<'a>(pub(super) &'a PoolUse);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolUse { stats, right_size } = self.0;
        write!(
            f,
            "high water {} of {}",
            RoundedSize(stats.high_water_bytes as u64),
            RoundedSize(stats.pool_bytes as u64)
        )?;
        let (pool, window) =
            (Size(right_size.pool_bytes as u64), Size(right_size.window_bytes as u64));
        if right_size.is_lower_bound {
            let times = stats.refused_pool;
            write!(
                f,
                ", full {times} times; clients waited, and only more than --pool {pool} would have \
                served without"
            )
        } else {
            write!(f, "; --pool {pool} --window {window} would have served")
        }
    }
}

#[cfg(test)]
mod tests {
    use slipring::ring::{RingOptions, RingPool};

    use super::*;

    fn used(slices: usize) -> PoolUse {
        let options =
            RingOptions { bytes: 4 << 20, max_slice_bytes: 1 << 10, ..RingOptions::default() };
        let mut pool =
            RingPool::new(&RingOptions { window_bytes: Some(1 << 20), ..options }).unwrap();
        let held: Vec<_> = (0..slices).filter_map(|_| pool.copy_in(&[1; 1 << 10]).ok()).collect();
        let pool = PoolUse { stats: pool.stats(), right_size: pool.right_size() };
        drop(held);
        pool
    }

    /// With so short a `--drain` that the stages haven't ended, the vectors decide.
    #[test]
    fn a_late_stage_alone_is_no_loss() {
        let late = vec!["lane 0: answer".to_owned(), "lane 0: sink".to_owned()];
        let mut totals = Totals { late, ..Totals::default() };
        assert!(totals.is_drained());
        assert!(totals.to_string().contains("late: lane 0: answer hadn't ended by the deadline"));
        totals.failures.push("lane 0: the sink's thread panicked".to_owned());
        assert!(!totals.is_drained());
    }

    #[test]
    fn a_hint_names_the_options_that_would_have_served() {
        let hint = Hint(&used(1200)).to_string();
        assert_eq!(
            hint,
            "high water 1.2 MiB of 4 MiB; --pool 2MiB --window 1MiB would have served"
        );
        let full = Hint(&used(5000)).to_string();
        assert!(full.starts_with("high water 4 MiB of 4 MiB, full 904 times; "), "{full}");
        assert!(full.contains("more than --pool 4MiB"), "{full}");
    }
}
