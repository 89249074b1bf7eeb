//! What the thread of the lane does: reserve, claim, push, publish, poll, end; and what it does
//! with its own bytes.

use std::mem::ManuallyDrop;
use std::time::Duration;

use super::draw::{And, Into, MAX, Next, Op, Turn};
use super::model::{CHUNK, Ending, Leaky, Model};
use super::payload::{Tag, assert_shows, fill};
use super::remove_any;
use crate::pipeline::{Lane, LaneGrant, PanicPolicy, PushRefusal, Reclaim, Refused};
use crate::ring::{Full, InFlight, Sequence};

impl Model {
    /// Why nothing is accepted.
    fn shut(&self) -> Option<Refused> {
        let first = self.failure.as_ref().map(|failure| Refused::Poisoned(failure.index));
        first.filter(|_| self.is_poisoned()).or(self.closing.then_some(Refused::Closed))
    }

    /// What is pushed is published now.
    fn flushed(&mut self) {
        self.published = self.pushed();
    }

    /// Whether there is a free slot. If not, what is pushed is published.
    fn room(&mut self) -> Result<(), Refused> {
        if let Some(why) = self.shut() {
            return Err(why);
        }
        if self.pushed() - self.reclaimed < self.shape.slots as i64 {
            return Ok(());
        }
        if self.consumed() > self.reclaimed {
            self.reclaimed = self.consumed();
            return Ok(());
        }
        self.refused_ring += 1;
        self.flushed();
        Err(Refused::Ring { slots: self.shape.slots })
    }

    /// The lane has looked for room for this many bytes. It may have reclaimed, and if there is
    /// none, it has published what was pushed.
    fn made_room(&mut self, lane: &Lane<Tag>, asked: usize, refused: Option<Refused>) {
        let stats = lane.stats();
        let reclaimed = stats.reclaimed as i64 - 1;
        assert!(
            (self.reclaimed..=self.consumed()).contains(&reclaimed),
            "{reclaimed} were reclaimed"
        );
        self.reclaimed = reclaimed;
        match refused {
            None => return assert!(asked <= MAX),
            Some(Refused::Pool(Full::TooLarge { asked_bytes, max_slice_bytes })) => {
                assert!(asked > MAX && (asked_bytes, max_slice_bytes) == (asked, MAX))
            }
            Some(Refused::Pool(Full::Pool { .. })) => {
                assert!(asked <= MAX && self.reclaimed == self.consumed());
                let pool = stats.pool;
                let is_full = pool.in_use_bytes == pool.pool_bytes;
                assert!(
                    is_full || self.shape.reclaim == Reclaim::OnOverwrite,
                    "{pool:?} of {}",
                    self.shape.chunks * CHUNK
                );
            }
            Some(other) => panic!("{other}"),
        }
        self.flushed();
    }

    pub(super) fn reserve(
        &mut self,
        len: usize,
        all_left: bool,
        used: usize,
        into: Into,
        meanwhile: Option<Box<Op>>,
    ) {
        let Some(mut lane) = self.lane.take() else { return };
        let (shut, serial) = (self.shut(), self.next_serial());
        let asked = if all_left { len.max(1) } else { len };
        let reserved = if all_left { lane.reserve_rest(len) } else { lane.reserve(len) };
        let mut refused = None;
        match reserved {
            Err(full) => refused = Some(full),
            Ok(mut grant) => {
                assert!(
                    shut.is_none() && (grant.len() == len || (all_left && grant.len() >= asked))
                );
                meanwhile.into_iter().for_each(|op| self.apply(*op));
                if used.is_multiple_of(4) {
                    grant.truncate(used / 4);
                }
                fill(&mut grant, serial);
                self.use_grant(grant, serial, used, into);
            }
        }
        match shut {
            Some(_) => assert_eq!(refused, shut),
            None => self.made_room(&lane, asked, refused),
        }
        self.lane = Some(lane);
    }

    fn use_grant(&mut self, grant: LaneGrant<'_>, serial: u64, used: usize, into: Into) {
        let (len, n) = (grant.len(), used % (grant.len() + 1));
        match into {
            Into::Slice if n == len => self.slices.push((grant.commit_all(), serial, n)),
            Into::Slice => {
                self.slices.push((grant.commit(n).expect("no more than was reserved"), serial, n))
            }
            Into::Token => self.tokens.push((grant.into_token(), serial, len)),
            Into::Received => self.received.push((grant.received(n).expect("it fits"), serial, n)),
            Into::TooLong => {
                let refused = grant.commit(len + 1).expect_err("more than was reserved");
                let refused = refused.back.received(len + 1).expect_err("more than was reserved");
                assert_eq!((refused.asked_bytes, refused.available_bytes), (len + 1, len));
                self.slices.push((refused.back.commit_all(), serial, len));
            }
            Into::Dropped => drop(grant),
            Into::Leaked => _ = ManuallyDrop::new(grant),
        }
    }

