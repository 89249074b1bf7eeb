//! What the thread of a stage does with its time, told by the thread itself and read from any.
//!
//! ```text
//!   busy: batches, one after the other ─▶ idle: nothing to read ─▶ busy ...
//!                                       └▶ retry: the handler can't take the next event
//! ```
//! The clock is read where the first event after idleness or a retry is shown. Where work ends it was read already, for the latencies of the last
//! batch. What goes on at the moment of a look counts up to that moment, so a handler that hangs is busy.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use crate::latency::Clock;
use crate::sync::{Arc, AtomicU64, Ordering};

/// What the thread of a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StageActivity {
    /// It processes events.
    Busy,
    /// There are none: it spins, yields or sleeps.
    Idle,
    /// Its handler can't take the next event, and is asked again after a pause.
    Retry,
}

impl StageActivity {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Busy, Self::Idle, Self::Retry];

    /// Its name: lower case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Retry => "retry",
        }
    }
}

/// Bits of [`Cells::open`] that hold the activity; the other 62 hold 146 years.
const ACTIVITY_BITS: u32 = 2;
/// In place of an activity: the thread hasn't begun, or has ended.
const NOT_RUNNING: u64 = StageActivity::ALL.len() as u64;

/// Written by the stage's thread alone, but for `told`.
struct Cells {
    /// Time by activity, up to the start of the one that goes on.
    spent_ns: [AtomicU64; StageActivity::ALL.len()],
    /// What goes on, and since when.
    open: AtomicU64,
    /// The most that readers were told: two of them, or one twice, never see time go back.
    told_ns: [AtomicU64; StageActivity::ALL.len()],
}

impl Cells {
    fn open(&self) -> (u64, u64) {
        let open = self.open.load(Ordering::Relaxed);
        (open & ((1 << ACTIVITY_BITS) - 1), open >> ACTIVITY_BITS)
    }
}

/// The thread's own end. Dropped, it tells that the thread has ended.
pub(super) struct ThreadClock {
    clock: Clock,
    cells: Arc<Cells>,
    /// As in the cells.
    open: u64,
    since_ns: u64,
}

impl ThreadClock {
    pub(super) fn new(clock: Clock) -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        let cells = Cells { spent_ns: zeros(), open: AtomicU64::new(NOT_RUNNING), told_ns: zeros() };
        Self { clock, cells: Arc::new(cells), open: NOT_RUNNING, since_ns: 0 }
    }

    pub(super) fn time(&self) -> ThreadTime {
        ThreadTime { clock: self.clock, cells: Arc::clone(&self.cells) }
    }

    /// The thread does this from now on, if it doesn't already.
    #[inline]
    pub(super) fn begin(&mut self, activity: StageActivity) {
        if self.open != activity as u64 {
            self.switch(activity as u64, self.clock.now_ns());
        }
    }

    /// The thread does this from that moment on, if it doesn't already.
    pub(super) fn begin_at(&mut self, activity: StageActivity, ns: u64) {
        if self.open != activity as u64 {
            self.switch(activity as u64, ns);
        }
    }

    #[cold]
    fn switch(&mut self, to: u64, ns: u64) {
        let (was, since_ns) = (self.open, self.since_ns);
        // A clock that goes back makes a span of nothing.
        (self.open, self.since_ns) = (to, ns.max(since_ns));
        self.cells.open.store(self.since_ns << ACTIVITY_BITS | to, Ordering::Relaxed);
        if let Some(spent_ns) = self.cells.spent_ns.get(was as usize) {
            // SYNC S19. After `open`: a reader misses a span that has just ended, and never counts it twice.
            spent_ns.store(spent_ns.load(Ordering::Relaxed) + (self.since_ns - since_ns), Ordering::Release);
        }
    }
}

impl Drop for ThreadClock {
    fn drop(&mut self) {
        if self.open != NOT_RUNNING {
            self.switch(NOT_RUNNING, self.clock.now_ns());
        }
    }
}

