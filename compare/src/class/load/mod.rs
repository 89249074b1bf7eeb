//! The load test of the class pool: many threads, mixed lengths, every payload verified, and a hit rate that must be reached.
//!
//! ```text
//!   warm_up(n) ──▶ each worker 2000 operations ──▶ counters begin ──▶ the given time ──▶ counters end ──▶ verdict
//!   a worker:  get ──▶ write all ──▶ hold 4 ──▶ verify all ──▶ drop; one in 8 goes to the next worker, who drops it
//! ```
//!
//! A hit is a get that found a buffer with pages, as the pool counts it. The heap's calls are those of the program's allocator in any thread between the two counters; none is allowed, unless the
//! test runs cold. The exit status is 0 if all went well, 3 below the hit rate or with calls of the heap, 2 for options that can't be, 1 for a payload that isn't what
//! was written.

mod options;
mod workers;

use serde_json::json;
use slipring::class::{PoolStats, WarmUp};

pub use options::Options;

use super::Pool;
use super::slipring::Slipring;
use crate::allocations;
use crate::case::Size;
use crate::choice::Wrong;
use crate::report;
use workers::{Done, HELD};

/// What a run came to.
struct Figures {
    done: Done,
    stats: PoolStats,
    /// Calls of the program's allocator while it counted.
    heap_calls: u64,
}

impl Figures {
    fn hit_rate_percent(&self) -> f64 {
        self.stats.hit_rate() * 100.0
    }

    fn ops_per_s(&self) -> f64 {
        self.done.ops as f64 / self.done.elapsed.as_secs_f64()
    }

    fn heap_calls_per_op(&self) -> f64 {
        self.heap_calls as f64 / self.done.ops.max(1) as f64
    }

    /// What isn't as it must be.
    fn verdict(&self, options: &Options) -> Result<(), Wrong> {
        let (rate, least) = (self.hit_rate_percent(), options.min_hit_rate);
        if self.done.ops == 0 {
            return Err(Wrong::Below("no worker came to an operation: give a longer --duration".to_owned()));
        }
        if rate < least {
            return Err(Wrong::Below(format!("a hit rate of {rate:.4} % is below the {least} of --min-hit-rate")));
        }
        if self.heap_calls > 0 && !options.cold {
            let (calls, ops) = (self.heap_calls, self.done.ops);
            return Err(Wrong::Below(format!(
                "{calls} calls of the heap in {ops} operations after the warm-up, 0 are allowed"
            )));
        }
        Ok(())
    }
}

/// Runs the test and prints what it came to, also when it fails.
///
/// # Errors
/// A payload that isn't what was written, or a figure below its least.
pub fn run(options: &Options) -> Result<(), Wrong> {
    let pool = Slipring::new().map_err(Wrong::Case)?;
    // Every worker may hold all of its buffers in one class, with one more in its hand and one at its place, and its cache keeps some.
    let buffers = options.workers as usize * 2 * (HELD + 2);
    let warm_up = if options.cold { None } else { Some(pool.pool().warm_up(buffers)) };
    let warm_up = warm_up.transpose().map_err(|error| Wrong::Case(error.to_string()))?;
    head(options, warm_up.as_ref());
    let (mut stats, mut heap_calls) = (None, 0);
    let counted = || {
        pool.pool().reset_stats();
        allocations::begin();
    };
    let end = || {
        heap_calls = allocations::end();
        stats = Some(pool.pool().stats());
    };
    let done = workers::run(&pool, options, counted, end).map_err(Wrong::Case)?;
    let figures = Figures { done, stats: stats.expect("the run has ended"), heap_calls };
    let verdict = figures.verdict(options);
    results(&figures, options, verdict.is_ok());
    verdict
}

fn head(options: &Options, warm_up: Option<&WarmUp>) {
    let resident = |warm_up: &WarmUp| warm_up.classes.iter().map(|class| class.resident).collect::<Vec<_>>();
    let resident = warm_up.map(resident);
    if options.json {
        let chosen = json!({ "workers": options.workers, "duration_s": options.duration.as_secs_f64(),
            "sizes": options.sizes.0, "min_hit_rate_percent": options.min_hit_rate,
            "operations_per_buffer": options.operations_per_buffer, "warm_buffers": resident });
        println!("{}", json!({ "bench": "class-load", "machine": report::machine(), "options": chosen }));
    } else {
        let sizes: Vec<_> = options.sizes.0.iter().map(|&bytes| Size(bytes).to_string()).collect();
        println!("{} workers for {:?}, sizes {}", options.workers, options.duration, sizes.join(" "));
        println!("warm buffers of each class: {resident:?}");
    }
}

