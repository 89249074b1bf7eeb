//! The library's load test ([`LoadTest`]) as a command, which counts the calls of the heap too.
//!
//! A hit is a get that found a buffer with pages, as the pool counts it. The heap's calls are those
//! of the program's allocator in any thread between warm-up and end; none is allowed, unless the
//! test runs cold. The exit status is 0 if the test passed, 3 below the hit rate or with calls of
//! the heap, 2 for invalid options, and 1 for a payload that isn't what was written.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use slipring::class::{ClassOptions, ClassPool, LoadTest, LoadTestError, LoadTestReport, WarmUp};

use super::case::CLASS_BYTES;
use crate::choice::Wrong;
use crate::heap;
use crate::payload::Size;
use crate::report;

/// Many threads on one class pool, every payload verified; fails below a hit rate
#[derive(Args, Clone)]
pub struct LoadOptions {
    /// Threads that get and drop
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub workers: u32,
    /// How long they run after their warm-up: 10s, 500ms or 2m
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Classes of the wire table to get buffers of: `all`, or some of 2KiB, 4KiB, 8KiB, 16KiB,
    /// 32KiB and 64KiB with commas between them
    #[arg(long, default_value = "all", value_parser = sizes)]
    pub sizes: Sizes,
    /// The lowest hit rate that passes, in percent of the gets; below it the exit status is 3
    #[arg(long, default_value_t = 99.9, value_parser = percent)]
    pub min_hit_rate: f64,
    /// How often each payload is verified before its buffer goes back
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub operations_per_buffer: u32,
    /// No warm-up: the first gets are counted too
    #[arg(long)]
    pub cold: bool,
    /// One JSON object per line instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Classes of the wire table, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes(pub Vec<usize>);

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{text}` is no time: write a number and its unit, as 10s, 500ms or 2m, 1 ms to 24 h"
        )
    };
    let units = [("ms", 1), ("s", 1000), ("m", 60_000)];
    let of_unit = |(unit, ms): &(&str, u64)| {
        Some(text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(*ms))
    };
    let ms = units.iter().find_map(of_unit).flatten().ok_or_else(wrong)?;
    if (1..=24 * 3_600_000).contains(&ms) { Ok(Duration::from_millis(ms)) } else { Err(wrong()) }
}

fn sizes(text: &str) -> Result<Sizes, String> {
    if text == "all" {
        return Ok(Sizes(CLASS_BYTES.to_vec()));
    }
    let class = |name: &str| CLASS_BYTES.into_iter().find(|&bytes| Size(bytes).to_string() == name);
    let known = || CLASS_BYTES.map(|bytes| Size(bytes).to_string()).join(", ");
    let each = |name| {
        class(name)
            .ok_or_else(|| format!("`{name}` is no class of the wire table: `all`, or {}", known()))
    };
    let mut sizes = text.split(',').map(each).collect::<Result<Vec<_>, _>>()?;
    sizes.sort_unstable();
    sizes.dedup();
    Ok(Sizes(sizes))
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| format!("`{text}` is no rate in percent: a number from 0 to 100"))
}

/// Runs the test and prints its figures, even if the hit rate is too low.
///
/// # Errors
/// A payload isn't what was written, or a figure is below its minimum.
pub fn run(options: &LoadOptions) -> Result<(), Wrong> {
    let pool =
        ClassPool::new(&ClassOptions::default()).map_err(|error| Wrong::Case(error.to_string()))?;
    let test = options.test();
    // Twice the buffers that the workers hold: each thread's cache keeps some.
    let warm_up = if options.cold { None } else { Some(pool.warm_up(2 * test.buffers_max())) };
    let warm_up = warm_up.transpose().map_err(|error| Wrong::Case(error.to_string()))?;
    head(options, warm_up.as_ref());
    let mut heap_calls = 0;
    let ended = test.run_between(&pool, heap::begin, || heap_calls = heap::end());
    let (report, verdict) = judge(ended, heap_calls, options)?;
    results(&report, heap_calls, options, verdict.is_ok());
    verdict
}

impl LoadOptions {
    /// The library's load test with these options.
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

/// The report to print and the verdict on it; an error if there is nothing to print.
fn judge(
    ended: Result<LoadTestReport, LoadTestError>,
    heap_calls: u64,
    options: &LoadOptions,
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

fn head(options: &LoadOptions, warm_up: Option<&WarmUp>) {
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

fn results(report: &LoadTestReport, heap_calls: u64, options: &LoadOptions, pass: bool) {
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
    use super::*;

    fn options(min_hit_rate: f64, cold: bool) -> LoadOptions {
        LoadOptions {
            workers: 2,
            duration: Duration::from_millis(100),
            sizes: Sizes(CLASS_BYTES.to_vec()),
            min_hit_rate,
            operations_per_buffer: 2,
            cold,
            json: true,
        }
    }

    /// Runs for as long as a busy machine needs to complete an operation.
    fn ended(options: &LoadOptions) -> Result<LoadTestReport, LoadTestError> {
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
        let verdict = |heap_calls, options: &LoadOptions| {
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
    fn a_run_with_nothing_to_print_is_an_error_of_its_kind() {
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

    #[test]
    fn times_have_units_and_bounds() {
        let read = |text| duration(text).ok().map(|time| time.as_millis());
        assert_eq!(
            ["10s", "500ms", "2m", "1ms"].map(read),
            [Some(10_000), Some(500), Some(120_000), Some(1)]
        );
        for wrong in [
            "",
            "10",
            "s",
            "0s",
            "-1s",
            "1h",
            "25000m",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert!(
                duration(wrong).is_err_and(|error| error.contains(&format!("`{wrong}`"))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn sizes_are_classes() {
        assert_eq!(sizes("all").unwrap().0, CLASS_BYTES);
        assert_eq!(sizes("64KiB,2KiB,2KiB").unwrap().0, [2 << 10, 64 << 10]);
        for wrong in ["", "3KiB", "2KiB,", "2048", "128KiB", "ALL"] {
            assert!(sizes(wrong).is_err_and(|error| error.contains("2KiB, 4KiB")), "{wrong}");
        }
    }

    #[test]
    fn rates_are_percents() {
        assert_eq!(
            ["0", "99.9", "100"].map(|text| percent(text).ok()),
            [Some(0.0), Some(99.9), Some(100.0)]
        );
        assert!(["-1", "100.1", "NaN", "inf", ""].iter().all(|text| percent(text).is_err()));
    }
}
