//! Shrinking: buffers that haven't been needed for a while give their pages back. [`tick`] does it,
//! and a [`Ticker`] calls it at an interval.
//!
//! Promises that what was needed within the last `shrink_after` keeps its pages, and that what
//! wasn't loses them at the next tick after twice that time. The policy is a pure function of the
//! time and a count. Memory is touched while no lock is held.
#![forbid(unsafe_code)]

use std::io;
use std::mem;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle, current};
use std::time::{Duration, Instant};

use super::memory::GivenBack;
use super::shared::{Class, ClassShared};
use super::threads::empty_bins;
use crate::process::Process;
use crate::sync::lock;

/// Shrinks every class whose period is over. Returns the number of bytes given back.
pub(super) fn tick(shared: &Arc<ClassShared>, now: Instant) -> usize {
    let Some(shrink_after) = shared.options.shrink_after else { return 0 };
    if shared.is_foreign() {
        return 0;
    }
    let is_over = |class: &&Class| period_is_over(&mut lock(&class.period), now, shrink_after);
    shared.sized().iter().filter(is_over).map(|class| shrink(shared, class)).sum()
}

/// Returns true once per `shrink_after`: a period is over, and pages that weren't needed in it must
/// go. `since` is when the period began; the first call begins one.
fn period_is_over(since: &mut Option<Instant>, now: Instant, shrink_after: Duration) -> bool {
    let began = *since.get_or_insert(now);
    let is_over = now.checked_duration_since(began).is_some_and(|passed| passed >= shrink_after);
    // A clock that went back begins a new period.
    if is_over || now < began {
        *since = Some(now);
    }
    is_over
}

/// Gives back the pages of blocks that weren't needed in a period. Returns their bytes.
fn shrink(shared: &ClassShared, class: &Class) -> usize {
    let idle = class.store.idle();
    // Blocks that a thread kept for a whole period without using its bin are idle too.
    let kept = empty_bins(shared, class, |thread| thread.bin(class).was_idle()).count;
    let (moved, neighbours) = class.store.move_out_idle(idle + kept, class.slabs.unit_bytes());
    let (count, neighbour_count) = (moved.len(), neighbours.len());
    if count == 0 {
        return 0;
    }
    let GivenBack { cold, warm, neighbours } = class.slabs.give_back(moved, neighbours);
    assert!(
        cold.len() + warm.len() == count && neighbours.len() == neighbour_count,
        "a block was lost while it shrank"
    );
    let shrunk = cold.len();
    class.store.count_shrunk(shrunk);
    shared.after_unlock(class, class.store.move_in(cold, warm, neighbours));
    shrunk * class.class_bytes
}

/// A thread that calls [`ClassPool::tick`](super::ClassPool::tick) until this handle is dropped or
/// the pool is gone.
#[derive(Debug)]
pub struct Ticker {
    /// Dropping it ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// The process that has the thread.
    process: Process,
}

impl Ticker {
    pub(super) fn start(shared: &Arc<ClassShared>, every: Duration) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let shared = Arc::downgrade(shared);
        let run = move || tick_until(&stopped, every, &shared);
        let thread = Builder::new().name("slipring-ticker".to_owned()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread), process: Process::current() })
    }
}

fn tick_until(stopped: &Receiver<()>, every: Duration, shared: &Weak<ClassShared>) {
    // An interval of zero would use up a CPU.
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
            // A forked child doesn't have the thread, which may have locked the channel.
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
        let mut since = None;
        let mut is_over =
            |seconds| period_is_over(&mut since, start + Duration::from_secs(seconds), after);
        assert!(!is_over(100), "the first look begins it");
        assert!(!is_over(109));
        assert!(is_over(110));
        assert!(!is_over(119), "the next one has begun");
        assert!(is_over(400));
        assert!(!is_over(50), "a clock that went back");
        assert!(is_over(60));
    }
}
