//! Runs the contenders: verified once, then timed in interleaved repeats, each on a contender built
//! anew, so that where its pages lie is part of the spread and only one pool is alive at a time.

use std::fmt::{self, Display};
use std::hint::black_box;
use std::time::Instant;

use crate::case::{Case, Drawn, Order, Pages, Plan, Written};
use crate::contender::{Contender, Copied, Exhausted, Fill, Pattern, Touch8};
use crate::position::{Entries, Listed, Oldest, Position};

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
pub const FULL: Rounds = Rounds { repeats: 21, ops: 2_000_000, verified_ops: 500_000 };

/// Warm-up before the clock, in laps of the entries.
const WARM_LAPS: u64 = 8;

/// Bytes that a repeat may write, and that the verified pass may: large payloads get fewer
/// operations, so that no repeat takes much longer than the others.
const WRITTEN_BYTES_MAX: usize = 8 << 30;
const VERIFIED_BYTES_MAX: usize = 1 << 30;

impl Rounds {
    /// What of it this case gets.
    pub fn of(&self, case: &Case) -> Self {
        let within = |ops: u64, bytes: usize| ops.min((bytes / case.mean_bytes()) as u64);
        let ops = match case.written {
            Written::Touch8 => self.ops,
            Written::Whole => within(self.ops, WRITTEN_BYTES_MAX),
        };
        Self {
            repeats: self.repeats,
            ops,
            verified_ops: within(self.verified_ops, VERIFIED_BYTES_MAX),
        }
    }
}

/// What one contender came to in one case.
pub struct Timing {
    pub contender: &'static str,
    /// What was emulated, where its design can't express the workload.
    pub emulated: Option<&'static str>,
    pub memory_bytes: usize,
    /// By how much the process grew between the warm-up and the end, in the worst repeat; where a
    /// bench looks at it.
    pub growth_bytes: Option<usize>,
    /// One figure a repeat, in nanoseconds for each operation, sorted.
    pub ns_per_op: Vec<f64>,
}

impl Timing {
    pub fn new(contender: &'static str) -> Self {
        Self {
            contender,
            emulated: None,
            memory_bytes: 0,
            growth_bytes: None,
            ns_per_op: Vec::new(),
        }
    }

    /// One more repeat.
    pub fn add(&mut self, ns_per_op: f64, memory_bytes: usize) {
        let at = self.ns_per_op.partition_point(|ns| *ns <= ns_per_op);
        self.ns_per_op.insert(at, ns_per_op);
        self.memory_bytes = memory_bytes;
    }

    pub fn median_ns(&self) -> f64 {
        self.quartile_ns(2)
    }

    pub fn min_ns(&self) -> f64 {
        self.quartile_ns(0)
    }

    /// Quartile 0 is the fastest repeat, 4 the slowest; between two repeats by their distance.
    pub fn quartile_ns(&self, quartile: usize) -> f64 {
        let last = self.ns_per_op.len() - 1;
        let (at, part) = (last * quartile / 4, (last * quartile % 4) as f64 / 4.0);
        let (low, high) = (self.ns_per_op[at], self.ns_per_op[last.min(at + 1)]);
        low + (high - low) * part
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
            Self::Exhausted { op, bytes } => {
                write!(f, "operation {op} found no room for {bytes} B")
            }
            Self::Corrupt { entry, op } => {
                write!(f, "entry {entry} doesn't hold what operation {op} wrote")
            }
        }
    }
}

/// One contender behind plain functions; inside each of them everything is dispatched statically.
pub struct Runner {
    pub name: &'static str,
    pub emulated: Option<&'static str>,
    /// The orders of release in which it takes part.
    pub orders: &'static [Order],
    pub chooses_pages: bool,
    pub verify: fn(&Plan, &Drawn, u64) -> Result<(), Failure>,
    time: fn(&Case, &Drawn, &Rounds) -> Result<Repeat, Failure>,
}

impl Runner {
    pub fn of<C: Contender>() -> Self {
        let orders: &[Order] =
            if C::ANY_ORDER { &[Order::Oldest, Order::Random] } else { &[Order::Oldest] };
        let (verify, time) = (verify::<C>, time::<C>);
        Self {
            name: C::NAME,
            emulated: C::EMULATED,
            orders,
            chooses_pages: C::CHOOSES_PAGES,
            verify,
            time,
        }
    }

    /// The same contender under another name, in these orders only.
    pub fn named(self, name: &'static str, orders: &'static [Order]) -> Self {
        Self { name, orders, ..self }
    }

