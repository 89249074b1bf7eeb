//! What the thread of a stage does with its time, told by the thread itself and read from any.
//!
//! ```text
//!   busy: batches, one after the other ─▶ idle: nothing to read ─▶ busy ...
//!                                       └▶ retry: the handler can't take the next event
//! ```
//! The clock is read where the first event after idleness or a retry is shown. Where work ends it
//! was read already, for the latencies of the last batch. What goes on at the moment of a look
//! counts up to that moment, so a handler that hangs is busy.
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

/// Bits of [`ActivityTimes::open`] that hold the activity; the other 62 hold 146 years.
const ACTIVITY_BITS: u32 = 2;
/// A reading beyond this counts as this. Spans follow each other, so no sum of them is larger.
const NS_MAX: u64 = u64::MAX >> ACTIVITY_BITS;
/// In place of an activity: the thread hasn't begun, or has ended.
const NOT_RUNNING: u64 = StageActivity::ALL.len() as u64;

/// Whoever takes time out of `open` adds it to one of the sums, so none is counted twice.
struct ActivityTimes {
    /// What goes on, and since when. The thread swaps it, and a reader that counts what goes on
    /// moves its start.
    open: AtomicU64,
    /// Time by activity, added by the thread alone.
    ended_ns: [AtomicU64; StageActivity::ALL.len()],
    /// Time by activity that readers took out of what went on.
    looked_ns: [AtomicU64; StageActivity::ALL.len()],
}

fn pack(activity: u64, since_ns: u64) -> u64 {
    debug_assert!(since_ns <= NS_MAX);
    since_ns << ACTIVITY_BITS | activity
}

fn unpack(open: u64) -> (u64, u64) {
    (open & ((1 << ACTIVITY_BITS) - 1), open >> ACTIVITY_BITS)
}

/// The thread's own end. Dropped, it tells that the thread has ended.
pub(super) struct ThreadClock {
    clock: Clock,
    times: Arc<ActivityTimes>,
    /// As in the times.
    activity: u64,
}

impl ThreadClock {
    pub(super) fn new(clock: Clock) -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        let times =
            ActivityTimes { open: AtomicU64::new(NOT_RUNNING), ended_ns: zeros(), looked_ns: zeros() };
        Self { clock, times: Arc::new(times), activity: NOT_RUNNING }
    }

    pub(super) fn time(&self) -> ThreadTime {
        ThreadTime { clock: self.clock, times: Arc::clone(&self.times) }
    }

    /// The thread does this from now on, if it doesn't already.
    #[inline]
    pub(super) fn begin(&mut self, activity: StageActivity) {
        if self.activity != activity as u64 {
            self.switch(activity as u64, self.clock.now_ns());
        }
    }

    /// The thread does this from that moment on, if it doesn't already; not from before a moment
    /// that a reader has counted.
    pub(super) fn begin_at(&mut self, activity: StageActivity, ns: u64) {
        if self.activity != activity as u64 {
            self.switch(activity as u64, ns);
        }
    }

    #[cold]
    fn switch(&mut self, to: u64, ns: u64) {
        let (open, ns) = (&self.times.open, ns.min(NS_MAX));
        let (mut was, mut at_ns);
        let mut seen = open.load(Ordering::Relaxed);
        loop {
            (was, at_ns) = unpack(seen);
            // A clock that goes back makes a span of nothing.
            let next = pack(to, ns.max(at_ns));
            match open.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(moved) => seen = moved,
            }
        }
        self.activity = to;
        if let Some(ended_ns) = self.times.ended_ns.get(was as usize) {
            ended_ns.store(
                ended_ns.load(Ordering::Relaxed) + ns.saturating_sub(at_ns),
                Ordering::Relaxed,
            );
        }
    }
}

impl Drop for ThreadClock {
    fn drop(&mut self) {
        if self.activity != NOT_RUNNING {
            self.switch(NOT_RUNNING, self.clock.now_ns());
        }
    }
}

/// What the thread of a stage has done with its time so far: see
/// [`LaneSpec::timed`](super::LaneSpec::timed). Send, Sync and Clone; it outlives the thread.
///
/// It tells of a thread that [`Stage::spawn`](super::Stage::spawn) or
/// [`Stage::run`](super::Stage::run) drives. An inline stage spends its lane's time, and what your
/// own loop does is yours to say: both have none.
#[derive(Clone)]
pub struct ThreadTime {
    clock: Clock,
    times: Arc<ActivityTimes>,
}

