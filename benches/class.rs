//! Class pools compared with the allocator: `cargo bench --bench class -- GROUP`, with all of
//! criterion's flags.
//!
//! ```text
//!   a lap:       1024 times:  get ──▶ write ──▶ drop
//!   in parallel: each thread runs laps over one pool; the time is wall time, for all of them together
//! ```
//!
//! | group | payloads |
//! |---|---|
//! | `get_drop` | 2 to 64 KiB, 8 bytes written |
//! | `mixed` | each class with the same chance, each length of it, 8 bytes written |
//! | `zeroed` | as `get_drop`, zeroed at the drop, by the buffer or by its pool; compared with `vec![0; len]`, which is zeroed at the allocation |
//! | `grown` | as `get_drop`, filled by appending 1 KiB at a time; compared with a `Vec` that grows |
//! | `parallel` | 4 KiB and mixed, on 2 threads and on as many as there are CPUs |
//!
//! `empty-harness` is the cost of a lap without memory. Times are per lap: divide by the elements
//! that are shown. Without `--bench`, as `cargo test --bench class` runs it, each case runs one
//! lap. `slipring-compare -- class` measures more rivals, interleaved.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use slipring::class::{ClassOptions, ClassPool, ClassTable, PooledBuf};

/// The number of operations of a lap.
const LAP: usize = 1024;
/// The bytes that are appended at a time.
const PIECE: [u8; 1 << 10] = [0x5a; 1 << 10];

fn pool(zero_on_return: bool) -> ClassPool {
    ClassPool::new(&ClassOptions { zero_on_return, ..ClassOptions::default() })
        .expect("the default options are good")
}

fn get(pool: &ClassPool, len: usize) -> PooledBuf {
    pool.get(len).expect("there is no limit")
}

/// Writes the first 8 bytes, and makes the compiler assume that they are read.
fn touch(payload: &mut [u8]) {
    payload[..8].copy_from_slice(&0x0123_4567_89ab_cdef_u64.to_le_bytes());
    black_box(payload);
}

/// Each class with the same chance, and each length of it from 8 bytes on.
fn mixed() -> Vec<usize> {
    let table = ClassTable::wire();
    let mut state = 0x5eed_0f51_u64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize
    };
    let length = |_| {
        let class = draw() % table.sizes().len();
        let above = class.checked_sub(1).map_or(7, |below| table.sizes()[below]);
        above + 1 + draw() % (table.sizes()[class] - above)
    };
    (0..LAP).map(length).collect()
}

fn name(len: usize) -> String {
    format!("{}KiB", len >> 10)
}

/// One contender: a lap over these lengths.
fn laps(
    group: &mut BenchmarkGroup<'_, WallTime>,
    contender: &str,
    case: &str,
    lens: &[usize],
    operation: impl Fn(usize),
) {
    group.throughput(Throughput::Elements(lens.len() as u64));
    group.bench_function(BenchmarkId::new(contender, case), |bencher| {
        bencher.iter(|| black_box(lens).iter().for_each(|&len| operation(len)));
    });
}

/// A contender over a pool. In the end every buffer must be back, and few may have been made.
fn pooled(
    group: &mut BenchmarkGroup<'_, WallTime>,
    (contender, case): (&str, &str),
    (pool, lens): (&ClassPool, &[usize]),
    operation: impl Fn(PooledBuf, usize),
) {
    laps(group, contender, case, lens, |len| operation(get(pool, len), len));
    let stats = pool.stats();
    let gets: u64 = stats.classes.iter().map(|class| class.gets).sum();
    assert!(stats.classes.iter().all(|class| class.in_use == 0 && class.misses <= 64), "{stats}");
    assert!(gets == 0 || gets >= lens.len() as u64, "a lap was left out: {stats}");
}

/// The allocator, which has no classes: it allocates exactly the length.
fn allocated(group: &mut BenchmarkGroup<'_, WallTime>, case: &str, lens: &[usize]) {
    laps(group, "empty-harness", case, lens, |len| _ = black_box(len));
    laps(group, "vec-with-capacity", case, lens, |len| {
        let mut vec = Vec::with_capacity(len);
        vec.extend_from_slice(&PIECE[..8]);
        black_box(vec.as_slice());
    });
    laps(group, "vec-zeroed", case, lens, |len| touch(&mut vec![0; len]));
}

