//! One lane's part of a round: its buffers are written, its segment is synced and sealed, and what
//! the disk says is turned into a state.
//!
//! ```text
//!   error that may pass     ──▶ state no-space or refusing, tried again after a pause
//!   failed sync             ──▶ segment read again, lost rows noted, the next record in a new one
//!   file removed            ──▶ its rows noted as lost, the next record in a new one
//!   end of the close's time ──▶ what isn't written is noted as lost
//! ```
//! Rows are noted as lost before the watermark passes them.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::buffer::RecordBuffer;
use super::disk::{BLOCK_BYTES, Disk, DiskFile};
use super::error::LogError;
use super::feed::{FeedNeeds, FeedShared};
use super::footer::SealedSegment;
use super::lane::LaneLog;
use super::notes::LogNote;
use super::progress::{FolderProgress, LogProgress, LogState};
use super::recover::RecoveredFile;
use super::segment::SegmentWriter;
use super::space::SpaceGate;

/// The pause before a refused call is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// How often readers of a live segment are shown how far it is durable, at most.
const SHOW_PAUSE: Duration = Duration::from_millis(100);

/// When rows are committed and segments sealed, at the latest.
#[derive(Clone, Copy, Debug)]
pub struct CommitTimes {
    /// Rows that nobody waits for are durable this long after they came.
    pub interval: Duration,
    /// A segment is sealed this long after its first record.
    pub segment_age: Duration,
}

/// A lane's log with its end of the feed.
pub(super) struct LaneCommit<D: Disk> {
    log: LaneLog<D>,
    feed: Arc<FeedShared>,
    progress: LogProgress,
    folder: FolderProgress,
    times: CommitTimes,
    buffers: usize,
    row_bytes: u64,
    /// Called when rows have become durable, or are lost.
    on_durable: Box<dyn Fn() + Send>,
    /// A buffer whose record isn't written whole yet.
    held: Option<RecordBuffer>,
    gate: SpaceGate,
    retry_at: Option<Instant>,
    /// What was said last about a refusal.
    complaint: Option<String>,
    /// Somebody waits for rows that are written and not synced.
    is_wanted: bool,
    is_seal_asked: bool,
    /// No sync before, because the last one was refused.
    sync_after: Option<Instant>,
    /// When the first row came that is written and not synced.
    oldest: Option<Instant>,
    /// Readers aren't shown anything before.
    show_after: Option<Instant>,
    /// The live segment, and when its first record was written.
    begun: Option<(u64, Instant)>,
    /// What sealing it takes.
    end_bytes: u64,
    /// Segments that were sealed since the last look.
    sealed: Vec<SealedSegment>,
    /// Segments that were merged since the last look.
    merged: Vec<SealedSegment>,
    is_dead: bool,
    is_over: bool,
    notes: Vec<LogNote>,
}

impl<D: Disk> LaneCommit<D> {
    pub fn new(
        log: LaneLog<D>,
        feed: Arc<FeedShared>,
        (progress, folder): (LogProgress, FolderProgress),
        times: CommitTimes,
        (buffers, row_bytes): (usize, u64),
        on_durable: Box<dyn Fn() + Send>,
    ) -> Self {
        Self {
            log,
            feed,
            progress,
            folder,
            times,
            buffers,
            row_bytes,
            on_durable,
            held: None,
            gate: SpaceGate::default(),
            retry_at: None,
            complaint: None,
            is_wanted: false,
            is_seal_asked: false,
            sync_after: None,
            oldest: None,
            show_after: None,
            begun: None,
            end_bytes: 0,
            sealed: Vec::new(),
            merged: Vec::new(),
            is_dead: false,
            is_over: false,
            notes: Vec::new(),
        }
    }

    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// What sealing the live segment takes of the disk.
    pub fn end_bytes(&self) -> u64 {
        self.end_bytes
    }

