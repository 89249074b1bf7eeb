//! The disruptor's pollers, and the only way in which we read through them.
//!
//! Dropping an `EventGuard` releases every event that it covers, read or not, also during
//! unwinding. So handlers run under `catch_unwind` while the guard is alive. If not all of its
//! events are done, the guard is forgotten, and exactly the done ones are taken again and released.
#![forbid(unsafe_code)]

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use disruptor::{EventPoller, MultiConsumerBarrier, SingleProducerBarrier};

use super::flow::Pump;
use super::slot::{Meta, LaneEvent};

/// The crate's trait of barriers can't be named, so the two kinds of poller stand side by side.
pub(crate) enum StagePoller<M> {
    /// Of the first layer: it follows the producer.
    First(EventPoller<LaneEvent<M>, SingleProducerBarrier>),
    /// Of a later layer: it follows all stages of the layer before.
    Later(EventPoller<LaneEvent<M>, MultiConsumerBarrier>),
}

/// What a poller has shown.
pub(crate) struct StageBatch {
    /// Events that are done, and released.
    pub(crate) done: u64,
    /// Whether that is all it took: the handler neither stopped before the end nor panicked.
    pub(crate) is_all: bool,
    pub(crate) shown: std::thread::Result<()>,
}

/// Runs `$call` on whichever poller it is.
macro_rules! either {
    ($poller:expr, $name:ident => $call:expr) => {
        match $poller {
            StagePoller::First($name) => $call,
            StagePoller::Later($name) => $call,
        }
    };
}

impl<M: Meta> StagePoller<M> {
    /// Shows at most `limit` events to `step`, after `begin`, until it says no, and releases those
    /// before. None: there is nothing. Whether something may still come isn't asked here: the
    /// disruptor's shutdown isn't ordered with anything.
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
            let (taken, mut done) = (events.len() as u64, 0);
            // Nothing comes back by value: an outcome would go through memory.
            let shown = catch_unwind(AssertUnwindSafe(|| {
                while done < taken && events.next().is_some_and(&mut step) {
                    done += 1;
                }
            }));
            let is_all = done == taken;
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

    /// Copies at most `max` events behind the first `skip` unreleased ones, and releases nothing.
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
        let taken = self.release_some(count);
        debug_assert_eq!(taken, count, "only what was read is released");
    }

    /// Takes at most `limit` events and drops the guard, unread; says how many they were.
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
