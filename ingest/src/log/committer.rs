//! Group commit: one committer writes and syncs the logs of all lanes on a file system.
//!
//! ```text
//!   write: buffers that are full, wanted or due     all lanes
//!   sync:  if anybody waits, or rows are too old    all lanes with unsynced bytes, one after the
//!          ▼ watermarks, bells                      other: they share a journal
//!   finish: seal what is full, old or asked for; remove a segment that has to go
//!   merge: a step of a sealed segment with small records
//! ```
//! What comes during a sync is the next round's: while somebody waits there is no timer.
//!
//! A round has no thread and no clock of its own, so that a simulation can drive it. Notes and
//! states are values; what follows from them is the owner's business.

use std::sync::Arc;
use std::time::Instant;

use super::disk::Disk;
use super::error::LogError;
use super::feed::{CommitCalls, FeedShared, LaneFeed};
use super::lane::LaneLog;
use super::lane_commit::{CommitTimes, LaneCommit};
use super::merging::Merging;
use super::notes::LogNote;
use super::progress::{FolderProgress, LogProgress};
use super::retention::{RetentionLimits, SealedFiles, SegmentKeeper};

/// The memory of a lane's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSizes {
    /// Buffers of a lane, at least 2: one fills while another is written.
    pub count: usize,
    /// Rows of each.
    pub rows: usize,
}

impl BufferSizes {
    /// The most requests of producers in a record.
    const MARKS_MAX: usize = 4096;

    /// Requests of producers that a buffer holds.
    #[must_use]
    pub fn marks(&self) -> usize {
        self.rows.min(Self::MARKS_MAX)
    }
}

/// Commits the logs of all lanes on a file system.
pub struct Committer<D: Disk> {
    lanes: Vec<LaneCommit<D>>,
    feeds: Vec<Arc<FeedShared>>,
    keeper: SegmentKeeper<D>,
    folder: FolderProgress,
    times: CommitTimes,
    calls: Arc<CommitCalls>,
    merging: Merging<D>,
}

impl<D: Disk> Committer<D> {
    /// A committer without lanes.
    #[must_use]
    pub fn new(times: CommitTimes) -> Self {
        let folder = FolderProgress::default();
        let keeper = SegmentKeeper::new(RetentionLimits::default(), Vec::new(), folder.clone());
        let (lanes, feeds, calls) = (Vec::new(), Vec::new(), Arc::default());
        Self { lanes, feeds, keeper, folder, times, calls, merging: Merging::new() }
    }

    /// Removes old segments from now on. The lanes of [`Committer::add_lane`] come first, in their
    /// order, then those that aren't served.
    pub fn retain(&mut self, limits: RetentionLimits, lanes: Vec<SealedFiles<D>>) {
        self.keeper = SegmentKeeper::new(limits, lanes, self.folder.clone());
    }

    /// The figures of the data folder.
    #[must_use]
    pub fn folder(&self) -> &FolderProgress {
        &self.folder
    }

    /// Takes a lane's log, and returns the feed of its rows. `on_durable` is called when rows have
    /// become durable, or are lost.
    ///
    /// # Errors
    /// Sizes out of their range.
    pub fn add_lane(
        &mut self,
        log: LaneLog<D>,
        sizes: BufferSizes,
        on_durable: Box<dyn Fn() + Send>,
    ) -> Result<LaneFeed, LogError> {
        super::buffer::check("buffers", sizes.count, 2, 16)?;
        let buffers: Result<Vec<_>, LogError> =
            (0..sizes.count).map(|_| log.buffer(sizes.rows, sizes.marks())).collect();
        let progress = LogProgress::new(log.next_sequence());
        let (vector_bytes, row_bytes) = log.row_bytes();
        if let Ok(free_bytes) = log.free_bytes() {
            self.folder.note_free(free_bytes);
        }
        let calls = Arc::clone(&self.calls);
        let (feed, shared) = LaneFeed::new(buffers?, vector_bytes, calls, progress.clone());
        let memory = (sizes.count, row_bytes);
        let of_feed = Arc::clone(&shared);
        let figures = (progress, self.folder.clone());
        let lane = LaneCommit::new(log, of_feed, figures, self.times, memory, on_durable);
        self.lanes.push(lane);
        self.feeds.push(shared);
        Ok(feed)
    }

