//! Runs the contenders: verified once, then timed in interleaved repeats, each on a contender built anew, so that where its pages lie is part of the
//! spread and only one pool is alive at a time.

use std::fmt::{self, Display};
use std::hint::black_box;
use std::time::Instant;

use crate::case::{Case, Plan, Written};
use crate::contender::{Contender, Copied, Exhausted, Fill, Pattern, Touch8};

/// How much is run for each contender and case.
#[derive(Clone, Copy)]
pub struct Rounds {
    pub repeats: usize,
    /// Timed operations of one repeat.
    pub ops: u64,
    /// Operations of the verified pass.
    pub verified_ops: u64,
}

pub const QUICK: Rounds = Rounds { repeats: 7, ops: 2_000_000, verified_ops: 200_000 };
pub const FULL: Rounds = Rounds { repeats: 21, ops: 5_000_000, verified_ops: 2_000_000 };

/// Warm-up before the clock, in laps of the entries.
const WARM_LAPS: u64 = 8;

/// What one contender came to in one case.
pub struct Timing {
    pub contender: &'static str,
    pub memory_bytes: usize,
    /// One figure a repeat, in nanoseconds for each operation, sorted.
    pub ns_per_op: Vec<f64>,
}

impl Timing {
    pub fn new(contender: &'static str) -> Self {
        Self { contender, memory_bytes: 0, ns_per_op: Vec::new() }
    }

    /// One more repeat.
    pub fn add(&mut self, ns_per_op: f64, memory_bytes: usize) {
        let at = self.ns_per_op.partition_point(|ns| *ns <= ns_per_op);
        self.ns_per_op.insert(at, ns_per_op);
        self.memory_bytes = memory_bytes;
    }

    pub fn median_ns(&self) -> f64 {
        let (n, all) = (self.ns_per_op.len(), &self.ns_per_op);
        if n.is_multiple_of(2) { f64::midpoint(all[n / 2 - 1], all[n / 2]) } else { all[n / 2] }
    }

    pub fn min_ns(&self) -> f64 {
        self.ns_per_op[0]
    }
}

/// One repeat of one contender.
struct Repeat {
    ns_per_op: f64,
    memory_bytes: usize,
}

/// Why a contender has no figure.
#[derive(Debug, PartialEq)]
pub enum Failure {
    Build(String),
    Exhausted { op: u64, bytes: usize },
    Corrupt { entry: usize, op: u64 },
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(reason) => write!(f, "it can't be built: {reason}"),
            Self::Exhausted { op, bytes } => write!(f, "operation {op} found no room for {bytes} B"),
            Self::Corrupt { entry, op } => write!(f, "entry {entry} doesn't hold what operation {op} wrote"),
        }
    }
}

/// One contender behind plain functions; inside each of them everything is dispatched statically.
pub struct Runner {
    pub name: &'static str,
    pub verify: fn(&Plan, &[u32], u64) -> Result<(), Failure>,
    time: fn(&Case, &[u32], &Rounds) -> Result<Repeat, Failure>,
}

impl Runner {
    pub fn of<C: Contender>() -> Self {
        Self { name: C::NAME, verify: verify::<C>, time: time::<C> }
    }
}

/// All contenders in one case: each verified, then the repeats in turn (A B C A B C ...).
pub fn measure(case: &Case, contenders: &[Runner], rounds: &Rounds) -> Result<Vec<Timing>, String> {
    let sizes = case.sizes_bytes();
    let named = |runner: &Runner, failure: Failure| format!("{}: {failure}", runner.name);
    let mut timings: Vec<Timing> = contenders.iter().map(|runner| Timing::new(runner.name)).collect();
    for runner in contenders {
        (runner.verify)(&case.plan(), &sizes, rounds.verified_ops).map_err(|failure| named(runner, failure))?;
    }
    for _ in 0..rounds.repeats {
        for (runner, timing) in contenders.iter().zip(&mut timings) {
            let repeat = (runner.time)(case, &sizes, rounds).map_err(|failure| named(runner, failure))?;
            timing.add(repeat.ns_per_op, repeat.memory_bytes);
        }
    }
    Ok(timings)
}

/// Where a run stands: the next operation, its entry and its size. The same sequence for every contender.
#[derive(Clone, Copy)]
struct Position<'a> {
    op: u64,
    entry: usize,
    slots: usize,
    size: usize,
    sizes: &'a [u32],
}

impl<'a> Position<'a> {
    fn start(slots: usize, sizes: &'a [u32]) -> Self {
        Self { op: 0, entry: 0, slots, size: 0, sizes }
    }

    /// The operation, its entry and its bytes. Wraps by comparison: a division would cost as much as a contender.
    #[inline]
    fn next(&mut self) -> (u64, usize, usize) {
        let taken = (self.op, self.entry, self.sizes[self.size] as usize);
        self.op += 1;
        self.entry = if self.entry + 1 == self.slots { 0 } else { self.entry + 1 };
        self.size = if self.size + 1 == self.sizes.len() { 0 } else { self.size + 1 };
        taken
    }
}

