//! `profile_buffer_pool`: the operation of `buffer_pool_bench` in a long loop. profiling/README.md
//! has the recipes.
//!
//! ```text
//!   cargo bench --no-run
//!   perf record -g target/release/deps/profile_buffer_pool-*
//!   perf record -g target/release/deps/profile_buffer_pool-* 1000000000
//! ```
//!
//! `cargo bench` runs it too, with `--bench`, which it accepts. Its tests are in
//! tests/bench_commands.rs, because cargo gives a program of this kind no test harness.

mod buffer_pool {
    pub mod long_loop;
}
#[path = "../benches/ring/laps.rs"]
#[allow(dead_code, reason = "the benchmarks use the other laps")]
mod laps;
mod long_run;

use std::process::ExitCode;

use buffer_pool::long_loop::{NAME, ops, whole_run};
use long_run::ended;

fn main() -> ExitCode {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let words: Vec<String> = words.collect();
    ended(NAME, ops(&words).and_then(whole_run))
}