    pub(super) fn claim(&mut self, len: usize, used: usize, and: And, meanwhile: Option<Box<Op>>) {
        let Some(mut lane) = self.lane.take() else { return };
        let (room, serial, sequence) = (self.room(), self.next_serial(), self.pushed() + 1);
        let mut refused = None;
        match lane.claim(len) {
            Err(full) => refused = Some(full),
            Ok(mut claim) => {
                assert!(room.is_ok() && claim.len() == len);
                meanwhile.into_iter().for_each(|op| self.apply(*op));
                claim.truncate(used);
                fill(&mut claim, serial);
                assert_shows(&claim, serial, len.min(used));
                let tag = Tag { sequence, serial, len: len.min(used) };
                let pushed = match and {
                    And::Drop => return self.unclaimed(lane, len),
                    And::Leak => {
                        let _leaked = ManuallyDrop::new(claim);
                        return self.unclaimed(lane, len);
                    }
                    And::Push => claim.push(tag),
                    And::Publish => claim.publish(tag),
                };
                self.claimed(tag, pushed, matches!(and, And::Publish));
            }
        }
        match room {
            Err(_) => assert_eq!(refused, room.err()),
            Ok(()) => self.made_room(&lane, len, refused),
        }
        self.lane = Some(lane);
    }

    fn unclaimed(&mut self, lane: Leaky, len: usize) {
        self.made_room(&lane, len, None);
        self.lane = Some(lane);
    }

    /// A claim was pushed, whatever has happened to the lane since.
    fn claimed(&mut self, tag: Tag, pushed: Sequence, publish: bool) {
        assert_eq!(pushed, tag.sequence);
        self.events.push(tag);
        if publish {
            self.flushed();
        }
    }

    pub(super) fn push_slice(&mut self, pick: usize, publish: bool) {
        let Some(mut lane) = self.lane.take() else { return };
        if let Some((slice, serial, len)) = remove_any(&mut self.slices, pick) {
            let (room, tag) = (self.room(), Tag { sequence: self.pushed() + 1, serial, len });
            match if publish { lane.publish(slice, tag) } else { lane.push(slice, tag) } {
                Ok(sequence) => {
                    assert!(room.is_ok() && sequence == tag.sequence);
                    self.events.push(tag);
                    if publish {
                        self.flushed();
                    }
                }
                Err(refused) => {
                    assert_eq!(
                        (Err(refused.why), refused.meta),
                        (room.map_err(PushRefusal::Refused), tag)
                    );
                    self.slices.push((refused.slice.expect("it is returned"), serial, len));
                }
            }
        }
        self.lane = Some(lane);
    }

    pub(super) fn push_foreign(&mut self) {
        let Some(mut lane) = self.lane.take() else { return };
        let (room, slice) =
            (self.room(), self.foreign.copy_in(b"other").expect("a pool of its own"));
        let refused = lane.push(slice, Tag::default()).expect_err("it is another pool's");
        assert_eq!(refused.why, room.err().map_or(PushRefusal::Foreign, PushRefusal::Refused));
        assert_eq!(&refused.slice.expect("it is returned")[..], b"other");
        self.lane = Some(lane);
    }

    pub(super) fn push_empty(&mut self) {
        let Some(mut lane) = self.lane.take() else { return };
        let room = self.room();
        let tag = Tag { sequence: self.pushed() + 1, serial: self.next_serial(), len: 0 };
        match lane.push_empty(tag) {
            Ok(sequence) => {
                assert!(room.is_ok() && sequence == tag.sequence);
                self.events.push(tag);
            }
            Err(refused) => {
                assert!(refused.slice.is_none());
                assert_eq!(
                    (Err(refused.why), refused.meta),
                    (room.map_err(PushRefusal::Refused), tag)
                );
            }
        }
        self.lane = Some(lane);
    }

    pub(super) fn flush(&mut self) {
        let Some(lane) = &mut self.lane else { return };
        let flushed = lane.flush() as i64;
        assert_eq!(flushed, self.pushed() - self.published);
        self.flushed();
    }

    pub(super) fn reclaim(&mut self) {
        let Some(lane) = &mut self.lane else { return };
        let reclaimed = lane.reclaim() as i64;
        assert_eq!(reclaimed, self.consumed() - self.reclaimed);
        self.reclaimed = self.consumed();
    }

    pub(super) fn sleep(&mut self, full: bool) {
        let Some(mut lane) = self.lane.take() else { return };
        let sleeps = lane.prepare_sleep(full);
        lane.awake();
        self.flushed();
        assert_eq!(sleeps, !self.has_work(full), "whether the lane may sleep");
        lane.wait(full, Duration::ZERO);
        self.lane = Some(lane);
    }

