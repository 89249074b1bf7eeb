//! Shrinking: buffers that haven't been needed for a while give their pages back.
//!
//! Promises that what was needed within the last `shrink_after` keeps its pages, and that what
//! wasn't loses them at the next look after twice that time. The policy is a pure function of the
//! time and a count. Memory is touched while no lock is held.
#![forbid(unsafe_code)]

use std::io;
use std::mem;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle, current};
use std::time::{Duration, Instant};

use super::memory::GivenBack;
use super::pool::ClassPool;
use super::shared::{Class, Shared};
use crate::process::Process;

/// The policy's memory of one class.
#[derive(Debug, Default)]
pub(crate) struct Period {
    since: Option<Instant>,
}

impl Period {
    /// Returns true once per `shrink_after`: a period is over, and pages that stayed unused in it
    /// must go.
    fn is_over(&mut self, now: Instant, shrink_after: Duration) -> bool {
        let since = *self.since.get_or_insert(now);
        // A clock that went back starts a period anew.
        let is_over =
            now.checked_duration_since(since).is_some_and(|passed| passed >= shrink_after);
        if is_over || now < since {
            self.since = Some(now);
        }
        is_over
    }
}

/// Looks at every class. Returns the number of bytes given back.
pub(super) fn tick(shared: &Arc<Shared>, now: Instant) -> usize {
    let Some(shrink_after) = shared.options.shrink_after else { return 0 };
    if shared.is_foreign() {
        return 0;
    }
    let sized = shared.classes.iter().filter(|class| !class.is_direct);
    let over = sized.filter(|class| class.period().is_over(now, shrink_after));
    over.map(|class| shrink(shared, class)).sum()
}

/// A period of the class is over.
fn shrink(shared: &Shared, class: &Class) -> usize {
    let idle = class.store.idle();
    // Blocks that a thread kept for a whole period without using its bin are idle too.
    let kept = shared.steal(class, |local| local.bins[class.index as usize].was_idle()).count;
    let (moved, neighbours) = class.store.move_out_idle(idle + kept, class.memory.unit_bytes());
    let (count, beside) = (moved.len(), neighbours.len());
    if count == 0 {
        return 0;
    }
    let GivenBack { cold, warm, neighbours } = class.memory.give_back(moved, neighbours);
    assert!(
        cold.len() + warm.len() == count && neighbours.len() == beside,
        "a buffer was lost while it shrank"
    );
    let shrunk = cold.len();
    class.store.count_shrunk(shrunk);
    shared.finish(class, class.store.move_in(cold, warm, neighbours));
    shrunk * class.class_bytes
}

/// A thread that calls [`ClassPool::tick`], until this handle is dropped or the pool is gone.
#[derive(Debug)]
pub struct Ticker {
    /// Dropping it ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// The handle of the thread.
    process: Process,
}

impl ClassPool {
    /// Starts a thread that calls [`ClassPool::tick`] at this interval. It doesn't keep the pool
    /// alive.
    ///
    /// # Errors
    /// The system's error, if it can't start a thread.
    pub fn ticker(&self, every: Duration) -> io::Result<Ticker> {
        let (stop, stopped) = channel();
        let shared = Arc::downgrade(self.shared());
        let run = move || tick_until(&stopped, every, &shared);
        let thread = Builder::new().name("slipring-ticker".to_owned()).spawn(run)?;
        Ok(Ticker { stop: Some(stop), thread: Some(thread), process: Process::current() })
    }
}

fn tick_until(stopped: &Receiver<()>, every: Duration, shared: &Weak<Shared>) {
    // An interval of zero would keep a CPU busy.
    let every = every.max(Duration::from_millis(1));
    while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        let Some(shared) = shared.upgrade() else { return };
        tick(&shared, Instant::now());
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let (stop, thread) = (self.stop.take(), self.thread.take());
        if !self.process.is_current() {
            // A forked child doesn't have the thread, which may have held the channel's lock.
            mem::forget((stop, thread));
            return;
        }
        drop(stop);
        // A waker that a tick wakes may drop the ticker on the ticker's own thread, which then ends
        // without being joined.
        let others = thread.into_iter().filter(|thread| thread.thread().id() != current().id());
        // It ends within one tick. It can only have panicked by a failed assertion, which was
        // printed.
        others.for_each(|thread| drop(thread.join()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_ends_once_in_a_while() {
        let (start, after) = (Instant::now(), Duration::from_secs(10));
        let mut period = Period::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!period.is_over(at(100), after), "the first look starts it");
        assert!(!period.is_over(at(109), after));
        assert!(period.is_over(at(110), after));
        assert!(!period.is_over(at(119), after), "the next one has begun");
        assert!(period.is_over(at(400), after));
        assert!(!period.is_over(at(50), after), "a clock that went back");
        assert!(period.is_over(at(60), after));
    }
}
