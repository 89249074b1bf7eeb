//! Payloads of one size over pools of 32 KiB to 2 GiB: the operation for which the figures of the
//! older designs were published (docs/ORIGINS.md).
//!
//! ```text
//!   op i:  allocate 8 vectors of 128 f32 (4096 B) ──▶ store one f32 ──▶ entry i mod entries of a plain Vec ──▶ its previous slice is dropped
//!   entries: half of what the pool holds, from 4 to 1024
//! ```
//!
//! What this operation leaves out: nothing is published, nothing is read, 4 of 4096 bytes are
//! written, all payloads have one size, and few are alive. Memory is touched before the clock. A
//! contender without room for its entries is reported as skipped; these pools have room for all of
//! them.

use std::hint::black_box;
use std::time::Instant;

use serde_json::json;

use super::arc_ring::ArcRing;
use super::case::Plan;
use super::contender::{Contender, EmptyHarness};
use super::slipring::{Slipring, SlipringRaii};
use crate::measure::Timing;
use crate::memory::Pages;
use crate::payload::{Exhausted, Fill, Growing, Size};
use crate::report::Report;

const VECTORS: usize = 8;
const DIM: usize = 128;
pub const PAYLOAD_BYTES: usize = VECTORS * DIM * size_of::<f32>();
const POOL_SHIFTS: std::ops::RangeInclusive<u32> = 15..=31;
const WARM_LAPS: u64 = 8;

/// One f32 at the payload's start: the number of the operation.
pub struct OneF32;

impl Fill for OneF32 {
    #[inline]
    fn fill(&self, op: u64, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&(op as f32).to_ne_bytes());
    }

    #[inline]
    fn append(&self, op: u64, _bytes: usize, payload: &mut impl Growing) {
        payload.extend_from_slice(&(op as f32).to_ne_bytes());
    }
}

/// One contender: its name, and a function that runs one repeat in a pool and returns nanoseconds
/// per operation and the contender's memory.
type Run = (&'static str, fn(&Plan, u64) -> Result<(f64, usize), String>);

fn runs() -> [Run; 4] {
    [
        (EmptyHarness::NAME, repeat::<EmptyHarness>),
        (Slipring::NAME, repeat::<Slipring>),
        (SlipringRaii::NAME, repeat::<SlipringRaii>),
        (ArcRing::NAME, repeat::<ArcRing>),
    ]
}

/// The entries of a pool: as many as half of it holds, from 4 to 1024.
pub fn plan(pool_bytes: usize) -> Plan {
    let slots = (pool_bytes / PAYLOAD_BYTES / 2).clamp(4, 1024);
    Plan { slots, largest_bytes: PAYLOAD_BYTES, pool_bytes, pages: Pages::Thp }
}

/// Builds, warms up, times, and checks every payload that is held.
fn repeat<C: Contender>(plan: &Plan, ops: u64) -> Result<(f64, usize), String> {
    let mut contender = C::new(plan)?;
    let mut entry = 0;
    let mut run = |contender: &mut C, ops: std::ops::Range<u64>| {
        for op in ops {
            contender.put(entry, op, black_box(PAYLOAD_BYTES), &OneF32)?;
            entry = if entry + 1 == plan.slots { 0 } else { entry + 1 };
        }
        Ok(())
    };
    let no_room = |Exhausted| {
        format!("no room for {} payloads of {PAYLOAD_BYTES} B and one more", plan.slots)
    };
    let warm = WARM_LAPS * plan.slots as u64;
    run(&mut contender, 0..warm).map_err(no_room)?;
    let start = Instant::now();
    run(&mut contender, warm..warm + ops).map_err(no_room)?;
    let ns_per_op = start.elapsed().as_secs_f64() * 1e9 / ops as f64;
    for op in warm + ops - plan.slots as u64..warm + ops {
        // The empty harness writes no payload.
        let held = |payload: &[u8]| !C::KEEPS_PAYLOAD || payload[..4] == (op as f32).to_ne_bytes();
        if !contender.verify_slot((op % plan.slots as u64) as usize, held) {
            return Err(format!("the entry of operation {op} doesn't hold what it wrote"));
        }
    }
    Ok((ns_per_op, contender.memory_bytes()))
}

/// Measures all pools: one case per pool, all contenders interleaved.
///
/// # Errors
/// A contender loses a payload. One that has no room is reported in a line of its own instead.
pub fn run(quick: bool, as_json: bool) -> Result<(), String> {
    let report = Report { bench: "ring", as_json };
    let (repeats, ops) = if quick { (3, 200_000) } else { (15, 2_000_000) };
    for plan in POOL_SHIFTS.map(|shift| plan(1 << shift)) {
        let case = format!("fixed-{VECTORS}x{DIM}-{}", Size(plan.pool_bytes));
        if as_json {
            let shape = json!({ "pool_bytes": plan.pool_bytes, "slots": plan.slots, "ops": ops });
            println!("{}", json!({ "bench": "ring", "plan_of": case, "plan": shape }));
        }
        let timings = measure(&plan, repeats, ops, |contender, why| {
            report.skipped(&format!("{case} of {contender}"), why)
        })?;
        report.results(&case, &timings);
    }
    Ok(())
}

fn measure(
    plan: &Plan,
    repeats: usize,
    ops: u64,
    mut refused: impl FnMut(&str, &str),
) -> Result<Vec<Timing>, String> {
    let mut timings: Vec<(Run, Timing)> = runs().map(|run| (run, Timing::new(run.0))).into();
    for _ in 0..repeats {
        let mut left = Vec::new();
        for ((name, time), mut timing) in timings {
            match time(plan, ops) {
                Ok((ns_per_op, memory_bytes)) => timing.add(ns_per_op, memory_bytes),
                Err(why) if why.starts_with("no room") => {
                    refused(name, &why);
                    continue;
                }
                Err(why) => return Err(format!("{name}: {why}")),
            }
            left.push(((name, time), timing));
        }
        timings = left;
    }
    Ok(timings.into_iter().map(|(_, timing)| timing).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_half_of_the_pool_within_bounds() {
        let shapes = [32 << 10, 512 << 10, 8 << 20, 2 << 30].map(|bytes| plan(bytes).slots);
        assert_eq!(shapes, [4, 64, 1024, 1024]);
    }

    #[test]
    fn small_pools_run_and_a_refusal_has_a_name() {
        for bytes in [32 << 10, 64 << 10, 128 << 10] {
            let timings = measure(&plan(bytes), 2, 1000, |contender, why| {
                panic!("{contender} in {bytes}: {why}")
            })
            .unwrap();
            assert!(timings.len() == 4 && timings.iter().all(|timing| timing.ns_per_op.len() == 2));
        }
        let mut refusals = Vec::new();
        let tight = Plan { slots: 8, ..plan(32 << 10) };
        let timings =
            measure(&tight, 2, 1000, |contender, why| refusals.push(format!("{contender}: {why}")))
                .unwrap();
        assert_eq!((timings.len(), refusals.len()), (1, 3), "{refusals:?}");
        assert!(
            refusals.iter().all(|text| text.contains("no room for 8 payloads")),
            "{refusals:?}"
        );
    }
}
