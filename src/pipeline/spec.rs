//! The specification of a lane: Send, built anywhere, started on the thread that will own it.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use super::column::{ColumnReader, ColumnWriter, column};
use super::error::LaneError;
use super::slot::{Meta, Slot};
use super::state::StageState;
use crate::latency::Clock;
use crate::machine::{CpuMask, PinPolicy};
use crate::ring::{Layout, Readers, RingOptions};
use crate::sync::pool_id;

/// The most slots of a ring. A slot is a few dozen bytes.
pub const SLOTS_MAX: usize = 1 << 24;
/// The default for a stage's most events per poll.
pub const BATCH_DEFAULT: usize = 256;

/// When memory is released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reclaim {
    /// When every stage has passed the event. Faster with long rings (PERFORMANCE.md), and the pool
    /// may have any size.
    #[default]
    OnConsume,
    /// When the event's slot is overwritten, one ring length later. The pool must hold a whole ring
    /// of the largest slices, plus the chunks that may be pinned.
    OnOverwrite,
}

/// What an idle thread does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Spins: the lowest latency, for a whole CPU. If two spinning threads share a CPU, one is
    /// downgraded.
    Spin,
    /// Spins a little, yields for about a millisecond, then sleeps.
    #[default]
    Backoff,
    /// Spins for 20 to 50 us, then sleeps until it is woken. A stage pinned to its lane's CPU
    /// doesn't spin first (nor with `Backoff`), because the lane couldn't run meanwhile.
    Park,
}

/// What a dead stage does to its lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PanicPolicy {
    /// Allocation returns `Poisoned`, and later layers stop after what the stage had processed.
    /// What is pushed is still published.
    #[default]
    Poison,
    /// The lane continues without the stage: its events are released unprocessed, and its columns
    /// report that.
    Detach,
    /// The process aborts.
    Abort,
}

/// Where a stage runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// On the IO thread, polled by it.
    Inline,
    /// On its own thread, on this CPU or on any that the process may use.
    Thread {
        /// The CPU.
        cpu: Option<usize>,
    },
}

/// One stage of a specification.
#[derive(Clone, Debug)]
pub struct StageSpec {
    pub(super) name: String,
    pub(super) placement: Placement,
    wait: Wait,
    pub(super) batch_max: usize,
}

impl StageSpec {
    /// A stage that the IO thread polls.
    #[must_use]
    pub fn inline(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            placement: Placement::Inline,
            wait: Wait::default(),
            batch_max: BATCH_DEFAULT,
        }
    }

    /// A stage with its own thread.
    #[must_use]
    pub fn thread(name: &str) -> Self {
        Self { placement: Placement::Thread { cpu: None }, ..Self::inline(name) }
    }

    /// Gives it a thread of its own, pinned to this CPU (preferred: a failed pin is reported).
    #[must_use]
    pub fn cpu(mut self, cpu: usize) -> Self {
        self.placement = Placement::Thread { cpu: Some(cpu) };
        self
    }

    /// What its thread does while it is idle.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Most events per poll (at least 1). The next layer waits for the whole batch.
    #[must_use]
    pub fn batch(mut self, events_max: usize) -> Self {
        self.batch_max = events_max;
        self
    }
}

/// The specification of a lane. Its stages are in layers: every stage of a layer comes after all
/// stages of the layer before.
#[derive(Debug)]
pub struct LaneSpec {
    pub(super) id: u32,
    pub(super) pool: RingOptions,
    pub(super) slots: usize,
    pub(super) reclaim: Reclaim,
    pub(super) panic: PanicPolicy,
    pub(super) cpu: Option<usize>,
    pub(super) pin: PinPolicy,
    pub(super) wait: Wait,
    pub(super) clock: Option<Clock>,
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

