//! When sealed segments are merged: one at a time for all lanes of a committer, a step a round, and
//! no more than an eighth of its time.
//!
//! A step comes after the round's watermarks are published. Rows that come meanwhile wait for that
//! step and no longer. A lane that is closing, or whose disk refuses rows, isn't merged; what is
//! left over is small at the next start, and merged then.

use std::path::PathBuf;
use std::time::Instant;

use super::disk::Disk;
use super::error::LogError;
use super::lane_commit::LaneCommit;
use super::merge::{MergeStep, SegmentMerge};
use super::notes::LogNote;
use super::space::SPACE_KEPT_BYTES;

/// After a step there is none for this many times as long as it took.
const REST: u32 = 7;

/// The merging of a committer's lanes.
#[derive(Debug)]
pub(super) struct Merging<D: Disk> {
    /// The lane and its segment.
    at_work: Option<(usize, SegmentMerge<D>)>,
    rest_until: Option<Instant>,
    /// Whether it was said why a segment isn't merged, and none was merged since.
    is_said: bool,
}

impl<D: Disk> Merging<D> {
    pub fn new() -> Self {
        Self { at_work: None, rest_until: None, is_said: false }
    }

    /// One step, if one is due. Returns when the next one is.
    pub fn round(
        &mut self,
        lanes: &mut [LaneCommit<D>],
        clock: &dyn Fn() -> Instant,
    ) -> Option<Instant> {
        self.drop_closing(lanes);
        if !self.has_work(lanes) {
            return None;
        }
        let begun = clock();
        if let Some(rest_until) = self.rest_until.filter(|until| begun < *until) {
            return Some(rest_until);
        }
        self.work(lanes);
        let ended = clock();
        let rest_until = ended + REST * ended.saturating_duration_since(begun);
        self.rest_until = Some(rest_until);
        self.has_work(lanes).then_some(rest_until)
    }

    /// Forgets what is at work, without a call of the disk.
    pub fn fail(&mut self) {
        self.at_work = None;
    }

    fn has_work(&self, lanes: &[LaneCommit<D>]) -> bool {
        match &self.at_work {
            Some((lane, _)) => lanes[*lane].may_merge(),
            None => lanes.iter().any(is_next),
        }
    }

    fn drop_closing(&mut self, lanes: &[LaneCommit<D>]) {
        if let Some((lane, merge)) = self.at_work.take_if(|(lane, _)| lanes[*lane].is_closing()) {
            // The next start removes a copy that can't be removed now.
            let _is_left = merge.abandon(lanes[lane].log().disk());
        }
    }

    fn work(&mut self, lanes: &mut [LaneCommit<D>]) {
        let Some((lane, mut merge)) = self.at_work.take() else { return self.begin(lanes) };
        let lane_commit = &mut lanes[lane];
        let log = lane_commit.log();
        let bytes_left = merge.bytes_left();
        let stepped = match log.free_bytes() {
            Ok(free_bytes) if free_bytes < needed(bytes_left) => Err(format!(
                "{free_bytes} bytes are free, and the copy should leave as many as it takes, \
                 {bytes_left}; free space on this disk"
            )),
            // A disk that can't say it is asked by writing.
            _ => merge.step().map_err(|error| why_left(&error)),
        };
        match stepped {
            Ok(MergeStep::More) => self.at_work = Some((lane, merge)),
            Ok(MergeStep::Merged(merged)) => {
                self.is_said = false;
                lane_commit.note_merged(merge.small(), merged);
            }
            Ok(MergeStep::Gone) => {}
            Err(why) => {
                let path = merge.small().path.clone();
                let _is_left = merge.abandon(log.disk());
                self.leave(lane_commit, path, why);
            }
        }
    }

    fn begin(&mut self, lanes: &mut [LaneCommit<D>]) {
        let next = lanes.iter_mut().enumerate().find(|(_, lane)| is_next(lane));
        let Some((lane, lane_commit)) = next else { return };
        let Some(small) = lane_commit.take_small() else { return };
        let path = small.path.clone();
        match lane_commit.log().begin_merge(small) {
            Ok(merge) => self.at_work = merge.map(|merge| (lane, merge)),
            Err(error) => self.leave(lane_commit, path, why_left(&error)),
        }
    }

    fn leave(&mut self, lane: &mut LaneCommit<D>, path: PathBuf, why: String) {
        if !std::mem::replace(&mut self.is_said, true) {
            lane.note(LogNote::Unmerged { path, why });
        }
    }
}

fn is_next<D: Disk>(lane: &LaneCommit<D>) -> bool {
    lane.log().has_small() && lane.may_merge()
}

/// Bytes that must be free while this many aren't copied: as many are left when it is done, so that
/// merging doesn't take the room of rows.
fn needed(bytes: u64) -> u64 {
    bytes.saturating_mul(2).saturating_add(SPACE_KEPT_BYTES)
}

fn why_left(error: &LogError) -> String {
    match error {
        // The segment's own bytes are where they were.
        LogError::SyncFailed { source, .. } => {
            format!("the disk failed while syncing its copy: {source}; check the disk")
        }
        error => error.to_string(),
    }
}