fn results(figures: &Figures, options: &Options, pass: bool) {
    if !options.json {
        let head = ["gets", "hits", "misses", "hit rate %", "allocated KiB", "resident KiB"];
        println!("{:>8}{}", "class", head.map(|name| format!("{name:>14}")).concat());
    }
    for class in &figures.stats.classes {
        let rate = class.hit_rate() * 100.0;
        if options.json {
            let line = json!({ "bench": "class-load", "class_bytes": class.class_bytes, "gets": class.gets, "puts": class.puts,
                "hits": class.hits, "misses": class.misses, "hit_rate_percent": rate, "allocated_bytes": class.allocated_bytes,
                "reused_bytes": class.reused_bytes, "waits": class.waits, "refusals": class.refusals,
                "in_use": class.in_use, "resident": class.resident, "resident_bytes": class.resident_bytes });
            println!("{line}");
        } else {
            let counts = [class.gets, class.hits, class.misses].map(|count| format!("{count:>14}")).concat();
            let kib =
                [class.allocated_bytes >> 10, class.resident_bytes >> 10].map(|kib| format!("{kib:>14}")).concat();
            println!("{:>8}{counts}{rate:>14.4}{kib}", Size(class.class_bytes).to_string());
        }
    }
    let (done, rate) = (&figures.done, figures.hit_rate_percent());
    if options.json {
        let line = json!({ "bench": "class-load", "pass": pass, "workers": options.workers, "ops": done.ops,
            "elapsed_s": done.elapsed.as_secs_f64(), "ops_per_s": figures.ops_per_s().round(), "hit_rate_percent": rate,
            "min_hit_rate_percent": options.min_hit_rate, "direct": figures.stats.direct.gets,
            "heap_calls": figures.heap_calls, "heap_calls_per_op": figures.heap_calls_per_op(), "corrupt": 0 });
        println!("{line}");
    } else {
        let (ops, per_s) = (done.ops, figures.ops_per_s());
        println!(
            "{ops} operations, {per_s:.0} a second, every payload verified; hit rate {rate:.4} %, {} direct",
            figures.stats.direct.gets
        );
        println!("{} calls of the heap, {} for each operation", figures.heap_calls, figures.heap_calls_per_op());
        println!("{}", if pass { "pass" } else { "fail" });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::options::Sizes;
    use super::*;
    use crate::class::suite::TwoOwners;
    use crate::class::{contenders, table};

    fn options(workers: u32, ms: u64) -> Options {
        Options {
            workers,
            duration: Duration::from_millis(ms),
            sizes: Sizes(table::BYTES.to_vec()),
            min_hit_rate: 99.9,
            operations_per_buffer: 2,
            cold: true,
            json: true,
        }
    }

    fn figures(gets: u64, hits: u64, heap_calls: u64) -> Figures {
        let pool = Slipring::new().expect("it has no limit");
        let mut stats = pool.pool().stats();
        (stats.classes[0].gets, stats.classes[0].hits) = (gets, hits);
        Figures { done: Done { ops: gets, elapsed: Duration::from_secs(1) }, stats, heap_calls }
    }

    #[test]
    fn the_verdict_is_about_the_rate_and_the_heap() {
        let warm = Options { cold: false, ..options(1, 1) };
        let verdict =
            |figures: Figures, options: &Options| figures.verdict(options).map_err(|wrong| wrong.text().to_owned());
        assert_eq!(verdict(figures(1000, 999, 0), &warm), Ok(()));
        assert!(verdict(figures(1000, 998, 0), &warm).is_err_and(|text| text.contains("99.8000 % is below the 99.9")));
        assert!(verdict(figures(1000, 1000, 1), &warm).is_err_and(|text| text.contains("1 calls of the heap")));
        assert_eq!(verdict(figures(1000, 1000, 1), &options(1, 1)), Ok(()), "a cold run may");
        assert!(verdict(figures(0, 0, 0), &warm).is_err_and(|text| text.contains("--duration")));
    }

    #[test]
    fn workers_verify_what_they_hold_and_hand_over() {
        let pool = Slipring::new().expect("it has no limit");
        let done = workers::run(&pool, &options(8, 20), || (), || ()).unwrap();
        assert!(done.ops > 0);
        let stats = pool.pool().stats();
        assert!(stats.classes.iter().all(|class| class.in_use == 0), "all came back: {stats:?}");
        assert!(contenders().iter().any(|runner| runner.name == Slipring::NAME));
    }

    #[test]
    fn two_owners_are_found() {
        let failure = workers::run(&TwoOwners, &options(2, 2000), || (), || ()).err().unwrap_or_default();
        assert!(failure.contains("two owners"), "{failure}");
    }
}