    /// Whether the contender can release in this case's order, and lie on its pages.
    pub fn takes_part(&self, case: &Case) -> bool {
        self.orders.contains(&case.order) && (self.chooses_pages || case.pages == Pages::Thp)
    }
}

/// All contenders that take part in one case: each verified, then the repeats in turn (A B C A B C
/// ...).
pub fn measure(case: &Case, contenders: &[Runner], rounds: &Rounds) -> Result<Vec<Timing>, String> {
    let (drawn, rounds) = (case.drawn(), rounds.of(case));
    let contenders: Vec<&Runner> =
        contenders.iter().filter(|runner| runner.takes_part(case)).collect();
    let named = |runner: &Runner, failure: Failure| format!("{}: {failure}", runner.name);
    let timing =
        |runner: &&Runner| Timing { emulated: runner.emulated, ..Timing::new(runner.name) };
    let mut timings: Vec<Timing> = contenders.iter().map(timing).collect();
    for runner in &contenders {
        (runner.verify)(&case.plan(), &drawn, rounds.verified_ops)
            .map_err(|failure| named(runner, failure))?;
    }
    for _ in 0..rounds.repeats {
        for (runner, timing) in contenders.iter().zip(&mut timings) {
            let repeat =
                (runner.time)(case, &drawn, &rounds).map_err(|failure| named(runner, failure))?;
            timing.add(repeat.ns_per_op, repeat.memory_bytes);
        }
    }
    Ok(timings)
}

/// Runs `ops` operations from where `position` stands. Alone in its function, so that no
/// contender's code depends on what stands around the clock.
#[inline(never)]
fn run<'a, C: Contender, E: Entries<'a>, F: Fill>(
    contender: &mut C,
    position: &mut Position<'a, E>,
    ops: u64,
    fill: &F,
) -> Result<(), Failure> {
    // A copy, so that the loop keeps it in registers: three stores an operation of its own would
    // hide those of the contenders.
    let mut at = *position;
    for _ in 0..ops {
        let (op, entry, bytes) = at.next();
        contender
            .put(entry, op, bytes, fill)
            .map_err(|Exhausted| Failure::Exhausted { op, bytes })?;
    }
    *position = at;
    Ok(())
}

fn verify<C: Contender>(plan: &Plan, drawn: &Drawn, ops: u64) -> Result<(), Failure> {
    match drawn.entries {
        None => verify_in::<C, Oldest>(plan, drawn, ops),
        Some(_) => verify_in::<C, Listed>(plan, drawn, ops),
    }
}

/// Writes whole payloads and reads each back, every byte, just before its entry is released, and
/// all that are left at the end.
fn verify_in<'a, C: Contender, E: Entries<'a>>(
    plan: &Plan,
    drawn: &'a Drawn,
    ops: u64,
) -> Result<(), Failure> {
    let mut contender = C::new(plan).map_err(Failure::Build)?;
    let mut position = Position::<E>::start(plan.slots, drawn);
    let mut held: Vec<Option<(u64, usize)>> = vec![None; plan.slots];
    let intact = |contender: &mut C, entry, (op, bytes): (u64, usize)| {
        let whole = |payload: &[u8]| {
            Pattern::holds(op, payload) && (payload.len() == bytes || !C::KEEPS_PAYLOAD)
        };
        if contender.verify_slot(entry, whole) {
            Ok(())
        } else {
            Err(Failure::Corrupt { entry, op })
        }
    };
    for _ in 0..ops {
        let (op, entry, bytes) = position.next();
        if let Some(written) = held[entry].replace((op, bytes)) {
            intact(&mut contender, entry, written)?;
        }
        contender
            .put(entry, op, bytes, &Pattern)
            .map_err(|Exhausted| Failure::Exhausted { op, bytes })?;
    }
    let mut left = held
        .iter()
        .enumerate()
        .filter_map(|(entry, written)| written.map(|written| (entry, written)));
    left.try_for_each(|(entry, written)| intact(&mut contender, entry, written))
}

fn time<C: Contender>(case: &Case, drawn: &Drawn, rounds: &Rounds) -> Result<Repeat, Failure> {
    match case.written {
        Written::Touch8 => time_filled::<C, _>(case, drawn, rounds, &Touch8),
        Written::Whole => {
            time_filled::<C, _>(case, drawn, rounds, &Copied::new(case.largest_bytes()))
        }
    }
}

