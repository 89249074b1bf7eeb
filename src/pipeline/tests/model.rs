//! A whole lane against a naive queue: pushed, flushed, polled, read ahead, held, retained and
//! freed in random order, on one thread.
//!
//! The model knows, for each sequence, which byte fills its slice, and for each stage, how far it
//! has read and released. After every operation each slice, held event and retained handle must
//! still show its byte, and the lane's positions must be the model's.

use proptest::prelude::*;
use slipring_test_support::{is_filled, looks_after, random_runs};

use super::{
    Lane, LaneSpec, Outcome, Polled, PushRefusal, Stage, StageSpec, View, remove_any, tiny_pool,
};
use crate::pipeline::{Held, Reclaim, Refused, StageError};
use crate::ring::{Full, PoolSlice, Retained, RingOptions, Sequence};

const STAGES: usize = 3;

#[derive(Debug)]
enum Op {
    Commit { len: usize },
    DropSlice { pick: usize },
    Push { pick: usize, empty: bool },
    Claim { len: usize, used: usize },
    Flush,
    LanePoll,
    Poll { stage: usize, max: usize, retry_at: usize },
    Read { stage: usize, max: usize },
    Release { stage: usize, pick: usize },
    Retain { stage: usize, pick: usize },
    DropRetained { pick: usize },
}

/// An operation from three random numbers. If proptest chose among as many strategies, it would
/// need more time than the lane.
fn op((what, one, two): (u8, u16, u16)) -> Op {
    let (stage, pick, max) =
        (usize::from(one) % STAGES, usize::from(two), 1 + usize::from(two) % 5);
    match what % 32 {
        0..5 => Op::Commit { len: pick % 200 },
        5 | 6 => Op::Commit { len: pick % 1025 },
        7 => Op::DropSlice { pick },
        8..13 => Op::Push { pick, empty: one % 10 == 0 },
        13 | 14 => Op::Claim { len: 1 + pick % 300, used: usize::from(one) },
        15..18 => Op::Flush,
        18 | 19 => Op::LanePoll,
        20..25 => Op::Poll { stage, max, retry_at: usize::from(one) / STAGES % 12 },
        25..27 => Op::Read { stage, max: max.min(3) },
        27..30 => Op::Release { stage, pick },
        30 => Op::Retain { stage, pick },
        _ => Op::DropRetained { pick },
    }
}

/// A stage and what it should know. The first two are in one layer, the third follows both.
struct Modelled {
    stage: Stage<u8>,
    helds: Vec<Held<u8>>,
    released: Sequence,
    read: Sequence,
    /// First sequence and length of each `Held` that is out, in order, until it and all older ones
    /// are given back.
    out: Vec<(Sequence, usize, bool)>,
}

struct Model {
    lane: Lane<u8>,
    applied: usize,
    stages: Vec<Modelled>,
    reclaim: Reclaim,
    slots: i64,
    tag: u8,
    slices: Vec<(PoolSlice, u8)>,
    retained: Vec<(Retained, u8)>,
    /// The byte of every event ever pushed; None for an event without a slice.
    events: Vec<Option<u8>>,
    published: Sequence,
}

fn assert_shows(view: &View<'_, u8>, events: &[Option<u8>]) {
    let event = events[view.sequence() as usize];
    assert_eq!(event.is_none(), view.bytes().is_empty() && *view.meta() == 0);
    assert!(
        *view.meta() == event.unwrap_or(0) && is_filled(view.bytes(), *view.meta()),
        "event {} changed",
        view.sequence()
    );
}

impl Model {
    fn new(slots: usize, reclaim: Reclaim) -> Self {
        let pool = RingOptions { bytes: 12 * 4096, pinned_chunks_max: Some(3), ..tiny_pool() };
        let first = [StageSpec::inline("0"), StageSpec::inline("1")];
        let spec = LaneSpec::new(pool, slots)
            .layer(first)
            .layer([StageSpec::inline("2")])
            .reclaim(reclaim);
        let started = spec.start().expect("a tiny lane");
        let new =
            |stage| Modelled { stage, helds: Vec::new(), released: -1, read: -1, out: Vec::new() };
        let stages: Vec<_> = started.stages.into_iter().map(new).collect();
        assert_eq!(stages.len(), STAGES);
        let (slices, retained, events) = Default::default();
        Self {
            lane: started.lane,
            applied: 0,
            stages,
            reclaim,
            slots: slots as i64,
            tag: 0,
            slices,
            retained,
            events,
            published: -1,
        }
    }