/// Runs `ops` operations from where `position` stands.
#[inline(never)]
fn run<C: Contender, F: Fill>(contender: &mut C, position: &mut Position, ops: u64, fill: &F) -> Result<(), Failure> {
    // A copy, so that the loop keeps it in registers: three stores an operation of its own would hide those of the contenders.
    let mut at = *position;
    for _ in 0..ops {
        let (op, entry, bytes) = at.next();
        contender.put(entry, op, bytes, fill).map_err(|Exhausted| Failure::Exhausted { op, bytes })?;
    }
    *position = at;
    Ok(())
}

/// Writes whole payloads and reads each back, every byte, just before its entry is released, and all that are left at the end.
fn verify<C: Contender>(plan: &Plan, sizes: &[u32], ops: u64) -> Result<(), Failure> {
    let mut contender = C::new(plan).map_err(Failure::Build)?;
    let mut position = Position::start(plan.slots, sizes);
    let mut held: Vec<Option<(u64, usize)>> = vec![None; plan.slots];
    let intact = |contender: &mut C, entry, (op, bytes): (u64, usize)| {
        let whole = |payload: &[u8]| Pattern::holds(op, payload) && (payload.len() == bytes || !C::KEEPS_PAYLOAD);
        if contender.verify_slot(entry, whole) { Ok(()) } else { Err(Failure::Corrupt { entry, op }) }
    };
    for _ in 0..ops {
        let (op, entry, bytes) = position.next();
        if let Some(written) = held[entry].replace((op, bytes)) {
            intact(&mut contender, entry, written)?;
        }
        contender.put(entry, op, bytes, &Pattern).map_err(|Exhausted| Failure::Exhausted { op, bytes })?;
    }
    let mut left = held.iter().enumerate().filter_map(|(entry, written)| written.map(|written| (entry, written)));
    left.try_for_each(|(entry, written)| intact(&mut contender, entry, written))
}

/// One repeat: build, warm up, time, and check the first 8 bytes of what is held.
fn time<C: Contender>(case: &Case, sizes: &[u32], rounds: &Rounds) -> Result<Repeat, Failure> {
    match case.written {
        Written::Touch8 => time_filled::<C, _>(case, sizes, rounds, &Touch8),
        Written::Whole => time_filled::<C, _>(case, sizes, rounds, &Copied::new(case.plan().largest_bytes)),
    }
}

fn time_filled<C: Contender, F: Fill>(
    case: &Case,
    sizes: &[u32],
    rounds: &Rounds,
    fill: &F,
) -> Result<Repeat, Failure> {
    let mut contender = C::new(&case.plan()).map_err(Failure::Build)?;
    let mut position = Position::start(case.slots, sizes);
    run(&mut contender, &mut position, WARM_LAPS * case.slots as u64, fill)?;
    let start = Instant::now();
    run(&mut contender, &mut position, rounds.ops, fill)?;
    let ns_per_op = start.elapsed().as_secs_f64() * 1e9 / rounds.ops as f64;
    let memory_bytes = contender.memory_bytes();
    for back in 1..=case.slots {
        let op = position.op - back as u64;
        let entry = (position.entry + case.slots - back) % case.slots;
        if !contender.verify_slot(entry, |payload| Pattern::holds(op, &payload[..8])) {
            return Err(Failure::Corrupt { entry, op });
        }
    }
    black_box(contender);
    Ok(Repeat { ns_per_op, memory_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Pool;
    use crate::contender::{self, suite::Overlapping};

    #[test]
    fn medians_and_minima() {
        let of = |ns: &[f64]| Timing { contender: "a", memory_bytes: 0, ns_per_op: ns.to_vec() };
        assert_eq!((of(&[1.0, 2.0, 9.0]).median_ns(), of(&[1.0, 2.0, 4.0, 9.0]).median_ns()), (2.0, 3.0));
        assert_eq!(of(&[1.0, 2.0]).min_ns(), 1.0);
    }

    #[test]
    fn every_contender_is_measured_in_every_repeat() {
        let rounds = Rounds { repeats: 3, ops: 1000, verified_ops: 1000 };
        for written in [Written::Touch8, Written::Whole] {
            let case = Case { written, dim: 16, slots: 8, pool: Pool::Bytes(64 << 10) };
            let contenders = contender::all();
            let timings = measure(&case, &contenders, &rounds).unwrap();
            assert_eq!(timings.len(), contenders.len());
            assert!(timings.iter().all(|timing| timing.ns_per_op.len() == 3 && timing.min_ns() <= timing.median_ns()));
        }
    }

    #[test]
    fn an_overlap_is_caught_after_the_clock_too() {
        let rounds = Rounds { repeats: 1, ops: 1000, verified_ops: 0 };
        let case = Case { written: Written::Whole, dim: 16, slots: 8, pool: Pool::Bytes(1024) };
        let failure = measure(&case, &[Runner::of::<Overlapping>()], &rounds).err().unwrap_or_default();
        assert!(failure.starts_with("overlapping: entry"), "{failure}");
    }
}
