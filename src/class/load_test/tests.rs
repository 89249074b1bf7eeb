//! Runs that pass and that don't, at limits, and with payloads that aren't what was written.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::workers::{LoadTestWorker, Workers};
use super::{HELD, LoadTest, LoadTestError, LoadTestReport};
use crate::class::{AtLimit, ClassOptions, ClassPool, ClassTable, GetError, Limit};

/// The interpreter is a thousand times slower.
const WORKERS: usize = if cfg!(miri) { 3 } else { 100 };

fn short(workers: usize) -> LoadTest {
    LoadTest {
        duration: Duration::from_millis(20),
        workers,
        sizes: vec![64, 4096],
        warm_up_operations: if cfg!(miri) { 10 } else { 500 },
        ..LoadTest::default()
    }
}

/// Classes of 64 and 4096 bytes.
fn pool(buffers: usize, at_limit: AtLimit) -> ClassPool {
    let table = ClassTable::new(&[64, 4096]).unwrap();
    ClassPool::new(&ClassOptions {
        table,
        limit: Limit::buffers(buffers),
        at_limit,
        ..ClassOptions::default()
    })
    .unwrap()
}

/// For as long as it takes a busy machine to come to an operation.
fn run(test: &LoadTest, pool: &ClassPool) -> Result<LoadTestReport, LoadTestError> {
    let mut test = test.clone();
    loop {
        match test.run(pool) {
            Err(LoadTestError::NoOperation { .. }) => test.duration *= 2,
            ended => return ended,
        }
    }
}

fn gets(report: &LoadTestReport) -> u64 {
    report.stats.classes.iter().map(|class| class.gets).sum()
}

#[test]
fn one_worker_and_many_pass_where_all_memory_is_there() {
    for workers in [1, WORKERS] {
        let test = LoadTest { min_hit_rate: 1.0, operations_per_buffer: 3, ..short(workers) };
        let pool = pool(test.buffers_max(), AtLimit::Wait);
        drop(pool.get(64).unwrap());
        pool.warm_up(test.buffers_max()).unwrap();
        let report = run(&test, &pool).unwrap();
        assert_eq!(
            (report.workers, report.hit_rate(), gets(&report)),
            (workers, 1.0, report.operations),
            "{report}"
        );
        assert!(
            report.operations > 0
                && report.elapsed >= test.duration
                && report.operations_per_second() > 0.0
        );
        assert!(
            report.stats.classes.iter().all(|class| class.in_use == 0),
            "all came back: {report}"
        );
        let all = pool.stats();
        assert!(
            all.classes[0].misses >= 1 && all.classes[0].gets > report.stats.classes[0].gets,
            "nothing was reset"
        );
        let text = report.to_string();
        assert!(
            text.contains("every payload verified")
                && text.ends_with("100.000 %; 100.000 % are asked for"),
            "{text}"
        );
    }
}

#[test]
fn a_hit_rate_below_the_least_is_an_error_that_says_both() {
    let test = LoadTest { min_hit_rate: 1.0, warm_up_operations: 0, ..short(2) };
    // The first get of all finds no buffer with pages.
    let error = run(&test, &pool(usize::MAX, AtLimit::Wait)).unwrap_err();
    let LoadTestError::HitRate { ref report } = error else { panic!("{error}") };
    assert!(report.hit_rate() < 1.0 && report.operations > 0);
    let (found, least) = (
        format!("{:.4} % is below", 100.0 * report.hit_rate()),
        "the 100.0000 % of `min_hit_rate`",
    );
    assert!(error.to_string().contains(&found) && error.to_string().contains(least), "{error}");
    // The same pool at a rate that it reaches.
    let report =
        run(&LoadTest { min_hit_rate: 0.0, ..test }, &pool(usize::MAX, AtLimit::Wait)).unwrap();
    assert!(report.hit_rate() < 1.0 && report.min_hit_rate == 0.0);
}

/// Fewer buffers than workers, down to one.
#[test]
fn limits_are_no_hang() {
    for (buffers, at_limit) in
        [(1, AtLimit::Wait), (1, AtLimit::Refuse), (1, AtLimit::Fresh), (7, AtLimit::Wait)]
    {
        let pool = pool(buffers, at_limit);
        let test = LoadTest { min_hit_rate: 0.0, ..short(if cfg!(miri) { 2 } else { 9 }) };
        let report = run(&test, &pool).unwrap();
        assert_eq!(gets(&report), report.operations, "{report}");
        assert!(
            pool.stats()
                .classes
                .iter()
                .all(|class| class.in_use == 0 && class.resident <= buffers as u64)
        );
        assert_eq!(pool.stats().direct.in_use, 0, "fresh ones at the limit go as well");
    }
}

#[test]
fn a_run_that_comes_to_nothing_says_so() {
    let pool = pool(1, AtLimit::Wait);
    let _all = [pool.get(64).unwrap(), pool.get(4096).unwrap()];
    let error = LoadTest { warm_up_operations: 0, ..short(2) }.run(&pool).unwrap_err();
    assert!(matches!(error, LoadTestError::NoOperation { .. }), "{error}");
    assert!(error.to_string().ends_with("in 20ms: give a longer `duration`"), "{error}");
}

