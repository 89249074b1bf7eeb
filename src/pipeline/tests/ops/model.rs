//! The naive model: what a lane should be after each operation, in plain numbers, next to the real
//! lane.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;

use slipring_test_support::looks_after;

use super::super::tiny_pool;
use super::draw::{MAX, Turn};
use super::payload::{Columns, Seen, Tag, assert_shows};
use crate::pipeline::shared::LaneShared;
use crate::pipeline::{
    CloseReport, Failure, Held, Lane, LaneSpec, PanicPolicy, Reclaim, Stage, StageSpec,
};
use crate::region::Pages;
use crate::ring::{
    FlightId, InFlight, PoolSlice, Received, Retained, RingOptions, RingPool, Sequence, Token,
};

pub(super) const CHUNK: usize = 4096;

/// The shape of a lane.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) slots: usize,
    pub(super) chunks: usize,
    pub(super) layers: &'static [usize],
    pub(super) policy: PanicPolicy,
    pub(super) reclaim: Reclaim,
    /// One bit per stage: whether it is specified with a thread.
    pub(super) threads: usize,
}

pub(super) const LAYERS: &[&[usize]] =
    &[&[1], &[2], &[1, 1], &[1, 2], &[2, 1], &[1, 1, 1], &[1, 2, 1], &[2, 2]];

impl Shape {
    pub(super) fn from_numbers(kind: u8, sizes: u8) -> Self {
        let (kind, sizes) = (usize::from(kind), usize::from(sizes));
        let reclaim = if sizes % 4 == 0 { Reclaim::OnOverwrite } else { Reclaim::OnConsume };
        let chunks = if reclaim == Reclaim::OnOverwrite { 8 } else { 3 + sizes / 4 % 3 };
        let policy = if kind / 8 % 2 == 0 { PanicPolicy::Poison } else { PanicPolicy::Detach };
        let slots = [2, 4, 8][sizes / 16 % 3];
        Self { slots, chunks, layers: LAYERS[kind % 8], policy, reclaim, threads: kind / 16 }
    }

    /// The specification, and the columns of its stages.
    pub(super) fn spec(&self) -> (LaneSpec, Vec<Columns>) {
        let pool = RingOptions {
            bytes: self.chunks * CHUNK,
            max_slice_bytes: MAX,
            chunk_bytes: Some(CHUNK),
            window_bytes: Some(3 * CHUNK),
            pinned_chunks_max: Some(1),
            pages: Pages::Small,
            ..RingOptions::default()
        };
        let mut spec = LaneSpec::new(pool, self.slots).reclaim(self.reclaim).on_panic(self.policy);
        let mut names = (0..).map(|number: usize| (number, number.to_string()));
        for &stages in self.layers {
            let stage = |(number, name): (usize, String)| match self.threads >> number & 1 {
                0 => StageSpec::inline(&name).batch(1 + number),
                _ => StageSpec::thread(&name),
            };
            spec = spec.layer(names.by_ref().take(stages).map(stage).collect::<Vec<_>>());
        }
        let count = self.layers.iter().sum();
        let (own, all): (Vec<_>, Vec<_>) = (0..count)
            .map(|number: usize| spec.column(&number.to_string(), 1).expect("a column"))
            .unzip();
        let columns = own.into_iter().enumerate().map(|(stage, own)| Columns {
            stage,
            own,
            all: all.clone(),
        });
        (spec, columns.collect())
    }

    /// The layer of each stage.
    pub(super) fn stage_layers(&self) -> Vec<usize> {
        self.layers.iter().enumerate().flat_map(|(layer, &stages)| vec![layer; stages]).collect()
    }
}

/// A lane that is leaked after an assertion has failed. What a broken lane asserts while it is
/// dropped would hide the failure.
pub(super) struct Leaky(Option<Lane<Tag>>);

impl Leaky {
    pub(super) fn into_inner(mut self) -> Lane<Tag> {
        self.0.take().expect("it is there until it is moved out")
    }
}

impl Deref for Leaky {
    type Target = Lane<Tag>;

    fn deref(&self) -> &Lane<Tag> {
        self.0.as_ref().expect("it is there until it is moved out")
    }
}

