//! What is chosen for a lane and its stages: when memory is reclaimed, what an idle thread does,
//! what a dead stage does to its lane, where a stage runs, and what metadata must be.
#![forbid(unsafe_code)]

use crate::ring::Layout;

/// The default for a stage's most events per poll.
pub const BATCH_DEFAULT: usize = 256;

/// Metadata that travels with an event: plain data, copied twice. Implemented for every type that
/// qualifies.
pub trait Meta: Copy + Default + Send + Sync + 'static {}

impl<T: Copy + Default + Send + Sync + 'static> Meta for T {}

/// When memory is reclaimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reclaim {
    /// When every stage has processed the event. Faster with long rings (PERFORMANCE.md), and the
    /// pool may have any size.
    #[default]
    OnConsume,
    /// When the event's slot is overwritten, one ring length later. The pool must hold a whole ring
    /// of the largest slices, plus the chunks that may be pinned.
    OnOverwrite,
}

impl Reclaim {
    /// The bytes that a pool of this layout must hold at least, with a ring of this many slots.
    ///
    /// On overwrite, nothing would ever be freed unless the pool holds more than a ring of the
    /// largest slices. Pinned chunks come on top, because a full lane must never wait only for
    /// retained handles: dropping one wakes no thread.
    pub(super) fn pool_bytes_least(self, layout: &Layout, slots: usize) -> usize {
        match self {
            Self::OnConsume => 0,
            Self::OnOverwrite => layout
                .bytes_for_slots(slots)
                .saturating_add(layout.pinned_chunks_max() as usize * layout.chunk_bytes()),
        }
    }
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
    /// Spins for 30 us, then sleeps until it is woken. A stage pinned to its lane's CPU doesn't
    /// spin first (nor with `Backoff`), because the lane couldn't run meanwhile.
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
pub(crate) enum StagePlacement {
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
    pub(super) placement: StagePlacement,
    pub(super) wait: Wait,
    pub(super) batch_max: usize,
}

impl StageSpec {
    /// A stage that the IO thread polls.
    #[must_use]
    pub fn inline(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            placement: StagePlacement::Inline,
            wait: Wait::default(),
            batch_max: BATCH_DEFAULT,
        }
    }

    /// A stage with its own thread.
    #[must_use]
    pub fn thread(name: &str) -> Self {
        Self { placement: StagePlacement::Thread { cpu: None }, ..Self::inline(name) }
    }

    /// Gives the stage a thread of its own, pinned to this CPU (preferred: a failed pin is
    /// reported).
    #[must_use]
    pub fn cpu(mut self, cpu: usize) -> Self {
        self.placement = StagePlacement::Thread { cpu: Some(cpu) };
        self
    }

    /// What the stage's thread does while it is idle.
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
