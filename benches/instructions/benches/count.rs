//! Instructions of the hot path, counted under callgrind. `scripts/callgrind` runs this and
//! compares the counts with `benches/instructions/limits.toml`.
//!
//! Each benchmark runs [`OPERATIONS`] operations over a warm pool, so the counts are those of the
//! steady state, including the ends of chunks. `empty` and `empty_lane` count what a lap costs
//! without a pool; the script subtracts that. Counts repeat exactly and depend on the compiler
//! alone: the pool's chunk and window, which follow the machine's caches by default, are given
//! here.
#![allow(missing_docs, reason = "gungraun's macros make modules and functions without")]

#[path = "../../ring/lane_lap.rs"]
mod lane_lap;
#[path = "../../ring/laps.rs"]
mod laps;

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use lane_lap::{EVENTS, EmptyLaneLap, LaneLap, PAYLOAD_BYTES, publish_batch};
use laps::{Empty, Slices, Slots};
use slipring::class::{ClassOptions, ClassPool};
use slipring::pipeline::{
    BATCH_DEFAULT, Lane, LaneSpec, Outcome, Polled as Found, Stage, StageSpec, View,
};
use slipring::queue::{Dequeuer, Enqueuer, QueueOptions, queue as new_queue};
use slipring::ring::{RingOptions, RingPool};

/// Operations of a benchmark. The script reads this number from here.
const OPERATIONS: usize = 16384;
const ENTRIES: usize = 1024;
const LAPS: usize = OPERATIONS / ENTRIES;
const LANE_LAPS: usize = OPERATIONS / EVENTS as usize;
/// The chunk of the pools in the quick comparison of `compare/`.
const CHUNK_BYTES: usize = 64 << 10;
/// 1 to 8 vectors of dimension 16, as in the quick comparison of `compare/`.
const MIX: usize = 0;

/// The size of each entry's allocation: `bytes`, or random sizes for [`MIX`].
fn sizes(bytes: usize) -> Vec<usize> {
    let mut state = 0x5eed_0f51_u64;
    let mut draw = || {
        // xorshift64, seeded as in `compare/`.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 32) % 8 + 1) as usize * 64
    };
    (0..ENTRIES).map(|_| if bytes == MIX { draw() } else { bytes }).collect()
}

fn options(chunk_bytes: usize, max_slice_bytes: usize) -> RingOptions {
    let bytes = (ENTRIES * max_slice_bytes * 2).next_power_of_two();
    let (chunk_bytes, window_bytes) = (Some(chunk_bytes), Some(bytes));
    RingOptions { bytes, max_slice_bytes, chunk_bytes, window_bytes, ..RingOptions::default() }
}

fn pool(chunk_bytes: usize, max_slice_bytes: usize) -> RingPool {
    RingPool::new(&options(chunk_bytes, max_slice_bytes)).expect("the pool fits this machine")
}

type Warm<L> = (L, Vec<usize>);

fn warm<L>(mut laps: L, bytes: usize, lap: impl Fn(&mut L, &[usize])) -> Warm<L> {
    let sizes = sizes(bytes);
    (0..4).for_each(|_| lap(&mut laps, &sizes));
    (laps, sizes)
}

fn empty_of(bytes: usize) -> Warm<Empty<8>> {
    warm(Empty::new(ENTRIES), bytes, |laps, sizes| laps.lap(sizes))
}

fn slots_of(bytes: usize) -> Warm<Slots<8>> {
    warm(Slots::new(pool(CHUNK_BYTES, PAYLOAD_BYTES), ENTRIES), bytes, |laps, sizes| {
        laps.lap(sizes)
    })
}

/// Slices of half a chunk: every second slice opens a chunk.
fn half_chunks_of(bytes: usize) -> Warm<Slots<8>> {
    warm(Slots::new(pool(2 * bytes, bytes), ENTRIES), bytes, |laps, sizes| laps.lap(sizes))
}

fn slices_of(bytes: usize) -> Warm<Slices<8>> {
    warm(Slices::new(pool(CHUNK_BYTES, PAYLOAD_BYTES), ENTRIES), bytes, |laps, sizes| {
        laps.lap(sizes)
    })
}

fn lane_of(batch: u64) -> (LaneLap, u64) {
    let mut lane = LaneLap::new(options(CHUNK_BYTES, PAYLOAD_BYTES));
    lane.lap(batch);
    (lane, batch)
}

#[library_benchmark]
#[bench::all(args = (64), setup = empty_of)]
fn empty((mut laps, sizes): Warm<Empty<8>>) -> Warm<Empty<8>> {
    (0..LAPS).for_each(|_| laps.lap(&sizes));
    (laps, sizes)
}

#[library_benchmark]
#[bench::b64(args = (64), setup = slots_of)]
#[bench::b512(args = (512), setup = slots_of)]
#[bench::mix(args = (MIX), setup = slots_of)]
#[bench::half_chunk(args = (2048), setup = half_chunks_of)]
fn slots((mut laps, sizes): Warm<Slots<8>>) -> Warm<Slots<8>> {
    (0..LAPS).for_each(|_| laps.lap(&sizes));
    (laps, sizes)
}

