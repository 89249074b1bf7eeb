//! Small slices, and the lane, on one thread: `cargo bench --bench ring`. Sizes of allocations and
//! of pools are in `buffer_pool_bench`.
//!
//! | group | an operation |
//! |---|---|
//! | `alloc_touch` | a slice of 1 to 64 vectors of dimension 16 is reserved, 8 bytes are written into it, and the slice of 1024 operations ago is released |
//! | `lane` | an event is pushed, flushed and polled, in batches on one thread |
//!
//! `slots` is the slot path: an entry holds integers and a release is a number. `raii` is the pool
//! by itself: an entry holds a slice, and the next lap drops it. Times are per operation; each lap
//! asserts what it has done. `empty-harness` is the cost of an operation without a pool. Without
//! `--bench`, as `cargo test --bench ring` runs it, every benchmark runs one lap: that is the small
//! size that the tests run.

mod ring {
    pub mod lane_lap;
    pub mod laps;
    pub mod paths;
}

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use slipring::ring::RingOptions;

use ring::lane_lap::{EVENTS, EmptyLaneLap, LaneLap, PAYLOAD_BYTES};
use ring::paths::{ENTRIES, F32_BYTES, VECTORS, both_paths, empty, fitting_bytes, time_ops};

const BATCHES: [u64; 3] = [1, 8, 64];

fn main() {
    // Half of the defaults, because there are many cases. Arguments override it.
    let (warm_up, measurement) = (Duration::from_millis(1500), Duration::from_millis(2500));
    let mut criterion = Criterion::default()
        .warm_up_time(warm_up)
        .measurement_time(measurement)
        .configure_from_args();
    alloc_touch(&mut criterion);
    lane(&mut criterion);
    criterion.final_summary();
}

/// Small slices: 1 to 64 vectors of dimension 16, in a pool that fits them.
fn alloc_touch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("alloc_touch");
    empty::<8>(&mut group);
    for vectors in VECTORS {
        let bytes = vectors * 16 * F32_BYTES;
        both_paths::<8>(&mut group, &format!("{vectors}x16"), ENTRIES, fitting_bytes(bytes), bytes);
    }
    group.finish();
}

/// A lane: events pushed, flushed and polled on one thread.
fn lane(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lane");
    group.throughput(Throughput::Elements(1));
    for batch in BATCHES {
        group.bench_function(BenchmarkId::new("empty-harness", batch), |bencher| {
            let mut empty = EmptyLaneLap::new();
            time_ops(bencher, EVENTS, || empty.lap(batch));
        });
        group.bench_function(BenchmarkId::new("publish-consume-inline", batch), |bencher| {
            let pool = RingOptions {
                bytes: 8 << 20,
                max_slice_bytes: PAYLOAD_BYTES,
                ..RingOptions::default()
            };
            let mut lane = LaneLap::new(pool);
            time_ops(bencher, EVENTS, || lane.lap(batch));
            lane.close();
        });
    }
    group.finish();
}
