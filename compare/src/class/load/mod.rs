//! The library's load test ([`LoadTest`]) as a command, with the calls of the heap beside it.
//!
//! A hit is a get that found a buffer with pages, as the pool counts it. The heap's calls are those
//! of the program's allocator in any thread between the two counters; none is allowed, unless the
//! test runs cold. The exit status is 0 if all went well, 3 below the hit rate or with calls of the
//! heap, 2 for options that can't be, 1 for a payload that isn't what was written.

mod options;

use serde_json::json;
use slipring::class::{ClassOptions, ClassPool, LoadTest, LoadTestError, LoadTestReport, WarmUp};

pub use options::Options;

use crate::allocations;
use crate::case::Size;
use crate::choice::Wrong;
use crate::report;

/// Runs the test and prints what it came to, also when the hit rate is too low.
///
/// # Errors
/// A payload that isn't what was written, or a figure below its least.
pub fn run(options: &Options) -> Result<(), Wrong> {
    let pool =
        ClassPool::new(&ClassOptions::default()).map_err(|error| Wrong::Case(error.to_string()))?;
    let test = options.test();
    // Twice what the workers hold: each thread's cache keeps some.
    let warm_up = if options.cold { None } else { Some(pool.warm_up(2 * test.buffers_max())) };
    let warm_up = warm_up.transpose().map_err(|error| Wrong::Case(error.to_string()))?;
    head(options, warm_up.as_ref());
    let mut heap_calls = 0;
    let ended = test.run_between(&pool, allocations::begin, || heap_calls = allocations::end());
    let (report, verdict) = judge(ended, heap_calls, options)?;
    results(&report, heap_calls, options, verdict.is_ok());
    verdict
}

impl Options {
    /// What the library is to run.
    fn test(&self) -> LoadTest {
        let test = LoadTest::default();
        LoadTest {
            duration: self.duration,
            workers: self.workers as usize,
            sizes: self.sizes.0.clone(),
            operations_per_buffer: self.operations_per_buffer,
            min_hit_rate: self.min_hit_rate / 100.0,
            warm_up_operations: if self.cold { 0 } else { test.warm_up_operations },
        }
    }
}

/// What is to be printed, and what isn't as it must be; an error if there is nothing to print.
fn judge(
    ended: Result<LoadTestReport, LoadTestError>,
    heap_calls: u64,
    options: &Options,
) -> Result<(LoadTestReport, Result<(), Wrong>), Wrong> {
    match ended {
        Ok(report) if heap_calls > 0 && !options.cold => {
            let below = format!(
                "{heap_calls} calls of the heap in {} operations after the warm-up, 0 are allowed",
                report.operations
            );
            Ok((report, Err(Wrong::Below(below))))
        }
        Ok(report) => Ok((report, Ok(()))),
        Err(LoadTestError::HitRate { report }) => {
            let (rate, least) = (100.0 * report.hit_rate(), options.min_hit_rate);
            let below = format!("a hit rate of {rate:.4} % is below the {least} of --min-hit-rate");
            Ok((*report, Err(Wrong::Below(below))))
        }
        Err(error @ LoadTestError::NoOperation { .. }) => Err(Wrong::Below(error.to_string())),
        Err(error @ LoadTestError::Field { .. }) => Err(Wrong::Option(error.to_string())),
        Err(error) => Err(Wrong::Case(error.to_string())),
    }
}

fn head(options: &Options, warm_up: Option<&WarmUp>) {
    let resident =
        |warm_up: &WarmUp| warm_up.classes.iter().map(|class| class.resident).collect::<Vec<_>>();
    let resident = warm_up.map(resident);
    if options.json {
        let chosen = json!({ "workers": options.workers, "duration_s": options.duration.as_secs_f64(),
            "sizes": options.sizes.0, "min_hit_rate_percent": options.min_hit_rate,
            "operations_per_buffer": options.operations_per_buffer, "warm_buffers": resident });
        println!(
            "{}",
            json!({ "bench": "class-load", "machine": report::machine(), "options": chosen })
        );
    } else {
        let sizes: Vec<_> = options.sizes.0.iter().map(|&bytes| Size(bytes).to_string()).collect();
        println!(
            "{} workers for {:?}, sizes {}",
            options.workers,
            options.duration,
            sizes.join(" ")
        );
        println!("warm buffers of each class: {resident:?}");
    }
}