/// What the thread of a stage has done with its time so far: see [`LaneSpec::timed`](super::LaneSpec::timed). Send, Sync and Clone; it outlives the thread.
///
/// It tells of a thread that [`Stage::spawn`](super::Stage::spawn) or [`Stage::run`](super::Stage::run) drives. An inline stage spends its lane's time,
/// and what your own loop does is yours to say: both have none.
#[derive(Clone)]
pub struct ThreadTime {
    clock: Clock,
    cells: Arc<Cells>,
}

impl ThreadTime {
    /// Time spent on an activity, up to now if it goes on. It never goes back. All three add up to the time that the thread has run, but for
    /// a span that ends at this moment, which may be missing.
    #[must_use]
    pub fn spent(&self, activity: StageActivity) -> Duration {
        self.spent_by(activity, || self.clock.now_ns())
    }

    fn spent_by(&self, activity: StageActivity, now_ns: impl FnOnce() -> u64) -> Duration {
        // SYNC S19: who sees a span here sees that it isn't open any more.
        let mut ns = self.cells.spent_ns[activity as usize].load(Ordering::Acquire);
        let (open, since_ns) = self.cells.open();
        if open == activity as u64 {
            ns += now_ns().saturating_sub(since_ns);
        }
        let before = self.cells.told_ns[activity as usize].fetch_max(ns, Ordering::Relaxed);
        Duration::from_nanos(ns.max(before))
    }

    /// Whether the thread runs now.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.cells.open().0 != NOT_RUNNING
    }
}

impl fmt::Debug for ThreadTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = f.debug_struct("ThreadTime");
        for activity in StageActivity::ALL {
            told.field(activity.label(), &self.spent(activity));
        }
        told.finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const END_NS: u64 = 3050;

    fn thread() -> ThreadClock {
        ThreadClock::new(Clock::of(|| END_NS))
    }

    fn spent(time: &ThreadTime, now_ns: u64) -> [u64; 3] {
        StageActivity::ALL.map(|activity| time.spent_by(activity, || now_ns).as_nanos() as u64)
    }

    #[test]
    fn what_goes_on_counts_up_to_now() {
        let mut thread = thread();
        let time = thread.time();
        assert_eq!((spent(&time, 500), time.is_running()), ([0, 0, 0], false));
        thread.begin_at(StageActivity::Idle, 1000);
        assert_eq!((spent(&time, 1300), time.is_running()), ([0, 300, 0], true));
        thread.begin_at(StageActivity::Busy, 1400);
        thread.begin_at(StageActivity::Busy, 1500);
        assert_eq!(spent(&time, 2000), [600, 400, 0]);
        thread.begin_at(StageActivity::Retry, 2100);
        thread.begin_at(StageActivity::Busy, 3000);
        drop(thread);
        assert_eq!((spent(&time, 9000), time.is_running()), ([750, 400, 900], false));
    }

    #[test]
    fn a_look_beside_the_thread_counts_no_span_twice() {
        let clock = Clock::start();
        let mut thread = ThreadClock::new(clock);
        let time = thread.time();
        let switches = if cfg!(miri) { 50 } else { 20_000 };
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for activity in StageActivity::ALL.into_iter().cycle().take(switches) {
                    thread.begin(activity);
                }
            });
            let mut before = Duration::ZERO;
            loop {
                let is_over = !time.is_running() && before > Duration::ZERO;
                let all = StageActivity::ALL.map(|activity| time.spent(activity)).iter().sum();
                assert!(all >= before && all <= Duration::from_nanos(clock.now_ns()), "{before:?}, {all:?}");
                before = all;
                if is_over {
                    break;
                }
            }
        });
    }

    #[test]
    fn time_never_goes_back() {
        let mut thread = thread();
        let time = thread.time();
        thread.begin_at(StageActivity::Busy, 1000);
        assert_eq!(spent(&time, 2000), [1000, 0, 0]);
        // The last batch ended before the reader's look; and a clock that goes back.
        thread.begin_at(StageActivity::Idle, 1800);
        assert_eq!(spent(&time, 2000), [1000, 200, 0]);
        thread.begin_at(StageActivity::Busy, 1700);
        assert_eq!(spent(&time, 1900), [1000, 200, 0]);
        thread.begin(StageActivity::Idle);
        assert_eq!(spent(&time, 0), [800 + END_NS - 1800, 200, 0]);
    }
}
