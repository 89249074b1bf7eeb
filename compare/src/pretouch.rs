//! What pages cost that nobody touched before the clock: the seed's operation over pools of 2 MiB
//! to 2 GiB, on its first lap and on those that follow.
//!
//! ```text
//!   map:     the pool is mapped, and touched or not                         ns per payload of 4 KiB
//!   first:   pool / 4 KiB operations, each at bytes that none had before    ns per operation
//!   steady:  the laps behind it                                             ns per operation
//!
//!   op i:  allocate 8 vectors of 128 f32 (4096 B) ──▶ store one f32 ──▶ entry i mod entries ──▶ the slice that stood there is dropped
//! ```
//!
//! The seed's design marches through all of its pool, so its first lap meets every page. It lies on
//! pages of 4 KiB and on transparent huge ones, touched and untouched. Ours is touched always: the
//! library has no other pool. Why: on an untouched one a limit of memory is a signal in the middle
//! of the service instead of an error at its start, huge pages come late or never, and each page's
//! fault is paid by a request, while the start is paid by nobody. What an untouched pool would
//! spare, the memory that a burst never came for, is had by a smaller pool.

use std::hint::black_box;
use std::time::Instant;

use serde_json::json;

use crate::case::{Pages, Plan, Size};
use crate::contender::{Contender, Exhausted, SeedArc, Slipring, mapped_on, untouched_on};
use crate::harness::{Rounds, Timing};
use crate::report::Report;
use crate::seed_table::{OneF32, PAYLOAD_BYTES, plan};

const POOL_SHIFTS: std::ops::RangeInclusive<u32> = 21..=31;
const QUICK_POOL_SHIFTS: std::ops::RangeInclusive<u32> = 21..=22;
const REPEATS: usize = 7;
const QUICK_REPEATS: usize = 2;
/// Operations of the steady laps, at least one lap.
const STEADY_OPS: u64 = 500_000;
const QUICK_STEADY_OPS: u64 = 2_000;

/// The figures of one repeat, in the order in which they are taken.
const MOMENTS: [&str; 3] = ["map", "first", "steady"];

/// A pool and what it lies on.
struct Variant {
    name: &'static str,
    pages: Pages,
    repeat: fn(&Plan, u64) -> Result<Repeat, String>,
}

/// Nanoseconds for each of [`MOMENTS`], and the contender's memory.
struct Repeat {
    ns: [f64; MOMENTS.len()],
    memory_bytes: usize,
}

const fn of(
    name: &'static str,
    pages: Pages,
    repeat: fn(&Plan, u64) -> Result<Repeat, String>,
) -> Variant {
    Variant { name, pages, repeat }
}

const VARIANTS: [Variant; 6] = [
    of("slipring", Pages::Thp, ours),
    of("slipring-4KiB-pages", Pages::Small, ours),
    of("seed-arc-touched", Pages::Thp, touched),
    of("seed-arc-untouched", Pages::Thp, untouched),
    of("seed-arc-4KiB-pages-touched", Pages::Small, touched),
    of("seed-arc-4KiB-pages-untouched", Pages::Small, untouched),
];

fn ours(plan: &Plan, steady_ops: u64) -> Result<Repeat, String> {
    repeat(plan, steady_ops, || Slipring::new(plan))
}

fn touched(plan: &Plan, steady_ops: u64) -> Result<Repeat, String> {
    repeat(plan, steady_ops, || Ok(SeedArc::over(mapped_on(plan.pool_bytes, plan.pages)?, plan)))
}

fn untouched(plan: &Plan, steady_ops: u64) -> Result<Repeat, String> {
    repeat(plan, steady_ops, || Ok(SeedArc::over(untouched_on(plan.pool_bytes, plan.pages)?, plan)))
}