impl DerefMut for Leaky {
    fn deref_mut(&mut self) -> &mut Lane<Tag> {
        self.0.as_mut().expect("it is there until it is moved out")
    }
}

impl Drop for Leaky {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _leaked = ManuallyDrop::new(self.0.take());
        }
    }
}

/// How a lane ended, as the model predicts it.
pub(super) struct Ending {
    pub(super) published: u64,
    pub(super) consumed: u64,
    pub(super) late: Vec<String>,
    /// What each stage has processed.
    pub(super) processed: Vec<u64>,
}

impl Ending {
    /// Checks that the report agrees with the model.
    pub(super) fn check(&self, report: &CloseReport) {
        assert_eq!(
            (report.published, report.consumed),
            (self.published, self.consumed),
            "{report:?}"
        );
        let processed: Vec<_> = report.stages.iter().map(|stage| stage.processed).collect();
        assert_eq!(processed, self.processed, "{report:?}");
        assert_eq!(report.late, self.late, "{report:?}");
        let lost_nothing = self.processed.iter().all(|processed| *processed == self.published);
        let is_well = lost_nothing && self.late.is_empty() && report.failure.is_none();
        assert_eq!(report.is_drained(), is_well, "{report:?}");
    }
}

/// Where a `Held` is that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Out,
    Back,
    Dropped,
}

/// A script that an attached handler follows, and what it has seen.
pub(super) type Script = Rc<RefCell<(Option<Turn>, Vec<Seen>)>>;

/// A stage, and what it should know.
pub(super) struct Modelled {
    /// None once it is dropped or attached.
    pub(super) stage: Option<Stage<Tag>>,
    pub(super) columns: Option<Columns>,
    pub(super) script: Option<Script>,
    pub(super) inline: bool,
    pub(super) batch_max: usize,
    pub(super) helds: Vec<Held<Tag>>,
    pub(super) leaked: Vec<Held<Tag>>,
    /// First and last sequence of what was read, in order.
    pub(super) out: Vec<(Sequence, Sequence, Place)>,
    pub(super) released: Sequence,
    pub(super) read: Sequence,
    /// The last sequence that is released, by the stage itself or by the lane.
    pub(super) progress: Sequence,
    /// The number of events it has processed.
    pub(super) processed: u64,
    pub(super) died_at: Option<Sequence>,
    pub(super) parked: bool,
    /// Its lane has its poller.
    pub(super) is_pumped: bool,
    /// The first event of an attached stage's round, and the number of events it is shown.
    pub(super) turn_from: Sequence,
    pub(super) shows: usize,
    pub(super) ended: bool,
}

pub(super) struct Model {
    pub(super) shape: Shape,
    pub(super) lane: Option<Leaky>,
    pub(super) shared: Arc<LaneShared<Tag>>,
    pub(super) gone: bool,
    pub(super) layers: Vec<usize>,
    pub(super) stages: Vec<Modelled>,
    /// Attached stages, and dead ones, in the order in which the lane looks at them.
    pub(super) attached: Vec<usize>,
    pub(super) detached: Vec<usize>,
    /// Everything that was pushed.
    pub(super) events: Vec<Tag>,
    pub(super) published: Sequence,
    pub(super) reclaimed: Sequence,
    /// What was published by the lane's last round.
    pub(super) polled: Sequence,
    pub(super) refused_ring: u64,
    pub(super) closing: bool,
    pub(super) failure: Option<Failure>,
    pub(super) serial: u64,
    /// Each with its serial number and its length.
    pub(super) slices: Vec<(PoolSlice, u64, usize)>,
    pub(super) tokens: Vec<(Token, u64, usize)>,
    pub(super) flights: Vec<(InFlight, u64, usize)>,
    pub(super) received: Vec<(Received, u64, usize)>,
    pub(super) retained: Vec<(Retained, u64, usize)>,
    pub(super) abandoned: Vec<FlightId>,
    pub(super) foreign: RingPool,
    applied: usize,
}