    fn pushed(&self) -> Sequence {
        self.events.len() as i64 - 1
    }

    fn available(&self, stage: usize) -> Sequence {
        if stage < 2 {
            self.published
        } else {
            self.stages[0].released.min(self.stages[1].released)
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Commit { len } => self.commit(len),
            Op::DropSlice { pick } => drop(remove_any(&mut self.slices, pick)),
            Op::Push { pick, empty } => self.push(pick, empty),
            Op::Claim { len, used } => self.claim(len, used),
            Op::Flush => {
                assert_eq!(self.lane.flush() as i64, self.pushed() - self.published);
                self.published = self.pushed();
            }
            Op::LanePoll => {
                let reclaimed = self.lane.poll().reclaimed;
                assert_eq!(
                    self.lane.ring.reclaimed, self.stages[2].released,
                    "{reclaimed} were reclaimed"
                );
            }
            Op::Poll { stage, max, retry_at } => self.poll(stage, max, retry_at),
            Op::Read { stage, max } => self.read(stage, max),
            Op::Release { stage, pick } => self.release(stage, pick),
            Op::Retain { stage, pick } => self.retain(stage, pick),
            Op::DropRetained { pick } => drop(remove_any(&mut self.retained, pick)),
        }
        self.applied += 1;
        if looks_after(self.applied) {
            self.check();
        }
    }

