//! Latencies of one thread, readable from any: the buckets of an HDR histogram, counted without a
//! locked instruction.
//!
//! A [`Recorder`] belongs to the thread that measures: recording is a few plain loads and stores.
//! Its [`Latencies`] can be read by any thread at any time. A reader needs nothing from the writer,
//! so it can read even while the writer hangs. A [`Histogram`] is made at each reading.
//!
//! Precision: values below 256 ns are exact, larger ones are in buckets no wider than 1/128 of
//! their value (two significant digits). Values above [`LATENCY_MAX_NS`] (73 minutes) are counted
//! as that maximum. Memory: 36 KiB per recorder, allocated once.
//!
//! The buckets have the layout of Gil Tene's HdrHistogram.
//!
//! ```
//! use slipring::latency::{Clock, Recorder};
//!
//! let (clock, mut recorder) = (Clock::start(), Recorder::new());
//! let latencies = recorder.latencies();
//! let start = clock.now_ns();
//! recorder.record(clock.now_ns() - start, 1);
//! assert_eq!(std::thread::spawn(move || latencies.count()).join().unwrap(), 1);
//! ```
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::sync::{AtomicU64, Ordering};

/// The largest latency that is distinguished, in nanoseconds: 2^42 - 1.
pub const LATENCY_MAX_NS: u64 = (1 << 42) - 1;

/// A bucket's width is its value over 2^7, so two digits are correct.
const PRECISION_BITS: u32 = 7;
/// Buckets of one power of two.
const STEPS: usize = 1 << PRECISION_BITS;
/// Values below `2 * STEPS` have buckets of width 1. Every further power of two has [`STEPS`]
/// buckets.
const BUCKETS: usize = (LATENCY_MAX_NS.ilog2() - PRECISION_BITS + 2) as usize * STEPS;

/// A monotonic clock whose readings are comparable between threads. `Copy`: give each thread one.
///
/// A reading costs as much as several allocations, so the clock is read per receive, flush, batch
/// and send, and not per event. Your own clock may cost less ([`Clock::of`]).
#[derive(Clone, Copy, Debug)]
pub struct Clock(ClockSource);

#[derive(Clone, Copy, Debug)]
enum ClockSource {
    /// The system's monotonic clock, since this moment.
    System(Instant),
    Other(fn() -> u64),
}

impl Clock {
    /// The system's monotonic clock, which starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(ClockSource::System(Instant::now()))
    }

    /// A clock whose `now_ns` returns the nanoseconds since some fixed moment, on any thread. If it
    /// goes back, latencies become zero, and nothing worse happens. `now_ns` must not panic: it is
    /// called in the middle of publishing and releasing, so a panic in it ends the process.
    #[must_use]
    pub fn of(now_ns: fn() -> u64) -> Self {
        Self(ClockSource::Other(now_ns))
    }

    /// Nanoseconds since its start.
    #[must_use]
    #[inline]
    pub fn now_ns(&self) -> u64 {
        match self.0 {
            // 64 bits hold 584 years.
            ClockSource::System(start) => start.elapsed().as_nanos() as u64,
            ClockSource::Other(now_ns) => read(now_ns),
        }
    }
}

/// Reads a user's clock. If it panics, the panic hook has already reported why.
#[inline]
fn read(now_ns: fn() -> u64) -> u64 {
    struct NoWayOut;
    impl Drop for NoWayOut {
        fn drop(&mut self) {
            std::process::abort();
        }
    }
    let no_way_out = NoWayOut;
    let ns = now_ns();
    std::mem::forget(no_way_out);
    ns
}

/// The buckets of one writer.
struct Buckets {
    counts: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

#[inline]
fn bucket_of(ns: u64) -> usize {
    let ns = ns.min(LATENCY_MAX_NS);
    let shift = (ns | (2 * STEPS as u64 - 1)).ilog2() - PRECISION_BITS;
    shift as usize * STEPS + (ns >> shift) as usize
}

/// The smallest value of a bucket.
fn lowest_ns(bucket: usize) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    ((bucket - shift * STEPS) as u64) << shift
}

/// Records the latencies of one thread. Send, not Clone: a recorder has one writer.
pub struct Recorder(Arc<Buckets>);