    pub fn take_sealed(&mut self) -> std::vec::Drain<'_, SealedSegment> {
        self.sealed.drain(..)
    }

    pub fn take_merged(&mut self) -> std::vec::Drain<'_, SealedSegment> {
        self.merged.drain(..)
    }

    pub fn log(&self) -> &LaneLog<D> {
        &self.log
    }

    pub fn take_small(&mut self) -> Option<SealedSegment> {
        self.log.take_small()
    }

    /// Whether a close was asked for, or is done.
    pub fn is_closing(&self) -> bool {
        self.is_over || self.feed.needs().close_until.is_some()
    }

    /// Whether its disk takes rows, and will: then segments may be merged.
    pub fn may_merge(&self) -> bool {
        !self.is_dead && self.complaint.is_none() && !self.is_closing()
    }

    pub fn note_merged(&mut self, small: &SealedSegment, merged: SealedSegment) {
        self.progress.note_merged(small, &merged);
        self.merged.push(merged);
    }

    pub fn take_notes(&mut self) -> std::vec::Drain<'_, LogNote> {
        self.notes.drain(..)
    }

    /// Writes the buffers that are full or due. At most all of them once: then other lanes have
    /// their turn. The disk must still have `ends_bytes` for them.
    pub fn write(&mut self, now: Instant, ends_bytes: u64) {
        if self.is_over || self.is_paused(now) {
            return;
        }
        self.retry_at = None;
        if !self.revive(now) {
            return;
        }
        self.is_seal_asked |= self.feed.take_seal_ask();
        let needs = self.feed.needs();
        let is_due = needs.is_wanted
            || self.is_seal_asked
            || needs.close_until.is_some()
            || needs.oldest.is_some_and(|oldest| oldest + self.times.interval <= now);
        self.oldest = earlier(self.oldest, needs.oldest);
        self.is_wanted |= needs.is_wanted;
        for _ in 0..self.buffers {
            self.held = self.held.take().or_else(|| self.feed.take_buffer(is_due));
            if !self.write_held(now, ends_bytes) {
                return;
            }
        }
    }

    /// Writes the held buffer, and whether there was one and that is done.
    fn write_held(&mut self, now: Instant, ends_bytes: u64) -> bool {
        let is_new = self.held.as_ref().is_some_and(|held| held.record().is_none());
        if is_new && self.log.is_full() && !self.seal(now) || !self.has_space(now, ends_bytes) {
            return false;
        }
        let Some(held) = &mut self.held else { return false };
        match self.log.append(held) {
            Ok(()) => {
                self.held.take().into_iter().for_each(|held| self.recycle(held));
                self.note_segment(now);
                self.note_taken();
                true
            }
            Err(error) => {
                self.note_error(&error, now);
                false
            }
        }
    }

    fn recycle(&self, mut buffer: RecordBuffer) {
        buffer.clear();
        self.feed.give_back(buffer);
    }

    fn note_segment(&mut self, now: Instant) {
        let (segment, producers) = (self.log.segment(), self.log.producers().file_bytes());
        let blocks = |bytes: u64| bytes.next_multiple_of(BLOCK_BYTES as u64);
        self.end_bytes = segment.map_or(0, |s| blocks(s.end_bytes()) + blocks(producers));
        let first = segment.map(|segment| segment.first_sequence());
        self.progress.note_written(segment.is_some_and(|s| s.file().is_direct()));
        if self.begun.map(|(first, _)| first) != first {
            self.begun = first.map(|first| (first, now));
        }
    }

    fn forget_segment(&mut self) {
        self.begun = None;
        self.end_bytes = 0;
    }

    fn note_sealed(&mut self, sealed: impl IntoIterator<Item = SealedSegment>) {
        for sealed in sealed {
            self.progress.note_sealed(&sealed);
            self.sealed.push(sealed);
        }
    }

    /// Whether the disk has room for the held record, the end of its segment, and those of others.
    fn has_space(&mut self, now: Instant, ends_bytes: u64) -> bool {
        let Some(buffer) = &self.held else { return false };
        let record_bytes = match buffer.record() {
            Some(record) => record.len() as u64,
            None => buffer.rows() as u64 * self.row_bytes + (16 << 10),
        };
        let end_bytes = self.end_bytes.max(BLOCK_BYTES as u64) + ends_bytes;
        // A disk that can't say it is asked by writing.
        let Ok(free_bytes) = self.log.free_bytes() else { return true };
        self.folder.note_free(free_bytes);
        let fits = self.gate.allows(free_bytes, record_bytes, end_bytes);
        if !fits {
            let why = format!(
                "the disk is full: it has {free_bytes} bytes left, and some are kept for the end \
                 of a segment; free space on this disk"
            );
            self.refuse(LogState::NoSpace, why, now);
        }
        fits
    }

    /// Whether this lane has something that must be synced now.
    pub fn is_sync_due(&self, now: Instant) -> bool {
        self.sync_at().is_some_and(|at| at <= now)
    }

    /// When something must be synced.
    fn sync_at(&self) -> Option<Instant> {
        if self.is_over || self.is_dead || !self.can_sync() {
            return None;
        }
        let oldest = self.oldest?;
        let at = if self.is_wanted { oldest } else { oldest + self.times.interval };
        Some(self.sync_after.map_or(at, |after| after.max(at)))
    }

    /// Whether a sync would make rows durable. A segment that is being sealed is synced by that.
    fn can_sync(&self) -> bool {
        self.is_written_unsynced() && !self.log.segment().is_some_and(SegmentWriter::is_ending)
    }

    fn is_written_unsynced(&self) -> bool {
        self.log.segment().is_some_and(|segment| segment.written() != segment.durable())
    }

    /// Makes durable what is written.
    pub fn sync(&mut self, clock: &dyn Fn() -> Instant) {
        let started = clock();
        let is_paused = self.sync_after.is_some_and(|after| started < after);
        if self.is_over || self.is_dead || is_paused {
            return;
        }
        let Some(round) = self.log.begin_sync() else { return };
        match self.check_there(started) {
            Some(true) => {}
            Some(false) => return,
            None => return self.sync_after = Some(started + RETRY),
        }
        let outcome = self.log.end_sync(round.run());
        let now = clock();
        self.progress.note_sync(now.saturating_duration_since(started));
        match outcome {
            Ok(()) => self.publish(),
            Err(error) => self.note_error(&error, now),
        }
    }

    /// Publishes the watermark, and wakes who waits for it.
    fn publish(&mut self) {
        self.progress.note_durable(self.log.durable_through());
        (self.on_durable)();
        if !self.is_written_unsynced() && self.held.is_none() {
            self.oldest = None;
            self.is_wanted = false;
            self.note_taken();
        }
    }

    /// Seals the segment if it is full, old enough, or if somebody has asked. Closes the log if
    /// that was asked for and all is written.
    pub fn finish_round(&mut self, now: Instant) {
        if self.is_over {
            return;
        }
        self.show_durable(now);
        let needs = self.feed.needs();
        if let Some(until) = needs.close_until {
            return self.close(&needs, until, now);
        }
        if self.is_paused(now) || self.is_dead {
            return;
        }
        let is_old = self.begun.is_some_and(|(_, begun)| begun + self.times.segment_age <= now);
        let is_due = self.is_seal_asked || is_old || self.log.is_full();
        if is_due && self.held.is_none() && self.seal(now) {
            self.is_seal_asked = false;
        }
    }

    /// Shows readers how far the live segment is durable. After the acknowledgements, and not for
    /// each sync.
    fn show_durable(&mut self, now: Instant) {
        if self.log.has_unshown() && self.show_after.is_none_or(|after| after <= now) {
            self.log.show_durable();
            self.show_after = Some(now + SHOW_PAUSE);
        }
    }

    /// Seals the live segment, and whether there is none now.
    fn seal(&mut self, now: Instant) -> bool {
        if self.log.segment().is_none() {
            return true;
        }
        match self.check_there(now) {
            Some(true) => {}
            Some(false) => return true,
            None => return false,
        }
        match self.log.seal() {
            Ok(sealed) => {
                self.note_sealed(sealed);
                self.forget_segment();
                self.publish();
                true
            }
            Err(error) => {
                self.note_error(&error, now);
                false
            }
        }
    }

    fn close(&mut self, needs: &FeedNeeds, until: Instant, now: Instant) {
        let is_late = now >= until;
        // A segment that can be sealed ends what the disk refused, but not why rows are missing.
        let refusal = self.complaint.clone();
        if is_late {
            self.give_up();
        } else if self.is_paused(now) || !needs.is_empty || self.held.is_some() {
            return;
        }
        if !self.revive(now) && !is_late {
            return;
        }
        let is_sealed = self.seal(now) && !self.is_over;
        let is_whole = self.log.durable_through() >= self.progress.figures().appended_through;
        let closed = match is_sealed && is_whole {
            true => self.log.close().map(drop).map_err(|error| error.to_string()),
            // Rows that weren't placed have sequences too. So the log doesn't count as closed: then
            // the next start leaves a gap.
            false => Err(self.why_late(refusal)),
        };
        match closed {
            Ok(()) => self.end(Ok(())),
            Err(why) if is_late => self.end(Err(why)),
            Err(_) if self.retry_at.is_some() || self.is_over => {}
            Err(why) => self.refuse(LogState::Refusing, why, now),
        }
    }

    /// Why a close leaves rows unwritten: what the disk refused last, or that it was slow.
    fn why_late(&self, refusal: Option<String>) -> String {
        let appended = self.progress.figures().appended_through;
        let missing = appended.saturating_sub(self.log.durable_through());
        match self.complaint.clone().or(refusal) {
            Some(why) if missing == 0 => {
                format!("{why}; all accepted vectors are stored, and the next start seals them")
            }
            Some(why) => format!(
                "{why}; {missing} accepted vectors aren't stored: put that right before a stop"
            ),
            None => format!(
                "the disk was too slow for the time of the stop; {missing} accepted vectors \
                 aren't stored: give a stop more time (--drain)"
            ),
        }
    }

    /// The time of a close is over: what isn't written stays unwritten.
    fn give_up(&mut self) {
        self.held = None;
        while self.feed.take_buffer(true).is_some() {}
    }

    fn end(&mut self, end: Result<(), String>) {
        let left = self.log.segment().map_or(0, |segment| {
            segment.durable().next_sequence.saturating_sub(segment.first_sequence())
        });
        self.progress.note_left_open(left);
        let appended = self.progress.figures().appended_through;
        self.progress.note_lost(self.progress.durable_through()..appended);
        self.progress.note_durable(appended);
        self.is_over = true;
        if let Err(why) = &end {
            self.notes.retain(|note| *note != LogNote::TakesAgain);
            self.note(LogNote::Failed(why.clone()));
        }
        self.feed.end(end);
        (self.on_durable)();
    }

    /// Ends the log for good, without another call of the disk.
    pub fn fail(&mut self, why: &str) {
        if !self.is_over {
            self.end(Err(why.to_owned()));
        }
    }

    /// When this lane has something to do again, if nobody calls before.
    pub fn next_due(&self) -> Option<Instant> {
        if self.is_over {
            return None;
        }
        let needs = self.feed.needs();
        if let Some(retry) = self.retry_at {
            return earlier(Some(retry), earlier(self.sync_at(), needs.close_until));
        }
        let commit = needs.oldest.map(|oldest| oldest + self.times.interval);
        let commit = earlier(commit, self.sync_at());
        let age = self.begun.map(|(_, begun)| begun + self.times.segment_age);
        let show = self.show_after.filter(|_| self.log.has_unshown());
        earlier(earlier(commit, show), earlier(age, needs.close_until))
    }

    /// Whether buffers are waiting that this round has left to the next one.
    pub fn has_more(&self, now: Instant) -> bool {
        let needs = self.feed.needs();
        let has_more = needs.is_full || needs.is_wanted || needs.close_until.is_some();
        !self.is_over && has_more && !self.is_paused(now)
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|retry| now < retry)
    }

    /// After a failed sync: reads the segment again. Whether the log takes records.
    fn revive(&mut self, now: Instant) -> bool {
        if !self.is_dead {
            return true;
        }
        match self.log.replace_dead() {
            Ok(file) => {
                self.is_dead = false;
                self.forget_segment();
                if let Some(file) = file {
                    self.note_replaced(&file);
                }
                true
            }
            Err(error) => {
                self.refuse_for(&error, now);
                false
            }
        }
    }

    fn note_replaced(&mut self, file: &RecoveredFile) {
        self.note_sealed(file.sealed.iter().cloned());
        let (mut from, end) = (self.progress.durable_through(), self.log.next_sequence());
        let mut lost = 0;
        for sealed in &file.sealed {
            lost += self.lose(from..sealed.first_sequence.min(end));
            from = from.max(sealed.next_sequence);
        }
        lost += self.lose(from..end);
        self.note(LogNote::Replaced { file: file.to_string(), lost });
        if let Some(held) = self.held.take_if(|held| held.record().is_some()) {
            self.recycle(held);
        }
        self.progress.note_durable(end);
        self.publish();
    }

    fn lose(&mut self, rows: Range<u64>) -> u64 {
        let lost = rows.end.saturating_sub(rows.start);
        self.progress.note_lost(rows);
        lost
    }

    /// Whether the live segment's file is where it should be. If somebody has removed it, the log
    /// goes on without it. None if the disk doesn't say.
    fn check_there(&mut self, now: Instant) -> Option<bool> {
        match self.log.drop_removed() {
            Ok(None) => Some(true),
            Ok(Some((path, rows))) => {
                self.lose(rows.clone());
                self.note(LogNote::Removed { path, rows: rows.end - rows.start });
                if let Some(held) = self.held.take_if(|held| held.record().is_some()) {
                    self.recycle(held);
                }
                self.forget_segment();
                self.progress.note_durable(rows.end);
                self.publish();
                Some(false)
            }
            Err(error) => {
                self.refuse_for(&error, now);
                None
            }
        }
    }

    fn note_error(&mut self, error: &LogError, now: Instant) {
        match error {
            LogError::SyncFailed { .. } => {
                self.is_dead = true;
                self.note(LogNote::DiskFailed(error.to_string()));
                self.retry_at = None;
                self.revive(now);
            }
            error if error.may_retry() => self.refuse_for(error, now),
            error => self.fail(&error.to_string()),
        }
    }

    fn refuse_for(&mut self, error: &LogError, now: Instant) {
        let is_full = error.is_no_space();
        if is_full {
            self.gate.shut();
        }
        let state = if is_full { LogState::NoSpace } else { LogState::Refusing };
        self.refuse(state, error.to_string(), now);
    }

    fn refuse(&mut self, state: LogState, why: String, now: Instant) {
        self.progress.set_state(state);
        self.retry_at = Some(now + RETRY);
        // The count of free bytes changes all the time.
        if self.complaint.is_none() {
            self.note(LogNote::Refused(why.clone()));
        }
        self.complaint = Some(why);
    }

    fn note_taken(&mut self) {
        self.retry_at = None;
        if self.complaint.take().is_some() {
            self.progress.set_state(LogState::Open);
            self.note(LogNote::TakesAgain);
        }
    }

    pub fn note(&mut self, note: LogNote) {
        self.notes.push(note);
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