impl Model {
    pub(super) fn new(shape: Shape) -> Self {
        let (spec, columns) = shape.spec();
        let started = spec.start::<Tag>().expect("a tiny lane");
        let stages = started.stages.into_iter().zip(columns).enumerate();
        let stages: Vec<_> =
            stages.map(|(at, (stage, columns))| modelled(at, &shape, stage, columns)).collect();
        let (slices, tokens, flights, received, retained) = Default::default();
        Self {
            layers: shape.stage_layers(),
            shared: Arc::clone(&started.lane.ring.shared),
            foreign: RingPool::new(&tiny_pool()).expect("a tiny pool"),
            shape,
            lane: Some(Leaky(Some(started.lane))),
            gone: false,
            stages,
            attached: Vec::new(),
            detached: Vec::new(),
            events: Vec::new(),
            published: -1,
            reclaimed: -1,
            polled: -1,
            refused_ring: 0,
            closing: false,
            failure: None,
            serial: 0,
            slices,
            tokens,
            flights,
            received,
            retained,
            abandoned: Vec::new(),
            applied: 0,
        }
    }

    pub(super) fn pushed(&self) -> Sequence {
        self.events.len() as i64 - 1
    }

    /// The sequence up to which stages of `layer` find events; for the layer after the last, the
    /// sequence that all have passed.
    pub(super) fn available(&self, layer: usize) -> Sequence {
        let before = self.stages.iter().zip(&self.layers).filter(|(_, of)| **of + 1 == layer);
        before.map(|(stage, _)| stage.progress).min().unwrap_or(self.published)
    }

    pub(super) fn consumed(&self) -> Sequence {
        self.available(self.shape.layers.len())
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.failure.is_some() && self.shape.policy == PanicPolicy::Poison
    }

    /// The first sequence that stages of `layer` never see.
    pub(super) fn cut_off(&self, layer: usize) -> Sequence {
        if !self.is_poisoned() && !self.gone {
            return i64::MAX;
        }
        let before = self.stages.iter().zip(&self.layers).filter(|(_, of)| **of < layer);
        let dead = before.filter(|(stage, _)| stage.died_at.is_some());
        dead.map(|(stage, _)| stage.progress + 1).min().unwrap_or(i64::MAX)
    }

    pub(super) fn died_at(&self) -> Vec<Option<Sequence>> {
        self.stages.iter().map(|stage| stage.died_at).collect()
    }

    /// A stage does nothing from now on.
    pub(super) fn make_late(&mut self, at: usize) {
        let stage = &mut self.stages[at];
        let sequence = stage.progress + 1;
        stage.died_at = Some(stage.died_at.map_or(sequence, |before| before.min(sequence)));
    }

    /// A stage is dead from now on. The first to die determines the failure, which never changes.
    pub(super) fn die(&mut self, at: usize) {
        self.make_late(at);
        let sequence = self.stages[at].progress + 1;
        if self.failure.is_none() {
            let (stage, reason) = (at.to_string(), String::new());
            self.failure = Some(Failure { stage, index: at as u32, reason, sequence });
        }
        self.learn_reason();
    }

    /// The failure's words are the library's own. The other fields are predicted, and don't change.
    pub(super) fn learn_reason(&mut self) {
        let (Some(real), Some(ours)) = (self.shared.failure(), &mut self.failure) else { return };
        if ours.reason.is_empty() {
            ours.reason.clone_from(&real.reason);
        }
        assert_eq!(*ours, real, "the first failure wins");
    }