    fn commit(&mut self, len: usize) {
        self.tag = self.tag % 255 + 1;
        match self.lane.reserve(len) {
            Ok(mut grant) => {
                grant.fill(self.tag);
                self.slices.push((grant.commit_all(), self.tag));
            }
            Err(Refused::Pool(Full::Pool { .. })) => {
                // A full pool publishes what is pushed, and something holds every chunk of it.
                self.published = self.pushed();
                let stats = self.lane.stats().pool;
                if self.reclaim == Reclaim::OnConsume {
                    assert_eq!(stats.in_use_bytes, stats.pool_bytes, "{stats:?}");
                }
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// Claims a slot and its memory: pushed, or given back if no byte of it is used.
    fn claim(&mut self, len: usize, used: usize) {
        let room = self.pushed() - self.stages[2].released < self.slots;
        let sequence = self.pushed() + 1;
        self.tag = self.tag % 255 + 1;
        match self.lane.claim(len) {
            Ok(claim) if used == 0 => assert!(room && claim.len() == len),
            Ok(mut claim) => {
                claim.truncate(used);
                claim.fill(self.tag);
                assert!(room && claim.push(self.tag) == sequence);
                self.events.push(Some(self.tag));
            }
            Err(full) => {
                assert!(
                    matches!(full, Refused::Pool(Full::Pool { .. }))
                        || (!room && matches!(full, Refused::Ring { .. })),
                    "{full}"
                );
                self.published = self.pushed();
            }
        }
    }

    fn push(&mut self, pick: usize, empty: bool) {
        let room = self.pushed() - self.stages[2].released < self.slots;
        let sequence = self.pushed() + 1;
        let (pushed, event) = if empty {
            (self.lane.push_empty(0), None)
        } else {
            let Some((slice, tag)) = remove_any(&mut self.slices, pick) else { return };
            // The metadata distinguishes a slice without bytes from an event without a slice.
            let event = if slice.is_empty() { (0, None) } else { (tag, Some(tag)) };
            (self.lane.push(slice, event.0), event.1)
        };
        match pushed {
            Ok(got) => {
                assert!(room && got == sequence);
                self.events.push(event);
            }
            Err(refused) => {
                assert!(
                    !room
                        && refused.why
                            == PushRefusal::Refused(Refused::Ring { slots: self.slots as usize })
                );
                self.slices.extend(refused.slice.map(|slice| (slice, event.unwrap_or(0))));
                self.published = self.pushed();
            }
        }
    }

    fn poll(&mut self, at: usize, max: usize, retry_at: usize) {
        let (available, events) = (self.available(at), &self.events);
        let modelled = &mut self.stages[at];
        let mut shown = 0;
        let polled = modelled.stage.poll(max, |view| {
            assert_shows(&view, events);
            assert_eq!(view.sequence(), modelled.released + 1 + shown as i64);
            shown += 1;
            if shown > retry_at { Outcome::Retry } else { Outcome::Done }
        });
        if !modelled.out.is_empty() {
            assert_eq!(
                (polled, shown),
                (Err(StageError::Holding { since: modelled.released + 1 }), 0)
            );
            return;
        }
        let found = max.min((available - modelled.released) as usize);
        let expected = match found {
            0 => Polled::Idle,
            _ if found > retry_at => Polled::Retry(retry_at),
            _ => Polled::Advanced(found),
        };
        assert_eq!(polled, Ok(expected));
        modelled.released += found.min(retry_at) as i64;
        modelled.read = modelled.released;
    }

    fn read(&mut self, at: usize, max: usize) {
        let available = self.available(at);
        let modelled = &mut self.stages[at];
        let found = max.min((available - modelled.read) as usize);
        let held = modelled.stage.read(max).expect("the stage lives");
        assert_eq!(held.as_ref().map_or(0, Held::len), found);
        if let Some(held) = held {
            assert_eq!(held.first_sequence(), modelled.read + 1);
            modelled.out.push((modelled.read + 1, found, false));
            modelled.read += found as i64;
            modelled.helds.push(held);
        }
    }

    fn release(&mut self, at: usize, pick: usize) {
        let modelled = &mut self.stages[at];
        let Some(held) = remove_any(&mut modelled.helds, pick) else { return };
        let first = held.first_sequence();
        modelled.stage.release(held).map_err(drop).expect("its own");
        modelled
            .out
            .iter_mut()
            .filter(|(from, ..)| *from == first)
            .for_each(|(.., back)| *back = true);
        while let Some(&(from, len, true)) = modelled.out.first() {
            modelled.released = from + len as i64 - 1;
            modelled.out.remove(0);
        }
    }

    fn retain(&mut self, at: usize, pick: usize) {
        let modelled = &self.stages[at];
        if let Some(held) = modelled.helds.get(pick % modelled.helds.len().max(1)) {
            let view = held.views().last().expect("it is never empty");
            self.retained.extend(view.retain().ok().map(|handle| (handle, *view.meta())));
        }
    }

    fn check(&self) {
        assert_eq!(
            (self.lane.ring.pushed(), self.lane.ring.published),
            (self.pushed(), self.published)
        );
        assert!(self.lane.ring.reclaimed <= self.stages[2].released);
        let freed = match self.reclaim {
            Reclaim::OnConsume => self.lane.ring.reclaimed,
            Reclaim::OnOverwrite => (self.published - self.slots).max(-1),
        };
        assert_eq!(self.lane.ring.pool.released(), freed);
        for modelled in &self.stages {
            assert_eq!(modelled.stage.released(), modelled.released);
            modelled
                .helds
                .iter()
                .flat_map(Held::views)
                .for_each(|view| assert_shows(&view, &self.events));
        }
        for (slice, tag) in &self.slices {
            assert!(is_filled(slice, *tag), "a slice that isn't pushed was overwritten");
        }
        for (handle, tag) in &self.retained {
            assert!(is_filled(handle, *tag), "a retained handle was overwritten");
        }
    }

    /// Everything held is given back, every stage sees the end, and handles outlive the lane.
    fn end(mut self) {
        self.lane.begin_close();
        self.published = self.pushed();
        for at in 0..STAGES {
            while !self.stages[at].helds.is_empty() {
                self.release(at, 0);
            }
            while self.stages[at].released < self.published {
                self.poll(at, 5, usize::MAX);
            }
            assert_eq!(self.stages[at].stage.poll(1, |_| Outcome::Retry), Ok(Polled::Ended));
        }
        let (events, retained, slices) = (self.events.len() as u64, self.retained, self.slices);
        let report = self.lane.close(std::time::Duration::ZERO);
        assert!(report.is_drained() && report.consumed == events, "{report:?}");
        drop(self.stages);
        assert!(retained.iter().all(|(handle, tag)| is_filled(handle, *tag)));
        assert!(slices.iter().all(|(slice, tag)| is_filled(slice, *tag)));
    }
}

proptest! {
    #![proptest_config(random_runs())]

    #[test]
    fn the_lane_agrees_with_a_naive_queue(
        slots in prop_oneof![Just(2usize), Just(4), Just(16)],
        overwrite in any::<bool>(),
        ops in proptest::collection::vec(any::<(u8, u16, u16)>(), 1..if cfg!(miri) { 60 } else { 300 }),
    ) {
        let reclaim = if overwrite { Reclaim::OnOverwrite } else { Reclaim::OnConsume };
        let mut model = Model::new(slots, reclaim);
        for numbers in ops {
            model.apply(op(numbers));
        }
        model.end();
    }
}
