//! Small slices, and the lane, on one thread: `cargo bench --bench ring`. Sizes of allocations and
//! of pools are in `buffer_pool_bench`.
//!
//! | group | an operation |
//! |---|---|
//! | `alloc_touch` | a slice of 1 to 64 vectors of dimension 16, 8 bytes written into it, and an older one of 1024 let go |
//! | `lane` | an event pushed, flushed and polled, in batches on one thread |
//!
//! `slots` is the slot path: an entry holds integers and a release is a number. `raii` is the pool
//! alone: an entry holds a slice, and the next lap's drops it. Times are per operation; each lap
//! asserts what it has done. `empty-harness` is what an operation costs without a pool. Without
//! `--bench`, as `cargo test --bench ring` runs it, every benchmark runs one lap: that is the small
//! size that the tests run.

mod ring {
    pub mod lane;
    pub mod lane_lap;
    pub mod laps;
    pub mod paths;
    pub mod touch;
}

use std::time::Duration;

use criterion::Criterion;

fn main() {
    // Half of the defaults: there are many cases. The arguments may say otherwise.
    let (warm_up, measurement) = (Duration::from_millis(1500), Duration::from_millis(2500));
    let mut criterion = Criterion::default()
        .warm_up_time(warm_up)
        .measurement_time(measurement)
        .configure_from_args();
    ring::touch::alloc_touch(&mut criterion);
    ring::lane::lane(&mut criterion);
    criterion.final_summary();
}