impl Recorder {
    /// A recorder that has recorded nothing. It allocates; [`Recorder::record`] doesn't.
    #[must_use]
    pub fn new() -> Self {
        let counts = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Buckets { counts, sum_ns: AtomicU64::new(0) }))
    }

    /// `events` events took `ns` nanoseconds each.
    #[inline]
    pub fn record(&mut self, ns: u64, events: u64) {
        // No locked instruction: there is one writer. With two, one of two concurrent writes would
        // be lost.
        let count = &self.0.counts[bucket_of(ns)];
        count.store(count.load(Ordering::Relaxed).wrapping_add(events), Ordering::Relaxed);
        let sum_ns = &self.0.sum_ns;
        let more = ns.min(LATENCY_MAX_NS).saturating_mul(events);
        sum_ns.store(sum_ns.load(Ordering::Relaxed).saturating_add(more), Ordering::Relaxed);
    }

    /// The recorded latencies, for any thread.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        Latencies(Arc::clone(&self.0))
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// What a [`Recorder`] has recorded so far. Send, Sync and Clone; it outlives the recorder.
///
/// A reading during a write may miss the last events, and its parts may differ by those.
#[derive(Clone)]
pub struct Latencies(Arc<Buckets>);

impl Latencies {
    /// Every latency so far, in nanoseconds, with two significant digits. Cost: a scan of 4,608
    /// counters, and one allocation.
    #[must_use]
    pub fn histogram(&self) -> Histogram<u64> {
        let mut histogram = empty();
        for (bucket, count) in self.0.counts.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                // Nothing saturates: the histogram has the bounds of the recorder.
                histogram.saturating_record_n(lowest_ns(bucket), count);
            }
        }
        histogram
    }

    /// How many latencies were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// The sum of all latencies. With the count it gives a mean without the buckets' error. It
    /// saturates at 2^64 ns, 584 years.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.0.sum_ns.load(Ordering::Relaxed))
    }
}

/// A histogram with the bounds and the precision of a recorder's.
fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, 2)
        .unwrap_or_else(|error| unreachable!("its bounds are constants: {error}"))
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recorder").field(&self.latencies()).finish()
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latencies")
            .field("count", &self.count())
            .field("sum", &self.sum())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;
    use slipring_test_support::random_runs;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for bucket in 1..BUCKETS {
            let (lowest, before) = (lowest_ns(bucket), lowest_ns(bucket - 1));
            assert_eq!(
                (bucket_of(lowest), bucket_of(lowest - 1)),
                (bucket, bucket - 1),
                "{lowest}"
            );
            assert!(
                (lowest - before) * STEPS as u64 <= lowest.max(STEPS as u64),
                "{before} to {lowest} is too wide"
            );
        }
        assert_eq!(
            (bucket_of(0), bucket_of(LATENCY_MAX_NS), bucket_of(u64::MAX)),
            (0, BUCKETS - 1, BUCKETS - 1)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 64 }, ..random_runs() })]

        /// Against the crate's own recording.
        #[test]
        fn a_reading_is_the_histogram_of_the_same_values(values in prop::collection::vec((0u32..64, any::<u64>(), 1u64..9), 0..40)) {
            let (mut recorder, mut histogram, mut sum) = (Recorder::new(), empty(), 0u64);
            for (shift, value, events) in values {
                let ns = value >> shift;
                recorder.record(ns, events);
                histogram.saturating_record_n(ns.min(LATENCY_MAX_NS), events);
                sum = sum.saturating_add(ns.min(LATENCY_MAX_NS).saturating_mul(events));
            }
            let read = recorder.latencies();
            prop_assert_eq!(read.histogram(), histogram.clone());
            prop_assert_eq!(read.count(), histogram.len());
            prop_assert_eq!(read.sum(), Duration::from_nanos(sum));
        }
    }

    #[test]
    fn latencies_outlive_their_recorder_and_cross_threads() {
        let mut recorder = Recorder::new();
        let latencies = recorder.latencies();
        let writer = std::thread::spawn(move || (0..1000).for_each(|ns| recorder.record(ns, 2)));
        let mut seen = 0;
        while seen < 2000 {
            let now = latencies.count();
            assert!(now >= seen, "a count goes back");
            seen = now;
            std::thread::yield_now();
        }
        writer.join().unwrap();
        assert_eq!(latencies.histogram().len(), 2000);
        assert!(latencies.histogram().max() >= 999);
    }

    #[test]
    fn a_clock_goes_forward() {
        let clock = Clock::start();
        let (first, copy) = (clock.now_ns(), clock);
        assert!(copy.now_ns() >= first);
        assert_eq!(Clock::of(|| 7).now_ns(), 7);
    }
}