    /// Whether the lane's thread has something to do.
    fn has_work(&self, full: bool) -> bool {
        let behind = |at: &usize| self.available(self.layers[*at]) > self.stages[*at].progress;
        let is_free =
            |at: &usize| self.stages[*at].helds.is_empty() && self.stages[*at].leaked.is_empty();
        let inline = |at: &usize| {
            self.stages[*at].inline && self.stages[*at].died_at.is_none() && behind(at)
        };
        let is_detached = self.shape.policy == PanicPolicy::Detach && self.failure.is_some();
        let unpumped = self.detached.iter().any(|at| !self.stages[*at].is_pumped);
        (0..self.stages.len()).any(|at| inline(&at))
            || self.is_poisoned()
            || (full && self.consumed() > self.reclaimed)
            || (is_detached
                && (unpumped || self.detached.iter().any(|at| is_free(at) && behind(at))))
    }

    pub(super) fn begin_close(&mut self) {
        let Some(lane) = &mut self.lane else { return };
        lane.begin_close();
        if !self.closing {
            self.flushed();
            self.closing = true;
        }
    }

    /// The lane ends: closed with no time to wait, or dropped.
    pub(super) fn end(&mut self, close: bool, turn: Turn) {
        self.begin_close();
        let Some(lane) = self.lane.take() else { return };
        if close {
            self.give_turns(turn);
            let progress = self.expect_poll_of_lane(turn);
            let ending = self.ending();
            let report = lane.into_inner().close(Duration::ZERO);
            self.learn_reason();
            self.check_turns();
            assert_eq!(report.failure, self.failure);
            ending.check(&report);
            assert!(progress.reclaimed as u64 <= report.published);
        } else {
            drop(lane);
        }
        self.gone = true;
        for at in std::mem::take(&mut self.attached) {
            self.handle_dropped(at);
        }
    }

    pub(super) fn ending(&self) -> Ending {
        let is_over = |at: usize| {
            let stage = &self.stages[at];
            stage.ended
                || stage.died_at.is_some()
                || stage.progress + 1 >= self.cut_off(self.layers[at])
        };
        let is_unpumped = |at: usize| {
            !self.is_poisoned()
                && self.stages[at].died_at.is_some()
                && self.stages[at].progress < self.published
        };
        let late = (0..self.stages.len()).filter(|&at| !is_over(at) || is_unpumped(at));
        let processed: Vec<_> =
            self.stages.iter().map(|stage| (stage.released + 1) as u64).collect();
        let (published, consumed) =
            ((self.published + 1) as u64, *processed.iter().min().expect("a stage"));
        Ending { published, consumed, processed, late: late.map(|at| at.to_string()).collect() }
    }

    pub(super) fn token(&mut self, pick: usize, used: usize, next: Next) {
        if matches!(next, Next::Complete | Next::Abandon) {
            let Some((flight, serial, len)) = remove_any(&mut self.flights, pick) else { return };
            assert_eq!(flight.capacity(), len);
            match next {
                Next::Complete => self.tokens.push((flight.complete(), serial, len)),
                _ => self.abandon(flight),
            }
            return;
        }
        if matches!(next, Next::Report) {
            return self.report_completion(pick);
        }
        let Some((token, serial, len)) = remove_any(&mut self.tokens, pick) else { return };
        let n = used % (len + 1);
        match next {
            Next::Commit => self.slices.push((token.commit(n).expect("it fits"), serial, n)),
            Next::Receive => self.received.push((token.received(n).expect("it fits"), serial, n)),
            Next::TooLong => {
                let refused = token.commit(len + 1).expect_err("more than was reserved");
                assert_eq!((refused.asked_bytes, refused.available_bytes), (len + 1, len));
                self.tokens.push((refused.back, serial, len));
            }
            Next::Submit => self.flights.push((token.submit(), serial, len)),
            _ => drop(token),
        }
    }

    /// Without a lane the end of the read couldn't be reported, and its chunk would be leaked.
    fn abandon(&mut self, flight: InFlight) {
        if self.gone {
            return drop(flight.complete());
        }
        self.abandoned.push(flight.id());
        drop(flight);
    }

    pub(super) fn report_completion(&mut self, pick: usize) {
        let Some(lane) = &mut self.lane else { return };
        let Some(id) = remove_any(&mut self.abandoned, pick) else { return };
        assert!(lane.report_completion(id));
        assert!(!lane.report_completion(id), "a read ends once");
    }

    pub(super) fn cut(&mut self, pick: usize, skip: usize, len: usize) {
        let Some((mut received, serial, left)) = remove_any(&mut self.received, pick) else {
            return;
        };
        match received.cut(skip, len) {
            Ok(slice) => self.slices.push((slice, serial, len)),
            Err(refused) => {
                assert_eq!((refused.asked_bytes, refused.available_bytes), (skip + len, left));
                received.skip(skip);
            }
        }
        let left = received.len();
        self.received.push((received, serial, left));
    }
}
