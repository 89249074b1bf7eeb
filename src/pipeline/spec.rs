//! The specification of a lane: Send, built anywhere, checked and started on the thread that will
//! own the lane.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::sync::Arc;

use super::column::{ColumnReader, ColumnWriter, column};
use super::error::LaneError;
use super::event_ring::{DisruptorEnds, LaneEvent};
use super::flow::Flow;
use super::lane::Lane;
use super::policy::{Meta, PanicPolicy, Reclaim, StagePlacement, StageSpec, Wait};
use super::shared::LaneShared;
use super::stage::Stage;
use super::state::StageState;
use super::timing::Timing;
use super::wait::LaneSleeper;
use crate::barrier::Barrier;
use crate::latency::Clock;
use crate::machine::format::ByteSize;
use crate::machine::{Affinity, CpuMask, PinPolicy, PinReport, pin_current};
use crate::region::RegionReport;
use crate::ring::{Layout, Readers, RingOptions, RingPool};
use crate::sync::pool_id;

/// The most slots of a ring. A slot is a few dozen bytes.
pub const SLOTS_MAX: usize = 1 << 24;

/// The specification of a lane. Its stages are in layers: every stage of a layer comes after all
/// stages of the layer before.
#[derive(Debug)]
pub struct LaneSpec {
    id: u32,
    pool: RingOptions,
    slots: usize,
    reclaim: Reclaim,
    panic: PanicPolicy,
    cpu: Option<usize>,
    pin: PinPolicy,
    wait: Wait,
    clock: Option<Clock>,
    layers: Vec<Vec<StageSpec>>,
}

impl LaneSpec {
    /// A lane with its own pool and a ring of `slots` (a power of two, at least 2).
    #[must_use]
    pub fn new(pool: RingOptions, slots: usize) -> Self {
        let (reclaim, panic, pin, wait) = Default::default();
        Self {
            id: pool_id().get(),
            pool,
            slots,
            reclaim,
            panic,
            cpu: None,
            pin,
            wait,
            clock: None,
            layers: Vec::new(),
        }
    }

    /// Adds a layer after the existing ones.
    #[must_use]
    pub fn layer(mut self, stages: impl IntoIterator<Item = StageSpec>) -> Self {
        self.layers.push(stages.into_iter().collect());
        self
    }

    /// When memory is reclaimed.
    #[must_use]
    pub fn reclaim(mut self, reclaim: Reclaim) -> Self {
        self.reclaim = reclaim;
        self
    }

    /// What a dead stage does to the lane.
    #[must_use]
    pub fn on_panic(mut self, policy: PanicPolicy) -> Self {
        self.panic = policy;
        self
    }

    /// Pins the thread that starts the lane.
    #[must_use]
    pub fn cpu(mut self, cpu: usize, policy: PinPolicy) -> Self {
        (self.cpu, self.pin) = (Some(cpu), policy);
        self
    }