/// Otherwise no worker would ever be warm.
#[test]
fn a_warm_up_without_a_buffer_ends() {
    for at_limit in [AtLimit::Wait, AtLimit::Refuse] {
        let pool = pool(1, at_limit);
        let _all = [pool.get(64).unwrap(), pool.get(4096).unwrap()];
        let error = short(2).run_between(&pool, || panic!("it began"), || ()).unwrap_err();
        let is_limit = |cause: &GetError| {
            matches!(cause, GetError::TimedOut { .. } | GetError::Exhausted { .. })
        };
        assert!(
            matches!(&error, LoadTestError::Get { operation: 0, cause, .. } if is_limit(cause)),
            "{error}"
        );
    }
}

#[test]
fn each_field_that_makes_no_sense_is_named() {
    let refused = |change: fn(&mut LoadTest)| {
        let mut test = short(1);
        change(&mut test);
        let error =
            test.run_between(&pool(9, AtLimit::Wait), || panic!("it began"), || ()).unwrap_err();
        assert!(matches!(error, LoadTestError::Field { .. }));
        error.to_string()
    };
    assert_eq!(
        refused(|test| test.duration = Duration::ZERO),
        "`duration` is 0ns: give more than nothing"
    );
    assert_eq!(refused(|test| test.workers = 0), "`workers` is 0: give 1 to 10000");
    assert_eq!(refused(|test| test.workers = 10_001), "`workers` is 10001: give 1 to 10000");
    assert_eq!(
        refused(|test| test.sizes.clear()),
        "`sizes` is []: give one size or more, of 1 to 4096 bytes"
    );
    assert_eq!(
        refused(|test| test.sizes.push(4097)),
        "`sizes` is 4097: give 1 to 4096 bytes, the pool's largest class"
    );
    assert!(refused(|test| test.sizes = vec![0]).starts_with("`sizes` is 0: give 1 to 4096"));
    assert_eq!(
        refused(|test| test.operations_per_buffer = 0),
        "`operations_per_buffer` is 0: give 1 or more"
    );
    assert_eq!(refused(|test| test.min_hit_rate = 1.01), "`min_hit_rate` is 1.01: give 0 to 1");
    assert_eq!(refused(|test| test.min_hit_rate = -0.1), "`min_hit_rate` is -0.1: give 0 to 1");
    assert!(refused(|test| test.min_hit_rate = f64::NAN).starts_with("`min_hit_rate` is NaN"));
}

#[test]
fn the_callers_calls_stand_around_what_is_counted() {
    let (pool, calls) = (pool(usize::MAX, AtLimit::Wait), Cell::new(0));
    let test = short(2);
    let begun = || {
        let in_use: u64 = pool.stats().classes.iter().map(|class| class.in_use).sum();
        assert!(
            in_use <= 2,
            "no worker runs: at most one is at each place, and {in_use} are in use"
        );
        assert!(
            pool.stats().classes.iter().map(|class| class.gets).sum::<u64>() > 0,
            "all have warmed up"
        );
        calls.set(calls.get() + 1);
    };
    let ended = test.run_between(&pool, begun, || calls.set(calls.get() + 10));
    assert!(matches!(ended, Ok(_) | Err(LoadTestError::NoOperation { .. })), "{ended:?}");
    assert_eq!(calls.get(), 11);
}

#[test]
fn a_call_that_panics_ends_the_workers() {
    let pool = pool(usize::MAX, AtLimit::Wait);
    let run = || short(2).run_between(&pool, || panic!("a call of the caller's"), || ());
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    assert!(pool.stats().classes.iter().all(|class| class.in_use == 0), "all came back");
}

/// One foreign byte, wherever it is, and a length that changed.
#[test]
fn a_payload_that_is_not_what_was_written_is_found() {
    let (test, pool) =
        (LoadTest { sizes: vec![4096], ..short(1) }, pool(usize::MAX, AtLimit::Wait));
    let spoils: [fn(&mut crate::class::PooledBuf); 3] = [
        |buf| buf[0] ^= 1,
        |buf| *buf.last_mut().unwrap() ^= 0x80,
        |buf| buf.truncate(buf.len() - 1),
    ];
    for spoil in spoils {
        let all = Workers::new(&test, &pool);
        let mut worker = LoadTestWorker::new(&all, 0);
        (0..2 * HELD).for_each(|_| worker.turn().unwrap());
        let spoilt = worker.held[0].as_mut().unwrap();
        let len = spoilt.buf.len();
        spoil(&mut spoilt.buf);
        let error =
            (0..3 * HELD).find_map(|_| worker.turn().err()).expect("it is verified when it goes");
        assert!(
            matches!(error, LoadTestError::Corrupt { worker: 0, operation: 4, len: found } if found == len),
            "{error:?}"
        );
        let text = format!(
            "{len} bytes doesn't hold what operation 4 of worker 0 wrote: it has two owners"
        );
        assert!(error.to_string().contains(&text), "{error}");
    }
}

#[test]
fn lengths_are_those_of_the_sizes_classes() {
    let pool = pool(usize::MAX, AtLimit::Wait);
    let drawn = |sizes: Vec<usize>| {
        let test = LoadTest { sizes, ..short(1) };
        let all = Workers::new(&test, &pool);
        let mut worker = LoadTestWorker::new(&all, 0);
        let lengths: Vec<usize> = (0..2000).map(|_| worker.draw_length()).collect();
        (lengths.iter().copied().min().unwrap(), lengths.into_iter().max().unwrap())
    };
    assert_eq!(drawn(vec![64]), (1, 64));
    assert_eq!(drawn(vec![1]), (1, 1));
    assert_eq!(drawn(vec![80]), (65, 80));
    let (least, most) = drawn(vec![4096, 4096]);
    assert!((65..100).contains(&least) && (4060..=4096).contains(&most), "{least} to {most}");
}
