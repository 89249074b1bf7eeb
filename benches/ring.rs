//! The ring pool and the lane on one thread: `cargo bench --bench ring`.
//!
//! ```text
//!   alloc_touch   a lap: 1024 x { reserve ─▶ write 8 bytes ─▶ commit ─▶ entry i, which releases what stood there }
//!   lane          a lap: 4096 x { reserve ─▶ write 8 bytes ─▶ stage }, published and polled in batches ─▶ the inline stage reads 8 bytes
//! ```
//!
//! Each lap asserts what it has done. `empty-harness` is what the lap costs without a pool. The times are of whole laps; divide by the elements that are
//! shown. Without `--bench`, as `cargo test --bench ring` runs it, every benchmark runs one lap, which is the small size that the tests run.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use slipring::pipeline::{LaneSpec, Outcome, StageSpec, Started, View};
use slipring::ring::{PoolOptions, PoolSlice, RingPool, Sequence, Staged};

const ENTRIES: usize = 1024;
const EVENTS: u64 = 4096;
const DIMS: [usize; 2] = [16, 128];
const VECTORS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const BATCHES: [u64; 3] = [1, 8, 64];

/// The smallest power of two that holds the entries and two chunks to spare.
fn fitting_pool(slice_bytes: usize) -> RingPool {
    let bytes = (ENTRIES * slice_bytes * 5 / 4).next_power_of_two();
    let options = PoolOptions { bytes, max_slice_bytes: slice_bytes, ..PoolOptions::default() };
    RingPool::new(&options).expect("the pool fits this machine")
}

fn touch(payload: &mut [u8], op: u64) {
    payload[..8].copy_from_slice(&op.to_le_bytes());
}

/// The slot path, as a lane takes it: an entry holds integers, and a release is a number.
struct Slots {
    pool: RingPool,
    entries: Vec<Option<Staged>>,
    op: u64,
}

impl Slots {
    fn lap(&mut self, slice_bytes: usize) {
        for entry in &mut self.entries {
            let mut grant = self.pool.reserve(slice_bytes).expect("the oldest is released");
            touch(&mut grant, self.op);
            let slice = grant.commit_all();
            let staged = self.pool.stage(slice).expect("the pool's own slice");
            *entry = Some(staged);
            self.pool.release(staged.sequence() - ENTRIES as Sequence);
            self.op += 1;
        }
        let last = self.entries.last().copied().flatten().expect("a lap fills every entry");
        let payload = self.pool.view(&last).expect("it isn't released");
        assert_eq!(payload[..8], (self.op - 1).to_le_bytes());
    }
}

/// RAII: an entry holds the slice, and replacing it drops the old one.
struct Slices {
    pool: RingPool,
    entries: Vec<Option<PoolSlice>>,
    op: u64,
}

impl Slices {
    fn lap(&mut self, slice_bytes: usize) {
        for entry in &mut self.entries {
            let mut grant = self.pool.reserve(slice_bytes).expect("the oldest is dropped");
            touch(&mut grant, self.op);
            *entry = Some(grant.commit_all());
            self.op += 1;
        }
        let last = self.entries.last().and_then(Option::as_ref).expect("a lap fills every entry");
        assert_eq!(last[..8], (self.op - 1).to_le_bytes());
    }
}

/// The same lap without a pool.
struct Empty {
    entries: Vec<[u8; 8]>,
    op: u64,
}

impl Empty {
    fn lap(&mut self, slice_bytes: usize) {
        for entry in &mut self.entries {
            black_box(slice_bytes);
            touch(entry, self.op);
            self.op += 1;
        }
        assert_eq!(self.entries.last(), Some(&(self.op - 1).to_le_bytes()));
    }
}

fn alloc_touch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("alloc_touch");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    let mut empty = Empty { entries: vec![[0; 8]; ENTRIES], op: 0 };
    group.bench_function("empty-harness", |bencher| bencher.iter(|| empty.lap(black_box(64))));
    for (dim, vectors) in DIMS.into_iter().flat_map(|dim| VECTORS.map(|vectors| (dim, vectors))) {
        let bytes = dim * vectors * size_of::<f32>();
        let case = format!("{vectors}x{dim}");
        group.bench_function(BenchmarkId::new("slots", &case), |bencher| {
            let mut slots = Slots { pool: fitting_pool(bytes), entries: vec![None; ENTRIES], op: 0 };
            bencher.iter(|| slots.lap(black_box(bytes)));
        });
        group.bench_function(BenchmarkId::new("raii", &case), |bencher| {
            let entries = (0..ENTRIES).map(|_| None).collect();
            let mut slices = Slices { pool: fitting_pool(bytes), entries, op: 0 };
            bencher.iter(|| slices.lap(black_box(bytes)));
        });
    }
    group.finish();
}

fn lane(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lane");
    group.throughput(Throughput::Elements(EVENTS));
    for batch in BATCHES {
        group.bench_function(BenchmarkId::new("publish-consume-inline", batch), |bencher| {
            let pool = PoolOptions { bytes: 8 << 20, max_slice_bytes: 512, ..PoolOptions::default() };
            let spec = LaneSpec::new(pool, EVENTS as usize).layer([StageSpec::inline("read")]);
            let Started { mut lane, mut stages, .. } = spec.start::<()>().expect("the pool fits this machine");
            let read = Rc::new(Cell::new(0u64));
            let counter = Rc::clone(&read);
            let handler = move |view: View<'_, ()>| {
                assert_eq!(view.bytes()[..8], counter.get().to_le_bytes());
                counter.set(counter.get() + 1);
                Outcome::Done
            };
            lane.attach(stages.take("read").expect("it was specified"), handler).expect("it is inline");
            let mut op = 0u64;
            bencher.iter(|| {
                for _ in 0..EVENTS / batch {
                    for _ in 0..batch {
                        let mut grant = lane.reserve(black_box(512)).expect("all before is consumed");
                        touch(&mut grant, op);
                        let slice = grant.commit_all();
                        lane.stage(slice, ()).expect("all before is consumed");
                        op += 1;
                    }
                    lane.flush();
                    lane.poll();
                }
                assert_eq!(read.get(), op, "what was published is consumed");
            });
            assert!(lane.close(Duration::from_secs(10)).is_drained());
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    alloc_touch(&mut criterion);
    lane(&mut criterion);
    criterion.final_summary();
}