    /// What the IO thread does while it is idle. It only affects [`super::Lane::wait`].
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Times the lane by this clock: how long each event takes from its flush to its release by
    /// each stage, and how the stages' threads spend their time.
    /// [`LaneWatch::timings`](super::LaneWatch::timings) returns the figures. Default: not timed.
    ///
    /// Cost: a clock reading per flush, per batch of a stage and per wait of its thread; 32 bytes
    /// per slot and 36 KiB per stage.
    #[must_use]
    pub fn timed(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// A result column with `width` values per row, written by the stage of that name.
    ///
    /// # Errors
    /// No stage has that name, the ring's length doesn't fit, or the width is 0.
    pub fn column<T: Copy + Default + Send + Sync>(
        &self,
        stage: &str,
        width: usize,
    ) -> Result<(ColumnWriter<T>, ColumnReader<T>), LaneError> {
        check_slots(self.slots)?;
        let bad_width =
            || LaneError::option("width", width, "at least 1, and no more than memory holds");
        if width == 0 {
            return Err(bad_width());
        }
        if size_of::<T>() == 0 {
            return Err(LaneError::option(
                "column",
                std::any::type_name::<T>(),
                "of a type that has a size",
            ));
        }
        let mut index = 0;
        for (layer, stages) in self.layers.iter().enumerate() {
            if let Some(at) = stages.iter().position(|spec| spec.name == stage) {
                return column(self.slots, width, self.id, index + at as u32, layer)
                    .ok_or_else(bad_width);
            }
            index += stages.len() as u32;
        }
        Err(LaneError::option("stage", stage, "the name of a stage that was added before"))
    }

    /// Starts the lane on the calling thread, which owns it from now on: pins the thread, maps and
    /// touches the pool, builds the ring. Claiming, publishing, polling and reclaiming allocate
    /// nothing afterwards; [`Lane::attach`] does, and so does the reason of a rejection.
    ///
    /// # Errors
    /// The field that doesn't fit, the limit that the pool exceeds, or a pin that is required and
    /// refused.
    pub fn start<M: Meta>(self) -> Result<Started<M>, LaneError> {
        self.check()?;
        self.check_ring::<M>()?;
        self.check_pool(&self.pool.layout(self.readers())?)?;
        CpuMask::read();
        let before = self.cpu.map(|_| Affinity::of_current());
        let started = self.start_checked();
        if let (Err(_), Some(before)) = (&started, before) {
            // The thread was pinned before the pool was mapped, so that the CPU that uses the
            // pool's memory also maps it.
            before.restore();
        }
        started
    }

    fn start_checked<M: Meta>(self) -> Result<Started<M>, LaneError> {
        let pin = match self.cpu {
            Some(cpu) => pin_current(cpu, self.pin)?,
            None => PinReport::unpinned(),
        };
        let mut downgrades: Vec<String> =
            pin.downgrade.iter().map(|_| format!("the lane's thread: {pin}")).collect();
        let pool = RingPool::with_readers(self.readers(), &self.pool)?;
        let (layers, states) = self.stages(&mut downgrades);
        let flow = Flow::new(states, self.panic, Barrier::choose(), LaneSleeper::io()?);
        let timed = self.clock.map(|clock| Timing::new(clock, self.slots, layers.iter().sum()));
        let (timing, timers) = timed.unzip();
        let shared =
            Arc::new(LaneShared::new(self.id, Arc::clone(pool.memory()), self.slots, flow, timing));
        let (ends, pollers) = DisruptorEnds::build(self.slots, &layers);
        let mut timers = timers.into_iter().flatten();
        let stage = |(poller, index)| Stage::new(poller, &shared, index, timers.next());
        let stages = Stages(pollers.into_iter().zip(0..).map(stage).collect());
        let report = LaneReport { pin, region: pool.region_report().clone(), downgrades };
        let lane = Lane::new(pool, ends, &shared, self.slots, self.reclaim, self.wait);
        Ok(Started { lane, stages, report })
    }

    /// Checks every field except the pool's, which the pool checks itself.
    pub(super) fn check(&self) -> Result<(), LaneError> {
        check_slots(self.slots)?;
        if self.layers.is_empty() || self.layers.iter().any(Vec::is_empty) {
            return Err(LaneError::option(
                "layers",
                self.layers.len(),
                "at least one layer, with at least one stage in each",
            ));
        }
        let mut names = HashSet::new();
        for spec in self.layers.iter().flatten() {
            if !names.insert(&spec.name) {
                return Err(LaneError::option("name", &spec.name, "another name for each stage"));
            }
            if spec.name.contains('\0') {
                return Err(LaneError::option(
                    "name",
                    format!("{:?}", spec.name),
                    "a name without a NUL: threads are named after stages",
                ));
            }
            if spec.batch_max == 0 {
                return Err(LaneError::option("batch", 0, "at least one event"));
            }
        }
        Ok(())
    }

    /// Checks that memory for the ring is available, because without it the disruptor would end the
    /// process.
    pub(super) fn check_ring<M: Meta>(&self) -> Result<(), LaneError> {
        let slot_bytes = size_of::<LaneEvent<M>>();
        // The ring itself, and the lane's copy of its events.
        let is_available = |_| Vec::<LaneEvent<M>>::new().try_reserve_exact(self.slots).is_ok();
        if (0..2).all(is_available) {
            return Ok(());
        }
        let must = format!("as many as memory holds, of {slot_bytes} bytes each");
        Err(LaneError::option("slots", self.slots, &must))
    }

    /// Which cores read the pool: only the IO thread's own, or others too.
    pub(super) fn readers(&self) -> Readers {
        let inline = |stage: &StageSpec| stage.placement == StagePlacement::Inline;
        if self.layers.iter().flatten().all(inline) {
            Readers::OwnCore
        } else {
            Readers::OtherCores
        }
    }

    /// On overwrite, a pool must hold a whole ring: see [`Reclaim::pool_bytes_least`].
    pub(super) fn check_pool(&self, layout: &Layout) -> Result<(), LaneError> {
        let pinned = layout.pinned_chunks_max();
        debug_assert!(pinned < layout.chunks(), "checked by the pool's options");
        if layout.pool_bytes() >= self.reclaim.pool_bytes_least(layout, self.slots) {
            return Ok(());
        }
        let must = format!(
            "at least {} with Reclaim::OnOverwrite, {} slots and slices of {}: raise it, or use fewer slots",
            ByteSize(self.overwrite_bytes_least(layout)),
            self.slots,
            ByteSize(layout.max_slice_bytes())
        );
        Err(LaneError::option("pool.bytes", layout.pool_bytes(), &must))
    }

    /// The size of a pool that is large enough on overwrite. A larger pool may have larger chunks,
    /// and more of them pinned, so the need is computed repeatedly.
    fn overwrite_bytes_least(&self, layout: &Layout) -> usize {
        let mut least = self.reclaim.pool_bytes_least(layout, self.slots);
        for _ in 0..64 {
            let Ok(larger) =
                RingOptions { bytes: least, ..self.pool.clone() }.layout(self.readers())
            else {
                break;
            };
            let need = self.reclaim.pool_bytes_least(&larger, self.slots);
            let need = need.next_multiple_of(larger.chunk_bytes());
            if larger.pool_bytes() >= need {
                break;
            }
            least = need.max(least.saturating_add(larger.chunk_bytes()));
        }
        least
    }

    /// The layers' sizes, and the state of each stage. Spinning threads that would share a CPU are
    /// downgraded.
    fn stages(&self, downgrades: &mut Vec<String>) -> (Vec<usize>, Vec<StageState>) {
        let mut spinning = Spinning::new(self);
        let mut states = Vec::new();
        for (layer, stages) in self.layers.iter().enumerate() {
            for spec in stages {
                let wait = spinning.admit(spec, downgrades);
                states.push(StageState::new(spec, layer, wait, self.cpu));
            }
        }
        let layers: Vec<usize> = self.layers.iter().map(Vec::len).collect();
        assert_eq!(layers.iter().sum::<usize>(), states.len());
        (layers, states)
    }
}

/// A lane that runs, and the handles of its stages.
#[derive(Debug)]
#[must_use]
pub struct Started<M: Meta> {
    /// For the calling thread: not Send.
    pub lane: Lane<M>,
    /// For the threads that run them: Send.
    pub stages: Stages<M>,
    /// What was granted.
    pub report: LaneReport,
}

/// What was granted at start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LaneReport {
    /// The IO thread's CPU.
    pub pin: PinReport,
    /// The pool's memory.
    pub region: RegionReport,
    /// What was requested and not granted, in words.
    pub downgrades: Vec<String>,
}

