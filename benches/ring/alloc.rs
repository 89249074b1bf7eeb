//! The groups over the pool alone: by what is allocated, and by how large the pool is.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use slipring::ring::{PoolOptions, RingPool};

use super::laps::{Empty, Slices, Slots};

const ENTRIES: usize = 1024;
const VECTORS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// One `f32`.
const F32_BYTES: usize = size_of::<f32>();
/// 8 vectors of 128 `f32`, the allocation of the bench over pool sizes.
const EIGHT_VECTORS_BYTES: usize = 8 * 128 * F32_BYTES;
/// Pools of the tests' small size are no larger.
const UNTIMED_POOL_BYTES_MAX: usize = 4 << 20;

fn pool(bytes: usize, max_slice_bytes: usize) -> RingPool {
    let options = PoolOptions { bytes, max_slice_bytes, ..PoolOptions::default() };
    RingPool::new(&options).expect("the pool fits this machine")
}

/// Bytes of the smallest power of two that holds the entries and two chunks to spare.
fn fitting_bytes(slice_bytes: usize) -> usize {
    (ENTRIES * slice_bytes * 5 / 4).next_power_of_two()
}

/// One case on both paths, a lap of `entries` slices of `slice_bytes`, of which `T` bytes are written.
fn both_paths<const T: usize>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    case: &str,
    entries: usize,
    pool_bytes: usize,
    slice_bytes: usize,
) {
    let sizes = vec![slice_bytes; entries];
    group.throughput(Throughput::Elements(entries as u64));
    group.bench_function(BenchmarkId::new("slots", case), |bencher| {
        let mut slots = Slots::<T>::new(pool(pool_bytes, slice_bytes), entries);
        bencher.iter(|| slots.lap(&sizes));
    });
    group.bench_function(BenchmarkId::new("raii", case), |bencher| {
        let mut slices = Slices::<T>::new(pool(pool_bytes, slice_bytes), entries);
        bencher.iter(|| slices.lap(&sizes));
    });
}

fn empty<const T: usize>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let (mut empty, sizes) = (Empty::<T>::new(ENTRIES), vec![64; ENTRIES]);
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("empty-harness", |bencher| bencher.iter(|| empty.lap(&sizes)));
}

pub fn alloc_touch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("alloc_touch");
    empty::<8>(&mut group);
    for vectors in VECTORS {
        let bytes = vectors * 16 * F32_BYTES;
        both_paths::<8>(&mut group, &format!("{vectors}x16"), ENTRIES, fitting_bytes(bytes), bytes);
    }
    group.finish();
}

/// Allocation sizes: vectors of 128 `f32`, the pool fitting.
pub fn alloc_sizes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("alloc_sizes");
    empty::<F32_BYTES>(&mut group);
    for vectors in VECTORS {
        let bytes = vectors * 128 * F32_BYTES;
        both_paths::<F32_BYTES>(&mut group, &format!("{vectors}x128"), ENTRIES, fitting_bytes(bytes), bytes);
    }
    group.finish();
}

/// Pool sizes: 16 KiB to 1 GiB, doubling. Where 1024 slices don't fit there are as many entries as do, so the name of a case holds their number.
pub fn pool_sizes(criterion: &mut Criterion, is_timed: bool) {
    let mut group = criterion.benchmark_group("pool_sizes");
    empty::<F32_BYTES>(&mut group);
    for shift in 14..=30 {
        let bytes: usize = 1 << shift;
        if bytes > UNTIMED_POOL_BYTES_MAX && !is_timed {
            break;
        }
        let entries = entries_that_fit(bytes);
        let case = format!("{}/{entries}-entries", size(bytes));
        both_paths::<F32_BYTES>(&mut group, &case, entries, bytes, EIGHT_VECTORS_BYTES);
    }
    group.finish();
}

/// How many slices a pool holds beside the one that is allocated before the oldest goes, up to [`ENTRIES`]: counted, because where chunks end is the
/// pool's affair. A chunk less than it holds, because the oldest is freed with its chunk.
fn entries_that_fit(pool_bytes: usize) -> usize {
    let mut pool = pool(pool_bytes, EIGHT_VECTORS_BYTES);
    let mut held = Vec::new();
    while held.len() < 2 * ENTRIES
        && let Ok(grant) = pool.reserve(EIGHT_VECTORS_BYTES)
    {
        held.push(grant.commit_all());
    }
    let in_chunk = pool.stats().chunk_bytes / EIGHT_VECTORS_BYTES;
    let entries = held.len().saturating_sub(in_chunk).clamp(1, ENTRIES);
    assert!(entries <= held.len(), "{entries} entries in a pool of {}", held.len());
    entries
}

fn size(bytes: usize) -> String {
    match bytes.ilog2() {
        30.. => format!("{}GiB", bytes >> 30),
        20.. => format!("{}MiB", bytes >> 20),
        _ => format!("{}KiB", bytes >> 10),
    }
}
