//! The ring pool by sizes, with the operation of the system that this project replaces.
//!
//! ```text
//!   cargo bench --bench buffer_pool_bench                      both groups
//!   cargo bench --bench buffer_pool_bench -- --alloc-sizes     1, 2, 4 ... 64 vectors per allocation
//!   cargo bench --bench buffer_pool_bench -- --pool-sizes      pools of 16 KiB, 32 KiB ... 1 GiB
//!
//!   op i:  allocate ──▶ store one f32 ──▶ entry i mod entries ──▶ release the slice that was there
//! ```
//!
//! | group | allocations | entries |
//! |---|---|---|
//! | `alloc_sizes` | 1 to 64 vectors of 128 `f32`, in a pool that fits them | 1024 |
//! | `pool_sizes` | 8 vectors of 128 `f32` | 4 to 1024; 2 in 16 KiB |
//!
//! `raii` is exactly that operation: an entry of a plain `Vec` holds the slice, and replacing it
//! drops the old one. `slots` does the same by counts, as a lane does: an entry holds integers.
//! Times are per operation, and each lap asserts what it has done. `empty-harness` is the cost of
//! an operation without a pool. Without `--bench`, as `cargo test --bench buffer_pool_bench` runs
//! it, every case runs one lap, and no pool is larger than 4 MiB.

mod ring {
    pub mod laps;
    pub mod paths;
    pub mod sizes;
}

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use criterion::Criterion;

/// The flag that restricts a run, and its group.
const RESTRICTIONS: [(&str, &str); 2] =
    [("--alloc-sizes", "alloc_sizes"), ("--pool-sizes", "pool_sizes")];
/// The variable with the groups to run, for the process that replaces this one.
const GROUPS: &str = "SLIPRING_BENCH_GROUPS";

/// Criterion reads the process's arguments itself and refuses those that aren't its own. So ours
/// are removed, and the program is started again without them.
fn main() -> ExitCode {
    let restriction = |argument: &String| {
        RESTRICTIONS.iter().find(|(flag, _)| flag == argument).map(|(_, group)| *group)
    };
    let words = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let (ours, theirs): (Vec<String>, Vec<String>) =
        words.partition(|one| restriction(one).is_some());
    if !ours.is_empty() {
        let groups: Vec<&str> = ours.iter().filter_map(restriction).collect();
        let program = env::current_exe().expect("a running program has a file");
        let error = Command::new(program).args(theirs).env(GROUPS, groups.join(",")).exec();
        eprintln!("error: the benchmark can't be started again: {error}");
        return ExitCode::FAILURE;
    }
    let groups = env::var(GROUPS).ok();
    let chosen = |group: &str| {
        groups.as_ref().is_none_or(|groups| groups.split(',').any(|one| one == group))
    };
    let is_timed = theirs.iter().any(|argument| argument == "--bench");
    if is_timed {
        println!(
            "An operation: a slice is allocated, one f32 is stored into it, and an older slice is released."
        );
        println!("`time` is per operation (ns/op), `thrpt` operations per second.\n");
    }
    // Half of the defaults, because there are many cases. Arguments override it.
    let (warm_up, measurement) = (Duration::from_millis(1500), Duration::from_millis(2500));
    let mut criterion = Criterion::default()
        .warm_up_time(warm_up)
        .measurement_time(measurement)
        .configure_from_args();
    if chosen("alloc_sizes") {
        ring::sizes::alloc_sizes(&mut criterion);
    }
    if chosen("pool_sizes") {
        ring::sizes::pool_sizes(&mut criterion, is_timed);
    }
    criterion.final_summary();
    ExitCode::SUCCESS
}