/// Builds, runs the first lap and those behind it, each by the clock, and checks what is held.
fn repeat<C: Contender>(
    plan: &Plan,
    steady_ops: u64,
    build: impl FnOnce() -> Result<C, String>,
) -> Result<Repeat, String> {
    let payloads = (plan.pool_bytes / PAYLOAD_BYTES) as u64;
    let steady_ops = steady_ops.max(payloads);
    let start = Instant::now();
    let mut contender = build()?;
    let map = per(start, payloads);
    let mut run = |ops: std::ops::Range<u64>| {
        let (start, count) = (Instant::now(), ops.end - ops.start);
        let slots = plan.slots as u64;
        for op in ops {
            let full = |Exhausted| format!("operation {op} found no room");
            contender
                .put((op % slots) as usize, op, black_box(PAYLOAD_BYTES), &OneF32)
                .map_err(full)?;
        }
        Ok::<f64, String>(per(start, count))
    };
    let (first, steady) = (run(0..payloads)?, run(payloads..payloads + steady_ops)?);
    let ops = payloads + steady_ops;
    for op in ops - plan.slots as u64..ops {
        let held = |payload: &[u8]| payload[..4] == (op as f32).to_ne_bytes();
        if !contender.verify_slot((op % plan.slots as u64) as usize, held) {
            return Err(format!("the entry of operation {op} doesn't hold what it wrote"));
        }
    }
    Ok(Repeat { ns: [map, first, steady], memory_bytes: contender.memory_bytes() })
}

fn per(start: Instant, count: u64) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / count as f64
}

/// All variants of one pool, interleaved: the timings of each moment.
fn measure(
    pool_bytes: usize,
    repeats: usize,
    steady_ops: u64,
) -> Result<[Vec<Timing>; MOMENTS.len()], String> {
    let mut timings = MOMENTS
        .map(|_| VARIANTS.map(|variant| Timing::new(variant.name)).into_iter().collect::<Vec<_>>());
    for _ in 0..repeats {
        for (at, variant) in VARIANTS.iter().enumerate() {
            let plan = Plan { pages: variant.pages, ..plan(pool_bytes) };
            let repeat = (variant.repeat)(&plan, steady_ops)
                .map_err(|why| format!("{}: {why}", variant.name))?;
            for (timings, ns) in timings.iter_mut().zip(repeat.ns) {
                timings[at].add(ns, repeat.memory_bytes);
            }
        }
    }
    Ok(timings)
}

/// Runs all pools: a case a moment and pool.
///
/// # Errors
/// Memory that the system refuses, or a contender that loses what it was given.
pub fn run(quick: bool, as_json: bool) -> Result<(), String> {
    let report = Report { bench: "pretouch", as_json };
    let (shifts, repeats, steady_ops) = match quick {
        true => (QUICK_POOL_SHIFTS, QUICK_REPEATS, QUICK_STEADY_OPS),
        false => (POOL_SHIFTS, REPEATS, STEADY_OPS),
    };
    report.head(&Rounds { repeats, ops: steady_ops, verified_ops: 0 });
    for pool_bytes in shifts.map(|shift| 1 << shift) {
        let timings = measure(pool_bytes, repeats, steady_ops)?;
        for (moment, timings) in MOMENTS.iter().zip(&timings) {
            let case = format!("pretouch-{moment}-{}", Size(pool_bytes));
            if as_json {
                let shape = json!({ "pool_bytes": pool_bytes, "slots": plan(pool_bytes).slots });
                println!("{}", json!({ "bench": report.bench, "plan_of": case, "plan": shape }));
            }
            report.results(&case, timings);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_has_a_figure_for_every_moment() {
        let timings = measure(2 << 20, 2, 1000).unwrap();
        for (moment, timings) in MOMENTS.iter().zip(timings) {
            assert_eq!(timings.len(), VARIANTS.len());
            for timing in timings {
                assert!(
                    timing.ns_per_op.len() == 2 && timing.min_ns() > 0.0,
                    "{moment} of {}",
                    timing.contender
                );
            }
        }
    }

    /// The one thing that the variants differ by: which pages are there before the first operation.
    #[test]
    fn an_untouched_mapping_has_no_page_before_its_first_operation() {
        type Map = fn(usize, Pages) -> Result<memmap2::MmapMut, String>;
        for (map, expected) in [(mapped_on as Map, 64), (untouched_on as Map, 0)] {
            let mapping = map(64 * PAYLOAD_BYTES, Pages::Small).unwrap();
            assert_eq!(resident_pages(&mapping), expected);
        }
    }

    /// Pages of 4 KiB that are in memory, as the kernel tells it: a word a page.
    fn resident_pages(mapping: &[u8]) -> usize {
        use std::os::unix::fs::FileExt;

        let file = std::fs::File::open("/proc/self/pagemap").expect("Linux tells its pages");
        let mut words = vec![0; mapping.len() / 4096 * 8];
        file.read_exact_at(&mut words, (mapping.as_ptr().addr() / 4096 * 8) as u64)
            .expect("a word a page");
        let is_present = |word: &&[u8]| word[7] & 0x80 != 0;
        words.chunks(8).filter(is_present).count()
    }
}