    /// When memory is released.
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
        let bad_width = || option("width", width, "at least 1, and no more than memory holds");
        if width == 0 {
            return Err(bad_width());
        }
        if size_of::<T>() == 0 {
            return Err(option("column", std::any::type_name::<T>(), "of a type that has a size"));
        }
        let mut index = 0;
        for (layer, stages) in self.layers.iter().enumerate() {
            if let Some(at) = stages.iter().position(|spec| spec.name == stage) {
                return column(self.slots, width, self.id, index + at as u32, layer)
                    .ok_or_else(bad_width);
            }
            index += stages.len() as u32;
        }
        Err(option("stage", stage, "the name of a stage that was added before"))
    }

    /// Checks every field but the pool's; the pool checks its own.
    pub(super) fn check(&self) -> Result<(), LaneError> {
        check_slots(self.slots)?;
        if self.layers.is_empty() || self.layers.iter().any(Vec::is_empty) {
            return Err(option(
                "layers",
                self.layers.len(),
                "at least one layer, with at least one stage in each",
            ));
        }
        let mut names = HashSet::new();
        for spec in self.layers.iter().flatten() {
            if !names.insert(&spec.name) {
                return Err(option("name", &spec.name, "another name for each stage"));
            }
            if spec.name.contains('\0') {
                return Err(option(
                    "name",
                    format!("{:?}", spec.name),
                    "a name without a NUL: threads are named after stages",
                ));
            }
            if spec.batch_max == 0 {
                return Err(option("batch", 0, "at least one event"));
            }
        }
        Ok(())
    }

    /// Whether memory for the ring is available. If it weren't, the disruptor would end the
    /// process.
    pub(super) fn check_ring<M: Meta>(&self) -> Result<(), LaneError> {
        let slot_bytes = size_of::<Slot<M>>();
        // The ring itself, and the lane's copy of its slots.
        let had = (0..2)
            .map(|_| Vec::<Slot<M>>::new().try_reserve_exact(self.slots))
            .all(|had| had.is_ok());
        if had {
            Ok(())
        } else {
            Err(option(
                "slots",
                self.slots,
                &format!("as many as memory holds, of {slot_bytes} bytes each"),
            ))
        }
    }

    /// Whether the IO thread alone reads the pool.
    pub(super) fn readers(&self) -> Readers {
        let inline = |stage: &StageSpec| stage.placement == Placement::Inline;
        if self.layers.iter().flatten().all(inline) {
            Readers::OwnCore
        } else {
            Readers::OtherCores
        }
    }

    /// On overwrite, nothing would ever be freed unless the pool holds more than a ring of the
    /// largest slices. Pinned chunks come on top, because a full lane must never wait only for
    /// retained handles: dropping one wakes nobody.
    pub(super) fn check_pool(&self, layout: &Layout) -> Result<(), LaneError> {
        let pinned = layout.pinned_chunks_max();
        debug_assert!(pinned < layout.chunks(), "checked by the pool's options");
        if self.reclaim == Reclaim::OnConsume || layout.pool_bytes() >= self.overwrite_bytes(layout)
        {
            return Ok(());
        }
        let must = format!(
            "at least {} bytes with Reclaim::OnOverwrite, {} slots and slices of {} bytes: raise it, or use fewer slots",
            self.overwrite_bytes_least(layout),
            self.slots,
            layout.max_slice_bytes()
        );
        Err(option("pool.bytes", layout.pool_bytes(), &must))
    }

    /// What a pool of this layout must hold on overwrite.
    fn overwrite_bytes(&self, layout: &Layout) -> usize {
        overwrite_bytes(layout, self.slots)
    }

    /// The size of a pool that is large enough. A larger pool may have larger chunks, and more of
    /// them pinned, so the need is computed again.
    fn overwrite_bytes_least(&self, layout: &Layout) -> usize {
        let mut least = self.overwrite_bytes(layout);
        for _ in 0..64 {
            let Ok(larger) =
                RingOptions { bytes: least, ..self.pool.clone() }.layout(self.readers())
            else {
                break;
            };
            let need = self.overwrite_bytes(&larger).next_multiple_of(larger.chunk_bytes());
            if larger.pool_bytes() >= need {
                break;
            }
            least = need.max(least.saturating_add(larger.chunk_bytes()));
        }
        least
    }

    /// The layers' sizes, and the state of each stage. Spinning threads that would share a CPU are
    /// downgraded.
    pub(super) fn stages(&self, downgrades: &mut Vec<String>) -> (Vec<usize>, Vec<StageState>) {
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

/// Threads that spin, by CPU. Two on one CPU would wait for each other's time slices.
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
        let Placement::Thread { cpu } = spec.placement else { return spec.wait };
        if spec.wait != Wait::Spin {
            return spec.wait;
        }
        let cpus = CpuMask::read().cpus().len().max(1);
        let taken = cpu.is_some() && self.cpus.contains(&cpu);
        if taken || self.threads >= cpus {
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

/// The bytes that a pool of this layout must hold on overwrite, with a ring of this many slots.
pub(super) fn overwrite_bytes(layout: &Layout, slots: usize) -> usize {
    layout
        .bytes_for_slots(slots)
        .saturating_add(layout.pinned_chunks_max() as usize * layout.chunk_bytes())
}

fn check_slots(slots: usize) -> Result<(), LaneError> {
    if !slots.is_power_of_two() || !(2..=SLOTS_MAX).contains(&slots) {
        return Err(option("slots", slots, &format!("a power of two from 2 to {SLOTS_MAX}")));
    }
    Ok(())
}

fn option(field: &'static str, given: impl ToString, must: &str) -> LaneError {
    LaneError::Option { field, given: given.to_string(), must: must.to_owned() }
}