fn get_drop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("get_drop");
    for &len in ClassTable::wire().sizes() {
        let (case, lens) = (name(len), vec![len; LAP]);
        pooled(&mut group, ("slipring", &case), (&pool(false), &lens), |mut buf, _| {
            touch(&mut buf)
        });
        allocated(&mut group, &case, &lens);
    }
    group.finish();
}

fn mixed_sizes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mixed");
    let lens = mixed();
    pooled(&mut group, ("slipring", "all"), (&pool(false), &lens), |mut buf, _| touch(&mut buf));
    allocated(&mut group, "all", &lens);
    group.finish();
}

fn zeroed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("zeroed");
    for &len in ClassTable::wire().sizes() {
        let (case, lens) = (name(len), vec![len; LAP]);
        let (plain, zeroing) = (pool(false), pool(true));
        pooled(&mut group, ("slipring-zero-on-drop", &case), (&plain, &lens), |mut buf, _| {
            buf.zero_on_drop();
            touch(&mut buf);
        });
        pooled(&mut group, ("slipring-zero-on-return", &case), (&zeroing, &lens), |mut buf, _| {
            touch(&mut buf)
        });
        for pool in [plain, zeroing] {
            assert!(get(&pool, len)[..8] == [0; 8], "old bytes are left");
        }
        laps(&mut group, "vec-zeroed", &case, &lens, |len| touch(&mut vec![0; len]));
    }
    group.finish();
}

fn grown(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("grown");
    let pieces = |len: usize| (0..len / PIECE.len()).map(|_| black_box(&PIECE));
    for &len in ClassTable::wire().sizes() {
        let (case, lens) = (name(len), vec![len; LAP]);
        pooled(&mut group, ("slipring", &case), (&pool(false), &lens), |mut buf, len| {
            buf.truncate(0);
            pieces(len).for_each(|piece| buf.extend_from_slice(piece).expect("it has the length"));
            assert!(black_box(&buf).len() == len);
        });
        for (contender, capacity) in [("vec-grown", 0), ("vec-with-capacity", len)] {
            laps(&mut group, contender, &case, &lens, |len| {
                let mut vec = Vec::with_capacity(capacity);
                pieces(len).for_each(|piece| vec.extend_from_slice(piece));
                assert!(black_box(&vec).len() == len);
            });
        }
    }
    group.finish();
}

/// The wall time in which each thread runs this many laps.
fn side_by_side(
    threads: usize,
    laps: u64,
    lens: &[usize],
    operation: impl Fn(usize) + Sync,
) -> Duration {
    let start = Barrier::new(threads + 1);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                start.wait();
                (0..laps).for_each(|_| black_box(lens).iter().for_each(|&len| operation(len)));
            });
        }
        start.wait();
        let started = Instant::now();
        // The scope waits for all threads. The time includes their ends, some microseconds.
        started
    })
    .elapsed()
}

fn parallel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parallel");
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let mut counts = vec![2, cpus];
    counts.sort_unstable();
    counts.dedup();
    for threads in counts {
        for (lens, sizes) in [(vec![4 << 10; LAP], "4KiB"), (mixed(), "mixed")] {
            let case = format!("{sizes}/{threads}-threads");
            group.throughput(Throughput::Elements((threads * LAP) as u64));
            let pool = pool(false);
            group.bench_function(BenchmarkId::new("slipring", &case), |bencher| {
                let operation = |len| touch(&mut get(&pool, len));
                bencher.iter_custom(|laps| side_by_side(threads, laps, &lens, operation));
            });
            let stats = pool.stats();
            assert!(stats.classes.iter().all(|class| class.in_use == 0), "{stats}");
            group.bench_function(BenchmarkId::new("vec-zeroed", &case), |bencher| {
                bencher.iter_custom(|laps| {
                    side_by_side(threads, laps, &lens, |len| touch(&mut vec![0; len]))
                });
            });
            group.bench_function(BenchmarkId::new("empty-harness", &case), |bencher| {
                bencher.iter_custom(|laps| {
                    side_by_side(threads, laps, &lens, |len| _ = black_box(len))
                });
            });
        }
    }
    group.finish();
}

fn main() {
    // Half of the defaults, because there are many cases. Arguments override it.
    let (warm_up, measurement) = (Duration::from_millis(1500), Duration::from_millis(2500));
    let mut criterion = Criterion::default()
        .warm_up_time(warm_up)
        .measurement_time(measurement)
        .configure_from_args();
    get_drop(&mut criterion);
    mixed_sizes(&mut criterion);
    zeroed(&mut criterion);
    grown(&mut criterion);
    parallel(&mut criterion);
    criterion.final_summary();
}
