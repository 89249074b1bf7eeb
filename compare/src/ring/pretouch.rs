//! The cost of pages that weren't touched before the clock: the operation of
//! [`mod@super::fixed_size`] over pools of 2 MiB to 2 GiB, on its first lap and on those that
//! follow.
//!
//! ```text
//!   map:     the pool is mapped, and touched or not                         ns per payload of 4 KiB
//!   first:   pool / 4 KiB operations, each at bytes that none had before    ns per operation
//!   steady:  the laps after it                                              ns per operation
//!
//!   op i:  allocate 8 vectors of 128 f32 (4096 B) ──▶ store one f32 ──▶ entry i mod entries ──▶ its previous slice is dropped
//! ```
//!
//! `arc-ring` steps through all of its pool, so its first lap meets every page. It is measured on
//! pages of 4 KiB and on transparent huge ones, touched and untouched. Ours is always touched: the
//! library has no other pool. The reasons: with an untouched pool, exceeding a memory limit is a
//! signal in the middle of the service instead of an error at its start; huge pages come late or
//! never; and a request pays for each page fault, while no request pays for the start. An untouched
//! pool would save the memory that a burst never reached; a smaller pool saves it too.

use std::hint::black_box;
use std::time::Instant;

use serde_json::json;

use super::arc_ring::ArcRing;
use super::case::Plan;
use super::contender::Contender;
use super::fixed_size::{OneF32, PAYLOAD_BYTES, plan};
use super::slipring::Slipring;
use crate::measure::{Rounds, Timing};
use crate::memory::{Pages, mapped_on, untouched_on};
use crate::payload::{Exhausted, Size};
use crate::report::Report;

const POOL_SHIFTS: std::ops::RangeInclusive<u32> = 21..=31;
const QUICK_POOL_SHIFTS: std::ops::RangeInclusive<u32> = 21..=22;
const REPEATS: usize = 7;
const QUICK_REPEATS: usize = 2;
/// Operations of the steady laps, at least one lap.
const STEADY_OPS: u64 = 500_000;
const QUICK_STEADY_OPS: u64 = 2_000;

/// The figures of one repeat, in the order in which they are measured.
const MOMENTS: [&str; 3] = ["map", "first", "steady"];

/// A pool and its pages.
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
    of("arc-ring-touched", Pages::Thp, touched),
    of("arc-ring-untouched", Pages::Thp, untouched),
    of("arc-ring-4KiB-pages-touched", Pages::Small, touched),
    of("arc-ring-4KiB-pages-untouched", Pages::Small, untouched),
];

fn ours(plan: &Plan, steady_ops: u64) -> Result<Repeat, String> {
    repeat(plan, steady_ops, || Slipring::new(plan))
}

fn touched(plan: &Plan, steady_ops: u64) -> Result<Repeat, String> {
    repeat(plan, steady_ops, || Ok(ArcRing::over(mapped_on(plan.pool_bytes, plan.pages)?, plan)))
}

fn untouched(plan: &Plan, steady_ops: u64) -> Result<Repeat, String> {
    repeat(plan, steady_ops, || Ok(ArcRing::over(untouched_on(plan.pool_bytes, plan.pages)?, plan)))
}

/// Builds, runs the first lap and the following ones, each timed, and checks every payload that is
/// held.
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

/// Measures all pools: one case per moment and pool.
///
/// # Errors
/// The system refuses memory, or a contender loses a payload.
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

    /// The only difference between the variants: which pages exist before the first operation.
    #[test]
    fn an_untouched_mapping_has_no_page_before_its_first_operation() {
        type Map = fn(usize, Pages) -> Result<memmap2::MmapMut, String>;
        for (map, expected) in [(mapped_on as Map, 64), (untouched_on as Map, 0)] {
            let mapping = map(64 * PAYLOAD_BYTES, Pages::Small).unwrap();
            assert_eq!(resident_pages(&mapping), expected);
        }
    }

    /// The number of pages of 4 KiB that are in memory, by the kernel's map of one word per page.
    fn resident_pages(mapping: &[u8]) -> usize {
        use std::os::unix::fs::FileExt;

        let file = std::fs::File::open("/proc/self/pagemap").expect("Linux has a page map");
        let mut words = vec![0; mapping.len() / 4096 * 8];
        file.read_exact_at(&mut words, (mapping.as_ptr().addr() / 4096 * 8) as u64)
            .expect("one word per page");
        let is_present = |word: &&[u8]| word[7] & 0x80 != 0;
        words.chunks(8).filter(is_present).count()
    }
}