fn time_filled<C: Contender, F: Fill>(
    case: &Case,
    drawn: &Drawn,
    rounds: &Rounds,
    fill: &F,
) -> Result<Repeat, Failure> {
    match case.order {
        Order::Oldest => time_in::<C, Oldest, F>(case, drawn, rounds, fill),
        Order::Random => time_in::<C, Listed, F>(case, drawn, rounds, fill),
    }
}

/// One repeat: build, warm up, time, and check the first 8 bytes of what is held.
fn time_in<'a, C: Contender, E: Entries<'a>, F: Fill>(
    case: &Case,
    drawn: &'a Drawn,
    rounds: &Rounds,
    fill: &F,
) -> Result<Repeat, Failure> {
    let mut contender = C::new(&case.plan()).map_err(Failure::Build)?;
    let mut position = Position::<E>::start(case.slots, drawn);
    run(&mut contender, &mut position, WARM_LAPS * case.slots as u64, fill)?;
    let start = Instant::now();
    run(&mut contender, &mut position, rounds.ops, fill)?;
    let ns_per_op = start.elapsed().as_secs_f64() * 1e9 / rounds.ops as f64;
    let memory_bytes = contender.memory_bytes();
    // The same steps again, without a contender, tell which operation each entry holds.
    let (mut replay, mut held) = (Position::<E>::start(case.slots, drawn), vec![0; case.slots]);
    for _ in 0..position.op {
        let (op, entry, _) = replay.next();
        held[entry] = op;
    }
    for (entry, op) in held.into_iter().enumerate() {
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
    use crate::case::{Payload, Pool};
    use crate::contender::{self, suite::Overlapping};

    #[test]
    fn quartiles_lie_between_repeats() {
        let of = |ns: &[f64]| {
            let mut timing = Timing::new("a");
            ns.iter().for_each(|ns| timing.add(*ns, 0));
            [0, 1, 2, 3, 4].map(|quartile| timing.quartile_ns(quartile))
        };
        assert_eq!(of(&[9.0, 1.0, 2.0]), [1.0, 1.5, 2.0, 5.5, 9.0]);
        assert_eq!(of(&[4.0, 9.0, 1.0, 2.0]), [1.0, 1.75, 3.0, 5.25, 9.0]);
        assert_eq!(of(&[3.0]), [3.0; 5]);
    }

    #[test]
    fn large_payloads_get_fewer_operations() {
        let case = Case { written: Written::Whole, payload: Payload::Bytes(32 << 10), ..Case::FIT };
        let rounds = FULL.of(&case);
        assert_eq!(
            (rounds.repeats, rounds.ops, rounds.verified_ops),
            (FULL.repeats, 256 << 10, 32 << 10)
        );
        let touched = FULL.of(&Case { written: Written::Touch8, ..case });
        assert_eq!((touched.ops, touched.verified_ops), (FULL.ops, 32 << 10));
        assert_eq!(QUICK.of(&Case::FIT).ops, QUICK.ops);
    }

    #[test]
    fn every_contender_is_measured_in_every_repeat() {
        let rounds = Rounds { repeats: 3, ops: 1000, verified_ops: 1000 };
        for order in [Order::Oldest, Order::Random] {
            let case = Case {
                written: Written::Whole,
                slots: 8,
                pool: Pool::Bytes(128 << 10),
                order,
                ..Case::FIT
            };
            let contenders = contender::all();
            let timings = measure(&case, &contenders, &rounds).unwrap();
            let expected = contenders.iter().filter(|runner| runner.takes_part(&case));
            assert!(
                expected
                    .map(|runner| runner.name)
                    .eq(timings.iter().map(|timing| timing.contender))
            );
            assert!(
                timings
                    .iter()
                    .all(|timing| timing.ns_per_op.len() == 3
                        && timing.min_ns() <= timing.median_ns())
            );
        }
    }

    #[test]
    fn an_overlap_is_caught_after_the_clock_too() {
        let rounds = Rounds { repeats: 1, ops: 1000, verified_ops: 0 };
        for order in [Order::Oldest, Order::Random] {
            let case = Case {
                written: Written::Whole,
                slots: 8,
                pool: Pool::Bytes(1024),
                order,
                ..Case::FIT
            };
            let failure =
                measure(&case, &[Runner::of::<Overlapping>()], &rounds).err().unwrap_or_default();
            assert!(failure.starts_with("overlapping: entry"), "{failure}");
        }
    }
}