fn results(report: &LoadTestReport, heap_calls: u64, options: &Options, pass: bool) {
    let per_operation = heap_calls as f64 / report.operations.max(1) as f64;
    if !options.json {
        println!("{report}");
        println!("{heap_calls} calls of the heap, {per_operation} for each operation");
        println!("{}", if pass { "pass" } else { "fail" });
        return;
    }
    for class in &report.stats.classes {
        let rate = class.hit_rate() * 100.0;
        let line = json!({ "bench": "class-load", "class_bytes": class.class_bytes, "gets": class.gets, "puts": class.puts,
            "hits": class.hits, "misses": class.misses, "hit_rate_percent": rate, "allocated_bytes": class.allocated_bytes,
            "reused_bytes": class.reused_bytes, "waits": class.waits, "refusals": class.refusals,
            "in_use": class.in_use, "resident": class.resident, "resident_bytes": class.resident_bytes });
        println!("{line}");
    }
    let line = json!({ "bench": "class-load", "pass": pass, "workers": report.workers, "ops": report.operations,
        "elapsed_s": report.elapsed.as_secs_f64(), "ops_per_s": report.operations_per_second().round(),
        "hit_rate_percent": 100.0 * report.hit_rate(), "min_hit_rate_percent": options.min_hit_rate,
        "direct": report.stats.direct.gets, "heap_calls": heap_calls, "heap_calls_per_op": per_operation, "corrupt": 0 });
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::options::Sizes;
    use super::*;
    use crate::class::table;

    fn options(min_hit_rate: f64, cold: bool) -> Options {
        Options {
            workers: 2,
            duration: Duration::from_millis(100),
            sizes: Sizes(table::BYTES.to_vec()),
            min_hit_rate,
            operations_per_buffer: 2,
            cold,
            json: true,
        }
    }

    /// For as long as it takes a busy machine to come to an operation.
    fn ended(options: &Options) -> Result<LoadTestReport, LoadTestError> {
        let pool = ClassPool::new(&ClassOptions::default()).expect("it has no limit");
        let mut test = options.test();
        loop {
            match test.run(&pool) {
                Err(LoadTestError::NoOperation { .. }) => test.duration *= 2,
                ended => return ended,
            }
        }
    }

    #[test]
    fn the_verdict_is_about_the_rate_and_the_heap() {
        let verdict = |heap_calls, options: &Options| {
            let (report, verdict) =
                judge(ended(options), heap_calls, options).expect("there is something to print");
            assert!(report.operations > 0);
            verdict.map_err(|wrong| wrong.text().to_owned())
        };
        let (warm, cold) = (options(1.0, false), options(1.0, true));
        assert_eq!(verdict(0, &warm), Ok(()));
        assert!(verdict(1, &warm).is_err_and(|text| text.contains("1 calls of the heap")));
        assert_eq!(verdict(1, &cold), Ok(()), "a cold run may");
        // The first get of all finds no buffer with pages.
        let below = verdict(0, &options(100.0, true));
        assert!(below.is_err_and(|text| text.contains("% is below the 100 of --min-hit-rate")));
    }

    #[test]
    fn what_has_nothing_to_print_is_an_error_of_its_kind() {
        let options = options(99.0, false);
        let of = |test: LoadTest| {
            test.run(&ClassPool::new(&ClassOptions::default()).expect("it has no limit"))
        };
        let field = of(LoadTest { sizes: Vec::new(), ..options.test() });
        assert!(
            matches!(judge(field, 0, &options), Err(Wrong::Option(text)) if text.starts_with("`sizes`"))
        );
        let duration = options.duration;
        let none = judge(Err(LoadTestError::NoOperation { duration }), 0, &options);
        assert!(matches!(none, Err(Wrong::Below(text)) if text.contains("`duration`")));
    }
}
