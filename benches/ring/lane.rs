//! The group over a lane: pushed, flushed and polled on one thread.

use criterion::{BenchmarkId, Criterion, Throughput};
use slipring::ring::RingOptions;

use super::lane_lap::{EVENTS, EmptyLaneLap, LaneLap, PAYLOAD_BYTES};
use super::paths::time_ops;

const BATCHES: [u64; 3] = [1, 8, 64];

pub fn lane(criterion: &mut Criterion) {
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
