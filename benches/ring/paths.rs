//! How the groups over a pool by itself are timed: one case on both paths, per operation.

use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{Bencher, BenchmarkGroup, BenchmarkId, Throughput};
use slipring::ring::{RingOptions, RingPool};

use super::laps::{Empty, Slices, Slots};

/// The entries of a lap, if the pool has room for them.
pub const ENTRIES: usize = 1024;
/// Vectors per allocation, in the groups that compare its sizes.
pub const VECTORS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// One `f32`.
pub const F32_BYTES: usize = size_of::<f32>();

/// A pool with these sizes and defaults for everything else.
pub fn pool(bytes: usize, max_slice_bytes: usize) -> RingPool {
    let options = RingOptions { bytes, max_slice_bytes, ..RingOptions::default() };
    RingPool::new(&options).expect("the pool fits this machine")
}

/// The smallest power of two of bytes with room for the entries and two more chunks.
pub fn fitting_bytes(slice_bytes: usize) -> usize {
    (ENTRIES * slice_bytes * 5 / 4).next_power_of_two()
}

/// Times whole laps, and reports the time of one operation: to criterion an iteration is an
/// operation.
pub fn time_ops(bencher: &mut Bencher<'_>, ops_per_lap: u64, mut lap: impl FnMut()) {
    bencher.iter_custom(|ops| {
        let laps = ops.div_ceil(ops_per_lap);
        let start = Instant::now();
        (0..laps).for_each(|_| lap());
        let elapsed = start.elapsed().mul_f64(ops as f64 / (laps * ops_per_lap) as f64);
        // Criterion divides by the time, so it can't be zero.
        elapsed.max(Duration::from_nanos(1))
    });
}

/// One case on both paths: a lap is `entries` slices of `slice_bytes`, of which `T` bytes are
/// written.
pub fn both_paths<const T: usize>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    case: &str,
    entries: usize,
    pool_bytes: usize,
    slice_bytes: usize,
) {
    let sizes = vec![slice_bytes; entries];
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new("slots", case), |bencher| {
        let mut slots = Slots::<T>::new(pool(pool_bytes, slice_bytes), entries);
        time_ops(bencher, entries as u64, || slots.lap(&sizes));
    });
    group.bench_function(BenchmarkId::new("raii", case), |bencher| {
        let mut slices = Slices::<T>::new(pool(pool_bytes, slice_bytes), entries);
        time_ops(bencher, entries as u64, || slices.lap(&sizes));
    });
}

/// The cost of an operation without a pool.
pub fn empty<const T: usize>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let (mut empty, sizes) = (Empty::<T>::new(ENTRIES), vec![64; ENTRIES]);
    group.throughput(Throughput::Elements(1));
    group.bench_function("empty-harness", |bencher| {
        time_ops(bencher, ENTRIES as u64, || empty.lap(&sizes))
    });
}