    pub(super) fn hand_to_pump(&mut self, at: usize) {
        if !self.stages[at].parked {
            self.stages[at].parked = true;
            self.detached.push(at);
        }
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn check_sometimes(&mut self) {
        self.applied += 1;
        if looks_after(self.applied) {
            self.check();
        }
    }

    /// Everything that is alive shows what was written to it, and the lane's figures are the
    /// model's.
    pub(super) fn check(&self) {
        self.slices.iter().for_each(|(slice, serial, len)| assert_shows(slice, *serial, *len));
        self.tokens.iter().for_each(|(token, serial, len)| assert_shows(token, *serial, *len));
        self.received
            .iter()
            .for_each(|(received, serial, len)| assert_shows(received, *serial, *len));
        self.retained.iter().for_each(|(handle, serial, len)| assert_shows(handle, *serial, *len));
        for (at, stage) in self.stages.iter().enumerate() {
            self.check_stage(at, stage);
        }
        assert_eq!(self.shared.failure(), self.failure);
        let Some(lane) = &self.lane else { return };
        let stats = lane.stats();
        let expected =
            ((self.published + 1) as u64, (self.reclaimed + 1) as u64, self.refused_ring);
        assert_eq!((stats.published, stats.reclaimed, stats.refused_ring), expected);
        assert_eq!(stats.slots_in_use as i64, self.pushed() - self.reclaimed, "slots in use");
        assert_eq!(lane.free_slots() + stats.slots_in_use, self.shape.slots);
        let released = match self.shape.reclaim {
            Reclaim::OnConsume => self.reclaimed,
            Reclaim::OnOverwrite => (self.published - self.shape.slots as i64).max(-1),
        };
        assert_eq!(stats.pool.released, released);
        assert!(stats.pool.pinned_chunks <= 1, "{stats:?}");
        assert_eq!(lane.has_failed(), self.failure.is_some());
        assert!(lane.right_size().pool_bytes > 0);
        for (at, (real, stage)) in stats.stages.iter().zip(&self.stages).enumerate() {
            assert_eq!(
                (real.released, real.ended, real.died_at),
                (stage.progress, stage.ended, stage.died_at)
            );
            assert_eq!(real.behind as i64, self.available(self.layers[at]) - stage.progress);
            let oldest = stage.out.first().map(|&(first, ..)| first);
            assert!(
                real.held_from == oldest || stage.died_at.is_some(),
                "{real:?} holds {oldest:?}"
            );
            assert_eq!(real.wakes_lost, 0);
        }
    }

    fn check_stage(&self, at: usize, stage: &Modelled) {
        for held in stage.helds.iter().chain(&stage.leaked) {
            let views = held.views().zip(held.first_sequence()..);
            for (view, sequence) in views {
                assert_eq!(
                    (view.sequence(), *view.meta()),
                    (sequence, self.events[sequence as usize])
                );
                assert_shows(view.bytes(), view.meta().serial, view.meta().len);
            }
        }
        let real = &self.shared.stages[at];
        assert_eq!(
            (real.progress(), real.has_ended()),
            (stage.progress, stage.ended),
            "stage {at}"
        );
        assert_eq!(real.helds() as usize, stage.helds.len() + stage.leaked.len(), "stage {at}");
        if let Some(handle) = &stage.stage {
            assert_eq!(
                (handle.released(), handle.has_ended()),
                (stage.released, stage.ended),
                "stage {at}"
            );
        }
    }

    /// No two things that are alive share a byte.
    pub(super) fn check_overlaps(&self) {
        let owned = self
            .slices
            .iter()
            .map(|(slice, ..)| &slice[..])
            .chain(self.tokens.iter().map(|(token, ..)| &token[..]));
        let held = self
            .stages
            .iter()
            .flat_map(|stage| stage.helds.iter().chain(&stage.leaked))
            .flat_map(Held::views);
        // Several stages may show the same event, which counts once.
        let shown: HashMap<_, _> = held.map(|view| (view.sequence(), view.bytes())).collect();
        let owned = owned.chain(self.received.iter().map(|(received, ..)| &received[..]));
        let mut ranges: Vec<_> =
            owned.chain(shown.into_values()).map(<[u8]>::as_ptr_range).collect();
        ranges.retain(|range| !range.is_empty());
        ranges.sort_unstable_by_key(|range| range.start);
        assert!(
            ranges.windows(2).all(|pair| pair[0].end <= pair[1].start),
            "live ranges overlap: {ranges:?}"
        );
    }
}

fn modelled(at: usize, shape: &Shape, stage: Stage<Tag>, columns: Columns) -> Modelled {
    assert_eq!(stage.name(), at.to_string());
    let inline = shape.threads >> at & 1 == 0;
    let (helds, leaked, out) = Default::default();
    let (script, died_at, parked, ended) = (None, None, false, false);
    let (released, read, progress, processed) = (-1, -1, -1, 0);
    let (stage, columns, batch_max) = (Some(stage), Some(columns), 1 + at);
    Modelled {
        stage,
        columns,
        script,
        inline,
        batch_max,
        helds,
        leaked,
        out,
        released,
        read,
        progress,
        processed,
        died_at,
        parked,
        is_pumped: false,
        turn_from: 0,
        shows: 0,
        ended,
    }
}
