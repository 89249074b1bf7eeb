//! How a contender on one thread is verified and timed. Repeats are interleaved by
//! [`crate::measure`].

use std::fmt::{self, Display};
use std::hint::black_box;
use std::time::Instant;

use super::case::{Case, Drawn, Order, Plan, Written};
use super::contender::Contender;
use crate::measure::{self, Repeat, Rounds, Timing};
use crate::memory::Pages;
use crate::payload::{Copied, Exhausted, Fill, Pattern, Touch8};

/// Warm-up before the clock, in laps of the entries.
const WARM_LAPS: u64 = 8;

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

/// A case, and the lists that were drawn for it.
pub struct Setting {
    pub case: Case,
    pub drawn: Drawn,
}

impl Setting {
    pub fn of(case: &Case) -> Self {
        Self { case: *case, drawn: case.drawn() }
    }
}

/// A contender on one thread.
pub type Runner = measure::Runner<Setting, Failure>;

/// It takes part if it can release in the case's order and its pool can be on the case's pages.
pub fn runner<C: Contender>() -> Runner {
    Runner {
        name: C::NAME,
        emulated: C::EMULATED,
        takes_part: |Setting { case, .. }| {
            (C::ANY_ORDER || case.order == Order::Oldest)
                && (C::CHOOSES_PAGES || case.pages == Pages::Thp)
        },
        verify: verify::<C>,
        time: time::<C>,
    }
}

/// All contenders that take part in one case.
///
/// # Errors
/// The first contender that failed, by its name.
pub fn measure(case: &Case, runners: &[Runner], rounds: &Rounds) -> Result<Vec<Timing>, String> {
    measure::measure(&Setting::of(case), runners, &case.rounds(rounds))
}

/// Runs `ops` operations from `position` on. A function of its own, so that no contender's code
/// depends on the code around the clock.
#[inline(never)]
fn run<'a, C: Contender, E: Entries<'a>, F: Fill>(
    contender: &mut C,
    position: &mut Position<'a, E>,
    ops: u64,
    fill: &F,
) -> Result<(), Failure> {
    // A copy, so that the loop keeps it in registers: three stores per operation would hide those
    // of the contenders.
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

fn verify<C: Contender>(setting: &Setting, ops: u64) -> Result<(), Failure> {
    let (plan, drawn) = (&setting.case.plan(), &setting.drawn);
    match setting.case.order {
        Order::Oldest => verify_in::<C, Oldest>(plan, drawn, ops),
        Order::Random => verify_in::<C, Listed>(plan, drawn, ops),
    }
}

/// Writes whole payloads and reads every byte of each one back just before its entry is replaced,
/// or at the end.
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

fn time<C: Contender>(setting: &Setting, ops: u64) -> Result<Repeat, Failure> {
    match setting.case.written {
        Written::Touch8 => time_filled::<C, _>(setting, ops, &Touch8),
        Written::Whole => {
            time_filled::<C, _>(setting, ops, &Copied::new(setting.case.largest_bytes()))
        }
    }
}

fn time_filled<C: Contender, F: Fill>(
    setting: &Setting,
    ops: u64,
    fill: &F,
) -> Result<Repeat, Failure> {
    match setting.case.order {
        Order::Oldest => time_in::<C, Oldest, F>(setting, ops, fill),
        Order::Random => time_in::<C, Listed, F>(setting, ops, fill),
    }
}

/// One repeat: builds, warms up, times, and checks the first 8 bytes of every payload that is held.
fn time_in<'a, C: Contender, E: Entries<'a>, F: Fill>(
    setting: &'a Setting,
    ops: u64,
    fill: &F,
) -> Result<Repeat, Failure> {
    let Setting { case, drawn } = setting;
    let mut contender = C::new(&case.plan()).map_err(Failure::Build)?;
    let mut position = Position::<E>::start(case.slots, drawn);
    run(&mut contender, &mut position, WARM_LAPS * case.slots as u64, fill)?;
    let start = Instant::now();
    run(&mut contender, &mut position, ops, fill)?;
    let ns_per_op = start.elapsed().as_secs_f64() * 1e9 / ops as f64;
    let memory_bytes = contender.memory_bytes();
    // The same steps again, without a contender, give the operation whose payload each entry holds.
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
    Ok(Repeat { ns_per_op, memory_bytes, growth_bytes: None })
}

/// The order in which entries are replaced.
trait Entries<'a>: Copy {
    fn start(slots: usize, drawn: &'a Drawn) -> Self;

    /// The entry of operation `op`; operations come in turn.
    fn next(&mut self, op: u64) -> usize;
}

/// The oldest first: 0, 1 ... slots - 1, 0.
#[derive(Clone, Copy)]
struct Oldest {
    entry: usize,
    slots: usize,
}

/// A first lap in order, then the drawn entries.
#[derive(Clone, Copy)]
struct Listed<'a> {
    slots: u64,
    at: usize,
    entries: &'a [u32],
}

/// The position of a run in the drawn lists: the same sequence for every contender.
#[derive(Clone, Copy)]
struct Position<'a, E> {
    op: u64,
    entries: E,
    size: usize,
    sizes: &'a [u32],
}

impl<'a> Entries<'a> for Oldest {
    fn start(slots: usize, _drawn: &'a Drawn) -> Self {
        Self { entry: 0, slots }
    }

    // Wraps by comparison, here and below: a division would cost as much as a contender.
    #[inline(always)]
    fn next(&mut self, _op: u64) -> usize {
        let entry = self.entry;
        self.entry = if entry + 1 == self.slots { 0 } else { entry + 1 };
        entry
    }
}

impl<'a> Entries<'a> for Listed<'a> {
    fn start(slots: usize, drawn: &'a Drawn) -> Self {
        let entries = drawn.entries.as_deref().expect("entries were drawn for this order");
        Self { slots: slots as u64, at: 0, entries }
    }

    #[inline(always)]
    fn next(&mut self, op: u64) -> usize {
        if op < self.slots {
            return op as usize;
        }
        let entry = self.entries[self.at] as usize;
        self.at = if self.at + 1 == self.entries.len() { 0 } else { self.at + 1 };
        entry
    }
}

impl<'a, E: Entries<'a>> Position<'a, E> {
    fn start(slots: usize, drawn: &'a Drawn) -> Self {
        Self { op: 0, entries: E::start(slots, drawn), size: 0, sizes: &drawn.sizes }
    }

    /// The operation, its entry and its bytes.
    #[inline(always)]
    fn next(&mut self) -> (u64, usize, usize) {
        let step = (self.op, self.entries.next(self.op), self.sizes[self.size] as usize);
        self.op += 1;
        self.size = if self.size + 1 == self.sizes.len() { 0 } else { self.size + 1 };
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries<'a, E: Entries<'a>>(slots: usize, drawn: &'a Drawn) -> Vec<usize> {
        let mut position = Position::<E>::start(slots, drawn);
        (0..8).map(|_| position.next().1).collect()
    }

    #[test]
    fn entries_come_in_the_order_of_the_case() {
        let drawn = Drawn { sizes: vec![8, 16, 24], entries: Some(vec![2, 0, 2]) };
        assert_eq!(entries::<Oldest>(3, &drawn), [0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(entries::<Listed>(3, &drawn), [0, 1, 2, 2, 0, 2, 2, 0]);
    }
}
