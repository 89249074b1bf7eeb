//! The ring pool and the lane on one thread.
//!
//! ```text
//!   cargo bench --bench ring                      all groups
//!   cargo bench --bench ring -- --alloc-sizes     group alloc_sizes: 1, 2, 4 ... 64 vectors an allocation
//!   cargo bench --bench ring -- --pool-sizes      group pool_sizes: pools of 16 KiB, 32 KiB ... 1 GiB
//! ```
//!
//! | group | a lap |
//! |---|---|
//! | `alloc_touch` | 1024 entries, 8 bytes written into each slice of 1 to 64 vectors of dimension 16 |
//! | `alloc_sizes` | 1024 entries, one `f32` stored into each slice of 1 to 64 vectors of dimension 128 |
//! | `pool_sizes` | 1 to 1024 entries, as many as fit; one `f32` stored into each slice of 8 vectors of dimension 128 |
//! | `lane` | 4096 events staged, flushed and polled in batches on one thread |
//!
//! `slots` is the slot path: an entry holds integers and a release is a number. `raii` is the pool alone: an entry holds a slice, and the next lap's
//! drops it. Each lap asserts what it has done. `empty-harness` is what a lap costs without a pool. The times are of whole laps; divide by the
//! elements that are shown. Without `--bench`, as `cargo test --bench ring` runs it, every benchmark runs one lap, and no pool is larger than 4 MiB:
//! that is the small size that the tests run.

mod ring {
    pub mod alloc;
    pub mod lane;
    pub mod lane_lap;
    pub mod laps;
}

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use criterion::Criterion;

/// The flag that restricts a run, and its group.
const RESTRICTIONS: [(&str, &str); 2] = [("--alloc-sizes", "alloc_sizes"), ("--pool-sizes", "pool_sizes")];
/// Tells the process that takes over which groups it runs.
const GROUPS: &str = "SLIPRING_BENCH_GROUPS";

/// Criterion reads the process's arguments itself and refuses those that aren't its own: so ours are taken off, and the program starts over without.
fn main() -> ExitCode {
    let restriction =
        |argument: &String| RESTRICTIONS.iter().find(|(flag, _)| flag == argument).map(|(_, group)| *group);
    let (ours, theirs): (Vec<String>, Vec<String>) = env::args().skip(1).partition(|one| restriction(one).is_some());
    if !ours.is_empty() {
        let groups: Vec<&str> = ours.iter().filter_map(restriction).collect();
        let program = env::current_exe().expect("a running program has a file");
        let error = Command::new(program).args(theirs).env(GROUPS, groups.join(",")).exec();
        eprintln!("error: the benchmark can't be started over: {error}");
        return ExitCode::FAILURE;
    }
    let groups = env::var(GROUPS).ok();
    let chosen = |group: &str| groups.as_ref().is_none_or(|groups| groups.split(',').any(|one| one == group));
    let is_timed = theirs.iter().any(|argument| argument == "--bench");
    // Half of the defaults: there are many cases. The arguments may say otherwise.
    let (warm_up, measurement) = (Duration::from_millis(1500), Duration::from_millis(2500));
    let mut criterion = Criterion::default().warm_up_time(warm_up).measurement_time(measurement).configure_from_args();
    if chosen("alloc_touch") {
        ring::alloc::alloc_touch(&mut criterion);
    }
    if chosen("alloc_sizes") {
        ring::alloc::alloc_sizes(&mut criterion);
    }
    if chosen("pool_sizes") {
        ring::alloc::pool_sizes(&mut criterion, is_timed);
    }
    if chosen("lane") {
        ring::lane::lane(&mut criterion);
    }
    criterion.final_summary();
    ExitCode::SUCCESS
}