    /// One round. Returns when the next is due; None if only a call makes it due.
    pub fn round(&mut self, clock: &dyn Fn() -> Instant) -> Option<Instant> {
        let now = clock();
        // What all segments need to be sealed, one lane's records must leave.
        let mut ends: u64 = self.lanes.iter().map(LaneCommit::end_bytes).sum();
        for lane in &mut self.lanes {
            ends -= lane.end_bytes();
            lane.write(now, ends);
            ends += lane.end_bytes();
        }
        if self.lanes.iter().any(|lane| lane.is_sync_due(now)) {
            self.lanes.iter_mut().for_each(|lane| lane.sync(clock));
        }
        let now = clock();
        self.lanes.iter_mut().for_each(|lane| lane.finish_round(now));
        let removes_more = self.remove_old(now);
        let merge_due = self.merging.round(&mut self.lanes, clock);
        if removes_more || self.lanes.iter().any(|lane| lane.has_more(now)) {
            return Some(now);
        }
        let due = self.lanes.iter().filter_map(LaneCommit::next_due);
        due.chain(self.keeper.next_due()).chain(merge_due).min()
    }

    /// Removes an old segment, if one has to go. Whether another one has to. A folder whose logs
    /// have ended may be somebody else's.
    fn remove_old(&mut self, now: Instant) -> bool {
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            lane.take_sealed().for_each(|sealed| self.keeper.note_sealed(number, &sealed, now));
            lane.take_merged().for_each(|merged| self.keeper.note_merged(number, &merged));
        }
        !self.is_over() && self.keeper.round(now)
    }

    /// What has happened since the last call: the number of the lane, in the order of
    /// [`Committer::add_lane`], and a note.
    pub fn take_notes(&mut self) -> Vec<(usize, LogNote)> {
        let lanes = self.lanes.iter_mut().enumerate();
        let of_lanes = lanes.flat_map(|(lane, l)| l.take_notes().map(move |note| (lane, note)));
        of_lanes.chain(self.keeper.take_notes()).collect()
    }

    /// Ends all logs without another call of the disk.
    pub fn fail(&mut self, why: &str) {
        self.merging.fail();
        self.lanes.iter_mut().for_each(|lane| lane.fail(why));
    }

    /// Whether all logs have ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.lanes.iter().all(LaneCommit::is_over)
    }

    /// What other threads ask of it.
    #[must_use]
    pub fn asks(&self) -> CommitAsks {
        CommitAsks { feeds: self.feeds.clone().into(), calls: Arc::clone(&self.calls) }
    }
}

/// What other threads ask of a committer.
#[derive(Clone, Debug)]
pub struct CommitAsks {
    feeds: Arc<[Arc<FeedShared>]>,
    calls: Arc<CommitCalls>,
}

impl CommitAsks {
    /// All live segments are to be sealed.
    pub fn seal(&self) {
        self.feeds.iter().for_each(|feed| feed.ask_seal());
    }

    /// All logs are to be closed by then. Those whose feed has asked already keep their time.
    pub fn close(&self, until: Instant) {
        self.feeds.iter().for_each(|feed| feed.ask_close(until));
    }

    /// All logs have ended without another call of the committer.
    pub fn abandon(&self, why: &str) {
        self.feeds.iter().for_each(|feed| feed.end(Err(why.to_owned())));
    }

    /// Returns once there is something to do, or at that time, and whether somebody has called.
    /// Only for the committer's thread.
    pub fn wait(&self, until: Option<Instant>) -> bool {
        self.calls.wait(until)
    }
}
