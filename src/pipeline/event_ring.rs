//! The disruptor's ring of a lane: its events, the lane's two ends of it, and the pollers through
//! which stages read.
//!
//! Dropping the disruptor's `EventGuard` releases every event that it covers, read or not, also
//! during unwinding. So handlers run under `catch_unwind` while the guard is alive. If not all of
//! its events are done, the guard is forgotten, and exactly the done ones are polled again and
//! released.
#![forbid(unsafe_code)]

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use disruptor::{
    BusySpin, EventPoller, MultiConsumerBarrier, SingleConsumerBarrier, SingleProducer,
    SingleProducerBarrier, build_single_producer,
};

use super::flow::Pump;
use super::policy::Meta;
use crate::ring::RingSpan;

/// What a slot of the ring holds: integers and the user's metadata. Send and Sync by itself, and
/// nothing is dropped at shutdown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LaneEvent<M> {
    pub(crate) span: RingSpan,
    pub(crate) meta: M,
}

/// The lane's own ends of the disruptor: the lane publishes by one, and the other, a poller after
/// the last layer, lets the producer continue.
pub(super) struct DisruptorEnds<M> {
    pub(super) producer: SingleProducer<LaneEvent<M>, SingleConsumerBarrier>,
    pub(super) reclaimer: EventPoller<LaneEvent<M>, MultiConsumerBarrier>,
}

impl<M: Meta> DisruptorEnds<M> {
    /// Builds a ring with this many slots, and one poller per stage, layer by layer.
    pub(super) fn build(slots: usize, layers: &[usize]) -> (Self, Vec<StagePoller<M>>) {
        let mut pollers = Vec::new();
        let mut first =
            build_single_producer(slots, LaneEvent::<M>::default, BusySpin).with_multi_consumer();
        for _ in 0..layers[0] {
            let (poller, next) = first.new_event_poller();
            pollers.push(StagePoller::First(poller));
            first = next;
        }
        let mut later = first.and_then();
        for &stages in &layers[1..] {
            let mut layer = later.with_multi_consumer();
            for _ in 0..stages {
                let (poller, next) = layer.new_event_poller();
                pollers.push(StagePoller::Later(poller));
                layer = next;
            }
            later = layer.and_then();
        }
        assert_eq!(pollers.len(), layers.iter().sum::<usize>(), "one poller per stage");
        let (reclaimer, last) = later.new_event_poller();
        (Self { producer: last.build(), reclaimer }, pollers)
    }
}

/// A stage's poller. The disruptor's trait of barriers can't be named, so there is one variant per
/// kind.
pub(crate) enum StagePoller<M> {
    /// In the first layer: it follows the producer.
    First(EventPoller<LaneEvent<M>, SingleProducerBarrier>),
    /// In a later layer: it follows all stages of the layer before.
    Later(EventPoller<LaneEvent<M>, MultiConsumerBarrier>),
}

/// What one poll has shown.
pub(crate) struct StageBatch {
    /// Events that are done, and released.
    pub(crate) done: u64,
    /// Whether those are all that were polled: the handler neither stopped early nor panicked.
    pub(crate) is_all: bool,
    pub(crate) shown: std::thread::Result<()>,
}

/// Runs `$call` on the poller of either kind.
macro_rules! either {
    ($poller:expr, $name:ident => $call:expr) => {
        match $poller {
            StagePoller::First($name) => $call,
            StagePoller::Later($name) => $call,
        }
    };
}

impl<M: Meta> StagePoller<M> {
    /// Calls `begin`, shows at most `limit` events to `step` until it returns false, and releases
    /// those before that event. None: there are no events. Whether more may come isn't asked here,
    /// because nothing orders the disruptor's shutdown.
    #[inline]
    pub(crate) fn drive(
        &mut self,
        limit: u64,
        begin: impl FnOnce(),
        mut step: impl FnMut(&LaneEvent<M>) -> bool,
    ) -> Option<StageBatch> {
        either!(self, poller => {
            let mut guard = poller.take(limit).ok()?;
            begin();
            let mut events = &mut guard;
            let (polled, mut done) = (events.len() as u64, 0);
            // The closure returns nothing, because an outcome would be passed through memory.
            let shown = catch_unwind(AssertUnwindSafe(|| {
                while done < polled && events.next().is_some_and(&mut step) {
                    done += 1;
                }
            }));
            let is_all = done == polled;
            if is_all {
                drop(guard);
            } else {
                mem::forget(guard);
                if done > 0 {
                    drop(poller.take(done));
                }
            }
            Some(StageBatch { done, is_all, shown })
        })
    }

    /// Copies at most `max` events after the first `skip` unreleased ones, and releases none.
    pub(crate) fn read(&mut self, skip: u64, max: u64, into: &mut Vec<LaneEvent<M>>) {
        either!(self, poller => {
            let Ok(mut guard) = poller.take(skip.saturating_add(max)) else { return };
            into.extend((&mut guard).skip(skip as usize).copied());
            mem::forget(guard);
        })
    }

    /// Releases `count` events that were read.
    pub(crate) fn release(&mut self, count: u64) {
        debug_assert!(count > 0);
        let released = self.release_some(count);
        debug_assert_eq!(released, count, "only events that were read are released");
    }

    /// Polls at most `limit` events and drops the guard, unread. Returns their number.
    fn release_some(&mut self, limit: u64) -> u64 {
        either!(self, poller => poller.take(limit).map_or(0, |mut guard| {
            let events = &mut guard;
            events.len() as u64
        }))
    }
}

impl<M: Meta> Pump for StagePoller<M> {
    fn release_all(&mut self) -> u64 {
        self.release_some(u64::MAX)
    }
}

/// Why a handler that panicked can't continue: the panic's message, if it has one. The payload may
/// panic again when it is dropped; what that throws is leaked.
pub(super) fn panic_reason(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(again);
    }
    format!("panicked: {}", text.as_deref().unwrap_or("a panic without a message"))
}