#[library_benchmark]
#[bench::b64(args = (64), setup = slices_of)]
#[bench::b512(args = (512), setup = slices_of)]
#[bench::mix(args = (MIX), setup = slices_of)]
fn raii((mut laps, sizes): Warm<Slices<8>>) -> Warm<Slices<8>> {
    (0..LAPS).for_each(|_| laps.lap(&sizes));
    (laps, sizes)
}

#[library_benchmark]
#[bench::b1(1)]
#[bench::b8(8)]
#[bench::b64(64)]
fn empty_lane(batch: u64) -> EmptyLaneLap {
    let mut laps = EmptyLaneLap::new();
    (0..LANE_LAPS).for_each(|_| laps.lap(batch));
    laps
}

#[library_benchmark]
#[bench::b1(args = (1), setup = lane_of, teardown = LaneLap::close)]
#[bench::b8(args = (8), setup = lane_of, teardown = LaneLap::close)]
#[bench::b64(args = (64), setup = lane_of, teardown = LaneLap::close)]
fn lane((mut laps, batch): (LaneLap, u64)) -> LaneLap {
    (0..LANE_LAPS).for_each(|_| laps.lap(batch));
    laps
}

/// A lane with a stage that is meant for a thread of its own. Here one thread runs both, so the
/// count is what both do per event, and one poll per batch that finds nothing.
struct Polled {
    lane: Lane<()>,
    stage: Stage<()>,
    batch: u64,
}

impl Polled {
    fn new(batch: u64) -> Self {
        let spec = LaneSpec::new(options(CHUNK_BYTES, PAYLOAD_BYTES), EVENTS as usize);
        let mut started = spec
            .layer([StageSpec::thread("read")])
            .start::<()>()
            .expect("the pool fits this machine");
        let stage = started.stages.remove("read").expect("it was specified");
        let mut polled = Self { lane: started.lane, stage, batch };
        polled.lap();
        polled
    }

    fn lap(&mut self) {
        let (mut op, mut read) = (0u64, 0u64);
        let mut handler = |view: View<'_, ()>| {
            assert_eq!(view.bytes()[..8], read.to_le_bytes());
            read += 1;
            Outcome::Done
        };
        for _ in 0..EVENTS / self.batch {
            publish_batch(&mut self.lane, self.batch, &mut op);
            while self.stage.poll(BATCH_DEFAULT, &mut handler) != Ok(Found::Idle) {}
        }
        assert_eq!(read, op, "all that was published is consumed");
    }

    /// Ends the lane.
    fn close(mut self) {
        self.lane.begin_close();
        assert_eq!(self.stage.poll(1, |_| Outcome::Done), Ok(Found::Ended));
    }
}

#[library_benchmark]
#[bench::b1(args = (1), setup = Polled::new, teardown = Polled::close)]
#[bench::b64(args = (64), setup = Polled::new, teardown = Polled::close)]
fn stage(mut polled: Polled) -> Polled {
    (0..LANE_LAPS).for_each(|_| polled.lap());
    polled
}

fn class_of(bytes: usize) -> (ClassPool, usize) {
    let pool = ClassPool::new(&ClassOptions::default()).expect("the default options are good");
    drop(pool.get(bytes).expect("there is no limit"));
    (pool, bytes)
}

// Gets a buffer, touches it and drops it.
#[library_benchmark]
#[bench::b4k(args = (4096), setup = class_of)]
fn class((pool, bytes): (ClassPool, usize)) -> ClassPool {
    for op in 0..OPERATIONS as u64 {
        let mut buf = pool.get(black_box(bytes)).expect("the bin has one");
        buf[..8].copy_from_slice(&op.to_le_bytes());
        black_box(&buf[..8]);
    }
    pool
}

fn queue_of(bytes: usize) -> (Enqueuer, Dequeuer, usize) {
    let (pool, _) = class_of(bytes);
    let (enqueuer, dequeuer) =
        new_queue(&pool, QueueOptions { messages: 64, bytes: 1 << 20 }).expect("good options");
    (enqueuer, dequeuer, bytes)
}

// Gets a buffer, moves it through a queue and drops it, all on one thread.
#[library_benchmark]
#[bench::b512(args = (512), setup = queue_of)]
fn queue((mut enqueuer, mut dequeuer, bytes): (Enqueuer, Dequeuer, usize)) -> (Enqueuer, Dequeuer) {
    for op in 0..OPERATIONS as u64 {
        let mut buf = enqueuer.pool().get(black_box(bytes)).expect("the bin has one");
        buf[..8].copy_from_slice(&op.to_le_bytes());
        enqueuer.try_enqueue(buf).expect("it is empty");
        black_box(&dequeuer.try_dequeue().expect("it is open").expect("it holds one")[..8]);
    }
    (enqueuer, dequeuer)
}

library_benchmark_group!(
    name = ring,
    benchmarks = [empty, slots, raii, empty_lane, lane, stage, class, queue]
);

main!(library_benchmark_groups = ring);