/// The handles of a lane's stages. If it is dropped with handles left, those stages fail.
#[derive(Debug)]
pub struct Stages<M: Meta>(Vec<Stage<M>>);

impl<M: Meta> Stages<M> {
    /// Removes the handle of the stage with that name and returns it. `None`: no stage has that
    /// name, or its handle has been removed already.
    pub fn remove(&mut self, name: &str) -> Option<Stage<M>> {
        let at = self.0.iter().position(|stage| stage.name() == name)?;
        Some(self.0.remove(at))
    }
}

impl<M: Meta> IntoIterator for Stages<M> {
    type Item = Stage<M>;
    type IntoIter = std::vec::IntoIter<Stage<M>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The CPUs of the threads that spin. Two on one CPU would wait for each other's time slices.
struct Spinning {
    cpus: HashSet<Option<usize>>,
    threads: usize,
}

impl Spinning {
    fn new(spec: &LaneSpec) -> Self {
        let spins = spec.wait == Wait::Spin;
        Self { cpus: spins.then_some(spec.cpu).into_iter().collect(), threads: usize::from(spins) }
    }

    fn admit(&mut self, spec: &StageSpec, downgrades: &mut Vec<String>) -> Wait {
        let StagePlacement::Thread { cpu } = spec.placement else { return spec.wait };
        if spec.wait != Wait::Spin {
            return spec.wait;
        }
        let cpus = CpuMask::read().cpus().len().max(1);
        let is_used = cpu.is_some() && self.cpus.contains(&cpu);
        if is_used || self.threads >= cpus {
            downgrades.push(format!(
                "stage `{}` backs off instead of spinning: its CPU has a spinning thread already ({cpus} CPUs allowed)",
                spec.name
            ));
            return Wait::Backoff;
        }
        self.cpus.insert(cpu);
        self.threads += 1;
        Wait::Spin
    }
}

fn check_slots(slots: usize) -> Result<(), LaneError> {
    if !slots.is_power_of_two() || !(2..=SLOTS_MAX).contains(&slots) {
        return Err(LaneError::option(
            "slots",
            slots,
            &format!("a power of two from 2 to {SLOTS_MAX}"),
        ));
    }
    Ok(())
}