impl ThreadTime {
    /// Time spent on an activity, up to now if it goes on. It never goes back, and no moment is
    /// counted twice: all three never add up to more than the thread has run. A span that ends at
    /// the moment of the look may be missing until the next.
    #[must_use]
    pub fn spent(&self, activity: StageActivity) -> Duration {
        self.spent_by(activity, || self.clock.now_ns())
    }

    fn spent_by(&self, activity: StageActivity, now_ns: impl FnOnce() -> u64) -> Duration {
        let times = &*self.times;
        let seen = times.open.load(Ordering::Relaxed);
        let (open, since_ns) = unpack(seen);
        if open == activity as u64 {
            let now_ns = now_ns().clamp(since_ns, NS_MAX);
            // Only if that still goes on, and nobody else has counted it.
            let taken = times.open.compare_exchange(
                seen,
                pack(open, now_ns),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if taken.is_ok() {
                times.looked_ns[activity as usize].fetch_add(now_ns - since_ns, Ordering::Relaxed);
            }
        }
        let sums = [&times.ended_ns, &times.looked_ns]
            .map(|sums| sums[activity as usize].load(Ordering::Relaxed));
        Duration::from_nanos(sums.iter().sum())
    }

    /// Whether there is anything to tell: the thread runs, or has run.
    #[must_use]
    pub fn has_run(&self) -> bool {
        self.times.open.load(Ordering::Relaxed) != NOT_RUNNING
    }

    /// Whether the thread runs now.
    #[must_use]
    pub fn is_running(&self) -> bool {
        unpack(self.times.open.load(Ordering::Relaxed)).0 != NOT_RUNNING
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
    fn a_clock_that_jumps_wraps_no_sum() {
        let mut thread = thread();
        let time = thread.time();
        for ns in [5, u64::MAX, 7, NS_MAX + 1, u64::MAX - 3] {
            for activity in StageActivity::ALL {
                thread.begin_at(activity, ns);
                let sum: u64 = spent(&time, ns.wrapping_sub(9)).iter().sum();
                assert!(sum <= NS_MAX, "{sum} of a clock that says {ns}");
            }
        }
    }

    #[test]
    fn what_goes_on_counts_up_to_now() {
        let mut thread = thread();
        let time = thread.time();
        assert_eq!(
            (spent(&time, 500), time.is_running(), time.has_run()),
            ([0, 0, 0], false, false)
        );
        thread.begin_at(StageActivity::Idle, 1000);
        assert_eq!((spent(&time, 1300), time.is_running()), ([0, 300, 0], true));
        thread.begin_at(StageActivity::Busy, 1400);
        thread.begin_at(StageActivity::Busy, 1500);
        assert_eq!(spent(&time, 2000), [600, 400, 0]);
        thread.begin_at(StageActivity::Retry, 2100);
        thread.begin_at(StageActivity::Busy, 3000);
        drop(thread);
        assert_eq!(
            (spent(&time, 9000), time.is_running(), time.has_run()),
            ([750, 400, 900], false, true)
        );
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
                assert!(
                    all >= before && all <= Duration::from_nanos(clock.now_ns()),
                    "{before:?}, {all:?}"
                );
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
        assert_eq!(spent(&time, 2300), [1000, 300, 0]);
        thread.begin_at(StageActivity::Busy, 1700);
        assert_eq!(spent(&time, 1900), [1000, 300, 0]);
        thread.begin(StageActivity::Idle);
        assert_eq!(spent(&time, 0), [1000 + END_NS - 2300, 300, 0]);
    }

    /// The thread goes on between a reader's look at what it does and the reader's look at the
    /// clock.
    #[test]
    fn a_reader_that_is_late_counts_no_span_twice() {
        let mut thread = thread();
        let time = thread.time();
        thread.begin_at(StageActivity::Busy, 1000);
        let late = |thread: &mut ThreadClock| {
            thread.begin_at(StageActivity::Idle, 1100);
            9000
        };
        assert_eq!(time.spent_by(StageActivity::Busy, || late(&mut thread)).as_nanos(), 100);
        assert_eq!(spent(&time, 9000), [100, 7900, 0]);
        // Another reader in between.
        let other = || {
            assert_eq!(spent(&time, 9100), [100, 8000, 0]);
            9200
        };
        assert_eq!(time.spent_by(StageActivity::Idle, other).as_nanos(), 8000);
        assert_eq!(spent(&time, 9200), [100, 8100, 0]);
    }
}
