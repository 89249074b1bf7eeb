//! Starting a lane, on the thread that will own it: pin, map, build the ring, hand out the stages.
#![forbid(unsafe_code)]

use std::sync::Arc;

use disruptor::{
    BusySpin, EventPoller, MultiConsumerBarrier, SingleConsumerBarrier, SingleProducer,
    build_single_producer,
};

use super::error::LaneError;
use super::flow::Flow;
use super::lane::Lane;
use super::poller::Poller;
use super::shared::LaneShared;
use super::slot::{Meta, Slot};
use super::spec::LaneSpec;
use super::stage::Stage;
use super::timing::Timing;
use super::wake::Party;
use crate::barrier::Barrier;
use crate::machine::{Affinity, CpuMask, PinReport, pin_current};
use crate::region::RegionReport;
use crate::ring::RingPool;

/// The lane's own ends of the disruptor: it publishes, and its poller in the last layer lets the
/// producer go on.
pub(super) struct Ends<M> {
    pub(super) producer: SingleProducer<Slot<M>, SingleConsumerBarrier>,
    pub(super) reclaimer: EventPoller<Slot<M>, MultiConsumerBarrier>,
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
    /// What was asked and not granted, in words.
    pub downgrades: Vec<String>,
}

/// The stage handles of a lane that weren't taken yet. Dropped with handles left, it fails those
/// stages.
#[derive(Debug)]
pub struct Stages<M: Meta>(Vec<Stage<M>>);

impl<M: Meta> Stages<M> {
    /// The handle of that name, once.
    pub fn take(&mut self, name: &str) -> Option<Stage<M>> {
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

impl LaneSpec {
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
            // The pool is mapped on the CPU that uses it, so the pin came first.
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
        let pool = RingPool::read_on(self.readers(), &self.pool)?;
        let (layers, states) = self.stages(&mut downgrades);
        let flow = Flow::new(states, self.panic, Barrier::choose(), Party::event()?);
        let timed = self.clock.map(|clock| Timing::new(clock, self.slots, layers.iter().sum()));
        let (timing, timers) = timed.unzip();
        let shared =
            Arc::new(LaneShared::new(self.id, Arc::clone(pool.memory()), self.slots, flow, timing));
        let (ends, pollers) = build(self.slots, &layers);
        let mut timers = timers.into_iter().flatten();
        let stage = |(poller, index)| Stage::new(poller, &shared, index, timers.next());
        let stages = Stages(pollers.into_iter().zip(0..).map(stage).collect());
        let report = LaneReport { pin, region: pool.region_report().clone(), downgrades };
        let lane = Lane::new(pool, ends, &shared, self.slots, self.reclaim, self.wait);
        Ok(Started { lane, stages, report })
    }
}

/// The disruptor: a poller a stage, layer after layer, and the reclaimer behind them all.
fn build<M: Meta>(slots: usize, layers: &[usize]) -> (Ends<M>, Vec<Poller<M>>) {
    let mut pollers = Vec::new();
    let mut first =
        build_single_producer(slots, Slot::<M>::default, BusySpin).with_multi_consumer();
    for _ in 0..layers[0] {
        let (poller, next) = first.new_event_poller();
        pollers.push(Poller::First(poller));
        first = next;
    }
    let mut later = first.and_then();
    for &stages in &layers[1..] {
        let mut layer = later.with_multi_consumer();
        for _ in 0..stages {
            let (poller, next) = layer.new_event_poller();
            pollers.push(Poller::Later(poller));
            layer = next;
        }
        later = layer.and_then();
    }
    assert_eq!(pollers.len(), layers.iter().sum::<usize>(), "a poller for each stage");
    let (reclaimer, last) = later.new_event_poller();
    (Ends { producer: last.build(), reclaimer }, pollers)
}
